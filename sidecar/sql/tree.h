/* SPDX-License-Identifier: Apache-2.0
 * Reading libpg_query's JSON tree. A node is an object with one key, its type ({"ColumnRef": {…}});
 * fields of a fixed C type stand there without that wrapper; fields that are zero, false or empty
 * are left out. Everything returned is borrowed from the tree.
 */
#pragma once

#include "src-common/base.h"

#include <json-c/json.h>

/* The type of a wrapped node and its body; NULL when it is none. */
const char *tree_kind(struct json_object *node, struct json_object **ret_body);
/* The body of a wrapped node of this very type; NULL otherwise. */
struct json_object *tree_body(struct json_object *node, const char *kind);

/* A field of a body; NULL when absent. Bodies may be NULL. */
struct json_object *tree_get(struct json_object *body, const char *field);
/* A field that is a string; NULL when absent or something else. */
const char *tree_str(struct json_object *body, const char *field);
bool tree_bool(struct json_object *body, const char *field);
/* The type of a wrapped node in a field is this one. */
bool tree_is(struct json_object *body, const char *field, const char *value);

/* A list field; NULL when absent. tree_len(NULL) is 0. */
struct json_object *tree_list(struct json_object *body, const char *field);
size_t tree_len(struct json_object *list);
struct json_object *tree_at(struct json_object *list, size_t i);
/* The text of a {"String": …} in a list; NULL when it is none. */
const char *tree_name_at(struct json_object *list, size_t i);
/* NULL, JSON null, or the {} that stands for a null pointer in lists. */
bool tree_empty(struct json_object *node);

/* Same tree but for the locations in the text. Bounded by the trees' size. */
bool tree_equal(struct json_object *a, struct json_object *b);

/* A constant: its text for strings, "1"/"0" for booleans and integers into `num`. */
struct tree_const {
    enum {
        TREE_CONST_NONE = 0,
        TREE_CONST_NULL,
        TREE_CONST_STRING,
        TREE_CONST_INT,
        TREE_CONST_BOOL,
        TREE_CONST_OTHER
    } kind;
    const char *str;
    int64_t num;
};
struct tree_const tree_constant(struct json_object *node);
