/* SPDX-License-Identifier: Apache-2.0
 * The mask map: patterns, origins, inheritance, views that compute, hide, nest, loop or cannot be
 * read.
 */
#include "fixture.h"

#include <errno.h>

static enum mask_method origin(const struct world *w, uint32_t oid, int16_t attribute)
{
    return maskmap_origin(w->masks, oid, attribute).method;
}

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

static void test_columns(void **state)
{
    struct world *w = *state;

    assert_int_equal(origin(w, 20001, 3), MASK_PARTIAL);
    assert_int_equal(origin(w, 20001, 4), MASK_REDACT);
    assert_int_equal(origin(w, 20001, 5), MASK_TOKEN);
    assert_string_equal(maskmap_origin(w->masks, 20001, 5).rule, "lax");
    assert_int_equal(origin(w, 20001, 1), MASK_NONE);
    assert_int_equal(origin(w, 20011, 2), MASK_NONE); /* other.users: phone only */
    assert_false(maskmap_empty(w->masks));
}

static void test_whole_row_and_system_columns(void **state)
{
    struct world *w = *state;

    assert_int_equal(origin(w, 20001, 0), MASK_REDACT);
    assert_int_equal(origin(w, 20003, 0), MASK_NONE);
    assert_int_equal(origin(w, 20001, -1), MASK_NONE);
    assert_int_equal(origin(w, 20001, -7), MASK_NONE);
    assert_false(maskmap_origin(w->masks, 20001, -7).unknown_relation);
}

static void test_unknown_is_not_proven_clean(void **state)
{
    struct world *w = *state;

    assert_true(maskmap_origin(w->masks, 99999, 1).unknown_relation);
    assert_true(maskmap_origin(w->masks, 20003, 9).unknown_relation); /* added since */
    assert_false(maskmap_origin(w->masks, 1259, 1).unknown_relation); /* pg_class */
    assert_false(maskmap_origin(w->masks, 0, 0).unknown_relation);
    assert_int_equal(origin(w, 1259, 1), MASK_NONE);
}

static void test_inheritance_down(void **state)
{
    struct world *w = *state;

    assert_int_equal(origin(w, 20005, 2), MASK_TOKEN);
    assert_int_equal(origin(w, 20006, 2), MASK_TOKEN);
    assert_int_equal(origin(w, 20006, 4), MASK_NONE);
}

static void test_inheritance_up(void **state)
{
    static const struct column_mask masks[] = {
        {"public", "child", "email", MASK_NULL, false, false, "c"},
        {"public", "child", "more", MASK_NULL, false, false, "c"},
    };
    struct world w = {0};

    (void)state;
    world_make(&w, masks, ARRAY_LEN(masks));
    assert_int_equal(origin(&w, 20005, 2), MASK_NULL);
    assert_int_equal(origin(&w, 20005, 3), MASK_NONE);
    world_free(&w);
}

static void test_views(void **state)
{
    struct world *w = *state;

    assert_int_equal(origin(w, 20007, 1), MASK_NONE);
    assert_int_equal(origin(w, 20007, 2), MASK_PARTIAL);
    assert_int_equal(origin(w, 20007, 3), MASK_NONE);
    assert_int_equal(origin(w, 20008, 1), MASK_PARTIAL);
    assert_int_equal(origin(w, 20008, 2), MASK_NONE);
    assert_int_equal(origin(w, 20010, 1), MASK_NONE);
}

static void test_opaque_view(void **state)
{
    struct world *w = *state;

    assert_true(origin(w, 20009, 1) >= MASK_REDACT);
    assert_true(origin(w, 20009, 2) >= MASK_REDACT);
    assert_int_equal(origin(w, 20013, 1), MASK_REDACT); /* neither text nor dependencies */
}

static void test_strictest_wins(void **state)
{
    static const struct column_mask masks[] = {
        {"public", "users", "email", MASK_PARTIAL, true, true, "weak"},
        {"*", "*", "email", MASK_NULL, true, false, "strong"},
        {"public", "users", "*mail", MASK_TOKEN, false, true, "strict"},
    };
    struct world w = {0};
    struct sql_env env;
    struct buffer out;

    (void)state;
    world_make(&w, masks, ARRAY_LEN(masks));
    assert_int_equal(origin(&w, 20001, 3), MASK_NULL);
    assert_string_equal(maskmap_origin(w.masks, 20001, 3).rule, "strong");
    env = (struct sql_env){w.catalog, w.masks, NULL};
    buffer_init(&out, 1 << 16);
    describe("select upper(email) from users", &env, &out); /* one rule says no: no */
    assert_non_null(strstr((char *)out.p + out.start, "DENIED"));
    buffer_done(&out);
    buffer_init(&out, 1 << 16);
    describe("update users set email = '****' where id = 1", &env, &out);
    assert_non_null(strstr((char *)out.p + out.start, "DENIED"));
    buffer_done(&out);
    world_free(&w);
}

static void test_method_defaults_to_redact(void **state)
{
    static const struct column_mask masks[] = {
        {"public", "users", "email", MASK_NONE, false, false, "r"}};
    struct world w = {0};

    (void)state;
    world_make(&w, masks, 1);
    assert_int_equal(origin(&w, 20001, 3), MASK_REDACT);
    world_free(&w);
}

static void test_patterns(void **state)
{
    static const struct {
        const char *schema, *relation, *column;
        bool hit; /* on public.users.email */
    } rows[] = {
        {"public", "users", "email", true},  {"*", "*", "*", true},
        {"pub*", "*ers", "e*l", true},       {"public", "users", "*e*m*a*i*l*", true},
        {"public", "users", "emai", false},  {"public", "users", "email2", false},
        {"Public", "users", "email", false}, {"public", "user", "email", false},
        {"", "users", "email", false},       {"public", "users", "", false},
        {"public", "users", "e*x", false},   {"public", "**users**", "email", true},
        {"public", "users", "?mail", false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_LEN(rows); i++) {
        struct column_mask mask = {
            rows[i].schema, rows[i].relation, rows[i].column, MASK_REDACT, false, false, "r"};
        struct world w = {0};

        world_make(&w, &mask, 1);
        assert_int_equal(origin(&w, 20001, 3) != MASK_NONE, rows[i].hit);
        world_free(&w);
    }
}

static void test_nothing_masked(void **state)
{
    static const struct column_mask elsewhere = {"nowhere", "*",   "*", MASK_REDACT,
                                                 false,     false, "r"};
    struct world w = {0};

    (void)state;
    world_make(&w, NULL, 0);
    assert_true(maskmap_empty(w.masks));
    world_free(&w);
    world_make(&w, &elsewhere, 1);
    assert_true(maskmap_empty(w.masks)); /* opaque views do not matter then */
    world_free(&w);
}

/* ---- views over public.users(id, name, email), the last column masked ---- */

struct view_case {
    const char *definition;
    const char *masked; /* a letter per output column: P plain, R at least Redact, - clean */
    bool reads;         /* pg_depend says that it reads users */
};

static void check_view(const struct view_case *v)
{
    static const struct column_mask mask = {"public", "users", "email", MASK_PARTIAL,
                                            false,    false,   "pii"};
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    char columns[64] = "";
    struct world w = {0};
    size_t i;

    assert_int_equal(catalog_builder_new(&b), 0);
    relation_(b, "20001", "public.users", "r", "f", "id name email");
    relation_(b, "20002", "public.orders", "r", "f", "id email");
    for (i = 0; v->masked[i]; i++)
        snprintf(columns + strlen(columns), sizeof(columns) - strlen(columns), "c%zu ", i);
    relation_(b, "20003", "public.v", "v", "f", columns);
    if (v->reads)
        ROW(b, 3, "20003", "20001");
    ROW(b, 3, "20003", "20002");
    ROW(b, 4, "20003", v->definition);
    assert_int_equal(catalog_builder_finish(b, NULL, &w.catalog, NULL), 0);
    assert_int_equal(maskmap_new(w.catalog, &mask, 1, &w.masks, NULL), 0);
    for (i = 0; v->masked[i]; i++) {
        enum mask_method m = origin(&w, 20003, (int16_t)(i + 1));

        if (v->masked[i] == 'P')
            assert_int_equal(m, MASK_PARTIAL);
        else if (v->masked[i] == 'R')
            assert_int_equal(m, MASK_REDACT);
        else
            assert_int_equal(m, MASK_NONE);
    }
    world_free(&w);
}

static void test_view_definitions(void **state)
{
    static const struct view_case cases[] = {
        {"select id, email from public.users", "-P", true},
        {"select * from public.users", "--P", true},
        {"select u.email as a, u.id from public.users u", "P-", true},
        {"select email || 'x', id from public.users", "R-", true},
        {"select lower(email), count(*) over () from public.users", "R-", true},
        {"select count(email) from public.users", "R", true},
        {"select id from public.users where email = 'x'", "-", true}, /* the owner's business */
        {"select email, id from public.users union all select email, id from public.orders", "R-",
         true},
        {"select distinct email from public.users", "P", true},
        {"with x as (select email as e, id from public.users) select id, e from x", "-P", true},
        {"select (select email from public.users limit 1) as a, 1", "R-", true},
        {"select row_to_json(u) from public.users u", "R", true},
        {"select u from public.users u", "R", true},
        {"select case when email = 'x' then 1 else 2 end, name from public.users", "R-", true},
        {"select x.e from public.users u, lateral (select u.email as e) x", "P", true},
        {"select email from public.orders", "-", false},
        {"select o.email, u.id from public.orders o join public.users u on u.id = o.id", "--",
         true},
        {"select email, u.id from public.orders o join public.users u using (email)", "R-", true},
        /* definitions that cannot be followed hide everything when they read masked columns */
        {"select syntax of the future ]", "RR", true},
        {"select 1; select 2", "R", true},
        {"select a, b from public.not_in_the_catalogue", "RR", true},
        {"select id from public.orders", "R", true}, /* pg_depend knows better */
        {"select id from public.users", "RR", true}, /* not the columns that the view has */
        {"select syntax of the future ]", "--", false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_LEN(cases); i++)
        check_view(&cases[i]);
}

static void test_views_in_a_circle(void **state)
{
    static const struct column_mask mask = {"public", "users", "email", MASK_PARTIAL,
                                            false,    false,   "pii"};
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct world w = {0};

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    relation_(b, "20001", "public.users", "r", "f", "id name email");
    relation_(b, "20002", "public.a", "v", "f", "x");
    relation_(b, "20003", "public.b", "v", "f", "x");
    ROW(b, 3, "20002", "20003");
    ROW(b, 3, "20003", "20002");
    ROW(b, 4, "20002", "select x from public.b");
    ROW(b, 4, "20003", "select x from public.a");
    assert_int_equal(catalog_builder_finish(b, NULL, &w.catalog, NULL), 0);
    assert_int_equal(maskmap_new(w.catalog, &mask, 1, &w.masks, NULL), 0);
    assert_true(origin(&w, 20002, 1) >= MASK_REDACT);
    assert_true(origin(&w, 20003, 1) >= MASK_REDACT);
    world_free(&w);
}

/* A view that was made anew after the one that reads it: the deeper one has the higher OID. */
static void test_views_in_any_order(void **state)
{
    static const struct column_mask mask = {"public", "users", "email", MASK_PARTIAL,
                                            false,    false,   "pii"};
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct world w = {0};

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    relation_(b, "20001", "public.users", "r", "f", "id name email");
    relation_(b, "20002", "public.upper", "v", "f", "x i");
    relation_(b, "20003", "public.lower", "v", "f", "id e");
    ROW(b, 3, "20002", "20003");
    ROW(b, 3, "20003", "20001");
    ROW(b, 4, "20002", "select e as x, id as i from public.lower");
    ROW(b, 4, "20003", "select id, email as e from public.users");
    assert_int_equal(catalog_builder_finish(b, NULL, &w.catalog, NULL), 0);
    assert_int_equal(maskmap_new(w.catalog, &mask, 1, &w.masks, NULL), 0);
    assert_int_equal(origin(&w, 20002, 1), MASK_PARTIAL);
    assert_int_equal(origin(&w, 20002, 2), MASK_NONE);
    world_free(&w);
}

static void test_inheritance_in_a_circle(void **state)
{
    static const struct column_mask mask = {"public", "a", "x", MASK_TOKEN, false, false, "r"};
    _cleanup_(catalog_builder_free) struct catalog_builder *b = NULL;
    struct world w = {0};

    (void)state;
    assert_int_equal(catalog_builder_new(&b), 0);
    relation_(b, "20001", "public.a", "r", "f", "x");
    relation_(b, "20002", "public.b", "r", "f", "x");
    ROW(b, 2, "20001", "20002");
    ROW(b, 2, "20002", "20001");
    ROW(b, 2, "20002", "20002");
    ROW(b, 2, "20002", "20099");
    assert_int_equal(catalog_builder_finish(b, NULL, &w.catalog, NULL), 0);
    assert_int_equal(maskmap_new(w.catalog, &mask, 1, &w.masks, NULL), 0);
    assert_int_equal(origin(&w, 20002, 1), MASK_TOKEN);
    world_free(&w);
}

/* A view of a child, of a partition, of a view with a mask of its own. */
static void test_mask_on_a_view_itself(void **state)
{
    static const struct column_mask masks[] = {
        {"public", "v_clean", "note", MASK_NULL, false, false, "v"},
        {"public", "v_users", "uname", MASK_TOKEN, false, false, "v"},
    };
    struct world w = {0};

    (void)state;
    world_make(&w, masks, ARRAY_LEN(masks));
    assert_int_equal(origin(&w, 20010, 2), MASK_NULL);
    assert_int_equal(origin(&w, 20007, 3), MASK_TOKEN);
    assert_int_equal(origin(&w, 20007, 2), MASK_NONE);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_whole_row_and_system_columns),
        cmocka_unit_test(test_unknown_is_not_proven_clean),
        cmocka_unit_test(test_inheritance_down),
        cmocka_unit_test(test_inheritance_up),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_opaque_view),
        cmocka_unit_test(test_strictest_wins),
        cmocka_unit_test(test_method_defaults_to_redact),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_nothing_masked),
        cmocka_unit_test(test_view_definitions),
        cmocka_unit_test(test_views_in_a_circle),
        cmocka_unit_test(test_views_in_any_order),
        cmocka_unit_test(test_inheritance_in_a_circle),
        cmocka_unit_test(test_mask_on_a_view_itself),
    };

    return cmocka_run_group_tests(tests, make_world, free_world);
}
