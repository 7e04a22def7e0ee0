/* SPDX-License-Identifier: Apache-2.0
 * The catalogue: rows that fit and rows that do not, what is found, opaque views.
 */
#include "fixture.h"

#include "sidecar/sql/catalog_private.h"

#include <errno.h>

static int row_rc(unsigned query, const char *const *text, size_t n)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct bytes cells[8];
    size_t i;

    assert_int_equal(catalog_builder_new(&b), 0);
    for (i = 0; i < n; i++)
        cells[i] = text[i] ? bytes_str(text[i]) : (struct bytes){0};
    return catalog_builder_row(b, query, cells, n);
}

static void test_rows_that_fit(void **state)
{
    const char *const relation[] = {"20001", "public", "t", "r", "f", "t", "f"};
    const char *const column[] = {"20001", "1", "id"};
    const char *const view[] = {"20001", NULL};

    (void)state;
    assert_int_equal(row_rc(CATALOG_RELATIONS, relation, 7), 0);
    assert_int_equal(row_rc(CATALOG_COLUMNS, column, 3), 0);
    assert_int_equal(row_rc(CATALOG_VIEWS, view, 2), 0);
}

static void test_rows_that_do_not(void **state)
{
    static const char *const relations[][7] = {
        {"", "public", "t", "r", "f", "t", "f"},
        {"-1", "public", "t", "r", "f", "t", "f"},
        {"4294967296", "public", "t", "r", "f", "t", "f"},
        {"99999999999", "public", "t", "r", "f", "t", "f"},
        {"1x", "public", "t", "r", "f", "t", "f"},
        {NULL, "public", "t", "r", "f", "t", "f"},
        {"1", NULL, "t", "r", "f", "t", "f"},
        {"1", "public", NULL, "r", "f", "t", "f"},
        {"1", "public", "t", "", "f", "t", "f"},
        {"1", "public", "t", "rr", "f", "t", "f"},
        {"1", "public", "t", NULL, "f", "t", "f"},
        {"1", "public", "t", "r", "true", "t", "f"},
        {"1", "public", "t", "r", "f", NULL, "f"},
        {"1", "public", "t", "r", "f", "t", "x"},
    };
    static const char *const columns[][3] = {
        {"1", "0", "a"}, {"1", "32768", "a"}, {"1", "-1", "a"}, {"1", "1", NULL}, {"", "1", "a"}};
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_LEN(relations); i++)
        assert_int_equal(row_rc(CATALOG_RELATIONS, relations[i], 7), -EBADMSG);
    for (i = 0; i < ARRAY_LEN(columns); i++)
        assert_int_equal(row_rc(CATALOG_COLUMNS, columns[i], 3), -EBADMSG);
    assert_int_equal(row_rc(CATALOG_RELATIONS, relations[0], 6), -EBADMSG);
    assert_int_equal(row_rc(CATALOG_COLUMNS, columns[0], 2), -EBADMSG);
    assert_int_equal(row_rc(CATALOG_N_QUERIES - 1, columns[0], 3), -EBADMSG);
    assert_int_equal(row_rc(CATALOG_N_QUERIES, columns[0], 3), -EBADMSG);
    assert_int_equal(row_rc(1000, columns[0], 3), -EBADMSG);
}

static void test_nul_in_a_name(void **state)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct bytes cells[] = {BYTES("public"), bytes_of("a\0b", 3)};

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    assert_int_equal(catalog_builder_row(b, CATALOG_FUNCTIONS, cells, 2), -EBADMSG);
}

static void test_row_limit(void **state)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct bytes cells[] = {BYTES("1"), BYTES("2")};
    size_t i;
    int rc = 0;

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    for (i = 0; i <= 1000000 && !rc; i++)
        rc = catalog_builder_row(b, CATALOG_PARENTS, cells, 2);
    assert_int_equal(rc, -E2BIG);
    assert_int_equal(i, 1000001);
}

static void test_byte_limit(void **state)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    _cleanup_(free_charp) char *big = calloc(1, (size_t)32 << 20);
    struct bytes cells[2] = {BYTES("1")};
    size_t i;
    int rc = 0;

    (void)state;
    assert_non_null(big);
    memset(big, 'x', ((size_t)32 << 20) - 1);
    cells[1] = bytes_of(big, ((size_t)32 << 20) - 1);
    assert_int_equal(catalog_builder_new(&b), 0);
    for (i = 0; i < 9 && !rc; i++)
        rc = catalog_builder_row(b, CATALOG_VIEWS, cells, 2);
    assert_int_equal(rc, -E2BIG);
}

static void test_empty_catalogue(void **state)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    _cleanup_(catalog_unref) struct catalog *c = NULL;
    struct catalog *again = NULL;

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    assert_int_equal(catalog_builder_finish(b, NULL, &c, NULL), 0);
    assert_int_equal(catalog_n_relations(c), 0);
    assert_false(catalog_has_relation_oid(c, 0));
    assert_null(catalog_by_name(c, "public", "t"));
    assert_false(catalog_has_function(c, NULL, "f"));
    assert_int_equal(catalog_builder_finish(b, NULL, &again, NULL), -EINVAL);
}

static void test_looking_up(void **state)
{
    struct world w = {0};
    const struct catalog_relation *r;

    (void)state;
    world_make(&w, NULL, 0);
    assert_int_equal(catalog_n_relations(w.catalog), 14);
    assert_true(catalog_has_relation_oid(w.catalog, 20001));
    assert_false(catalog_has_relation_oid(w.catalog, 20099));
    r = catalog_by_name(w.catalog, "other", "users");
    assert_int_equal(r->oid, 20011);
    assert_int_equal(r->n_columns, 2);
    assert_string_equal(r->columns[1].name, "email");
    assert_null(catalog_by_name(w.catalog, "public", "secrets"));
    assert_null(catalog_by_name(w.catalog, "PUBLIC", "users"));
    assert_true(catalog_has_function(w.catalog, "public", "myfn"));
    assert_false(catalog_has_function(w.catalog, "other", "myfn"));
    assert_true(catalog_has_function(w.catalog, NULL, "reverse"));
    assert_false(catalog_has_function(w.catalog, NULL, "nothing"));
    world_free(&w);
}

static void test_views(void **state)
{
    struct world w = {0};

    (void)state;
    world_make(&w, NULL, 0);
    assert_non_null(catalog_by_oid(w.catalog, 20007)->definition);
    assert_null(catalog_by_oid(w.catalog, 20009)->definition); /* does not parse */
    assert_null(catalog_by_oid(w.catalog, 20013)->definition); /* NULL */
    world_free(&w);
}

/* Columns in any order, of relations in any order, some of them of relations that are gone. */
static void test_rows_in_any_order(void **state)
{
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    _cleanup_(catalog_unref) struct catalog *c = NULL;
    const struct catalog_relation *r;

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    ROW(b, 1, "20002", "3", "c");
    ROW(b, 1, "20009", "1", "gone");
    ROW(b, 1, "20001", "1", "x");
    ROW(b, 1, "20002", "1", "a");
    ROW(b, 0, "20002", "public", "two", "r", "f", "f", "f");
    ROW(b, 0, "20001", "public", "one", "r", "f", "f", "f");
    ROW(b, 4, "20009", "select 1");
    assert_int_equal(catalog_builder_finish(b, NULL, &c, NULL), 0);
    r = catalog_by_name(c, "public", "two");
    assert_int_equal(r->n_columns, 2);
    assert_int_equal(r->columns[0].attnum, 1);
    assert_int_equal(r->columns[1].attnum, 3);
    assert_string_equal(r->columns[1].name, "c");
}

/* What a search path could change is written out: names of schemas, operators. */
static void check_qualified(const char *q)
{
    static const char *const loose[] = {" = ",   " <> ",   " > ",      " IN ",       " LIKE ",
                                        " ~ ",   " >= ",   " pg_get_", "::regclass", "::text",
                                        "::oid", "::name", ";"};
    const char *p;

    for (p = q; (p = strcasestr(p, " from ")); p += 6)
        assert_true(strncmp(p + 6, "pg_catalog.", 11) == 0 || p[6] == '(');
    for (p = q; (p = strcasestr(p, " join ")); p += 6)
        assert_memory_equal(p + 6, "pg_catalog.", 11);
    for (size_t k = 0; k < ARRAY_LEN(loose); k++)
        assert_null(strstr(q, loose[k]));
}

static void test_queries_are_qualified(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < CATALOG_N_QUERIES && catalog_queries[i]; i++)
        check_qualified(catalog_queries[i]);
    assert_int_equal(i, 7);
    check_qualified(catalog_snapshot_query);
    check_qualified(catalog_state_query);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_that_fit),     cmocka_unit_test(test_rows_that_do_not),
        cmocka_unit_test(test_nul_in_a_name),     cmocka_unit_test(test_row_limit),
        cmocka_unit_test(test_byte_limit),        cmocka_unit_test(test_empty_catalogue),
        cmocka_unit_test(test_looking_up),        cmocka_unit_test(test_views),
        cmocka_unit_test(test_rows_in_any_order), cmocka_unit_test(test_queries_are_qualified),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
