/* SPDX-License-Identifier: Apache-2.0
 * Views: which policies apply, and how they add up: subjects, targets, the cluster's floor,
 * mode Audit, masks, recording.
 */
#include "policy_support.h"

#include "sidecar/mask/detect.h"

#define READ RULE("name: read, action: Allow, sql: {operations: [Read]}")
#define ALL  RULE("name: all, action: Allow, sql: {operations: [\"*\"]}")

/* ---- subjects ---- */

static const struct {
    const char *subjects;
    bool selects;
} subjects[] = {
    {"[]", true},
    {"[{podSelector: {}}]", true},
    {"[{podSelector: {matchLabels: {app: coder}}}]", true},
    {"[{podSelector: {matchLabels: {app: coder, tier: dev}}}]", true},
    {"[{podSelector: {matchLabels: {app: coder, tier: prod}}}]", false},
    {"[{podSelector: {matchLabels: {app: \"\"}}}]", false},
    {"[{podSelector: {matchLabels: {coder: app}}}]", false},
    {"[{podSelector: {matchExpressions: [{key: app, operator: In, values: [x, coder]}]}}]", true},
    {"[{podSelector: {matchExpressions: [{key: app, operator: In, values: [x]}]}}]", false},
    {"[{podSelector: {matchExpressions: [{key: zone, operator: In, values: [x]}]}}]", false},
    {"[{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [x]}]}}]", true},
    {"[{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [coder]}]}}]", false},
    {"[{podSelector: {matchExpressions: [{key: zone, operator: NotIn, values: [x]}]}}]", true},
    {"[{podSelector: {matchExpressions: [{key: app, operator: Exists}]}}]", true},
    {"[{podSelector: {matchExpressions: [{key: zone, operator: Exists}]}}]", false},
    {"[{podSelector: {matchExpressions: [{key: zone, operator: DoesNotExist}]}}]", true},
    {"[{podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}]", false},
    {"[{podSelector: {matchLabels: {app: coder}, matchExpressions: [{key: tier, operator: "
     "DoesNotExist}]}}]",
     false},
    {"[{serviceAccounts: [other, coder]}]", true},
    {"[{serviceAccounts: [other]}]", false},
    {"[{groups: [nobody, staff]}]", true},
    {"[{groups: [nobody]}]", false},
    /* entries OR, fields AND */
    {"[{claims: {department: research}}]", true},
    {"[{claims: {department: [sales, research]}}]", true},
    {"[{claims: {amr: otp, department: research}}]", true},
    {"[{claims: {amr: otp, department: sales}}]", false},
    {"[{claims: {department: Research}}]", false},
    {"[{claims: {research: department}}]", false},
    {"[{claims: {department: research}, groups: [nobody]}]", false},
    {"[{serviceAccounts: [other]}, {groups: [staff]}]", true},
    {"[{serviceAccounts: [other], groups: [staff]}]", false},
    {"[{serviceAccounts: [coder], groups: [staff], podSelector: {matchLabels: {app: coder}}}]",
     true},
    {"[{serviceAccounts: [coder], groups: [staff], podSelector: {matchLabels: {app: x}}}]", false},
};

static void test_subjects(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        char policies[512];
        struct policy_view *v;

        snprintf(policies, sizeof policies, HEAD("GuardPolicy", "p") "spec: {subjects: %s}\n",
                 subjects[i].subjects);
        v = view_of(policies);
        if (policy_view_empty(v) == subjects[i].selects)
            fail_msg("%s", subjects[i].subjects);
        policy_view_unref(v);
    }
}

static bool selects(const char *policy, const struct agent *agent)
{
    char yaml[1024];
    struct policy_snapshot *s;
    struct policy_view *v;
    bool yes;

    snprintf(yaml, sizeof yaml, "%s%s", DB, policy);
    s = snapshot_of(yaml);
    v = view_for(s, agent, "db", NULL);
    yes = !policy_view_empty(v);
    policy_view_unref(v);
    policy_snapshot_unref(s);
    return yes;
}

/* What is not known about an agent does not match. */
static void test_agent_without_identity(void **state)
{
    const struct agent nobody = {0};

    (void)state;
    assert_true(selects(HEAD("GuardPolicy", "p") "spec: {}", &nobody));
    assert_true(selects(HEAD("GuardPolicy", "p") "spec: {subjects: [{podSelector: {}}]}", &nobody));
    assert_false(selects(HEAD("GuardPolicy", "p, namespace: a") "spec: {}", &nobody));
    assert_false(
        selects(HEAD("GuardPolicy", "p") "spec: {subjects: [{groups: [staff]}]}", &nobody));
    assert_false(
        selects(HEAD("GuardPolicy", "p") "spec: {subjects: [{serviceAccounts: [x]}]}", &nobody));
    assert_false(
        selects(HEAD("GuardPolicy", "p") "spec: {subjects: [{podSelector: {matchLabels: {a: b}}}]}",
                &nobody));
    assert_false(selects(
        HEAD("ClusterGuardPolicy", "p") "spec: {subjects: [{namespaceSelector: "
                                        "{matchLabels: {kubernetes.io/metadata.name: agents}}}]}",
        &nobody));
}

static void test_namespaces(void **state)
{
#define BY_NAME "spec: {subjects: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "
    (void)state;
    assert_true(selects(HEAD("GuardPolicy", "p, namespace: agents") "spec: {}", &coder));
    assert_false(selects(HEAD("GuardPolicy", "p, namespace: other") "spec: {}", &coder));
    assert_true(selects(HEAD("GuardPolicy", "p") "spec: {}", &coder));
    assert_true(selects(HEAD("ClusterGuardPolicy", "p") "spec: {}", &coder));
    assert_true(selects(HEAD("ClusterGuardPolicy", "p") BY_NAME "agents}}}]}", &coder));
    assert_false(selects(HEAD("ClusterGuardPolicy", "p") BY_NAME "other}}}]}", &coder));
    assert_true(
        selects(HEAD("ClusterGuardPolicy",
                     "p") "spec: {subjects: [{namespaceSelector: "
                          "{matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, "
                          "values: [kube-system]}]}}]}",
                &coder));
}

/* ---- targets ---- */

static void test_targets_and_databases(void **state)
{
    static const struct {
        const char *spec, *target, *database;
        bool covers;
    } rows[] = {
        {"{}", "db", "orders", true},
        {"{}", "other", NULL, true},
        {"{targets: [{name: db}]}", "db", "orders", true},
        {"{targets: [{name: db}]}", "db", NULL, true},
        {"{targets: [{name: db}]}", "other", "orders", false},
        {"{targets: [{name: db}, {name: other}]}", "other", "orders", true},
        {"{targets: [{name: db, databases: [orders]}]}", "db", "orders", true},
        {"{targets: [{name: db, databases: [orders]}]}", "db", "Orders", false},
        {"{targets: [{name: db, databases: [orders]}]}", "db", "orders2", false},
        {"{targets: [{name: db, databases: [orders]}]}", "db", NULL, false},
        {"{targets: [{name: db, databases: [\"ord*\", x]}]}", "db", "orders2", true},
        {"{targets: [{name: db, databases: [\"*\"]}]}", "db", "a.b", true},
        {"{targets: [{name: db, databases: [x]}, {name: db, databases: [z]}]}", "db", "z", true},
        {"{targets: [{name: kubernetes, namespaces: [shop]}]}", "db", "z", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char yaml[1024];
        struct policy_snapshot *s;
        struct policy_view *v;

        snprintf(yaml, sizeof yaml,
                 "%s%sspec: {protocol: postgres, hosts: [x.y], ports: [1]}\n---\n"
                 "%sspec: %s\n",
                 DB, HEAD("GuardTarget", "other"), HEAD("GuardPolicy", "p"), rows[i].spec);
        s = snapshot_of(yaml);
        v = view_for(s, &coder, rows[i].target, rows[i].database);
        if (policy_view_empty(v) == rows[i].covers)
            fail_msg("%s: %s", rows[i].spec, rows[i].target);
        policy_view_unref(v);
        policy_snapshot_unref(s);
    }
}

/* A policy without targets is for every target of its namespace, not of another. */
static void test_targets_of_other_namespaces(void **state)
{
    struct policy_snapshot *s = snapshot_of(
        HEAD("GuardTarget",
             "t, namespace: agents") "spec: {protocol: tcp, hosts: [a.b], ports: "
                                     "[1]}\n---\n" HEAD("GuardTarget",
                                                        "t, namespace: other") "spec: "
                                                                               "{protocol: tcp, "
                                                                               "hosts: [a.b], "
                                                                               "ports: "
                                                                               "[1]}\n---"
                                                                               "\n" HEAD("GuardP"
                                                                                         "olicy",
                                                                                         "p, "
                                                                                         "namesp"
                                                                                         "ace: "
                                                                                         "agent"
                                                                                         "s") "s"
                                                                                              "p"
                                                                                              "e"
                                                                                              "c"
                                                                                              ":"
                                                                                              " "
                                                                                              "{"
                                                                                              "}"
                                                                                              "\n");
    struct policy_view *v;

    (void)state;
    v = view_for(s, &coder, "t", NULL);
    assert_false(policy_view_empty(v));
    policy_view_unref(v);
    assert_int_equal(policy_view_new(s, &coder, policy_target_by_name(s, "other", "t"), NULL, &v),
                     0);
    assert_true(policy_view_empty(v));
    policy_view_unref(v);
    policy_snapshot_unref(s);
}

/* ---- several policies, the floor ---- */

#define NS_ALL       POLICY("own", RULES(ALL))
#define FLOOR(rules) CLUSTER("floor", RULES(rules))
#define NO_DROP      RULE("name: no-drop, action: Deny, sql: {operations: [Drop]}")
#define ASK_DELETE   RULE("name: ask, action: RequireApproval, sql: {operations: [Delete]}")
#define ALLOW_READ   RULE("name: floor-read, action: Allow, sql: {operations: [Read]}")
#define ALLOW_DROP   RULE("name: drop, action: Allow, sql: {operations: [Drop]}")

static void test_policies_add_up(void **state)
{
    static const struct row rows[] = {
        {POLICY("a", RULES(READ)) POLICY("b", RULES(NO_DROP)),
         {OP_SELECT, "a.b"},
         VERDICT_ALLOW,
         "read"},
        {POLICY("a", RULES(ALL)) POLICY("b", RULES(NO_DROP)),
         {OP_DROP, "a.b"},
         VERDICT_DENY,
         "no-drop"},
        {POLICY("b", RULES(ALL)) POLICY("a", RULES(NO_DROP)),
         {OP_DROP, "a.b"},
         VERDICT_DENY,
         "no-drop"},
        {POLICY("a", RULES(ALL)) POLICY("b", RULES(ASK_DELETE)),
         {OP_DELETE, "a.b"},
         VERDICT_APPROVE,
         "ask"},
        {POLICY("a", RULES(READ)) POLICY("b", RULES(READ)), {OP_DELETE, "a.b"}, VERDICT_DENY, NULL},
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static const struct row floor_rows[] = {
    /* what the cluster refuses or asks holds, whatever a namespace allows */
    {NS_ALL FLOOR(NO_DROP), {OP_DROP, "a.b"}, VERDICT_DENY, "no-drop"},
    {FLOOR(NO_DROP) NS_ALL, {OP_DROP, "a.b"}, VERDICT_DENY, "no-drop"},
    {NS_ALL FLOOR(ASK_DELETE), {OP_DELETE, "a.b"}, VERDICT_APPROVE, "ask"},
    {NS_ALL FLOOR(NO_DROP), {OP_SELECT, "a.b"}, VERDICT_ALLOW, "all"},
    /* the cluster's Allow lifts no Deny, and gives nothing that the namespace leaves out */
    {POLICY("own", RULES(NO_DROP)) FLOOR(ALLOW_DROP), {OP_DROP, "a.b"}, VERDICT_DENY, "no-drop"},
    {POLICY("own", RULES(NO_DROP)) FLOOR(ALLOW_READ), {OP_SELECT, "a.b"}, VERDICT_DENY, NULL},
    {POLICY("own", RULES(READ)) FLOOR(ALLOW_DROP), {OP_DROP, "a.b"}, VERDICT_DENY, NULL},
    {POLICY("own", RULES(READ)) FLOOR(ALLOW_READ), {OP_SELECT, "a.b"}, VERDICT_ALLOW, "read"},
    /* nor does its approval rule permit what the namespace leaves out */
    {POLICY("own", RULES(READ)) FLOOR(ASK_DELETE), {OP_DELETE, "a.b"}, VERDICT_DENY, NULL},
    /* a namespace's approval is not lifted by the cluster's Allow */
    {POLICY("own", RULES(ASK_DELETE))
         FLOOR(RULE("name: all, action: Allow, sql: {operations: [\"*\"]}")),
     {OP_DELETE, "a.b"},
     VERDICT_APPROVE,
     "ask"},
    /* without a policy of the namespace the cluster's is the policy */
    {FLOOR(ALLOW_READ NO_DROP), {OP_SELECT, "a.b"}, VERDICT_ALLOW, "floor-read"},
    {FLOOR(ALLOW_READ NO_DROP), {OP_DROP, "a.b"}, VERDICT_DENY, "no-drop"},
    {FLOOR(ALLOW_READ NO_DROP), {OP_INSERT, "a.b"}, VERDICT_DENY, NULL},
    {FLOOR(ASK_DELETE), {OP_DELETE, "a.b"}, VERDICT_APPROVE, "ask"},
    {FLOOR(NO_DROP), {OP_SELECT, "a.b"}, VERDICT_DENY, NULL},
    /* a namespace's policy for somebody else is none */
    {POLICY("own", "  subjects: [{groups: [x]}]\n" RULES(NO_DROP)) FLOOR(ALLOW_READ),
     {OP_SELECT, "a.b"},
     VERDICT_ALLOW,
     "floor-read"},
    /* implied objects too */
    {NS_ALL FLOOR(RULE("name: x, action: Deny, sql: {operations: [Explain]}")),
     {.op = OP_EXPLAIN, .implied = true},
     VERDICT_DENY,
     "x"},
};

static void test_floor(void **state)
{
    (void)state;
    check_rows(floor_rows, ARRAY_LEN(floor_rows));
}

static void test_floor_for_functions(void **state)
{
    static const struct {
        const char *policies;
        enum verdict verdict;
    } rows[] = {
        {POLICY("own", RULES(READ RULE("name: f, action: Allow, sql: {functions: [app.f]}")))
             FLOOR(RULE("name: fn, action: Deny, sql: {functions: [app.f]}")),
         VERDICT_DENY},
        {POLICY("own", RULES(READ RULE("name: f, action: Allow, sql: {functions: [app.f]}")))
             FLOOR(RULE("name: fn, action: RequireApproval, sql: {functions: [app.f]}")),
         VERDICT_APPROVE},
        {POLICY("own", RULES(READ))
             FLOOR(RULE("name: fn, action: Allow, sql: {functions: [app.f]}")),
         VERDICT_DENY},
        {FLOOR(READ RULE("name: fn, action: Allow, sql: {functions: [app.f]}")), VERDICT_ALLOW},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy_view *v = view_of(rows[i].policies);

        assert_int_equal(decide_function(v, "app.f").verdict, rows[i].verdict);
        policy_view_unref(v);
    }
}

/* ---- audit ---- */

struct audit_row {
    const char *policies;
    struct thing thing;
    enum verdict verdict, would;
    const char *rule;
};

#define AUDIT_POLICY(name, rules)  POLICY(name, AUDIT RULES(rules))
#define AUDIT_CLUSTER(name, rules) CLUSTER(name, AUDIT RULES(rules))

static const struct audit_row audit[] = {
    /* alone: everything goes, and is judged */
    {AUDIT_POLICY("a", READ), {OP_SELECT, "a.b"}, VERDICT_ALLOW, VERDICT_ALLOW, "read"},
    {AUDIT_POLICY("a", READ), {OP_DROP, "a.b"}, VERDICT_ALLOW, VERDICT_DENY, NULL},
    {AUDIT_POLICY("a", READ NO_DROP), {OP_DROP, "a.b"}, VERDICT_ALLOW, VERDICT_DENY, "no-drop"},
    {AUDIT_POLICY("a", ASK_DELETE), {OP_DELETE, "a.b"}, VERDICT_ALLOW, VERDICT_APPROVE, "ask"},
    {AUDIT_CLUSTER("a", READ), {OP_DROP, "a.b"}, VERDICT_ALLOW, VERDICT_DENY, NULL},
    /* never weaker than Enforce */
    {POLICY("e", RULES(READ)) AUDIT_POLICY("a", ALL),
     {OP_DROP, "a.b"},
     VERDICT_DENY,
     VERDICT_DENY,
     NULL},
    {POLICY("e", RULES(READ NO_DROP)) AUDIT_POLICY("a", ALLOW_DROP),
     {OP_DROP, "a.b"},
     VERDICT_DENY,
     VERDICT_DENY,
     "no-drop"},
    {POLICY("e", RULES(ASK_DELETE)) AUDIT_POLICY("a", ALL),
     {OP_DELETE, "a.b"},
     VERDICT_APPROVE,
     VERDICT_APPROVE,
     "ask"},
    {CLUSTER("floor", RULES(NO_DROP)) AUDIT_POLICY("a", ALL),
     {OP_DROP, "a.b"},
     VERDICT_DENY,
     VERDICT_DENY,
     "no-drop"},
    {CLUSTER("floor", RULES(NO_DROP)) AUDIT_POLICY("a", ALL),
     {OP_SELECT, "a.b"},
     VERDICT_DENY,
     VERDICT_DENY,
     NULL},
    /* what it would have added */
    {POLICY("e", RULES(ALL)) AUDIT_POLICY("a", NO_DROP),
     {OP_DROP, "a.b"},
     VERDICT_ALLOW,
     VERDICT_DENY,
     "no-drop"},
    {POLICY("e", RULES(ALL)) AUDIT_CLUSTER("a", NO_DROP),
     {OP_DROP, "a.b"},
     VERDICT_ALLOW,
     VERDICT_DENY,
     "no-drop"},
    {POLICY("e", RULES(ALL)) AUDIT_POLICY("a", ASK_DELETE),
     {OP_DELETE, "a.b"},
     VERDICT_ALLOW,
     VERDICT_APPROVE,
     "ask"},
    {POLICY("e", RULES(ASK_DELETE))
         AUDIT_POLICY("a", RULE("name: fn, action: Deny, sql: {operations: [Delete]}")),
     {OP_DELETE, "a.b"},
     VERDICT_APPROVE,
     VERDICT_DENY,
     "ask"},
    {POLICY("e", RULES(READ)) AUDIT_POLICY("a", NO_DROP),
     {OP_SELECT, "a.b"},
     VERDICT_ALLOW,
     VERDICT_ALLOW,
     "read"},
    {POLICY("e", RULES(RULE("name: ask, action: RequireApproval, sql: {operations: [Select], "
                            "relations: [a.b]}"))) AUDIT_POLICY("a", READ),
     {OP_SELECT, NULL},
     VERDICT_APPROVE,
     VERDICT_APPROVE,
     "ask"},
    /* an Audit policy of the namespace takes nothing from the cluster's Enforce one */
    {CLUSTER("floor", RULES(ALLOW_READ)) AUDIT_POLICY("a", NO_DROP),
     {OP_SELECT, "a.b"},
     VERDICT_ALLOW,
     VERDICT_DENY,
     NULL},
};

static void test_audit(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(audit); i++) {
        struct policy_view *v = view_of(audit[i].policies);
        struct decision d = decide_thing(v, audit[i].thing);
        const char *rule = d.rule ? d.rule : "-", *wanted = audit[i].rule ? audit[i].rule : "-";

        if (d.verdict != audit[i].verdict || d.would != audit[i].would || strcmp(rule, wanted) != 0)
            fail_msg("row %zu: %s, would %s by %s (%s)\n%s", i, verdict_text(d.verdict),
                     verdict_text(d.would), rule, d.reason, audit[i].policies);
        assert_int_equal(d.audited, d.verdict != d.would);
        assert_int_equal(d.approval != NULL, d.verdict == VERDICT_APPROVE);
        assert_int_equal(d.reason[0] != 0, d.would != VERDICT_ALLOW);
        policy_view_unref(v);
    }
}

/* What no policy lifts is refused in mode Audit too. */
static void test_audit_and_built_in_refusals(void **state)
{
    struct policy_view *v = view_of(AUDIT_POLICY("a", ALL));
    struct statement s = {.denied = "too large"};
    struct decision d = decide_statement(v, &s, 1);

    (void)state;
    assert_int_equal(d.verdict, VERDICT_DENY);
    assert_false(d.audited);
    assert_int_equal(decide_statement(v, NULL, 0).verdict, VERDICT_ALLOW);
    assert_false(decide_statement(v, NULL, 0).audited);
    policy_view_unref(v);
}

/* ---- masks ---- */

static void test_masks(void **state)
{
    struct policy_view *v = view_of(
        POLICY("a", RULES(RULE("name: m1, action: Mask, sql: {columns: [public.users.email, "
                               "'public.\"a.b\".\"x*\"']}, "
                               "mask: {method: Partial, predicates: Allow}")
                              RULE("name: m2, action: Mask, sql: {columns: [\"*.*.ssn\"]}, mask: "
                                   "{method: Null, "
                                   "writeBack: Allow}")
                                  RULE("name: v1, action: Mask, values: {detectors: [email, jwt]}, "
                                       "mask: {method: Partial}")
                                      RULE("name: v2, action: Mask, values: {detectors: [jwt, "
                                           "iban]}, mask: {method: Token}")))
            CLUSTER("c", RULES(RULE("name: m3, action: Mask, sql: {columns: [a.b.c]}")
                                   RULE("name: v3, action: Mask, values: {detectors: [iban]}")))
                AUDIT_POLICY("z", RULE("name: m4, action: Mask, sql: {columns: [q.q.q]}, values: "
                                       "{detectors: [ipv4]}")));
    size_t n = 0;
    const struct column_mask *m = policy_view_column_masks(v, &n);
    uint32_t set = 1u << DETECT_EMAIL | 1u << DETECT_JWT | 1u << DETECT_IBAN;

    (void)state;
    assert_int_equal(n, 4); /* the Audit policy masks nothing */
    assert_string_equal(m[0].rule, "m3");
    assert_int_equal(m[0].method, MASK_REDACT);
    assert_false(m[0].allow_predicates || m[0].allow_write_back);
    assert_string_equal(m[1].schema, "public");
    assert_string_equal(m[1].relation, "users");
    assert_string_equal(m[1].column, "email");
    assert_int_equal(m[1].method, MASK_PARTIAL);
    assert_true(m[1].allow_predicates);
    assert_false(m[1].allow_write_back);
    assert_string_equal(m[2].relation, "a.b");
    assert_string_equal(m[2].column, "x*");
    assert_string_equal(m[3].schema, "*");
    assert_int_equal(m[3].method, MASK_NULL);
    assert_true(m[3].allow_write_back);
    assert_int_equal(policy_view_detectors(v), set);
    assert_int_equal(policy_view_detector_method(v, DETECT_EMAIL), MASK_PARTIAL);
    assert_int_equal(policy_view_detector_method(v, DETECT_JWT), MASK_TOKEN);
    assert_int_equal(policy_view_detector_method(v, DETECT_IBAN), MASK_REDACT);
    assert_int_equal(policy_view_detector_method(v, DETECT_IPV4), MASK_NONE);
    assert_int_equal(policy_view_detector_method(v, 4000), MASK_NONE);
    policy_view_unref(v);
}

/* A mask permits nothing. */
static void test_masks_do_not_decide(void **state)
{
    static const struct row rows[] = {
        {POLICY("p", RULES(RULE("name: m, action: Mask, sql: {columns: [\"*.*.*\"]}"))),
         {OP_SELECT, "a.b"},
         VERDICT_DENY,
         NULL},
        {POLICY("p", RULES(RULE("name: m, action: Mask, values: {detectors: [email]}"))),
         {OP_SELECT, NULL},
         VERDICT_DENY,
         NULL},
        {POLICY("p", RULES(RULE("name: k, action: Allow, kube: {resources: [\"*\"]}")
                               RULE("name: s, action: Allow, ssh: {requests: [exec]}"))),
         {OP_SELECT, NULL},
         VERDICT_DENY,
         NULL},
        {POLICY("p", RULES(READ RULE("name: m, action: Mask, sql: {columns: [\"*.*.*\"]}"))),
         {OP_SELECT, "a.b"},
         VERDICT_ALLOW,
         "read"},
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

/* ---- recording ---- */

static void test_recording(void **state)
{
#define REC(name, text) POLICY(name, "  recording: {" text "}")
    static const struct {
        const char *policies;
        struct recording_settings wanted;
    } rows[] = {
        {"", {true, false, 1 << 20, false}},
        {POLICY("a", "  {}"), {true, false, 1 << 20, false}},
        {REC("a", "required: false"), {false, false, 1 << 20, false}},
        {REC("a", "content: Statements, maxResultBytes: 64Ki"), {true, true, 65536, false}},
        {REC("a", "maxResultBytes: 0"), {true, false, 0, false}},
        {REC("a", "durability: Process"), {true, false, 1 << 20, false}},
        {REC("a", "durability: Node"), {true, false, 1 << 20, true}},
        {REC("a", "durability: Process") REC("b", "durability: Node"),
         {true, false, 1 << 20, true}},
        /* the most complete record wins; saying nothing asks for the defaults */
        {REC("a", "required: false") POLICY("b", "  {}"), {true, false, 1 << 20, false}},
        {REC("a", "required: false") REC("b", "required: false"), {false, false, 1 << 20, false}},
        {REC("a", "content: Statements") REC("b", "content: Masked"),
         {true, false, 1 << 20, false}},
        {REC("a", "content: Statements, maxResultBytes: 1") REC("b", "content: Statements, "
                                                                     "maxResultBytes: 2"),
         {true, true, 2, false}},
        {REC("a", "required: false") POLICY("b", AUDIT), {true, false, 1 << 20, false}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy_view *v = view_of(rows[i].policies);
        const struct recording_settings *r = policy_view_recording(v);

        assert_int_equal(r->required, rows[i].wanted.required);
        assert_int_equal(r->statements_only, rows[i].wanted.statements_only);
        assert_int_equal(r->to_disk, rows[i].wanted.to_disk);
        assert_int_equal(r->max_result_bytes, rows[i].wanted.max_result_bytes);
        policy_view_unref(v);
    }
}

/* ---- life ---- */

static void test_view_keeps_its_snapshot(void **state)
{
    struct policy_snapshot *s = snapshot_of(DB POLICY("p", RULES(READ)));
    struct policy_view *v = view_for(s, &coder, "db", "orders");

    (void)state;
    assert_ptr_equal(policy_view_snapshot(v), s);
    policy_snapshot_unref(s);
    assert_ptr_equal(policy_view_ref(v), v);
    policy_view_unref(v);
    assert_int_equal(decide_thing(v, (struct thing){OP_SELECT, "a.b"}).verdict, VERDICT_ALLOW);
    policy_view_unref(v);
    policy_view_unref(NULL);
    policy_snapshot_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subjects),
        cmocka_unit_test(test_agent_without_identity),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_targets_and_databases),
        cmocka_unit_test(test_targets_of_other_namespaces),
        cmocka_unit_test(test_policies_add_up),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_floor_for_functions),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_audit_and_built_in_refusals),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_masks_do_not_decide),
        cmocka_unit_test(test_recording),
        cmocka_unit_test(test_view_keeps_its_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
