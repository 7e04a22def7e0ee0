/* SPDX-License-Identifier: Apache-2.0
 * Statements to facts: by tables, and what is not a matter of tables: broken trees, bombs, missing
 * catalogues, slices.
 */
#include "statement_rows.h"

#include "sidecar/sql/functions.h"

#include <errno.h>

static int make_world(void **state)
{
    static struct world w;

    world_make(&w, fixture_masks, ARRAY_LEN(fixture_masks));
    *state = &w;
    return 0;
}

static int free_world(void **state)
{
    world_free(*state);
    return 0;
}

static void test_rows_plain_statements(void **state)
{
    check_rows(*state, rows_plain_statements, ARRAY_LEN(rows_plain_statements));
}

static void test_rows_relations_in_every_position(void **state)
{
    check_rows(*state, rows_relations_in_every_position,
               ARRAY_LEN(rows_relations_in_every_position));
}

static void test_rows_names(void **state)
{
    check_rows(*state, rows_names, ARRAY_LEN(rows_names));
}

static void test_rows_where_that_says_nothing(void **state)
{
    check_rows(*state, rows_where_that_says_nothing, ARRAY_LEN(rows_where_that_says_nothing));
}

static void test_rows_copy(void **state)
{
    check_rows(*state, rows_copy, ARRAY_LEN(rows_copy));
}

static void test_rows_statements_around_statements(void **state)
{
    check_rows(*state, rows_statements_around_statements,
               ARRAY_LEN(rows_statements_around_statements));
}

static void test_rows_transactions(void **state)
{
    check_rows(*state, rows_transactions, ARRAY_LEN(rows_transactions));
}

static void test_rows_set_and_show(void **state)
{
    check_rows(*state, rows_set_and_show, ARRAY_LEN(rows_set_and_show));
}

static void test_rows_others(void **state)
{
    check_rows(*state, rows_others, ARRAY_LEN(rows_others));
}

static void test_rows_functions(void **state)
{
    check_rows(*state, rows_functions, ARRAY_LEN(rows_functions));
}

static void test_rows_definitions(void **state)
{
    check_rows(*state, rows_definitions, ARRAY_LEN(rows_definitions));
}

/* ---- what is not a matter of tables ---- */

struct facts { /* of the first statement, alive until facts_done */
    struct arena arena;
    struct json_object *tree;
    struct sql_message message;
};

static int facts_of(struct facts *f, const char *sql, const struct sql_env *env)
{
    struct error err;

    *f = (struct facts){0};
    arena_init(&f->arena, (size_t)64 << 20);
    if (sql_parse_here(bytes_str(sql), &f->tree, &err))
        return -EINVAL;
    return sql_analyze(f->tree, bytes_str(sql), env, &f->arena, &f->message, &err);
}

static void facts_done(struct facts *f)
{
    json_object_put(f->tree);
    arena_done(&f->arena);
}

static void expect(const char *sql, const struct sql_env *env, const char *facts)
{
    struct buffer out;

    buffer_init(&out, 1 << 20);
    describe(sql, env, &out);
    assert_string_equal((const char *)out.p + out.start, facts);
    buffer_done(&out);
}

static void test_tables_are_sorted(void **state)
{
    (void)state;
    assert_true(functions_are_sorted());
    assert_true(function_is_pure("abs") && function_is_pure("xpath_exists"));
    assert_true(operator_is_built_in("=") && operator_is_built_in("~~*"));
}

/* Whatever else is edited in the table: these never get in. */
static void test_never_pure(void **state)
{
    static const char *const never[] = {
        "query_to_xml",
        "query_to_xmlschema",
        "query_to_xml_and_xmlschema",
        "table_to_xml",
        "cursor_to_xml",
        "schema_to_xml",
        "database_to_xml",
        "ts_stat",
        "ts_rewrite",
        "set_config",
        "current_setting",
        "nextval",
        "currval",
        "lastval",
        "setval",
        "pg_sleep",
        "pg_sleep_for",
        "pg_sleep_until",
        "pg_notify",
        "pg_read_file",
        "pg_read_binary_file",
        "pg_ls_dir",
        "pg_stat_file",
        "lo_get",
        "lo_put",
        "lo_import",
        "lo_export",
        "lo_create",
        "loread",
        "dblink",
        "dblink_exec",
        "crosstab",
        "pg_terminate_backend",
        "pg_cancel_backend",
        "pg_reload_conf",
        "pg_export_snapshot",
        "pg_logical_emit_message",
        "pg_switch_wal",
        "pg_create_restore_point",
        "pg_stat_get_activity",
        "pg_stat_reset",
        "pg_advisory_lock",
        "pg_relation_filepath",
        "pg_show_all_settings",
        "pg_prepared_statement",
        "pg_cursor",
        "pg_mcv_list_items",
        "xmlvalidate_path",
        "currtid2",
        "amvalidate",
        "txid_status",
        "pg_promote",
        "pg_execute_server_program",
        "pg_file_write",
        "lower_",
        "",
        "LOWER",
    };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_LEN(never); i++)
        assert_false(function_is_pure(never[i]));
    assert_false(operator_is_built_in("<@@>"));
    assert_false(function_is_schema_helper("_pg_future"));
}

static void test_without_catalogue(void **state)
{
    struct sql_env env = {0};

    (void)state;
    expect("select email from users", &env, "Select ?public.users unk");
    expect("delete from other.t", &env, "Delete(absent) other.t hidden");
    expect("select u.name, myfn(1) from users u", &env, "Select ?public.users fn:myfn hidden unk");
    expect("select (x).pg_sleep from t", &env, "Select ?public.t fn:pg_sleep hidden unk");
    expect("truncate t cascade", &env, "Truncate ?public.t, Unknown hidden lit unk");
    expect("select relname from pg_class", &env, "Select pg_catalog.pg_class[meta]");
}

static void test_search_path(void **state)
{
    static const char *const other[] = {"pg_catalog", "other", "public", NULL};
    static const char *const none[] = {"pg_catalog", NULL};
    static const char *const info[] = {"pg_catalog", "information_schema", "public", NULL};
    struct world *w = *state;
    struct sql_env env = {w->catalog, w->masks, other};

    /* other.users may go away before the server looks: then it would mean public.users */
    expect("select email || '' from users", &env, "Select other.users DENIED");
    expect("select email || '' from other.users", &env, "Select other.users");
    expect("select reverse('a')", &env, "Select fn:other.reverse hidden");
    expect("create table t ()", &env, "Create other.t hidden ddl lit");
    expect("select 1 from nowhere", &env, "Select ?other.nowhere unk");
    env.search_path = none;
    expect("select 1 from users", &env, "Select ?.users unk");
    env.search_path = info;
    expect("select 1 from tables", &env, "Select information_schema.tables[meta]");
    expect("select 1 from users", &env, "Select public.users touch");
}

/* A temporary table is found before the real one; but while it shadows a masked one its name
 * alone is not enough. */
static void test_temporary_shadow(void **state)
{
    static const char *const path[] = {"pg_temp_9", "pg_catalog", "public", NULL};
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct world w = {0};
    struct sql_env env;

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    fill_catalog(b);
    relation_(b, "30001", "pg_temp_9.users", "r", "f", "email");
    assert_int_equal(catalog_builder_finish(b, NULL, &w.catalog, NULL), 0);
    assert_int_equal(
        maskmap_new(w.catalog, fixture_masks, ARRAY_LEN(fixture_masks), &w.masks, NULL), 0);
    env = (struct sql_env){w.catalog, w.masks, path};
    expect("select upper(email) from users", &env, "Select pg_temp.users DENIED");
    expect("select upper(email) from pg_temp.users", &env, "Select pg_temp.users");
    expect("select upper(email) from public.users", &env,
           "Select public.users DENIED(pii) touch loose");
    world_free(&w);
}

static void test_text_slices(void **state)
{
    struct sql_env env = {0};
    struct facts f;

    (void)state;
    assert_int_equal(facts_of(&f, "select 1;  select 22 ; commit", &env), 0);
    assert_int_equal(f.message.n, 3);
    assert_true(bytes_eq_str(f.message.statements[0].text, "select 1"));
    assert_non_null(
        memmem(f.message.statements[1].text.p, f.message.statements[1].text.len, "select 22", 9));
    assert_null(memmem(f.message.statements[1].text.p, f.message.statements[1].text.len, ";", 1));
    assert_true(bytes_eq_str(f.message.statements[2].text, " commit"));
    facts_done(&f);
}

static void test_prepare_keeps_inner(void **state)
{
    struct world *w = *state;
    struct sql_env env = {w->catalog, w->masks, NULL};
    const struct sql_statement *inner;
    struct facts f;

    assert_int_equal(facts_of(&f, "prepare p as delete from users returning email", &env), 0);
    inner = f.message.statements[0].inner;
    assert_non_null(inner);
    assert_int_equal(inner->policy.n_objects, 2);
    assert_int_equal(inner->policy.objects[0].op, OP_DELETE);
    assert_true(inner->touches_masked && f.message.statements[0].touches_masked);
    facts_done(&f);
    assert_int_equal(facts_of(&f, "prepare p as select upper(email) from users", &env), 0);
    assert_non_null(f.message.statements[0].inner->policy.denied);
    assert_non_null(f.message.statements[0].policy.denied);
    facts_done(&f);
}

/* Facts must outlive the tree. */
static void test_facts_outlive_the_tree(void **state)
{
    struct world *w = *state;
    struct sql_env env = {w->catalog, w->masks, NULL};
    const struct sql_statement *st;
    struct facts f;

    assert_int_equal(facts_of(&f, "select myfn(x) from somewhere.else_", &env), 0);
    json_object_put(take(&f.tree));
    st = &f.message.statements[0];
    assert_string_equal(st->policy.objects[0].name, "else_");
    assert_string_equal(st->policy.objects[0].schema, "somewhere");
    assert_string_equal(st->policy.functions[0], "myfn");
    facts_done(&f);
}

static void test_broken_trees(void **state)
{
    static const char *const bad[] = {"[]",
                                      "1",
                                      "\"x\"",
                                      "{\"stmts\":{}}",
                                      "{\"stmts\":[1]}",
                                      "{\"stmts\":[{}]}",
                                      "{\"stmts\":[null]}"};
    static const char *const odd[] = {
        "{\"stmts\":[{\"stmt\":1}]}",
        "{\"stmts\":[{\"stmt\":{}}]}",
        "{\"stmts\":[{\"stmt\":{\"FutureStmt\":{}}}]}",
        "{\"stmts\":[{\"stmt\":{\"SelectStmt\":{\"future\":1}}}]}",
        "{\"stmts\":[{\"stmt\":{\"SelectStmt\":{\"targetList\":[{\"ResTarget\":{\"val\":"
        "{\"FutureExpr\":{}}}}]}}}]}",
        "{\"stmts\":[{\"stmt\":{\"SelectStmt\":{\"targetList\":[{\"ResTarget\":{\"val\":"
        "{\"A_Expr\":{\"kind\":\"AEXPR_FUTURE\"}}}}]}}}]}",
        "{\"stmts\":[{\"stmt\":{\"SelectStmt\":{\"targetList\":[{\"ResTarget\":{\"val\":"
        "{\"TypeCast\":{\"arg\":{\"A_Const\":{}},\"newField\":{}}}}}]}}}]}",
        "{\"stmts\":[{\"stmt\":{\"SelectStmt\":{\"fromClause\":[{\"FutureTable\":{}}]}}}]}",
        "{\"stmts\":[{\"stmt\":{\"SelectStmt\":{\"fromClause\":[7]}}}]}",
        "{\"stmts\":[{\"stmt\":{\"TransactionStmt\":{\"kind\":\"FUTURE\"}}}]}",
    };
    struct sql_env env = {0};
    struct sql_message message;
    struct arena arena;
    size_t i;

    (void)state;
    arena_init(&arena, 1 << 20);
    for (i = 0; i < ARRAY_LEN(bad); i++) {
        struct json_object *tree = json_tokener_parse(bad[i]);

        assert_int_equal(sql_analyze(tree, BYTES(""), &env, &arena, &message, NULL), -EBADMSG);
        json_object_put(tree);
    }
    assert_int_equal(sql_analyze(NULL, BYTES(""), &env, &arena, &message, NULL), -EBADMSG);
    for (i = 0; i < ARRAY_LEN(odd); i++) {
        struct json_object *tree = json_tokener_parse(odd[i]);
        bool unknown = false;
        size_t k;

        assert_non_null(tree);
        assert_int_equal(sql_analyze(tree, BYTES(""), &env, &arena, &message, NULL), 0);
        for (k = 0; k < message.statements[0].policy.n_objects; k++)
            unknown |= message.statements[0].policy.objects[k].op == OP_UNKNOWN;
        assert_true(unknown);
        json_object_put(tree);
    }
    arena_done(&arena);
}

/* An unknown node next to masked columns is refused even where a policy names Unknown. */
static void test_unknown_near_masked(void **state)
{
    static const char text[] = "{\"stmts\":[{\"stmt\":{\"SelectStmt\":{\"targetList\":[{"
                               "\"ResTarget\":{\"val\":{\"FutureExpr\":{}}}}],\"fromClause\":[{"
                               "\"RangeVar\":{\"relname\":\"users\"}}]}}}]}";
    struct world *w = *state;
    struct sql_env env = {w->catalog, w->masks, NULL};
    struct json_object *tree = json_tokener_parse(text);
    struct sql_message message;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    assert_int_equal(sql_analyze(tree, BYTES(""), &env, &arena, &message, NULL), 0);
    assert_non_null(message.statements[0].policy.denied);
    arena_done(&arena);
    json_object_put(tree);
}

static void test_arena_too_small(void **state)
{
    struct sql_env env = {0};
    struct json_object *tree = NULL;
    struct sql_message message;
    size_t max;
    int rc = -ENOMEM;

    (void)state;
    assert_int_equal(
        sql_parse_here(BYTES("select a, b from t, u where f(x) order by 1"), &tree, NULL), 0);
    for (max = 0; max < 65536 && rc; max += 16) {
        struct arena arena;

        arena_init(&arena, max);
        rc = sql_analyze(tree, BYTES(""), &env, &arena, &message, NULL);
        assert_true(rc == 0 || rc == -ENOMEM);
        arena_done(&arena);
    }
    assert_int_equal(rc, 0);
    json_object_put(tree);
}

/* P27: whatever the parser let through, the answer comes soon and is not a yes by mistake. */
static void bomb(const struct sql_env *env, const char *open, const char *middle, const char *close,
                 size_t n)
{
    struct buffer sql;
    struct facts f;
    size_t i;

    buffer_init(&sql, 1 << 20);
    for (i = 0; i < n; i++)
        buffer_printf(&sql, "%s", open);
    buffer_printf(&sql, "%s", middle);
    for (i = 0; i < n; i++)
        buffer_printf(&sql, "%s", close);
    buffer_append(&sql, "", 1);
    assert_false(sql.failed);
    if (facts_of(&f, (const char *)sql.p + sql.start, env) == 0)
        assert_true(f.message.n > 0 && f.message.statements[0].policy.n_objects > 0);
    facts_done(&f);
    buffer_done(&sql);
}

static void test_bombs(void **state)
{
    struct world *w = *state;
    struct sql_env env = {w->catalog, w->masks, NULL};

    bomb(&env, "select * from (", "select email from users", ") x", 200);
    bomb(&env, "select *, * from (", "select * from users", ") x", 60);
    bomb(&env, "with recursive a as (", "select 1 union all select * from a", ") select 1", 40);
    bomb(&env, "select (", "select 1", ")", 300);
    bomb(&env, "select ", "1", "", 1);
    bomb(&env, "", "select 1", " + 1", 2000);
    bomb(&env, "", "select 1 from users where id = 1", " or id = 2", 5000);
    bomb(&env, "", "delete from users where id = 1", " and id = 1", 3000);
    bomb(&env, "", "select * from users", ", users", 1000);
    bomb(&env, "", "select id from users", " natural join users", 150);
    bomb(&env, "", "select id from users", " union all select id from users", 400);
}

static void test_too_deep_is_refused(void **state)
{
    struct json_object *node = json_tokener_parse("{\"A_Const\":{\"isnull\":true}}"), *tree;
    struct sql_env env = {0};
    struct sql_message message;
    struct arena arena;
    size_t i;

    (void)state;
    for (i = 0; i < 3000; i++) {
        struct json_object *wrap = json_object_new_object(), *body = json_object_new_object();

        json_object_object_add(body, "arg", node);
        json_object_object_add(wrap, "NullTest", body);
        node = wrap;
    }
    tree = json_tokener_parse("{\"stmts\":[{\"stmt\":{\"SelectStmt\":{}}}]}");
    json_object_object_add(
        json_object_object_get(
            json_object_object_get(
                json_object_array_get_idx(json_object_object_get(tree, "stmts"), 0), "stmt"),
            "SelectStmt"),
        "whereClause", node);
    arena_init(&arena, 1 << 20);
    assert_int_equal(sql_analyze(tree, BYTES(""), &env, &arena, &message, NULL), 0);
    assert_non_null(message.statements[0].policy.denied);
    assert_int_equal(message.statements[0].policy.objects[0].op, OP_UNKNOWN);
    arena_done(&arena);
    json_object_put(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_plain_statements),
        cmocka_unit_test(test_rows_relations_in_every_position),
        cmocka_unit_test(test_rows_names),
        cmocka_unit_test(test_rows_where_that_says_nothing),
        cmocka_unit_test(test_rows_copy),
        cmocka_unit_test(test_rows_statements_around_statements),
        cmocka_unit_test(test_rows_transactions),
        cmocka_unit_test(test_rows_set_and_show),
        cmocka_unit_test(test_rows_others),
        cmocka_unit_test(test_rows_functions),
        cmocka_unit_test(test_rows_definitions),
        cmocka_unit_test(test_tables_are_sorted),
        cmocka_unit_test(test_never_pure),
        cmocka_unit_test(test_without_catalogue),
        cmocka_unit_test(test_search_path),
        cmocka_unit_test(test_temporary_shadow),
        cmocka_unit_test(test_text_slices),
        cmocka_unit_test(test_prepare_keeps_inner),
        cmocka_unit_test(test_facts_outlive_the_tree),
        cmocka_unit_test(test_broken_trees),
        cmocka_unit_test(test_unknown_near_masked),
        cmocka_unit_test(test_arena_too_small),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_too_deep_is_refused),
    };

    return cmocka_run_group_tests(tests, make_world, free_world);
}
