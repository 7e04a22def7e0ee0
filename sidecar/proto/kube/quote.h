/* SPDX-License-Identifier: Apache-2.0
 * Where an API server quotes what it must not: a patch that it cannot apply comes back with the
 * whole stored object in the message of its Status. Pure.
 */
#pragma once

#include "src-common/bytes.h"

#include <json-c/json_object.h>

/* Of a failure's Status the message and its causes are replaced by which field and why, unless its
 * reason is one whose messages name objects only. Other objects stay as they are. *ret_changed:
 * whether it was replaced. 0 or -ENOMEM. */
int kubequote_withhold(struct json_object *o, bool *ret_changed) MUST_CHECK;

/* The values of a Secret, to be found again in its annotations. `secret` as the API server sent it;
 * true when `text` contains one of them (of 4 bytes or more), in clear or as it is stored. */
bool kubequote_repeats(struct json_object *secret, struct bytes text);
