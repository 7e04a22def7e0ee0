/* SPDX-License-Identifier: Apache-2.0
 * What rules mean: which objects they match, what beats what, and what is never permitted by
 * accident.
 */
#include "policy_support.h"

#include <locale.h>

#define ALL_READ RULE("name: read, action: Allow, sql: {operations: [Read]}")
#define PUBLIC_READ                                                                                \
    RULE("name: read, action: Allow, sql: {operations: [Read], relations: [\"public.*\"]}")

static void test_matching(void **state)
{
    static const struct row rows[] = {
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

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
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

static void test_where(void **state)
{
    static const struct row rows[] = {
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

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
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

static void test_system_catalogues(void **state)
{
    static const struct row rows[] = {
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

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_names_not_in_the_catalogue(void **state)
{
    static const struct row rows[] = {
        {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "?public.new"}, VERDICT_ALLOW, "read"},
        {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "?app.new"}, VERDICT_DENY, NULL},
        {POLICY("p", RULES(PUBLIC_READ)), {OP_SELECT, "?.new"}, VERDICT_DENY, NULL},
        {POLICY("p", RULES(SELECT_ON("Allow", "\"*.new\""))),
         {OP_SELECT, "?.new"},
         VERDICT_ALLOW,
         "s"},
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

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_patterns(void **state)
{
    static const struct {
        const char *pattern, *relation;
        bool matches;
    } rows[] = {
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

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char policies[512];
        struct policy_view *v;
        struct decision d;

        snprintf(
            policies, sizeof policies,
            HEAD("GuardPolicy", "p") "spec:\n  rules:\n  - name: r\n    action: Allow\n    sql: "
                                     "{operations: [Select], relations: [%s]}\n",
            rows[i].pattern);
        v = view_of(policies);
        d = decide_thing(v, (struct thing){OP_SELECT, rows[i].relation});
        if ((d.verdict == VERDICT_ALLOW) != rows[i].matches)
            fail_msg("%s on %s: %s", rows[i].pattern, rows[i].relation, verdict_text(d.verdict));
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

/* ---- functions ---- */

static void test_functions(void **state)
{
#define CALLS(action, names) RULE("name: f, action: " action ", sql: {functions: [" names "]}")
    static const struct {
        const char *rules, *function;
        enum verdict verdict;
        const char *rule;
    } rows[] = {
        {ALL_READ, "app.purge", VERDICT_DENY, NULL},
        {ALL_READ CALLS("Allow", "app.purge"), "app.purge", VERDICT_ALLOW, "read"},
        {ALL_READ CALLS("Allow", "app.purge"), "app.purge2", VERDICT_DENY, NULL},
        {ALL_READ CALLS("Allow", "app.purge"), "evil.purge", VERDICT_DENY, NULL},
        {ALL_READ CALLS("Allow", "app.purge"), "purge", VERDICT_DENY, NULL},
        {ALL_READ CALLS("Allow", "\"app.*\""), "app.purge", VERDICT_ALLOW, "read"},
        {ALL_READ CALLS("Allow", "\"*.purge\""), "purge", VERDICT_ALLOW, "read"},
        {ALL_READ CALLS("Allow", "purge"), "purge", VERDICT_ALLOW, "read"},
        {ALL_READ CALLS("Allow", "pg_sleep"), "pg_catalog.pg_sleep", VERDICT_ALLOW, "read"},
        {ALL_READ CALLS("Allow", "purge"), "evil.purge", VERDICT_DENY, NULL},
        {ALL_READ CALLS("Allow", "\"p*\""), "purge", VERDICT_ALLOW, "read"},
        {ALL_READ CALLS("Allow", "\"operator app.<->\""), "operator app.<->", VERDICT_ALLOW,
         "read"},
        {ALL_READ CALLS("Allow", "\"operator app.<->\""), "operator app.<=>", VERDICT_DENY, NULL},
        /* two dots could be two functions */
        {ALL_READ CALLS("Allow", "\"*.*\", \"*\""), "a.b.c", VERDICT_DENY, NULL},
        {ALL_READ CALLS("Allow", "app.purge") CALLS("Deny", "app.purge"), "app.purge", VERDICT_DENY,
         "f2"},
        {ALL_READ CALLS("Allow", "purge") CALLS("Deny", "app.purge"), "purge", VERDICT_DENY, "f2"},
        {ALL_READ CALLS("Allow", "\"app.*\"") CALLS("Deny", "purge"), "app.purge", VERDICT_DENY,
         "f2"},
        {ALL_READ CALLS("RequireApproval", "app.purge"), "app.purge", VERDICT_APPROVE, "f"},
        {ALL_READ CALLS("Allow", "\"app.*\"") CALLS("RequireApproval", "app.purge"), "app.purge",
         VERDICT_APPROVE, "f2"},
        {ALL_READ CALLS("Allow", "purge") CALLS("RequireApproval", "app.purge"), "purge",
         VERDICT_APPROVE, "f2"},
        {ALL_READ CALLS("RequireApproval", "app.purge"), "purge", VERDICT_DENY, NULL},
        /* what nobody names is Unknown */
        {ALL_READ RULE("name: u, action: Deny, sql: {operations: [Unknown]}"), "app.purge",
         VERDICT_DENY, "u"},
        {ALL_READ RULE("name: u, action: Deny, sql: {operations: [Unknown]}")
             CALLS("Allow", "app.purge"),
         "app.purge", VERDICT_ALLOW, "read"},
        {ALL_READ RULE("name: u, action: Allow, sql: {operations: [Unknown]}"), "app.purge",
         VERDICT_ALLOW, "read"},
        {ALL_READ RULE("name: u, action: Allow, sql: {operations: [\"*\"]}"), "app.purge",
         VERDICT_DENY, NULL},
        {ALL_READ RULE("name: u, action: RequireApproval, sql: {operations: [Unknown]}"),
         "app.purge", VERDICT_APPROVE, "u"},
        {ALL_READ RULE("name: u, action: Allow, sql: {operations: [Unknown]}")
             CALLS("RequireApproval", "app.purge"),
         "purge", VERDICT_APPROVE, "f"},
        {ALL_READ RULE("name: u, action: Allow, sql: {operations: [Unknown]}")
             CALLS("Deny", "app.purge"),
         "purge", VERDICT_DENY, "f"},
        /* naming the operation is not naming the function */
        {ALL_READ RULE("name: c, action: Allow, sql: {operations: [Call, FunctionCall]}"),
         "app.purge", VERDICT_DENY, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char policies[1024], *second;
        struct policy_view *v;
        struct decision d;

        snprintf(policies, sizeof policies, "%sspec:\n  rules:\n%s", HEAD("GuardPolicy", "p"),
                 rows[i].rules);
        second = strstr(policies, "name: f,"); /* rule names are unique: the second is f2 */
        second = second ? strstr(second + 1, "name: f,") : NULL;
        if (second) {
            memmove(second + 8, second + 7, strlen(second + 7) + 1);
            second[7] = '2';
        }
        v = view_of(policies);
        d = decide_function(v, rows[i].function);
        if (d.verdict != rows[i].verdict ||
            strcmp(d.rule ? d.rule : "-", rows[i].rule ? rows[i].rule : "-") != 0)
            fail_msg("row %zu: %s by %s (%s)\n%s", i, verdict_text(d.verdict),
                     d.rule ? d.rule : "-", d.reason, policies);
        policy_view_unref(v);
    }
}

/* ---- words ---- */

static void test_reasons(void **state)
{
    static const char rules[] = POLICY(
        "coding-agents",
        RULES(PUBLIC_READ RULE("name: ddl, action: Deny, message: open a migration PR, sql: "
                               "{operations: [DDL]}") RULE(
            "name: ask, action: RequireApproval, message: say why, sql: {operations: [Delete]}")));
    static const struct {
        struct thing thing;
        const char *reason, *message;
    } rows[] = {
        {{OP_UPDATE, "public.orders", WHERE_PRESENT},
         "Update on public.orders: no rule of policy 'coding-agents' allows it",
         NULL},
        {{OP_UPDATE, "public.orders", WHERE_ABSENT},
         "Update without WHERE on public.orders: no rule of policy 'coding-agents' allows it",
         NULL},
        {{OP_SELECT, "?x.orders"},
         "Select on orders (not in the catalogue): no rule of policy 'coding-agents' allows it",
         NULL},
        {{OP_DROP, "public.users"},
         "rule 'ddl' of policy 'coding-agents' refuses Drop on public.users",
         "open a migration PR"},
        {{OP_DELETE, "public.users", WHERE_PRESENT},
         "rule 'ask' of policy 'coding-agents' requires approval of Delete on public.users",
         "say why"},
        {{OP_UNKNOWN, NULL},
         "an operation that the guard does not know (Unknown): no rule of policy 'coding-agents' "
         "allows it",
         NULL},
        {{.op = OP_SELECT, .relation = "pg_catalog.pg_authid", .sensitive = true},
         "Select on pg_catalog.pg_authid, a sensitive system catalogue: no rule of policy "
         "'coding-agents' allows it by its exact name",
         NULL},
        {{OP_SELECT, "x.a\nb\x01"},
         "Select on x.a?b?: no rule of policy 'coding-agents' allows it",
         NULL},
        {{OP_SELECT, "public.x"}, "", NULL},
    };
    struct policy_view *v = view_of(rules);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct decision d = decide_thing(v, rows[i].thing);

        assert_string_equal(d.reason, rows[i].reason);
        if (rows[i].message)
            assert_string_equal(d.message, rows[i].message);
        else
            assert_null(d.message);
    }
    assert_string_equal(decide_function(v, "app.f").reason,
                        "calling app.f, which may do more than compute: no rule of policy "
                        "'coding-agents' names it in functions");
    policy_view_unref(v);
}

static void test_reason_of_many_policies(void **state)
{
    struct policy_view *v =
        view_of(POLICY("a", RULES(PUBLIC_READ)) POLICY("b", RULES(PUBLIC_READ)));
    struct decision d = decide_thing(v, (struct thing){OP_DO});

    (void)state;
    assert_string_equal(d.reason, "Do: no rule of policies 'a' and 'b' allows it");
    policy_view_unref(v);
    v = view_of(POLICY("a", RULES(PUBLIC_READ)) POLICY("b", RULES(PUBLIC_READ))
                    POLICY("c", RULES(PUBLIC_READ)) POLICY("d", RULES(PUBLIC_READ)));
    d = decide_thing(v, (struct thing){OP_DO});
    assert_string_equal(d.reason, "Do: no rule of policies 'a', 'b' and 2 more allows it");
    policy_view_unref(v);
}

/* A name of any length and content leaves valid, terminated UTF-8. */
static void test_reason_is_bounded(void **state)
{
    struct policy_view *v = view_of(POLICY("p", RULES(PUBLIC_READ)));
    char *name = malloc(70000);

    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));

    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        struct object o = {.op = OP_SELECT, .schema = name, .name = name};
        struct statement s = {.objects = &o, .n_objects = 1};
        struct decision d;

        memset(name, 'x', shift);
        for (size_t i = shift; i + 4 < 69000; i += 4)
            memcpy(name + i, "\xf0\x9f\x94\x92", 5);
        d = decide_statement(v, &s, 1);
        assert_int_equal(d.verdict, VERDICT_DENY);
        assert_true(strlen(d.reason) < sizeof d.reason);
        assert_true(mbstowcs(NULL, d.reason, 0) != (size_t)-1);
    }
    free(name);
    policy_view_unref(v);
}

static void test_empty_view_says_what_to_do(void **state)
{
    struct policy_view *v = view_of(POLICY("p", "  subjects: [{serviceAccounts: [other]}]"));
    struct decision d = decide_thing(v, (struct thing){OP_SELECT});

    (void)state;
    assert_true(policy_view_empty(v));
    assert_int_equal(d.verdict, VERDICT_DENY);
    assert_string_equal(d.reason,
                        "no policy selects the agent coder-0 (namespace 'agents') for the "
                        "target 'db', database 'orders'; ask for a GuardPolicy that names it");
    policy_view_unref(v);
}

/* ---- which approval ---- */

static void test_strictest_approval(void **state)
{
    static const char *const ladder[] = {
        /* each is stricter than the one before */
        "{allowSelf: true, uses: 5}",
        "{allowSelf: true}",
        "{allowSelf: true, requireReason: true}",
        "{validFor: 1h}",
        "{}",
        "{requireReason: true}",
        "{approvers: {groups: [a, b]}}",
        "{approvers: {groups: [a]}}",
        "{count: 2}",
        "{count: 2, approvers: {users: [a, b, c]}}",
        "{count: 3, allowSelf: true}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ladder); i++) {
        for (size_t j = 0; j < ARRAY_LEN(ladder); j++) {
            char policies[1024];
            struct policy_view *v;
            struct decision d;

            snprintf(policies, sizeof policies,
                     HEAD("GuardPolicy", "p") "spec:\n  rules:\n"
                                              "  - {name: one, action: RequireApproval, sql: "
                                              "{operations: [Drop]}, approval: %s}\n"
                                              "  - {name: two, action: RequireApproval, sql: "
                                              "{operations: [Drop], relations: "
                                              "['*.t']}, approval: %s}\n",
                     ladder[i], ladder[j]);
            v = view_of(policies);
            d = decide_thing(v, (struct thing){OP_DROP, "public.t"});
            assert_int_equal(d.verdict, VERDICT_APPROVE);
            if (strcmp(d.rule, i >= j ? "one" : "two") != 0)
                fail_msg("%s and %s: %s", ladder[i], ladder[j], d.rule);
            policy_view_unref(v);
        }
    }
}

static void test_approval_settings(void **state)
{
    struct policy_view *v = view_of(POLICY(
        "p",
        RULES(RULE("name: plain, action: RequireApproval, sql: {operations: [Drop]}") RULE(
            "name: full, action: RequireApproval, sql: {operations: [Alter]}, approval: "
            "{approvers: "
            "{groups: [dba, sre], users: [ann]}, count: 2, allowSelf: true, requireReason: true, "
            "delivery: Ticket, timeout: 1h30m, validFor: 15m, uses: 3}"))));
    const struct approval_settings *a = decide_thing(v, (struct thing){OP_DROP, "a.b"}).approval;

    (void)state;
    assert_null(a->groups[0]);
    assert_null(a->users[0]);
    assert_int_equal(a->count, 1);
    assert_false(a->allow_self || a->require_reason || a->ticket);
    assert_int_equal(a->timeout_s, 60);
    assert_int_equal(a->valid_for_s, 600);
    assert_int_equal(a->uses, 1);
    a = decide_thing(v, (struct thing){OP_ALTER, "a.b"}).approval;
    assert_string_equal(a->groups[0], "dba");
    assert_string_equal(a->groups[1], "sre");
    assert_null(a->groups[2]);
    assert_string_equal(a->users[0], "ann");
    assert_null(a->users[1]);
    assert_int_equal(a->count, 2);
    assert_true(a->allow_self && a->require_reason && a->ticket);
    assert_int_equal(a->timeout_s, 5400);
    assert_int_equal(a->valid_for_s, 900);
    assert_int_equal(a->uses, 3);
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
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_reason_of_many_policies),
        cmocka_unit_test(test_reason_is_bounded),
        cmocka_unit_test(test_empty_view_says_what_to_do),
        cmocka_unit_test(test_strictest_approval),
        cmocka_unit_test(test_approval_settings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
