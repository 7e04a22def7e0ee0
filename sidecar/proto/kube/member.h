/* SPDX-License-Identifier: Apache-2.0
 * Members of objects that an agent or an API server sent: of any type, or not there at all. Pure.
 */
#pragma once

#include <json-c/json_object.h>

/* Borrowed from o; NULL where o is no object or has no such member, or it is null. */
static inline struct json_object *kubemember(struct json_object *o, const char *key)
{
    struct json_object *found = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &found)
               ? found
               : NULL;
}

/* Borrowed from o; "" where that is no string. */
static inline const char *kubemember_text(struct json_object *o, const char *key)
{
    struct json_object *v = kubemember(o, key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}
