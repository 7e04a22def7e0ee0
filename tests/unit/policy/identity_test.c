/* SPDX-License-Identifier: Apache-2.0
 * What policies and targets say about logging in: tokens, injection, pinned users and roles.
 */
#include "policy_support.h"

#define LOGIN                                                                                      \
    HEAD("GuardTarget", "db")                                                                      \
    "spec: {protocol: postgres, hosts: [db.prod.svc], ports: [5432], credentials: {secretRef: "    \
    "{name: login}}}\n---\n"
#define PIN(credentials) "  targets: [{name: db, credentials: " credentials "}]"

static struct identity_settings settings_of(const char *yaml, const char *database)
{
    struct policy_snapshot *s = snapshot_of(yaml);
    struct policy_view *v = view_for(s, &coder, "db", database);
    struct identity_settings r = *policy_view_identity(v);

    /* Names die with the snapshot: the tests compare these copies. */
    r.user = r.user ? strdup(r.user) : NULL;
    r.role = r.role ? strdup(r.role) : NULL;
    policy_view_unref(v);
    policy_snapshot_unref(s);
    return r;
}

static void settings_done(struct identity_settings *r)
{
    free((void *)(uintptr_t)r->user);
    free((void *)(uintptr_t)r->role);
}

static void test_nothing_said(void **state)
{
    struct identity_settings r = settings_of(LOGIN POLICY("p", "  mode: Enforce"), "orders");

    (void)state;
    assert_false(r.require_token);
    assert_false(r.require_injection);
    assert_false(r.end_at_expiry);
    assert_null(r.user);
    assert_null(r.role);
    assert_string_equal(r.conflict, "");
}

static void test_the_strictest_wins(void **state)
{
    struct identity_settings r =
        settings_of(LOGIN POLICY("a", "  identity: {requireToken: true}")
                        POLICY("b", "  identity: {requireInjection: true, requireToken: false}")
                            CLUSTER("c", "  identity: {endAtExpiry: true}"),
                    "orders");

    (void)state;
    assert_true(r.require_token);
    assert_true(r.require_injection);
    assert_true(r.end_at_expiry);
}

static void test_pins(void **state)
{
    struct identity_settings r = settings_of(
        LOGIN POLICY("a", PIN("{user: app}")) POLICY("b", PIN("{user: app, role: app_ro}")), "o");

    (void)state;
    assert_string_equal(r.user, "app");
    assert_string_equal(r.role, "app_ro");
    assert_string_equal(r.conflict, "");
    settings_done(&r);
}

static void test_contradicting_pins(void **state)
{
    struct identity_settings r =
        settings_of(LOGIN POLICY("a", PIN("{role: one}")) POLICY("b", PIN("{role: two}")), "o");

    (void)state;
    assert_string_not_equal(r.conflict, "");
    settings_done(&r);
    r = settings_of(LOGIN POLICY("a", PIN("{user: one}")) POLICY("b", PIN("{user: One}")), "o");
    assert_string_not_equal(r.conflict, "");
    settings_done(&r);
}

/* A pin holds for the databases of its own entry, and for the agents its policy selects. */
static void test_pins_elsewhere(void **state)
{
    struct identity_settings r = settings_of(
        LOGIN POLICY("a",
                     "  targets: [{name: db, databases: [a], credentials: {role: one}}, {name: "
                     "db, databases: [b], credentials: {role: two}}]")
            POLICY("b", "  subjects: [{groups: [nobody]}]\n" PIN("{role: three}")),
        "b");

    (void)state;
    assert_string_equal(r.role, "two");
    assert_string_equal(r.conflict, "");
    settings_done(&r);
}

static void test_target_token(void **state)
{
    static const struct {
        const char *credentials;
        enum target_token wanted;
    } rows[] = {
        {"{secretRef: {name: l}}", TARGET_TOKEN_WITH_ISSUERS},
        {"{secretRef: {name: l}, requireToken: true}", TARGET_TOKEN_ALWAYS},
        {"{secretRef: {name: l}, requireToken: false}", TARGET_TOKEN_NEVER},
    };
    char yaml[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy_snapshot *s;
        const struct target *t;

        snprintf(yaml, sizeof yaml,
                 "%s"
                 "spec: {protocol: postgres, hosts: [a.b], ports: [1], credentials: %s}\n",
                 HEAD("GuardTarget", "db"), rows[i].credentials);
        s = snapshot_of(yaml);
        t = policy_target_by_name(s, "agents", "db");
        assert_int_equal(t->token, rows[i].wanted);
        assert_string_equal(t->credentials_secret, "l");
        policy_snapshot_unref(s);
    }
}

static const struct {
    const char *yaml, *reason;
} refusals[] = {
    {LOGIN POLICY("p", "  identity: {requireTokens: true}"),
     "spec.identity.requireTokens: unknown"},
    {LOGIN POLICY("p", "  identity: {requireToken: 1}"), "spec.identity.requireToken: expected"},
    {LOGIN POLICY("p", PIN("{password: x}")), "targets[0].credentials.password: unknown field"},
    {LOGIN POLICY("p", PIN("{role: none}")), "'none' is no role"},
    {LOGIN POLICY("p", PIN("{role: NONE}")), "'none' is no role"},
    {LOGIN POLICY("p", PIN("{user: \"\"}")), "must not be empty"},
    {LOGIN POLICY("p",
                  PIN("{user: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}")),
     "63 bytes"},
    {DB POLICY("p", PIN("{user: x}")), "the guard does not log in to the target 'db' by itself"},
    {POLICY("p", "  targets: [{name: kubernetes, credentials: {user: x}}]"),
     "the guard does not log in to the target 'kubernetes'"},
    {LOGIN POLICY("p", "  subjects: [{claims: {}}]"), "subjects[0].claims: an empty map"},
    {LOGIN POLICY("p", "  subjects: [{claims: {a: []}}]"), "subjects[0].claims.a: an empty list"},
    {LOGIN POLICY("p", "  subjects: [{claims: {a: 7}}]"),
     "subjects[0].claims.a: expected a string"},
    {LOGIN POLICY("p", "  subjects: [{claims: [a]}]"), "subjects[0].claims: expected a map"},
    {HEAD("GuardTarget", "t") "spec: {protocol: postgres, hosts: [a.b], ports: [1], credentials: "
                              "{secretRef: {name: a}, requireToken: yes}}\n",
     "spec.credentials.requireToken"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct policy_snapshot *s = NULL;
        struct error err = {""};

        if (policy_load_text(bytes_str(refusals[i].yaml), "p.yaml", &s, &err) != -EINVAL)
            fail_msg("accepted: %s", refusals[i].yaml);
        if (!strstr(err.text, refusals[i].reason))
            fail_msg("row %zu: %s", i, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_said),   cmocka_unit_test(test_the_strictest_wins),
        cmocka_unit_test(test_pins),           cmocka_unit_test(test_contradicting_pins),
        cmocka_unit_test(test_pins_elsewhere), cmocka_unit_test(test_target_token),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
