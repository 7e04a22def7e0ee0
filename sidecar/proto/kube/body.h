/* SPDX-License-Identifier: Apache-2.0
 * What an agent sends: JSON that has one meaning only. It is forwarded as the guard understood it,
 * written anew. Pure.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <json-c/json_object.h>

#define KUBEBODY_MAX ((size_t)3 << 20) /* the API server's own limit */

/* A whole JSON text: no member twice, no NUL, valid UTF-8, nothing but blanks behind it. Protobuf,
 * CBOR and YAML (other than JSON) are none. The caller puts it. -EBADMSG with the reason, -ENOMEM.
 */
int kubebody_parse(struct bytes text, struct json_object **ret, struct error *err) MUST_CHECK;
/* Calls visit for every member of every object, until it says true; returns whether it did. */
bool kubebody_any(struct json_object *o,
                  bool (*visit)(const char *key, struct json_object *value, void *arg), void *arg);
