/* SPDX-License-Identifier: Apache-2.0
 * Reading libpg_query's JSON tree.
 */
#include "tree.h"

#include <string.h>

const char *tree_kind(struct json_object *node, struct json_object **ret_body)
{
    struct json_object_iterator it, end;
    const char *kind;

    *ret_body = NULL;
    if (!json_object_is_type(node, json_type_object) || json_object_object_length(node) != 1)
        return NULL;
    it = json_object_iter_begin(node);
    end = json_object_iter_end(node);
    if (json_object_iter_equal(&it, &end))
        return NULL;
    kind = json_object_iter_peek_name(&it);
    *ret_body = json_object_iter_peek_value(&it);
    return json_object_is_type(*ret_body, json_type_object) ? kind : NULL;
}

struct json_object *tree_body(struct json_object *node, const char *kind)
{
    struct json_object *body;
    const char *k = tree_kind(node, &body);

    return k && strcmp(k, kind) == 0 ? body : NULL;
}

struct json_object *tree_get(struct json_object *body, const char *field)
{
    struct json_object *v;

    if (!json_object_is_type(body, json_type_object) || !json_object_object_get_ex(body, field, &v))
        return NULL;
    return v;
}

const char *tree_str(struct json_object *body, const char *field)
{
    struct json_object *v = tree_get(body, field);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

bool tree_bool(struct json_object *body, const char *field)
{
    struct json_object *v = tree_get(body, field);

    return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}

bool tree_is(struct json_object *body, const char *field, const char *value)
{
    const char *s = tree_str(body, field);

    return s && strcmp(s, value) == 0;
}

struct json_object *tree_list(struct json_object *body, const char *field)
{
    struct json_object *v = tree_get(body, field);

    return json_object_is_type(v, json_type_array) ? v : NULL;
}

size_t tree_len(struct json_object *list)
{
    return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

struct json_object *tree_at(struct json_object *list, size_t i)
{
    return i < tree_len(list) ? json_object_array_get_idx(list, i) : NULL;
}

const char *tree_name_at(struct json_object *list, size_t i)
{
    struct json_object *body = tree_body(tree_at(list, i), "String");

    if (!body)
        return NULL;
    return json_object_object_length(body) == 0 ? "" : tree_str(body, "sval");
}

bool tree_empty(struct json_object *node)
{
    return !node ||
           (json_object_is_type(node, json_type_object) && json_object_object_length(node) == 0);
}

static bool is_location(const char *key)
{
    return strcmp(key, "location") == 0;
}

static size_t fields_but_location(struct json_object *o)
{
    size_t n = 0;

    json_object_object_foreach(o, key, v)
    {
        (void)v;
        n += !is_location(key);
    }
    return n;
}

static bool objects_equal(struct json_object *a, struct json_object *b)
{
    if (fields_but_location(a) != fields_but_location(b))
        return false;
    json_object_object_foreach(a, key, v)
    {
        struct json_object *w;

        if (is_location(key))
            continue;
        if (!json_object_object_get_ex(b, key, &w) || !tree_equal(v, w))
            return false;
    }
    return true;
}

bool tree_equal(struct json_object *a, struct json_object *b)
{
    size_t i, n;

    if (json_object_get_type(a) != json_object_get_type(b))
        return false;
    if (json_object_is_type(a, json_type_object))
        return objects_equal(a, b);
    if (!json_object_is_type(a, json_type_array))
        return json_object_equal(a, b);
    n = json_object_array_length(a);
    if (n != json_object_array_length(b))
        return false;
    for (i = 0; i < n; i++) {
        if (!tree_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
            return false;
    }
    return true;
}

struct tree_const tree_constant(struct json_object *node)
{
    struct json_object *body = tree_body(node, "A_Const"), *v, *inner;
    struct tree_const c = {TREE_CONST_NONE, NULL, 0};

    if (!body)
        return c;
    c.kind = TREE_CONST_OTHER;
    if (tree_bool(body, "isnull")) {
        c.kind = TREE_CONST_NULL;
    } else if ((v = tree_get(body, "sval"))) {
        c.kind = TREE_CONST_STRING;
        c.str = tree_str(v, "sval");
        c.str = c.str ? c.str : "";
    } else if ((v = tree_get(body, "ival"))) {
        c.kind = TREE_CONST_INT;
        inner = tree_get(v, "ival");
        c.num = inner ? json_object_get_int64(inner) : 0;
    } else if ((v = tree_get(body, "boolval"))) {
        c.kind = TREE_CONST_BOOL;
        c.num = tree_bool(v, "boolval");
    }
    return c;
}
