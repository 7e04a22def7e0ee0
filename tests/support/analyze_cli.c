/* SPDX-License-Identifier: Apache-2.0
 * Prints what the analyser finds, for tests: `analyze_cli CATALOG.json < SQL`. The catalogue file
 * holds {"search_path": […], "rows": [[[cell, …], …] per catalogue query], "masks": [{schema,
 * relation, column, method, rule, allowPredicates, allowWriteBack}]}. Each line of input is one
 * message (\n written as a backslash and an n); each line of output one JSON object with
 * "statements", or "error". A line "#origin OID ATTRIBUTE" asks maskmap_origin instead.
 * `analyze_cli --queries` prints the catalogue queries, one a line.
 */
#include "sidecar/sql/analyze.h"
#include "sidecar/sql/parser.h"
#include "sidecar/sql/tree.h"

#include <stdio.h>
#include <string.h>

#define MAX_MASKS 64
#define MAX_PATH  16

struct world {
    struct json_object *file;
    struct catalog *catalog;
    struct maskmap *masks;
    struct column_mask patterns[MAX_MASKS];
    const char *path[MAX_PATH + 1];
};

static enum mask_method method_of(const char *name)
{
    static const char *const names[] = {"None", "Partial", "Token", "Redact", "Null"};
    size_t i;

    for (i = 1; name && i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) == 0)
            return (enum mask_method)i;
    }
    return MASK_NONE;
}

static int load_rows(struct catalog_builder *b, unsigned query, struct json_object *rows)
{
    struct bytes cells[8];
    size_t i, k;
    int rc = 0;

    for (i = 0; i < tree_len(rows) && !rc; i++) {
        struct json_object *row = tree_at(rows, i);

        for (k = 0; k < tree_len(row) && k < ARRAY_LEN(cells); k++) {
            struct json_object *cell = tree_at(row, k);

            cells[k] = (struct bytes){0};
            if (cell)
                cells[k] =
                    bytes_of(json_object_get_string(cell), strlen(json_object_get_string(cell)));
        }
        rc = catalog_builder_row(b, query, cells, tree_len(row));
    }
    return rc;
}

static int load(struct world *w, const char *name)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct json_object *rows, *masks, *path;
    struct error err = {0};
    size_t i;
    int rc;

    w->file = json_object_from_file(name);
    if (!w->file || catalog_builder_new(&b))
        return -1;
    rows = tree_list(w->file, "rows");
    for (i = 0; i < tree_len(rows); i++) {
        rc = load_rows(b, (unsigned)i, tree_at(rows, i));
        if (rc) {
            fprintf(stderr, "query %zu: %s\n", i, strerror(-rc));
            return rc;
        }
    }
    if (catalog_builder_finish(b, NULL, &w->catalog, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    masks = tree_list(w->file, "masks");
    for (i = 0; i < tree_len(masks) && i < MAX_MASKS; i++) {
        struct json_object *m = tree_at(masks, i);

        w->patterns[i] = (struct column_mask){
            .schema = tree_str(m, "schema"),
            .relation = tree_str(m, "relation"),
            .column = tree_str(m, "column"),
            .method = method_of(tree_str(m, "method")),
            .rule = tree_str(m, "rule"),
            .allow_predicates = tree_bool(m, "allowPredicates"),
            .allow_write_back = tree_bool(m, "allowWriteBack"),
        };
    }
    path = tree_list(w->file, "search_path");
    for (i = 0; i < tree_len(path) && i < MAX_PATH; i++)
        w->path[i] = json_object_get_string(tree_at(path, i));
    return maskmap_new(w->catalog, w->patterns, min_size(tree_len(masks), MAX_MASKS), &w->masks,
                       &err);
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
    if (value)
        json_object_object_add(o, key, json_object_new_string(value));
}

static void add_flag(struct json_object *o, const char *key, bool value)
{
    if (value)
        json_object_object_add(o, key, json_object_new_boolean(true));
}

static struct json_object *object_json(const struct object *p)
{
    static const char *const wheres[] = {NULL, "absent", "present"};
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "op", json_object_new_int(p->op));
    add_string(o, "where", wheres[p->where]);
    add_string(o, "schema", p->schema);
    add_string(o, "guess", p->guess);
    add_string(o, "name", p->name);
    add_flag(o, "implied", p->implied);
    add_flag(o, "metadata", p->metadata);
    add_flag(o, "sensitive", p->sensitive);
    return o;
}

static struct json_object *statement_json(const struct sql_statement *st)
{
    struct json_object *o = json_object_new_object(), *objects = json_object_new_array();
    struct json_object *functions = json_object_new_array();
    size_t i;

    for (i = 0; i < st->policy.n_objects; i++)
        json_object_array_add(objects, object_json(&st->policy.objects[i]));
    for (i = 0; i < st->policy.n_functions; i++)
        json_object_array_add(functions, json_object_new_string(st->policy.functions[i]));
    json_object_object_add(o, "objects", objects);
    json_object_object_add(o, "functions", functions);
    add_string(o, "denied", st->policy.denied);
    add_string(o, "deniedRule", st->policy.denied_rule);
    add_flag(o, "touchesMasked", st->touches_masked);
    add_flag(o, "maskOriginless", st->mask_originless);
    add_flag(o, "writesMasked", st->writes_masked);
    add_flag(o, "hiddenCode", st->runs_hidden_code);
    add_flag(o, "changesCatalog", st->changes_catalog);
    add_flag(o, "literalDependent", st->literal_dependent);
    add_flag(o, "unknownRelation", st->unknown_relation);
    return o;
}

static void answer(const struct world *w, struct bytes sql)
{
    struct sql_env env = {w->catalog, w->masks, w->path};
    struct json_object *tree = NULL, *out = json_object_new_object();
    struct sql_message message = {0};
    struct error err = {0};
    struct arena arena;
    size_t i;

    arena_init(&arena, (size_t)64 << 20);
    if (sql_parse_here(sql, &tree, &err) || sql_analyze(tree, sql, &env, &arena, &message, &err)) {
        add_string(out, "error", err.text);
    } else {
        struct json_object *list = json_object_new_array();

        for (i = 0; i < message.n; i++)
            json_object_array_add(list, statement_json(&message.statements[i]));
        json_object_object_add(out, "statements", list);
    }
    puts(json_object_to_json_string_ext(out, JSON_C_TO_STRING_PLAIN));
    json_object_put(out);
    json_object_put(tree);
    arena_done(&arena);
}

static bool origin_question(const struct world *w, const char *line)
{
    struct mask_origin origin;
    unsigned oid;
    int attribute;

    if (sscanf(line, "#origin %u %d", &oid, &attribute) != 2)
        return false;
    origin = maskmap_origin(w->masks, oid, (int16_t)attribute);
    printf("{\"method\":%d,\"unknown\":%s}\n", (int)origin.method,
           origin.unknown_relation ? "true" : "false");
    return true;
}

static size_t unescape(char *s, size_t n)
{
    size_t i, k = 0;

    for (i = 0; i < n; i++) {
        if (s[i] == '\\' && i + 1 < n && (s[i + 1] == 'n' || s[i + 1] == '\\'))
            s[k++] = s[++i] == 'n' ? '\n' : '\\';
        else
            s[k++] = s[i];
    }
    return k;
}

int main(int argc, char **argv)
{
    struct world w = {0};
    char *line = NULL;
    size_t cap = 0, i;
    ssize_t n;

    if (argc == 2 && strcmp(argv[1], "--queries") == 0) {
        for (i = 0; i < CATALOG_N_QUERIES && catalog_queries[i]; i++)
            puts(catalog_queries[i]);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--versions") == 0) {
        puts(catalog_snapshot_query);
        puts(catalog_state_query);
        return 0;
    }
    if (argc != 2 || load(&w, argv[1]))
        return 2;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        if (!origin_question(&w, line))
            answer(&w, bytes_of(line, unescape(line, (size_t)n)));
        fflush(stdout);
    }
    free(line);
    maskmap_free(w.masks);
    catalog_unref(w.catalog);
    json_object_put(w.file);
    return 0;
}
