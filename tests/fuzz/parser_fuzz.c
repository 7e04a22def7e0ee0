/* SPDX-License-Identifier: Apache-2.0
 * The parse as the helper does it, on any bytes: a tree within the limits, or a refusal with words.
 */
#include "sidecar/sql/parser_private.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

const char *const fuzz_dictionary[] = {
    "select ",     "insert ",    "update ",   "delete ",    "create table ",
    "alter ",      "drop ",      "grant ",    "copy ",      "with recursive ",
    "merge into ", "do ",        "prepare ",  "execute ",   "declare ",
    "fetch ",      "explain ",   "set ",      "lock ",      "(select ",
    ") ",          "case when ", " end",      " union ",    "+1",
    "::int",       "[1]",        "array[",    "row(",       "not ",
    "- ",          "/*",         "*/",        "$$",         "'",
    "\"",          "E'\\",       "U&'",       " uescape '", ";",
    " from ",      " join ",     " where ",   " group by ", " order by ",
    " over (",     " as ",       " collate ", "json",       "xmlparse(",
    NULL,
};

static size_t depth_of(struct json_object *node)
{
    size_t deepest = 0;

    if (json_object_is_type(node, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(node); i++) {
            size_t d = depth_of(json_object_array_get_idx(node, i));

            deepest = d > deepest ? d : deepest;
        }
        return deepest + 1;
    }
    if (!json_object_is_type(node, json_type_object))
        return 0;
    json_object_object_foreach(node, key, value)
    {
        size_t d = depth_of(value);

        (void)key;
        deepest = d > deepest ? d : deepest;
    }
    return deepest + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_object *tree = NULL;
    struct error err = {0};
    int r = sql_parse_here(bytes_of(data, size), &tree, &err);
    bool sound =
        r == 0 ? json_object_is_type(tree, json_type_object) && depth_of(tree) <= PARSER_MAX_DEPTH
               : !tree && (r == -EBADMSG || r == -E2BIG) && err.text[0] != '\0';

    if (!sound) {
        fprintf(stderr, "broken: result %d, %s\n", r, err.text);
        abort();
    }
    json_object_put(tree);
    return 0;
}
