/* SPDX-License-Identifier: Apache-2.0
 * What the tests of policies share: snapshots and views from text, objects in one line.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "sidecar/policy/policy.h"

#define HEAD(kind, name)                                                                           \
    "apiVersion: chaperone.dev/v1alpha1\nkind: " kind "\nmetadata: {name: " name "}\n"
#define POLICY(name, spec)  HEAD("GuardPolicy", name) "spec:\n" spec "\n---\n"
#define CLUSTER(name, spec) HEAD("ClusterGuardPolicy", name) "spec:\n" spec "\n---\n"
#define RULES(...)          "  rules:\n" __VA_ARGS__
#define RULE(text)          "  - {" text "}\n"
#define AUDIT               "  mode: Audit\n"
#define DB                                                                                         \
    HEAD("GuardTarget", "db")                                                                      \
    "spec: {protocol: postgres, hosts: [db.prod.svc], ports: [5432]}\n---\n"

static inline struct policy_snapshot *snapshot_of(const char *yaml)
{
    struct policy_snapshot *s = NULL;
    struct error err = {0};

    if (policy_load_text(bytes_str(yaml), "p.yaml", &s, &err) != 0)
        fail_msg("%s\n%s", err.text, yaml);
    return s;
}

static const char *const coder_labels[] = {"app", "coder", "tier", "dev", NULL};
static const char *const coder_groups[] = {"agents-prod", "staff", NULL};
static const char *const coder_claims[] = {"department", "research", "amr", "pwd",
                                           "amr",        "otp",      NULL};
static const struct agent coder = {
    .namespace_ = "agents",
    .pod = "coder-0",
    .service_account = "coder",
    .labels = coder_labels,
    .groups = coder_groups,
    .claims = coder_claims,
};

static inline struct policy_view *view_for(struct policy_snapshot *s, const struct agent *agent,
                                           const char *target, const char *database)
{
    const struct target *t = policy_target_by_name(s, agent->namespace_, target);
    struct policy_view *v = NULL;

    assert_non_null(t);
    assert_int_equal(policy_view_new(s, agent, t, database, &v), 0);
    return v;
}

/* Policies in, the view of the usual agent on the target db and database orders out. */
static inline struct policy_view *view_of(const char *policies)
{
    size_t n = strlen(policies) + sizeof DB;
    char *yaml = malloc(n);
    struct policy_snapshot *s;
    struct policy_view *v;

    assert_non_null(yaml);
    snprintf(yaml, n, "%s%s", DB, policies);
    s = snapshot_of(yaml);
    v = view_for(s, &coder, "db", "orders");
    policy_snapshot_unref(s);
    free(yaml);
    return v;
}

/* "public.users" or NULL; a leading "?" means that the catalogue does not know the name, what is
 * before the dot is then only where it would be found: "?public.users", "?.users". */
struct thing {
    enum operation op;
    const char *relation;
    enum where_clause where;
    bool implied, metadata, sensitive;
};

static inline struct object object_of(const struct thing *t, char text[static 128])
{
    struct object o = {.op = t->op,
                       .where = t->where,
                       .implied = t->implied,
                       .metadata = t->metadata,
                       .sensitive = t->sensitive};
    const char *r = t->relation;
    char *dot;

    if (!r)
        return o;
    snprintf(text, 128, "%s", r + (*r == '?'));
    dot = strchr(text, '.');
    assert_non_null(dot);
    *dot = 0;
    o.name = dot + 1;
    if (*r != '?')
        o.schema = text;
    else if (*text)
        o.guess = text;
    return o;
}

static inline struct decision decide_statement(const struct policy_view *v,
                                               const struct statement *s, size_t n)
{
    struct decision d;

    memset(&d, 0xa5, sizeof d);
    policy_decide(v, s, n, &d);
    return d;
}

static inline struct decision decide_thing(const struct policy_view *v, struct thing t)
{
    char text[128];
    struct object o = object_of(&t, text);
    struct statement s = {.objects = &o, .n_objects = 1};

    return decide_statement(v, &s, 1);
}

static inline struct decision decide_function(const struct policy_view *v, const char *function)
{
    struct object o = {.op = OP_SELECT};
    struct statement s = {.objects = &o, .n_objects = 1, .functions = &function, .n_functions = 1};

    return decide_statement(v, &s, 1);
}

static inline const char *verdict_text(enum verdict v)
{
    return v == VERDICT_ALLOW ? "Allow" : v == VERDICT_APPROVE ? "Approve" : "Deny";
}

/* One row: a policy text, what is done, what comes out. */
struct row {
    const char *policies;
    struct thing thing;
    enum verdict verdict;
    const char *rule; /* NULL: none */
};

static inline void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct policy_view *v = view_of(rows[i].policies);
        struct decision d = decide_thing(v, rows[i].thing);
        const char *rule = d.rule ? d.rule : "-", *wanted = rows[i].rule ? rows[i].rule : "-";

        if (d.verdict != rows[i].verdict || strcmp(rule, wanted) != 0)
            fail_msg("row %zu, %s on %s: %s by %s, not %s by %s (%s)\n%s", i,
                     operation_name(rows[i].thing.op),
                     rows[i].thing.relation ? rows[i].thing.relation : "nothing",
                     verdict_text(d.verdict), rule, verdict_text(rows[i].verdict), wanted, d.reason,
                     rows[i].policies);
        assert_int_equal(d.verdict == VERDICT_ALLOW, d.reason[0] == 0);
        assert_int_equal(d.verdict == VERDICT_APPROVE, d.approval != NULL);
        assert_int_equal(d.would, d.verdict);
        assert_false(d.audited);
        policy_view_unref(v);
    }
}
