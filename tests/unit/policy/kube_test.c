/* SPDX-License-Identifier: Apache-2.0
 * Rules against requests: what surely matches is permitted, what may match is refused.
 */
#include "sidecar/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *rules;
    const char *verb, *resource, *subresource, *namespace_, *name; /* verb as policies write it */
    enum verdict expected;
};

#define ALLOW(kube) "  - {name: a, action: Allow, kube: {" kube "}}\n"
#define DENY(kube)  "  - {name: d, action: Deny, kube: {" kube "}}\n"
#define ASK(kube)   "  - {name: r, action: RequireApproval, kube: {" kube "}}\n"
#define ALL         ALLOW("resources: [\"*\", \"*/*\"]")

static const struct row rows[] = {
    {ALLOW("resources: [pods]"), "get", "pods", "", "x", "a", VERDICT_ALLOW},
    {ALLOW("resources: [pods]"), "get", "secrets", "", "x", "a", VERDICT_DENY},
    {ALLOW("resources: [pods]"), "get", "pods", "log", "x", "a", VERDICT_DENY},
    {ALLOW("resources: [\"*\"]"), "get", "pods", "log", "x", "a", VERDICT_DENY},
    {ALLOW("resources: [\"*\"]"), "connect", "pods", "exec", "x", "a", VERDICT_DENY},
    {ALLOW("resources: [\"*/*\"]"), "connect", "pods", "exec", "x", "a", VERDICT_ALLOW},
    {ALLOW("resources: [\"pods/*\"]"), "get", "pods", "log", "x", "a", VERDICT_ALLOW},
    {ALLOW("resources: [pods/exec], verbs: [create]"), "connect", "pods", "exec", "x", "a",
     VERDICT_DENY},
    {ALLOW("resources: [pods], verbs: [get]"), "list", "pods", "", "x", "", VERDICT_DENY},
    {ALLOW("resources: [pods], verbs: [delete]"), "deletecollection", "pods", "", "x", "",
     VERDICT_DENY},
    {ALLOW("resources: [pods], namespaces: [x]"), "list", "pods", "", "x", "", VERDICT_ALLOW},
    {ALLOW("resources: [pods], namespaces: [x]"), "list", "pods", "", "y", "", VERDICT_DENY},
    {ALLOW("resources: [pods], namespaces: [x]"), "list", "pods", "", "", "", VERDICT_DENY},
    {ALLOW("resources: [pods], namespaces: [\"*\"]"), "list", "pods", "", "", "", VERDICT_ALLOW},
    {ALLOW("resources: [pods], names: [a]"), "get", "pods", "", "x", "a", VERDICT_ALLOW},
    {ALLOW("resources: [pods], names: [a]"), "list", "pods", "", "x", "", VERDICT_DENY},
    {ALLOW("resources: [pods], names: [a]"), "create", "pods", "", "x", "", VERDICT_DENY},
    {ALLOW("resources: [pods], groups: [apps]"), "get", "pods", "", "x", "a", VERDICT_DENY},
    {ALLOW("resources: [pods], groups: [\"\"]"), "get", "pods", "", "x", "a", VERDICT_ALLOW},
    {ALLOW("resources: [pods], dryRun: Only"), "create", "pods", "", "x", "", VERDICT_DENY},
    {ALL DENY("resources: [pods]"), "get", "pods", "log", "x", "a", VERDICT_DENY},
    {ALL DENY("resources: [\"*\"]"), "connect", "pods", "exec", "x", "a", VERDICT_DENY},
    {ALL DENY("resources: [pods/exec], verbs: [create]"), "connect", "pods", "exec", "x", "a",
     VERDICT_DENY},
    {ALL DENY("resources: [pods], namespaces: [x]"), "list", "pods", "", "", "", VERDICT_DENY},
    {ALL DENY("resources: [pods], namespaces: [x]"), "list", "pods", "", "y", "", VERDICT_ALLOW},
    {ALL DENY("resources: [pods], names: [a]"), "deletecollection", "pods", "", "x", "",
     VERDICT_DENY},
    {ALL DENY("resources: [pods], names: [a]"), "get", "pods", "", "x", "b", VERDICT_ALLOW},
    {ALL ASK("resources: [pods], verbs: [delete]"), "delete", "pods", "", "x", "b",
     VERDICT_APPROVE},
    {ASK("resources: [pods/exec]"), "connect", "pods", "exec", "x", "b", VERDICT_APPROVE},
    {ASK("resources: [pods/exec]"), "connect", "pods", "attach", "x", "b", VERDICT_DENY},
    {"  - {name: m, action: Mask, kube: {resources: [pods]}}\n", "get", "pods", "", "x", "a",
     VERDICT_DENY},
};

static enum verdict decide(const char *target, const char *rules, const struct kube_act *act,
                           struct decision *d)
{
    static const struct agent agent = {.namespace_ = "ns", .pod = "p", .service_account = "s"};
    char yaml[4096];
    struct policy_snapshot *s = NULL;
    struct policy_view *v = NULL;
    struct statement st = {.kube = act};
    struct error err = {""};

    snprintf(yaml, sizeof yaml,
             "apiVersion: chaperone.dev/v1alpha1\nkind: GuardTarget\nmetadata: {name: c, "
             "namespace: ns}\n"
             "spec: {protocol: kubernetes, hosts: [10.0.0.1], ports: [443]}\n---\n"
             "apiVersion: chaperone.dev/v1alpha1\nkind: GuardPolicy\nmetadata: {name: p, "
             "namespace: ns}\n"
             "spec:\n  targets: [%s]\n  rules:\n%s",
             target, rules);
    if (policy_load_text(bytes_str(yaml), "t", &s, &err) != 0)
        fail_msg("%s\n%s", err.text, yaml);
    assert_int_equal(policy_view_new(s, &agent, policy_target_at(s, 0), NULL, &v), 0);
    policy_decide(v, &st, 1, d);
    d->policy = d->rule = d->message = NULL;
    policy_view_unref(v);
    policy_snapshot_unref(s);
    return d->verdict;
}

static struct kube_act act_of(const char *verb, const char *resource, const char *subresource,
                              const char *namespace_, const char *name)
{
    return (struct kube_act){.verb = verb,
                             .api_verb = strcmp(verb, "connect") ? verb : "create",
                             .group = "",
                             .version = "v1",
                             .resource = resource,
                             .subresource = subresource,
                             .namespace_ = namespace_,
                             .name = name,
                             .url = ""};
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];
        struct kube_act act = act_of(r->verb, r->resource, r->subresource, r->namespace_, r->name);
        struct decision d;

        if (decide("{name: c}", r->rules, &act, &d) != r->expected)
            fail_msg("row %zu: %d %s\n%s", i, d.verdict, d.reason, r->rules);
        assert_true(d.verdict == VERDICT_ALLOW || d.reason[0]);
    }
}

/* spec.targets[].namespaces: what is elsewhere is not covered. */
static void test_namespaces_of_the_target(void **state)
{
    static const char *const in[] = {"x", "y", ""};
    static const enum verdict expected[] = {VERDICT_ALLOW, VERDICT_DENY, VERDICT_DENY};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct kube_act act = act_of("list", "pods", "", in[i], "");
        struct decision d;

        assert_int_equal(decide("{name: c, namespaces: [x]}", ALL, &act, &d), expected[i]);
    }
}

static void test_risks_and_pods_elsewhere(void **state)
{
    struct kube_act act = act_of("create", "pods", "", "x", "");
    struct decision d;

    (void)state;
    act.risk = "it mounts a Secret";
    assert_int_equal(decide("{name: c}", ALL, &act, &d), VERDICT_DENY);
    assert_non_null(strstr(d.reason, "it mounts a Secret"));
    assert_int_equal(decide("{name: c}", ALL ASK("resources: [pods]"), &act, &d), VERDICT_APPROVE);
    act.risk = NULL;
    act.unguarded_pods = true;
    assert_int_equal(decide("{name: c}", ALL, &act, &d), VERDICT_DENY);
    assert_non_null(strstr(d.reason, "outside of the agent's namespace"));
    assert_int_equal(
        decide("{name: c}", ALLOW("resources: [pods], namespaces: [\"x*\"]"), &act, &d),
        VERDICT_DENY);
    assert_int_equal(decide("{name: c}", ALLOW("resources: [pods], namespaces: [x]"), &act, &d),
                     VERDICT_ALLOW);
}

static void test_discovery_and_urls(void **state)
{
    struct kube_act act = act_of("get", "", "", "", "");
    struct decision d;

    (void)state;
    act.url = "/api";
    act.discovery = true;
    assert_int_equal(decide("{name: c}", ALLOW("resources: [pods]"), &act, &d), VERDICT_ALLOW);
    assert_int_equal(decide("{name: c}", DENY("nonResourceURLs: [\"/api*\"]"), &act, &d),
                     VERDICT_DENY);
    act.url = "/metrics";
    act.discovery = false;
    assert_int_equal(decide("{name: c}", ALL, &act, &d), VERDICT_DENY);
    assert_int_equal(decide("{name: c}", ALLOW("nonResourceURLs: [/metrics]"), &act, &d),
                     VERDICT_ALLOW);
    assert_int_equal(decide("{name: c}", ALLOW("nonResourceURLs: [/m]"), &act, &d), VERDICT_DENY);
}

static void test_argv(void **state)
{
    static const char *const ls[] = {"ls", "-l", "/tmp"}, *const sh[] = {"sh", "-c", "ls"};
    struct ssh_command command = {ls, 3};
    struct kube_act act = act_of("connect", "pods", "exec", "x", "a");
    struct decision d;

    (void)state;
    act.command = &command;
    assert_int_equal(
        decide("{name: c}", ALLOW("resources: [pods/exec], argv: [[ls, '...']]"), &act, &d),
        VERDICT_ALLOW);
    assert_int_equal(decide("{name: c}", ALLOW("resources: [pods/exec], argv: [[ls]]"), &act, &d),
                     VERDICT_DENY);
    assert_int_equal(
        decide("{name: c}", ALL DENY("resources: [pods/exec], argv: [[sh, '...']]"), &act, &d),
        VERDICT_ALLOW);
    command.argv = sh;
    assert_int_equal(
        decide("{name: c}", ALLOW("resources: [pods/exec], argv: [[ls, '...']]"), &act, &d),
        VERDICT_DENY);
    assert_int_equal(
        decide("{name: c}", ALL DENY("resources: [pods/exec], argv: [[sh, '...']]"), &act, &d),
        VERDICT_DENY);
    command.n = 0;
    assert_int_equal(
        decide("{name: c}", ALL DENY("resources: [pods/exec], argv: [[sh, '...']]"), &act, &d),
        VERDICT_DENY);
}

static void test_refused_rules(void **state)
{
    static const struct {
        const char *rule, *why;
    } bad[] = {
        {"action: Allow, kube: {resources: [pods], argv: [[ls]]}", "kube.argv: only with"},
        {"action: Allow, kube: {resources: [pods], fields: [.a]}",
         "kube.fields: only in a rule with"},
        {"action: Allow, kube: {resources: [pods], env: [A]}", "kube.env: only in a rule with"},
        {"action: Allow, kube: {resources: [pods], dryRun: Never}", "kube.dryRun: unknown word"},
        {"action: Allow, kube: {nonResourceURLs: [metrics]}", "'metrics' is no path"},
        {"action: Allow, kube: {resources: [pods], nonResourceURLs: [/a]}", "make it two rules"},
        {"action: Mask, kube: {resources: [pods], verbs: [get]}", "kube.verbs: not in a Mask rule"},
        {"action: Mask, kube: {resources: [pods], fields: [spec]}", "'spec' is no path"},
        {"action: Mask, kube: {resources: [pods], fields: [\".a[0]\"]}", "is no path"},
        {"action: Mask, kube: {resources: [pods], env: [\"A B\"]}", "is no name of a variable"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct policy_snapshot *s = NULL;
        struct error err = {""};
        char yaml[1024];

        snprintf(
            yaml, sizeof yaml,
            "apiVersion: chaperone.dev/v1alpha1\nkind: GuardPolicy\nmetadata: {name: p}\nspec:\n"
            "  rules: [{name: r, %s}]\n",
            bad[i].rule);
        assert_int_not_equal(policy_load_text(bytes_str(yaml), "t", &s, &err), 0);
        if (!strstr(err.text, bad[i].why))
            fail_msg("%s: %s", bad[i].rule, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_namespaces_of_the_target),
        cmocka_unit_test(test_risks_and_pods_elsewhere),
        cmocka_unit_test(test_discovery_and_urls),
        cmocka_unit_test(test_argv),
        cmocka_unit_test(test_refused_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
