/* SPDX-License-Identifier: Apache-2.0
 * A small database for the analyser's tests, and the facts of a statement as one line of text.
 *
 * In that line: each object as "Op schema.name", with (absent) or (present) for WHERE, ~ before
 * what is implied, [meta] or [sens] behind system relations, ? before a guessed schema; "fn:name"
 * for each function; DENIED or DENIED(rule); then flags: touch (touches_masked)  loose
 * (mask_originless)  wb (writes_masked)  hidden (runs_hidden_code) ddl (changes_catalog)  lit
 * (literal_dependent)  unk (unknown_relation)  in, out (COPY) KIND=name for statements that the
 * session keeps book of
 */
#pragma once

#include "sidecar/sql/analyze.h"
#include "sidecar/sql/parser.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NO_CELL ((const char *)1)

struct world {
    struct catalog *catalog;
    struct maskmap *masks;
};

static inline void row_(struct catalog_builder *b, unsigned query, ...)
{
    struct bytes cells[8];
    va_list args;
    size_t n = 0;
    const char *s;

    va_start(args, query);
    while ((s = va_arg(args, const char *)) && n < ARRAY_LEN(cells))
        cells[n++] = s == NO_CELL ? (struct bytes){0} : bytes_str(s);
    va_end(args);
    assert_int_equal(catalog_builder_row(b, query, cells, n), 0);
}
#define ROW(b, query, ...) row_(b, query, __VA_ARGS__, (const char *)NULL)

/* A relation and its columns, "a b c". */
static inline void relation_(struct catalog_builder *b, const char *oid, const char *name,
                             const char *kind, const char *triggers, const char *columns)
{
    char schema[64], list[256], number[16], *save = NULL, *word;
    const char *dot = strchr(name, '.');
    int i = 0;

    snprintf(schema, sizeof(schema), "%.*s", (int)(dot - name), name);
    ROW(b, 0, oid, schema, dot + 1, kind, triggers, *kind == 'v' ? "t" : "f", "f");
    snprintf(list, sizeof(list), "%s", columns);
    for (word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        snprintf(number, sizeof(number), "%d", ++i);
        ROW(b, 1, oid, number, word);
    }
}

static inline void fill_catalog(struct catalog_builder *b)
{
    static const char *const built_in[] = {"pg_sleep",    "pg_read_file", "query_to_xml", "lower",
                                           "row_to_json", "upper",        "max",          "nextval",
                                           "text",        "pg_notify",    "set_config"};
    size_t i;

    relation_(b, "20001", "public.users", "r", "f", "id name email ssn phone org");
    relation_(b, "20002", "public.orders", "r", "f", "id user_id total note email");
    relation_(b, "20003", "public.customers", "r", "f", "id name");
    relation_(b, "20004", "public.log", "r", "t", "t");
    relation_(b, "20005", "public.parent", "r", "f", "id email extra");
    relation_(b, "20006", "public.child", "r", "f", "id email extra more");
    relation_(b, "20007", "public.v_users", "v", "f", "id mail uname");
    relation_(b, "20008", "public.v_nest", "v", "f", "mail2 id2");
    relation_(b, "20009", "public.v_opaque", "v", "f", "a b");
    relation_(b, "20010", "public.v_clean", "v", "f", "id note");
    relation_(b, "20011", "other.users", "r", "f", "id email");
    relation_(b, "20012", "other.secrets", "r", "f", "k v");
    relation_(b, "20013", "public.pg_stat_statements", "v", "f", "query calls");
    relation_(b, "20014", "pg_temp_3.scratch", "r", "f", "a b");
    ROW(b, 2, "20006", "20005");
    ROW(b, 3, "20007", "20001");
    ROW(b, 3, "20008", "20007");
    ROW(b, 3, "20009", "20001");
    ROW(b, 3, "20010", "20002");
    ROW(b, 4, "20007",
        " SELECT users.id, users.email AS mail, upper(users.name) AS uname FROM"
        " public.users;");
    ROW(b, 4, "20008", " SELECT v_users.mail AS mail2, v_users.id AS id2 FROM public.v_users;");
    ROW(b, 4, "20009", " SELECT SYNTAX OF THE FUTURE ];");
    ROW(b, 4, "20010", " SELECT orders.id, orders.note FROM public.orders;");
    ROW(b, 4, "20013", NO_CELL);
    for (i = 0; i < ARRAY_LEN(built_in); i++)
        ROW(b, 5, "pg_catalog", built_in[i]);
    ROW(b, 5, "public", "similarity");
    ROW(b, 5, "public", "myfn");
    ROW(b, 5, "public", "ssn");
    ROW(b, 5, "public", "split_part"); /* as the extension citext brings it */
    ROW(b, 5, "other", "reverse");
    ROW(b, 6, "20001", "20002");
}

static const struct column_mask fixture_masks[] = {
    {"public", "users", "email", MASK_PARTIAL, false, false, "pii"},
    {"public", "users", "ssn", MASK_REDACT, false, false, "pii"},
    {"*", "users", "phone", MASK_TOKEN, true, true, "lax"},
    {"public", "par*", "em*l", MASK_TOKEN, false, false, "tree"},
};

static inline void world_make(struct world *w, const struct column_mask *masks, size_t n)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct error err = {0};

    assert_int_equal(catalog_builder_new(&b), 0);
    fill_catalog(b);
    assert_int_equal(catalog_builder_finish(b, NULL, &w->catalog, &err), 0);
    assert_int_equal(maskmap_new(w->catalog, masks, n, &w->masks, &err), 0);
}

static inline void world_free(struct world *w)
{
    maskmap_free(w->masks);
    catalog_unref(w->catalog);
}

/* ---- facts as text ---- */

static const char *const fixture_operations[OP_COUNT] = {
    "Unknown",     "Select",  "Insert", "Update",   "Delete",    "Merge",        "Truncate",
    "CopyIn",      "CopyOut", "Create", "Alter",    "Drop",      "Grant",        "Revoke",
    "Call",        "Do",      "Set",    "Show",     "Prepare",   "Execute",      "Deallocate",
    "Declare",     "Fetch",   "Close",  "Explain",  "Listen",    "Notify",       "Lock",
    "Maintenance", "Begin",   "Commit", "Rollback", "Savepoint", "FunctionCall", "Replication",
};

static inline void describe_object(struct buffer *b, const struct object *o)
{
    static const char *const wheres[] = {"", "(absent)", "(present)"};

    buffer_printf(b, "%s%s%s%s", buffer_len(b) ? ", " : "", o->implied ? "~" : "",
                  fixture_operations[o->op], wheres[o->where]);
    if (o->name)
        buffer_printf(b, " %s%s.%s", o->schema ? "" : "?",
                      o->schema  ? o->schema
                      : o->guess ? o->guess
                                 : "",
                      o->name);
    buffer_printf(b, "%s%s", o->metadata ? "[meta]" : "", o->sensitive ? "[sens]" : "");
}

static inline void describe_statement(struct buffer *b, const struct sql_statement *st)
{
    static const char *const kinds[] = {NULL,    "PREPARE", "EXECUTE", "DEALLOCATE", "DECLARE",
                                        "FETCH", "CLOSE",   "DISCARD", "TX",         "SET"};
    const struct {
        bool on;
        const char *word;
    } flags[] = {
        {st->touches_masked, "touch"}, {st->mask_originless, "loose"},
        {st->writes_masked, "wb"},     {st->runs_hidden_code, "hidden"},
        {st->changes_catalog, "ddl"},  {st->literal_dependent, "lit"},
        {st->unknown_relation, "unk"}, {st->copy_from_stdin, "in"},
        {st->copy_to_stdout, "out"},
    };
    size_t i;

    for (i = 0; i < st->policy.n_objects; i++)
        describe_object(b, &st->policy.objects[i]);
    for (i = 0; i < st->policy.n_functions; i++)
        buffer_printf(b, " fn:%s", st->policy.functions[i]);
    if (st->policy.denied)
        buffer_printf(b, st->policy.denied_rule ? " DENIED(%s)" : " DENIED",
                      st->policy.denied_rule);
    for (i = 0; i < ARRAY_LEN(flags); i++) {
        if (flags[i].on)
            buffer_printf(b, " %s", flags[i].word);
    }
    if (st->kind)
        buffer_printf(b, " %s=%s", kinds[st->kind], st->name ? st->name : "");
}

static inline void describe(const char *sql, const struct sql_env *env, struct buffer *out)
{
    struct bytes text = bytes_str(sql);
    struct json_object *tree = NULL;
    struct sql_message message = {0};
    struct error err = {0};
    struct arena arena;
    size_t i;

    arena_init(&arena, (size_t)64 << 20);
    if (sql_parse_here(text, &tree, &err) || sql_analyze(tree, text, env, &arena, &message, &err))
        buffer_printf(out, "error: %s", err.text);
    for (i = 0; i < message.n; i++) {
        struct buffer one;

        buffer_init(&one, 1 << 20);
        describe_statement(&one, &message.statements[i]);
        buffer_printf(out, "%s%.*s", i ? " ; " : "", (int)buffer_len(&one),
                      (const char *)one.p + one.start);
        buffer_done(&one);
    }
    buffer_append(out, "", 1);
    json_object_put(tree);
    arena_done(&arena);
}

struct fact_row {
    const char *name; /* of the row; identifiers like P20 name known attacks */
    const char *sql;
    const char *facts;
};

/* Every row is tried before the test fails, so that one run shows all that is wrong. */
static inline void check_rows(const struct world *w, const struct fact_row *rows, size_t n)
{
    static const char *const path[] = {"pg_temp_3", "pg_catalog", "public", NULL};
    struct sql_env env = {w->catalog, w->masks, path};
    size_t i, wrong = 0;

    for (i = 0; i < n; i++) {
        struct buffer out;

        buffer_init(&out, 1 << 20);
        describe(rows[i].sql, &env, &out);
        if (strcmp((const char *)out.p + out.start, rows[i].facts) != 0) {
            print_message("%s: %s\n  expected: %s\n  found:    %s\n", rows[i].name, rows[i].sql,
                          rows[i].facts, (const char *)out.p + out.start);
            wrong++;
        }
        buffer_done(&out);
    }
    assert_int_equal(wrong, 0);
}
