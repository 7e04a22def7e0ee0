/* SPDX-License-Identifier: Apache-2.0
 * Masked columns: what may be selected, what is refused, what loses its origin.
 */
#include "mask_rows.h"

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

static void test_mask_plain_output(void **state)
{
    check_rows(*state, mask_plain_output, ARRAY_LEN(mask_plain_output));
}

static void test_mask_without_origin(void **state)
{
    check_rows(*state, mask_without_origin, ARRAY_LEN(mask_without_origin));
}

static void test_mask_p23_expressions(void **state)
{
    check_rows(*state, mask_p23_expressions, ARRAY_LEN(mask_p23_expressions));
}

static void test_mask_p23_conditions(void **state)
{
    check_rows(*state, mask_p23_conditions, ARRAY_LEN(mask_p23_conditions));
}

static void test_mask_whole_rows(void **state)
{
    check_rows(*state, mask_whole_rows, ARRAY_LEN(mask_whole_rows));
}

static void test_mask_p20_laundering(void **state)
{
    check_rows(*state, mask_p20_laundering, ARRAY_LEN(mask_p20_laundering));
}

static void test_mask_p16_copy(void **state)
{
    check_rows(*state, mask_p16_copy, ARRAY_LEN(mask_p16_copy));
}

static void test_mask_write_back(void **state)
{
    check_rows(*state, mask_write_back, ARRAY_LEN(mask_write_back));
}

static void test_mask_lax_mask_predicates_allowed(void **state)
{
    check_rows(*state, mask_lax_mask_predicates_allowed,
               ARRAY_LEN(mask_lax_mask_predicates_allowed));
}

static void test_mask_unknown_sql_near_masked_columns(void **state)
{
    check_rows(*state, mask_unknown_sql_near_masked_columns,
               ARRAY_LEN(mask_unknown_sql_near_masked_columns));
}

static void test_message_names_column_and_rule(void **state)
{
    struct world *w = *state;
    struct sql_env env = {w->catalog, w->masks, NULL};
    struct bytes sql = BYTES("select upper(email) from users");
    struct json_object *tree = NULL;
    struct sql_message message;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    assert_int_equal(sql_parse_here(sql, &tree, NULL), 0);
    assert_int_equal(sql_analyze(tree, sql, &env, &arena, &message, NULL), 0);
    assert_string_equal(message.statements[0].policy.denied,
                        "column public.users.email is masked (rule 'pii'): it may be selected as "
                        "it is, not used in an expression; select it plainly");
    arena_done(&arena);
    json_object_put(tree);
}

static void test_write_rule(void **state)
{
    struct world *w = *state;
    struct sql_env env = {w->catalog, w->masks, NULL};
    struct bytes sql = BYTES("update child set email = $1 where id = 1");
    struct json_object *tree = NULL;
    struct sql_message message;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    assert_int_equal(sql_parse_here(sql, &tree, NULL), 0);
    assert_int_equal(sql_analyze(tree, sql, &env, &arena, &message, NULL), 0);
    assert_true(message.statements[0].writes_masked);
    assert_string_equal(message.statements[0].write_rule, "tree");
    arena_done(&arena);
    json_object_put(tree);
}

/* The same statements without masks: nothing is refused on their account. */
static void test_no_masks(void **state)
{
    struct world *w = *state;
    struct sql_env env = {w->catalog, NULL, NULL};
    size_t i;

    for (i = 0; i < ARRAY_LEN(mask_p23_conditions); i++) {
        struct buffer out;

        buffer_init(&out, 1 << 20);
        describe(mask_p23_conditions[i].sql, &env, &out);
        assert_null(strstr((const char *)out.p + out.start, "DENIED"));
        assert_null(strstr((const char *)out.p + out.start, "touch"));
        buffer_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask_plain_output),
        cmocka_unit_test(test_mask_without_origin),
        cmocka_unit_test(test_mask_p23_expressions),
        cmocka_unit_test(test_mask_p23_conditions),
        cmocka_unit_test(test_mask_whole_rows),
        cmocka_unit_test(test_mask_p20_laundering),
        cmocka_unit_test(test_mask_p16_copy),
        cmocka_unit_test(test_mask_write_back),
        cmocka_unit_test(test_mask_lax_mask_predicates_allowed),
        cmocka_unit_test(test_mask_unknown_sql_near_masked_columns),
        cmocka_unit_test(test_message_names_column_and_rule),
        cmocka_unit_test(test_write_rule),
        cmocka_unit_test(test_no_masks),
    };

    return cmocka_run_group_tests(tests, make_world, free_world);
}
