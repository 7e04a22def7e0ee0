/* SPDX-License-Identifier: Apache-2.0
 * JSON trees.
 */
#include "value.h"

#include "src-common/jsonread.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define MAX_DEPTH 64
#define MAX_KEY   128

struct json_object *value_get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    if (json_object_is_type(o, json_type_object))
        json_object_object_get_ex(o, key, &v);
    return v;
}

struct json_object *value_at(struct json_object *o, const char *path)
{
    char key[MAX_KEY];

    for (;;) {
        size_t n = strcspn(path, ".");

        if (n >= sizeof key)
            return NULL;
        memcpy(key, path, n);
        key[n] = 0;
        o = value_get(o, key);
        if (!path[n])
            return o;
        path += n + 1;
    }
}

const char *value_str(struct json_object *o, const char *path)
{
    struct json_object *v = value_at(o, path);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

const char *value_text(struct json_object *o, const char *path)
{
    const char *s = value_str(o, path);

    return s ? s : "";
}

bool value_bool(struct json_object *o, const char *path)
{
    struct json_object *v = value_at(o, path);

    return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}

int64_t value_int(struct json_object *o, const char *path, int64_t otherwise)
{
    struct json_object *v = value_at(o, path);

    return json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : otherwise;
}

/* ---- lists ---- */

size_t value_n(struct json_object *list)
{
    return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

struct json_object *value_item(struct json_object *list, size_t i)
{
    return i < value_n(list) ? json_object_array_get_idx(list, i) : NULL;
}

bool value_has(struct json_object *list, const char *s)
{
    for (size_t i = 0; i < value_n(list); i++) {
        struct json_object *item = value_item(list, i);

        if (json_object_is_type(item, json_type_string) &&
            strcmp(json_object_get_string(item), s) == 0)
            return true;
    }
    return false;
}

/* ---- making ---- */

int value_parse(struct bytes text, struct json_object **ret, struct error *err)
{
    struct json_object *o = NULL;
    int r;

    if (text.len == 0)
        return error_set(err, -EINVAL, "expected a JSON object, found nothing");
    r = jsonread_strict(text, MAX_DEPTH, &o);
    if (r == -ENOMEM)
        return error_set(err, -ENOMEM, "out of memory");
    if (r == 0 && json_object_is_type(o, json_type_object)) {
        *ret = o;
        return 0;
    }
    json_object_put(o);
    return error_set(err, -EINVAL, "expected a JSON object: %s",
                     r == 0        ? "found something else"
                     : r == -E2BIG ? "it is too deep or too long"
                                   : "it is no JSON in UTF-8");
}

struct json_object *value_format(const char *fmt, ...)
{
    struct json_object *o;
    char *text = NULL;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        return NULL;
    o = json_tokener_parse(text);
    free(text);
    return o;
}

const char *value_quote(struct json_object *o)
{
    return json_object_to_json_string_ext(o,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

bool value_set(struct json_object *o, const char *key, struct json_object *value)
{
    if (value && json_object_is_type(o, json_type_object) &&
        json_object_object_add(o, key, value) == 0)
        return true;
    json_object_put(value);
    return false;
}

struct json_object *value_copy(struct json_object *o)
{
    struct json_object *copy = NULL;

    return json_object_deep_copy(o, &copy, NULL) == 0 ? copy : NULL;
}

/* ---- shapes ---- */

struct walk {
    struct json_object *at;
    const char *rest; /* of the shape's path */
    char where[256];  /* of `at`, in words of the object */
};

static const char *article(enum json_type t)
{
    static const char *const names[] = {
        [json_type_null] = "nothing",     [json_type_boolean] = "true or false",
        [json_type_double] = "a number",  [json_type_int] = "a whole number",
        [json_type_object] = "an object", [json_type_array] = "a list",
        [json_type_string] = "a string"};

    return names[t];
}

static int expect_type(const struct walk *w, enum json_type type, struct error *err)
{
    if (!w->at || json_object_is_type(w->at, type))
        return 0;
    return error_set(err, -EINVAL, "%s: expected %s, found %s", w->where, article(type),
                     article(json_object_get_type(w->at)));
}

static int expect(const struct walk *w, enum json_type type, struct error *err);

static int expect_items(const struct walk *w, enum json_type type, struct error *err)
{
    int rc = expect_type(w, json_type_array, err);

    for (size_t i = 0; i < value_n(w->at) && rc == 0; i++) {
        struct walk item = {.at = value_item(w->at, i), .rest = w->rest + 2};

        snprintf(item.where, sizeof item.where, "%.200s[%zu]", w->where, i);
        if (!item.at)
            return error_set(err, -EINVAL, "%s: expected %s, found nothing", item.where,
                             *item.rest ? "an object" : article(type));
        rc = expect(&item, type, err);
    }
    return rc;
}

/* `rest` begins with "", "[]" or ".key". */
static int expect(const struct walk *w, enum json_type type, struct error *err)
{
    struct walk next;
    char key[MAX_KEY];
    size_t n;
    int rc;

    if (!w->at || !*w->rest)
        return expect_type(w, type, err);
    if (*w->rest == '[')
        return expect_items(w, type, err);
    rc = expect_type(w, json_type_object, err);
    if (rc)
        return rc;
    n = strcspn(w->rest + 1, ".[");
    snprintf(key, sizeof key, "%.*s", (int)n, w->rest + 1);
    next.at = value_get(w->at, key);
    next.rest = w->rest + 1 + n;
    snprintf(next.where, sizeof next.where, "%.120s%s%s", w->where, *w->where ? "." : "", key);
    return expect(&next, type, err);
}

int value_expect(struct json_object *o, const struct value_shape *shapes, size_t n,
                 struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        char path[MAX_KEY + 1];
        struct walk w = {.at = o, .rest = path};
        int rc;

        snprintf(path, sizeof path, ".%s", shapes[i].path);
        rc = expect(&w, shapes[i].type, err);
        if (rc)
            return rc;
    }
    return 0;
}
