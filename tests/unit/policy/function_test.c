/* SPDX-License-Identifier: Apache-2.0
 * Functions: each has to be named, what nobody names is Unknown.
 */
#include "policy_support.h"

#define ALL_READ RULE("name: read, action: Allow, sql: {operations: [Read]}")
#define PUBLIC_READ                                                                                \
    RULE("name: read, action: Allow, sql: {operations: [Read], relations: [\"public.*\"]}")

#define CALLS(action, names) RULE("name: f, action: " action ", sql: {functions: [" names "]}")
static const struct {
    const char *rules, *function;
    enum verdict verdict;
    const char *rule;
} functions[] = {
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
    {ALL_READ CALLS("Allow", "\"operator app.<->\""), "operator app.<->", VERDICT_ALLOW, "read"},
    {ALL_READ CALLS("Allow", "\"operator app.<->\""), "operator app.<=>", VERDICT_DENY, NULL},
    /* two dots could be two functions */
    {ALL_READ CALLS("Allow", "\"*.*\", \"*\""), "a.b.c", VERDICT_DENY, NULL},
    {ALL_READ CALLS("Allow", "app.purge") CALLS("Deny", "app.purge"), "app.purge", VERDICT_DENY,
     "f2"},
    {ALL_READ CALLS("Allow", "purge") CALLS("Deny", "app.purge"), "purge", VERDICT_DENY, "f2"},
    {ALL_READ CALLS("Allow", "\"app.*\"") CALLS("Deny", "purge"), "app.purge", VERDICT_DENY, "f2"},
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
    {ALL_READ RULE("name: u, action: Allow, sql: {operations: [\"*\"]}"), "app.purge", VERDICT_DENY,
     NULL},
    {ALL_READ RULE("name: u, action: RequireApproval, sql: {operations: [Unknown]}"), "app.purge",
     VERDICT_APPROVE, "u"},
    {ALL_READ RULE("name: u, action: Allow, sql: {operations: [Unknown]}")
         CALLS("RequireApproval", "app.purge"),
     "purge", VERDICT_APPROVE, "f"},
    {ALL_READ RULE("name: u, action: Allow, sql: {operations: [Unknown]}")
         CALLS("Deny", "app.purge"),
     "purge", VERDICT_DENY, "f"},
    /* naming the operation is not naming the function */
    {ALL_READ RULE("name: c, action: Allow, sql: {operations: [Call, FunctionCall]}"), "app.purge",
     VERDICT_DENY, NULL},
};

static void test_functions(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        char policies[1024], *second;
        struct policy_view *v;
        struct decision d;

        snprintf(policies, sizeof policies, "%sspec:\n  rules:\n%s", HEAD("GuardPolicy", "p"),
                 functions[i].rules);
        second = strstr(policies, "name: f,"); /* rule names are unique: the second is f2 */
        second = second ? strstr(second + 1, "name: f,") : NULL;
        if (second) {
            memmove(second + 8, second + 7, strlen(second + 7) + 1);
            second[7] = '2';
        }
        v = view_of(policies);
        d = decide_function(v, functions[i].function);
        if (d.verdict != functions[i].verdict ||
            strcmp(d.rule ? d.rule : "-", functions[i].rule ? functions[i].rule : "-") != 0)
            fail_msg("row %zu: %s by %s (%s)\n%s", i, verdict_text(d.verdict),
                     d.rule ? d.rule : "-", d.reason, policies);
        policy_view_unref(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
