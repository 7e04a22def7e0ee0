/* SPDX-License-Identifier: Apache-2.0
 * What a decision says: words, and which approval is asked for.
 */
#include "policy_support.h"

#include <locale.h>

#define ALL_READ RULE("name: read, action: Allow, sql: {operations: [Read]}")
#define PUBLIC_READ                                                                                \
    RULE("name: read, action: Allow, sql: {operations: [Read], relations: [\"public.*\"]}")

static void test_reasons(void **state)
{
    static const char rules[] =
        POLICY("coding-agents",
               RULES(PUBLIC_READ RULE("name: ddl, action: Deny, message: open a migration PR, sql: "
                                      "{operations: [DDL]}")
                         RULE("name: ask, action: RequireApproval, message: say why, sql: "
                              "{operations: [Delete]}")));
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

/* Both rules with relations, one of them, none: they are kept in different places. */
static void check_strictest(const char *one, const char *two, bool first)
{
    static const char *const narrowed[][2] = {{"", ", relations: ['*.t']"},
                                              {"", ""},
                                              {", relations: [public.t]", ", relations: ['*.*']"}};

    for (size_t i = 0; i < ARRAY_LEN(narrowed); i++) {
        char policies[1024];
        struct policy_view *v;
        struct decision d;

        snprintf(policies, sizeof policies,
                 HEAD("GuardPolicy", "p") "spec:\n  rules:\n"
                                          "  - {name: one, action: RequireApproval, sql: "
                                          "{operations: [Drop]%s}, approval: %s}\n"
                                          "  - {name: two, action: RequireApproval, sql: "
                                          "{operations: [Drop]%s}, approval: %s}\n",
                 narrowed[i][0], one, narrowed[i][1], two);
        v = view_of(policies);
        d = decide_thing(v, (struct thing){OP_DROP, "public.t"});
        assert_int_equal(d.verdict, VERDICT_APPROVE);
        if (strcmp(d.rule, first ? "one" : "two") != 0)
            fail_msg("%s and %s: %s", one, two, d.rule);
        policy_view_unref(v);
    }
}

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
            if (i != j)
                check_strictest(ladder[i], ladder[j], i > j);
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
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_reason_of_many_policies),
        cmocka_unit_test(test_reason_is_bounded),
        cmocka_unit_test(test_empty_view_says_what_to_do),
        cmocka_unit_test(test_strictest_approval),
        cmocka_unit_test(test_approval_settings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
