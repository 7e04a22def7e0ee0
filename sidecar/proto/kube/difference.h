/* SPDX-License-Identifier: Apache-2.0
 * What a request would change, for those who decide on it. Pure.
 */
#pragma once

#include "src-common/buffer.h"

#include <json-c/json_object.h>

/* A line ".spec.replicas: 2 -> 3\n" for each member that `wanted` says in another way than `now`;
 * what `wanted` does not mention is not shown. With `merges`, lists whose elements have names are
 * joined by them, as strategic patches and server-side apply do; other lists are compared element
 * by element, or, when their lengths differ, shown whole. Long values are cut, and so is the whole
 * after some 8 KiB. */
void kubedifference_write(struct json_object *now, struct json_object *wanted, bool merges,
                          struct buffer *out);
