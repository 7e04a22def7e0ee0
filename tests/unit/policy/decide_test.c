/* SPDX-License-Identifier: Apache-2.0
 * What rules mean: which objects they match, what beats what, and what is never permitted by
 * accident.
 */
#include "policy_support.h"

#define ALL_READ RULE("name: read, action: Allow, sql: {operations: [Read]}")
#define PUBLIC_READ                                                                                \
    RULE("name: read, action: Allow, sql: {operations: [Read], relations: [\"public.*\"]}")

static const struct row matching[] = {
    /* closed by default */
    {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "public.users"}, VERDICT_ALLOW, "read"},
    {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "audit.log"}, VERDICT_DENY, NULL},
    {POLICY("p", RULES(PUBLIC_READ)), {OP_INSERT, "public.users"}, VERDICT_DENY, NULL},
    {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "Public.users"}, VERDICT_DENY, NULL},
    {POLICY("p", "  mode: Enforce"), {OP_SELECT, NULL}, VERDICT_DENY, NULL},
    {POLICY("p", "  rules: []"), {OP_SELECT, NULL}, VERDICT_DENY, NULL},
    /* what names no relation */
    {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, NULL}, VERDICT_ALLOW, "read"},
    {POLICY("p", RULES(PUBLIC_READ)), {OP_FETCH, NULL}, VERDICT_ALLOW, "read"},
    {POLICY("p", RULES(PUBLIC_READ)), {OP_COPY_OUT, NULL}, VERDICT_DENY, NULL},
    {POLICY("p", RULES(RULE("name: ddl, action: Allow, sql: {operations: [DDL], relations: "
                            "[\"scratch.*\"]}"))),
     {OP_CREATE, NULL},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(RULE("name: ddl, action: Allow, sql: {operations: [DDL], relations: "
                            "[\"scratch.*\"]}"))),
     {OP_CREATE, "scratch.t"},
     VERDICT_ALLOW,
     "ddl"},
    {POLICY("p", RULES(RULE("name: all, action: Allow, sql: {operations: [\"*\"], relations: "
                            "[\"public.*\"]}"))),
     {OP_BEGIN, NULL},
     VERDICT_ALLOW,
     "all"},
    {POLICY("p", RULES(RULE("name: all, action: Allow, sql: {operations: [\"*\"], relations: "
                            "[\"public.*\"]}"))),
     {OP_DO, NULL},
     VERDICT_DENY,
     NULL},
    /* a refusal of a relation does not refuse what has none */
    {POLICY("p", RULES(ALL_READ RULE("name: nay, action: Deny, sql: {operations: [Read], "
                                     "relations: [public.users]}"))),
     {OP_SELECT, NULL},
     VERDICT_ALLOW,
     "read"},
    {POLICY("p", RULES(ALL_READ RULE("name: nay, action: Deny, sql: {operations: [Read], "
                                     "relations: [public.users]}"))),
     {OP_FETCH, NULL},
     VERDICT_ALLOW,
     "read"},
    {POLICY("p", RULES(ALL_READ RULE("name: nay, action: Deny, sql: {operations: [Read], "
                                     "relations: [public.users]}"))),
     {OP_SELECT, "public.users"},
     VERDICT_DENY,
     "nay"},
    {POLICY("p", RULES(ALL_READ RULE("name: nay, action: Deny, sql: {operations: [Read]}"))),
     {OP_SELECT, NULL},
     VERDICT_DENY,
     "nay"},
    /* groups and the words outside of them */
    {POLICY("p", RULES(RULE("name: all, action: Allow, sql: {operations: [\"*\"]}"))),
     {OP_DO, NULL},
     VERDICT_ALLOW,
     "all"},
    {POLICY("p", RULES(RULE("name: all, action: Allow, sql: {operations: [\"*\"]}"))),
     {OP_UNKNOWN, NULL},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(RULE("name: all, action: Allow, sql: {operations: [\"*\"]}"))),
     {OP_FUNCTION_CALL, NULL},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(RULE("name: all, action: Allow, sql: {operations: [\"*\"]}"))),
     {OP_REPLICATION, NULL},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(RULE("name: u, action: Allow, sql: {operations: [Unknown]}"))),
     {OP_UNKNOWN, NULL},
     VERDICT_ALLOW,
     "u"},
    {POLICY("p", RULES(RULE("name: u, action: Allow, sql: {operations: [\"*\"]}"))),
     {(enum operation)OP_COUNT, NULL},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(RULE("name: u, action: Allow, sql: {operations: [\"*\"]}"))),
     {(enum operation)77, "public.t"},
     VERDICT_DENY,
     NULL},
};

static void test_matching(void **state)
{
    (void)state;
    check_rows(matching, ARRAY_LEN(matching));
}

#define THREE(order) POLICY("p", RULES(order))
#define A            RULE("name: a, action: Allow, sql: {operations: [Update]}")
#define R                                                                                          \
    RULE("name: r, action: RequireApproval, sql: {operations: [Update], relations: [\"*.o*\"]}")
#define D RULE("name: d, action: Deny, sql: {operations: [Update], relations: [\"public.o\"]}")

static void test_order_does_not_matter(void **state)
{
    static const char *const orders[] = {THREE(A R D), THREE(A D R), THREE(R A D),
                                         THREE(R D A), THREE(D A R), THREE(D R A)};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        const struct row rows[] = {
            {orders[i], {OP_UPDATE, "public.o"}, VERDICT_DENY, "d"},
            {orders[i], {OP_UPDATE, "public.orders"}, VERDICT_APPROVE, "r"},
            {orders[i], {OP_UPDATE, "public.users"}, VERDICT_ALLOW, "a"},
        };

        check_rows(rows, ARRAY_LEN(rows));
    }
}

#define WHERE_RULE(action, where)                                                                  \
    RULE("name: w, action: " action                                                                \
         ", sql: {operations: [Update, Delete, Truncate], where: " where "}")
#define WRITE RULE("name: write, action: Allow, sql: {operations: [Write]}")

static const struct row where[] = {
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Absent"))),
     {OP_UPDATE, "public.o", WHERE_ABSENT},
     VERDICT_DENY,
     "w"},
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Absent"))),
     {OP_UPDATE, "public.o", WHERE_PRESENT},
     VERDICT_ALLOW,
     "write"},
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Present"))),
     {OP_DELETE, "public.o", WHERE_PRESENT},
     VERDICT_DENY,
     "w"},
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Present"))),
     {OP_DELETE, "public.o", WHERE_ABSENT},
     VERDICT_ALLOW,
     "write"},
    /* only Update and Delete are narrowed */
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Absent"))),
     {OP_TRUNCATE, "public.o"},
     VERDICT_DENY,
     "w"},
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Present"))),
     {OP_TRUNCATE, "public.o"},
     VERDICT_DENY,
     "w"},
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Absent"))),
     {OP_INSERT, "public.o"},
     VERDICT_ALLOW,
     "write"},
    /* nobody looked at the WHERE: a refusal holds, a permission does not */
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Absent"))),
     {OP_UPDATE, "public.o", WHERE_NOT_APPLICABLE},
     VERDICT_DENY,
     "w"},
    {POLICY("p", RULES(WRITE WHERE_RULE("Deny", "Present"))),
     {OP_UPDATE, "public.o", WHERE_NOT_APPLICABLE},
     VERDICT_DENY,
     "w"},
    {POLICY("p", RULES(WHERE_RULE("Allow", "Present"))),
     {OP_UPDATE, "public.o", WHERE_NOT_APPLICABLE},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(WHERE_RULE("Allow", "Present"))),
     {OP_UPDATE, "public.o", WHERE_ABSENT},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(WHERE_RULE("Allow", "Present"))),
     {OP_UPDATE, "public.o", WHERE_PRESENT},
     VERDICT_ALLOW,
     "w"},
    {POLICY("p", RULES(WHERE_RULE("RequireApproval", "Present"))),
     {OP_UPDATE, "public.o", WHERE_PRESENT},
     VERDICT_APPROVE,
     "w"},
    {POLICY("p", RULES(WHERE_RULE("RequireApproval", "Present"))),
     {OP_UPDATE, "public.o", WHERE_ABSENT},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(WHERE_RULE("RequireApproval", "Present"))),
     {OP_UPDATE, "public.o", WHERE_NOT_APPLICABLE},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(WRITE WHERE_RULE("RequireApproval", "Present"))),
     {OP_UPDATE, "public.o", WHERE_NOT_APPLICABLE},
     VERDICT_APPROVE,
     "w"},
    /* with relations, through the patterns */
    {POLICY("p", RULES(WRITE RULE("name: w, action: Deny, sql: {operations: [Delete], "
                                  "relations: [public.o], where: Absent}"))),
     {OP_DELETE, "public.o", WHERE_ABSENT},
     VERDICT_DENY,
     "w"},
    {POLICY("p", RULES(WRITE RULE("name: w, action: Deny, sql: {operations: [Delete], "
                                  "relations: [public.o], where: Absent}"))),
     {OP_DELETE, "public.o", WHERE_PRESENT},
     VERDICT_ALLOW,
     "write"},
    {POLICY("p", RULES(WRITE RULE("name: w, action: Deny, sql: {operations: [Delete], "
                                  "relations: [public.o], where: Absent}"))),
     {OP_DELETE, "public.p", WHERE_ABSENT},
     VERDICT_ALLOW,
     "write"},
};

static void test_where(void **state)
{
    (void)state;
    check_rows(where, ARRAY_LEN(where));
}

static void test_implied(void **state)
{
    static const struct row rows[] = {
        {POLICY("p", RULES(PUBLIC_READ)), {.op = OP_EXPLAIN, .implied = true}, VERDICT_ALLOW, NULL},
        {POLICY("p", RULES(PUBLIC_READ)), {.op = OP_EXPLAIN}, VERDICT_DENY, NULL},
        {POLICY("p",
                RULES(PUBLIC_READ RULE("name: nay, action: Deny, sql: {operations: [Explain]}"))),
         {.op = OP_EXPLAIN, .implied = true},
         VERDICT_DENY,
         "nay"},
        {POLICY("p", RULES(PUBLIC_READ RULE("name: ask, action: RequireApproval, sql: {operations: "
                                            "[Session]}"))),
         {.op = OP_PREPARE, .implied = true},
         VERDICT_APPROVE,
         "ask"},
        {POLICY("p", RULES(PUBLIC_READ RULE("name: nay, action: Deny, sql: {operations: [\"*\"], "
                                            "relations: [public.x]}"))),
         {.op = OP_PREPARE, .implied = true},
         VERDICT_ALLOW,
         NULL},
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

#define SELECT_ON(action, relations)                                                               \
    RULE("name: s, action: " action ", sql: {operations: [Select], relations: [" relations "]}")

static const struct row system_catalogues[] = {
    /* harmless ones: whoever may select anything may select them */
    {POLICY("p", RULES(PUBLIC_READ)),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_class", .metadata = true},
     VERDICT_ALLOW,
     "read"},
    {POLICY("p", RULES(WRITE)),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_class", .metadata = true},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(PUBLIC_READ)),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_class"},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(RULE("name: w, action: Allow, sql: {operations: [Update], relations: "
                            "[\"public.*\"]}"))),
     {.op = OP_UPDATE, .relation = "pg_catalog.pg_class", .metadata = true},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(PUBLIC_READ SELECT_ON("Deny", "\"pg_catalog.*\""))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_class", .metadata = true},
     VERDICT_DENY,
     "s"},
    {POLICY("p", RULES(SELECT_ON("RequireApproval", "public.users"))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_class", .metadata = true},
     VERDICT_APPROVE,
     "s"},
    {POLICY("p", RULES(PUBLIC_READ SELECT_ON("RequireApproval", "public.users"))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_class", .metadata = true},
     VERDICT_ALLOW,
     "read"},
    /* those that show data or secrets: by their exact name only */
    {POLICY("p", RULES(ALL_READ)),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .sensitive = true},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(SELECT_ON("Allow", "\"*.*\", \"pg_catalog.*\", \"*.pg_authid\", "
                                          "\"pg_catalog.pg_auth*\""))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .sensitive = true},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(SELECT_ON("Allow", "pg_catalog.pg_authid"))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .sensitive = true},
     VERDICT_ALLOW,
     "s"},
    {POLICY("p", RULES(SELECT_ON("RequireApproval", "pg_catalog.pg_authid"))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .sensitive = true},
     VERDICT_APPROVE,
     "s"},
    {POLICY("p", RULES(SELECT_ON("RequireApproval", "\"pg_catalog.*\""))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .sensitive = true},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(SELECT_ON("Allow", "pg_catalog.pg_authid")
                           RULE("name: d, action: Deny, sql: {operations: [Read], relations: "
                                "[\"pg_catalog.*\"]}"))),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .sensitive = true},
     VERDICT_DENY,
     "d"},
    {POLICY("p", RULES(ALL_READ)),
     {.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .metadata = true, .sensitive = true},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(ALL_READ)), {.op = OP_SELECT, .sensitive = true}, VERDICT_DENY, NULL},
};

static void test_system_catalogues(void **state)
{
    (void)state;
    check_rows(system_catalogues, ARRAY_LEN(system_catalogues));
}

static const struct row names_not_in_the_catalogue[] = {
    {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "?public.new"}, VERDICT_ALLOW, "read"},
    {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "?app.new"}, VERDICT_DENY, NULL},
    {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "?.new"}, VERDICT_DENY, NULL},
    {POLICY("p", RULES(SELECT_ON("Allow", "\"*.new\""))), {OP_SELECT, "?.new"}, VERDICT_ALLOW, "s"},
    {POLICY("p", RULES(SELECT_ON("Allow", "\"p*.new\""))),
     {OP_SELECT, "?.new"},
     VERDICT_DENY,
     NULL},
    {POLICY("p", RULES(ALL_READ)), {OP_SELECT, "?.new"}, VERDICT_ALLOW, "read"},
    /* a refusal holds in whatever schema it may be */
    {POLICY("p", RULES(ALL_READ SELECT_ON("Deny", "secret.keys"))),
     {OP_SELECT, "?public.keys"},
     VERDICT_DENY,
     "s"},
    {POLICY("p", RULES(ALL_READ SELECT_ON("Deny", "secret.keys"))),
     {OP_SELECT, "?.keys"},
     VERDICT_DENY,
     "s"},
    {POLICY("p", RULES(ALL_READ SELECT_ON("Deny", "\"secret.*\""))),
     {OP_SELECT, "?public.keys"},
     VERDICT_DENY,
     "s"},
    {POLICY("p", RULES(ALL_READ SELECT_ON("Deny", "\"sec*.k*\""))),
     {OP_SELECT, "?public.keys"},
     VERDICT_DENY,
     "s"},
    {POLICY("p", RULES(ALL_READ SELECT_ON("Deny", "secret.keys"))),
     {OP_SELECT, "?public.locks"},
     VERDICT_ALLOW,
     "read"},
    {POLICY("p", RULES(ALL_READ SELECT_ON("Deny", "secret.keys"))),
     {OP_SELECT, "public.keys"},
     VERDICT_ALLOW,
     "read"},
    /* so does the need for an approval, which for itself permits nothing elsewhere */
    {POLICY("p", RULES(ALL_READ SELECT_ON("RequireApproval", "secret.keys"))),
     {OP_SELECT, "?public.keys"},
     VERDICT_APPROVE,
     "s"},
    {POLICY("p", RULES(SELECT_ON("RequireApproval", "secret.keys"))),
     {OP_SELECT, "?secret.keys"},
     VERDICT_APPROVE,
     "s"},
    {POLICY("p", RULES(SELECT_ON("RequireApproval", "secret.keys"))),
     {OP_SELECT, "?public.keys"},
     VERDICT_DENY,
     NULL},
};

static void test_names_not_in_the_catalogue(void **state)
{
    (void)state;
    check_rows(names_not_in_the_catalogue, ARRAY_LEN(names_not_in_the_catalogue));
}

static const struct {
    const char *pattern, *relation;
    bool matches;
} patterns[] = {
    {"public.users", "public.users", true},
    {"public.users", "public.users2", false},
    {"public.users", "public.user", false},
    {"public.Users", "public.users", false},
    {"'*.users'", "a.users", true},
    {"'*.users'", "a.b", false},
    {"'*.*'", "a.b", true},
    {"'p*.*'", "public.x", true},
    {"'p*.*'", "xp.x", false},
    {"public.u*", "public.users", true},
    {"public.u*", "public.u", true},
    {"public.u*s", "public.users", true},
    {"public.u*s", "public.user", false},
    {"public.*a*b*", "public.xxaxxbxx", true},
    {"public.*a*b*", "public.xxbxxaxx", false},
    {"public.**", "public.x", true},
    /* a star stays inside its part, a quoted one is a star */
    {"'a.b*'", "a.b.c", true},
    {"'a*.c'", "a.b.c", false},
    {"'public.\"us*\"'", "public.us*", true},
    {"'public.\"us*\"'", "public.users", false},
    {"'public.\"a.b\"'", "public.a.b", true},
    {"'public.\"a\"\"b\"'", "public.a\"b", true},
    {"'public.\"a b\"'", "public.a b", true},
    {"'\"p*\".x*'", "p*.xy", true},
    {"'\"p*\".x*'", "public.xy", false},
    {"'*.\"a\\b*\"'", "s.a\\b*", true},
    {"'*.\"a\\b\"'", "s.a\\b", true},
    {"public.\u00fc*", "public.\u00fcber", true},
};

static void test_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        char policies[512];
        struct policy_view *v;
        struct decision d;

        snprintf(
            policies, sizeof policies,
            HEAD("GuardPolicy", "p") "spec:\n  rules:\n  - name: r\n    action: Allow\n    sql: "
                                     "{operations: [Select], relations: [%s]}\n",
            patterns[i].pattern);
        v = view_of(policies);
        d = decide_thing(v, (struct thing){OP_SELECT, patterns[i].relation});
        if ((d.verdict == VERDICT_ALLOW) != patterns[i].matches)
            fail_msg("%s on %s: %s", patterns[i].pattern, patterns[i].relation,
                     verdict_text(d.verdict));
        policy_view_unref(v);
    }
}

/* ---- whole messages ---- */

static void test_worst_of_a_message(void **state)
{
    struct policy_view *v = view_of(POLICY(
        "p",
        RULES(RULE("name: read, action: Allow, sql: {operations: [Read, Transaction]}") RULE(
            "name: one, action: RequireApproval, sql: {operations: [Update]}, approval: {count: 1}")
                  RULE("name: two, action: RequireApproval, sql: {operations: [Delete]}, approval: "
                       "{count: 2}") RULE("name: nay, action: Deny, sql: {operations: [Drop]}"))));
    struct object select = {.op = OP_SELECT, .schema = "public", .name = "t"};
    struct object writes[] = {
        {.op = OP_UPDATE, .where = WHERE_PRESENT, .schema = "public", .name = "t"},
        {.op = OP_DELETE, .where = WHERE_PRESENT, .schema = "public", .name = "t"}};
    struct object drop = {.op = OP_DROP, .schema = "public", .name = "t"};
    struct object nothing = {.op = OP_LISTEN};
    struct statement message[] = {{.objects = &select, .n_objects = 1},
                                  {.objects = writes, .n_objects = 1},
                                  {.objects = writes, .n_objects = 2},
                                  {.objects = &drop, .n_objects = 1},
                                  {.objects = &nothing, .n_objects = 1}};
    struct decision d;

    (void)state;
    assert_int_equal(decide_statement(v, message, 1).verdict, VERDICT_ALLOW);
    d = decide_statement(v, message, 2);
    assert_int_equal(d.verdict, VERDICT_APPROVE);
    assert_string_equal(d.rule, "one");
    d = decide_statement(v, message, 3); /* the strictest approval of all */
    assert_int_equal(d.verdict, VERDICT_APPROVE);
    assert_string_equal(d.rule, "two");
    assert_int_equal(d.approval->count, 2);
    d = decide_statement(v, message, 4);
    assert_int_equal(d.verdict, VERDICT_DENY);
    assert_string_equal(d.rule, "nay");
    assert_null(d.approval);
    d = decide_statement(v, message + 1, 4);
    assert_string_equal(d.rule, "nay");
    d = decide_statement(v, message + 4, 1);
    assert_int_equal(d.verdict, VERDICT_DENY);
    assert_null(d.rule);
    policy_view_unref(v);
}

static void test_empty_messages_and_statements(void **state)
{
    struct policy_view *v = view_of(POLICY("p", RULES(ALL_READ)));
    struct policy_view *none = view_of("");
    struct statement unseen = {0};

    (void)state;
    assert_int_equal(decide_statement(v, NULL, 0).verdict, VERDICT_ALLOW);
    assert_int_equal(decide_statement(none, NULL, 0).verdict, VERDICT_DENY);
    /* a statement in which nobody found anything is not a harmless one */
    assert_int_equal(decide_statement(v, &unseen, 1).verdict, VERDICT_DENY);
    policy_view_unref(v);
    policy_view_unref(none);
}

static void test_refused_by_the_analyser(void **state)
{
    struct policy_view *v = view_of(POLICY(
        "p", RULES(RULE("name: all, action: Allow, sql: {operations: [\"*\", Unknown]}")
                       RULE("name: pii, action: Mask, sql: {columns: [public.users.email]}"))));
    struct object select = {.op = OP_SELECT};
    struct statement message[] = {{.objects = &select, .n_objects = 1},
                                  {.objects = &select,
                                   .n_objects = 1,
                                   .denied = "email is masked\nand compared",
                                   .denied_rule = "pii"},
                                  {.denied = "no policy lifts this"}};
    struct decision d = decide_statement(v, message, 2);

    (void)state;
    assert_int_equal(d.verdict, VERDICT_DENY);
    assert_int_equal(d.would, VERDICT_DENY);
    assert_string_equal(d.rule, "pii");
    assert_string_equal(d.policy, "p");
    assert_string_equal(d.reason, "email is masked?and compared");
    d = decide_statement(v, message + 2, 1);
    assert_int_equal(d.verdict, VERDICT_DENY);
    assert_null(d.rule);
    assert_null(d.policy);
    assert_string_equal(d.reason, "no policy lifts this");
    policy_view_unref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_order_does_not_matter),
        cmocka_unit_test(test_where),
        cmocka_unit_test(test_implied),
        cmocka_unit_test(test_system_catalogues),
        cmocka_unit_test(test_names_not_in_the_catalogue),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_worst_of_a_message),
        cmocka_unit_test(test_empty_messages_and_statements),
        cmocka_unit_test(test_refused_by_the_analyser),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
