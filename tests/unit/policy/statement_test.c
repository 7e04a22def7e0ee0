/* SPDX-License-Identifier: Apache-2.0
 * Names of operations and groups.
 */
#include "policy_support.h"

static void test_names_go_both_ways(void **state)
{
    (void)state;
    for (unsigned op = 0; op < OP_COUNT; op++) {
        const char *name = operation_name((enum operation)op);

        assert_non_null(name);
        assert_true(operation_parse(name) == OPSET(op));
        for (unsigned other = 0; other < op; other++)
            assert_string_not_equal(name, operation_name((enum operation)other));
    }
    assert_string_equal(operation_name(OP_COPY_IN), "CopyIn");
    assert_string_equal(operation_name((enum operation)OP_COUNT), "Unknown");
    assert_string_equal(operation_name((enum operation)1000), "Unknown");
}

static void test_unknown_names(void **state)
{
    static const char *const wrong[] = {"",        "select", "SELECT", "Select ", "Selec",
                                        "Selects", "read",   "**",     "Copy",    "Truncate,Drop"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_true(operation_parse(wrong[i]) == 0);
}

static void test_groups(void **state)
{
#define S(op) OPSET(OP_##op)
    static const struct {
        const char *name;
        opset set;
    } rows[] = {
        {"Read", S(SELECT) | S(COPY_OUT) | S(DECLARE) | S(FETCH) | S(CLOSE)},
        {"Write", S(INSERT) | S(UPDATE) | S(DELETE) | S(MERGE) | S(TRUNCATE) | S(COPY_IN)},
        {"DDL", S(CREATE) | S(ALTER) | S(DROP) | S(TRUNCATE)},
        {"Privilege", S(GRANT) | S(REVOKE)},
        {"Transaction", S(BEGIN) | S(COMMIT) | S(ROLLBACK) | S(SAVEPOINT)},
        {"Session", S(SET) | S(SHOW) | S(PREPARE) | S(EXECUTE) | S(DEALLOCATE) | S(DECLARE) |
                        S(FETCH) | S(CLOSE) | S(LISTEN) | S(NOTIFY)},
    };
    opset outside = S(UNKNOWN) | S(FUNCTION_CALL) | S(REPLICATION), all = operation_parse("*");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(operation_parse(rows[i].name) == rows[i].set);
        assert_true((rows[i].set & outside) == 0);
    }
    assert_true((all & outside) == 0);
    assert_true((all | outside) == OPSET(OP_COUNT) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_go_both_ways),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
