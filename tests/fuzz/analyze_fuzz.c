/* SPDX-License-Identifier: Apache-2.0
 * The analyser on hostile input. The first byte says what the rest is: SQL text, or a tree as
 * JSON (which the parser would not have made: the analyser has to stand anything). Checked
 * beyond memory: every statement has an object or a refusal, and no masked column gets out by a
 * statement that has an Unknown object without being refused.
 */
#include "sidecar/sql/analyze.h"
#include "sidecar/sql/catalog_private.h"
#include "sidecar/sql/parser.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct catalog *catalog;
static struct maskmap *masks;

static void add(struct catalog_builder *b, unsigned query, size_t n, const char *const *text)
{
    struct bytes cells[8];
    size_t i;

    for (i = 0; i < n; i++)
        cells[i] = bytes_str(text[i]);
    if (catalog_builder_row(b, query, cells, n))
        abort();
}

static void make_world(void)
{
    static const struct column_mask mask[] = {
        {"public", "users", "email", MASK_PARTIAL, false, false, "pii"},
        {"public", "users", "phone", MASK_TOKEN, true, true, "lax"},
    };
    static const char *const relations[][7] = {
        {"20001", "public", "users", "r", "f", "f", "f"},
        {"20002", "public", "orders", "r", "t", "f", "f"},
        {"20003", "public", "v", "v", "f", "t", "f"},
    };
    static const char *const columns[][3] = {
        {"20001", "1", "id"}, {"20001", "2", "email"}, {"20001", "3", "phone"},
        {"20002", "1", "id"}, {"20002", "2", "note"},  {"20003", "1", "mail"},
    };
    static const char *const reads[] = {"20003", "20001"};
    static const char *const view[] = {"20003", "select email as mail from public.users"};
    static const char *const functions[][2] = {{"public", "myfn"}, {"pg_catalog", "pg_sleep"}};
    struct catalog_builder *b = NULL;
    size_t i;

    if (catalog_builder_new(&b))
        abort();
    for (i = 0; i < ARRAY_LEN(relations); i++)
        add(b, CATALOG_RELATIONS, 7, relations[i]);
    for (i = 0; i < ARRAY_LEN(columns); i++)
        add(b, CATALOG_COLUMNS, 3, columns[i]);
    for (i = 0; i < ARRAY_LEN(functions); i++)
        add(b, CATALOG_FUNCTIONS, 2, functions[i]);
    add(b, CATALOG_VIEW_READS, 2, reads);
    add(b, CATALOG_VIEWS, 2, view);
    if (catalog_builder_finish(b, NULL, &catalog, NULL) ||
        maskmap_new(catalog, mask, ARRAY_LEN(mask), &masks, NULL))
        abort();
    catalog_builder_free(b);
}

static void check(const struct sql_statement *st)
{
    bool unknown = false;
    size_t i;

    if (st->policy.n_objects == 0 && !st->policy.denied)
        abort();
    for (i = 0; i < st->policy.n_objects; i++)
        unknown |= st->policy.objects[i].op == OP_UNKNOWN;
    if (unknown && st->touches_masked && !st->policy.denied)
        abort();
    if (st->policy.n_functions > 0 && !st->runs_hidden_code)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const path[] = {"pg_catalog", "public", NULL};
    struct json_object *tree = NULL;
    struct sql_message message;
    struct sql_env env;
    struct arena arena;
    struct bytes sql;
    size_t i;

    if (!catalog)
        make_world();
    if (size == 0)
        return 0;
    sql = bytes_of(data + 1, size - 1);
    if (data[0] == '{') {
        struct json_tokener *t = json_tokener_new_ex(200);

        tree = json_tokener_parse_ex(t, (const char *)data, (int)size);
        json_tokener_free(t);
    } else if (sql_parse_here(sql, &tree, NULL)) {
        return 0;
    }
    env = (struct sql_env){catalog, masks, path};
    arena_init(&arena, (size_t)16 << 20);
    if (sql_analyze(tree, sql, &env, &arena, &message, NULL) == 0) {
        for (i = 0; i < message.n; i++)
            check(&message.statements[i]);
    }
    arena_done(&arena);
    json_object_put(tree);
    return 0;
}
