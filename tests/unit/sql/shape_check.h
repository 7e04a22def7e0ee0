/* SPDX-License-Identifier: Apache-2.0
 * The promise of shapes, checked with the parser itself: texts with equal shapes have trees that
 * differ in constants' values and in locations only. For the lexer's unit test and fuzz target.
 */
#pragma once

#include "sidecar/sql/parser_private.h"
#include "src-common/buffer.h"

#include <json-c/json.h>

/* Kind of a constant without its value: the key, not what it holds. */
static inline void print_constant(struct buffer *out, struct json_object *constant)
{
    buffer_printf(out, "const:");
    json_object_object_foreach(constant, key, value)
    {
        (void)value;
        if (strcmp(key, "location") != 0)
            buffer_printf(out, "%s,", key);
    }
}

static inline bool is_place(const char *key)
{
    return strcmp(key, "location") == 0 || strcmp(key, "stmt_location") == 0 ||
           strcmp(key, "stmt_len") == 0;
}

static inline void print_blanked(struct buffer *out, struct json_object *node)
{
    if (json_object_is_type(node, json_type_array)) {
        buffer_printf(out, "[");
        for (size_t i = 0; i < json_object_array_length(node); i++)
            print_blanked(out, json_object_array_get_idx(node, i));
        buffer_printf(out, "]");
        return;
    }
    if (!json_object_is_type(node, json_type_object)) {
        buffer_printf(out, "%s;", json_object_to_json_string(node));
        return;
    }
    buffer_printf(out, "{");
    json_object_object_foreach(node, key, value)
    {
        if (is_place(key))
            continue;
        buffer_printf(out, "%s:", key);
        if (strcmp(key, "A_Const") == 0)
            print_constant(out, value);
        else
            print_blanked(out, value);
    }
    buffer_printf(out, "}");
}

/* Appends the text's tree without values and places; "error" when it has none. Parses on this
 * thread: for texts that the lexer's limits have passed and that are short. */
static inline bool blanked_tree(struct bytes sql, struct buffer *out)
{
    char *text = strndup(sql.p ? (const char *)sql.p : "", sql.len);
    struct parser_reply reply = parser_run(text);
    struct json_object *tree = NULL;
    bool parsed = parser_finish(reply.status, bytes_of(reply.body, reply.len), &tree, NULL) == 0;

    if (parsed)
        print_blanked(out, json_object_object_get(tree, "stmts"));
    else
        buffer_printf(out, "error");
    json_object_put(tree);
    free(reply.body);
    free(text);
    return parsed;
}

enum shape_verdict { SHAPES_DIFFER = 0, SHAPES_HOLD, SHAPES_HOLD_UNPARSED, SHAPES_BROKEN };

static inline enum shape_verdict compare_trees(struct bytes a, struct bytes b)
{
    struct buffer x, y;
    enum shape_verdict v = SHAPES_BROKEN;
    bool parsed;

    buffer_init(&x, (size_t)64 << 20);
    buffer_init(&y, (size_t)64 << 20);
    parsed = blanked_tree(a, &x);
    blanked_tree(b, &y);
    if (!x.failed && !y.failed && bytes_eq(buffer_bytes(&x), buffer_bytes(&y)))
        v = parsed ? SHAPES_HOLD : SHAPES_HOLD_UNPARSED;
    buffer_done(&x);
    buffer_done(&y);
    return v;
}

/* Whether the promise holds for these two. */
static inline enum shape_verdict check_shapes(struct bytes a, struct bytes b)
{
    struct buffer x, y;
    const char *reason = NULL;
    enum shape_verdict v = SHAPES_DIFFER;

    buffer_init(&x, (size_t)4 << 20);
    buffer_init(&y, (size_t)4 << 20);
    if (sql_lex(a, &sql_default_limits, &x, &reason) == LEX_OK &&
        sql_lex(b, &sql_default_limits, &y, &reason) == LEX_OK &&
        bytes_eq(buffer_bytes(&x), buffer_bytes(&y)))
        v = compare_trees(a, b);
    buffer_done(&x);
    buffer_done(&y);
    return v;
}
