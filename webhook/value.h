/* SPDX-License-Identifier: Apache-2.0
 * Reading json-c trees without asking for a type that is not there: whatever is missing, null or of
 * another type is NULL or empty. Fields whose wrong type would matter are checked by value_expect()
 * first. Returned pointers are borrowed from the tree.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <json-c/json.h>

static inline void value_put(struct json_object *o)
{
    json_object_put(o);
}
DEFINE_CLEANUP(struct json_object *, value_put)

/* A member of an object. */
struct json_object *value_get(struct json_object *o, const char *key);
/* Down a path of members, such as "spec.securityContext.fsGroup". Keys have no dots. */
struct json_object *value_at(struct json_object *o, const char *path);
/* NULL when it is not a string there. */
const char *value_str(struct json_object *o, const char *path);
/* "" instead of NULL. */
const char *value_text(struct json_object *o, const char *path);
/* False when it is not there. */
bool value_bool(struct json_object *o, const char *path);
int64_t value_int(struct json_object *o, const char *path, int64_t otherwise);

/* 0 for what is no list. */
size_t value_n(struct json_object *list);
struct json_object *value_item(struct json_object *list, size_t i);
bool value_has(struct json_object *list_of_strings, const char *s);

/* One object out of text that is all of it: UTF-8, at most 64 deep. -EINVAL, -ENOMEM. The caller
 * owns it. */
int value_parse(struct bytes text, struct json_object **ret, struct error *err) MUST_CHECK;
/* JSON text with printf's directives; what is filled in has to be JSON itself (value_quote).
 * NULL when out of memory or when it is no JSON. */
struct json_object *value_format(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The JSON text of a value; lives as long as the value and until it is asked again. */
const char *value_quote(struct json_object *o);
/* Adds a member; takes the value, also on failure. False for a value that is NULL. */
bool value_set(struct json_object *o, const char *key, struct json_object *value);
/* NULL when out of memory. */
struct json_object *value_copy(struct json_object *o);

/* ---- shapes ---- */

struct value_shape {
    const char *path; /* "spec.containers[].name": [] is every item */
    enum json_type type;
};

/* What is there has the type that the table says; what is missing or null is well. -EINVAL names
 * the first field that has another. */
int value_expect(struct json_object *o, const struct value_shape *shapes, size_t n,
                 struct error *err) MUST_CHECK;
