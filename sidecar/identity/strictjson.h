/* SPDX-License-Identifier: Apache-2.0
 * JSON from outside: tokens and key sets. json-c reads it, but only after this has seen that
 * two readers cannot understand it differently: RFC 8259 without leniency, no member twice in
 * an object, no escapes in member names, no NUL in strings, bounded nesting. Pure.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <json-c/json_object.h>

#define STRICTJSON_MAX_DEPTH   8
#define STRICTJSON_MAX_MEMBERS 256 /* of one object */

/* The text has to be one object. The caller puts it. -EBADMSG with the reason, -ENOMEM. */
int strictjson_parse(struct bytes text, struct json_object **ret, struct error *err) MUST_CHECK;

/* A member that is a string; NULL when it is absent or something else. Lives as long as o. */
const char *strictjson_string(struct json_object *o, const char *name);
