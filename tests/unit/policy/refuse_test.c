/* SPDX-License-Identifier: Apache-2.0
 * What loading refuses, and in which words: file, line, field, reason.
 */
#include "policy_support.h"

struct refusal {
    const char *yaml, *error;
};

static void check(const char *yaml, const char *wanted)
{
    struct policy_snapshot *s = NULL;
    struct error err = {0};
    int rc = policy_load_text(bytes_str(yaml), "p.yaml", &s, &err);

    if (rc != -EINVAL || strcmp(err.text, wanted) != 0)
        fail_msg("%d\n got: %s\nwant: %s\n%s", rc, rc ? err.text : "(accepted)", wanted, yaml);
    assert_null(s);
}

static void check_all(const struct refusal *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check(rows[i].yaml, rows[i].error);
}

/* A policy whose spec begins on line 5, a target whose spec is on line 5, and one rule there. */
#define P(spec)    HEAD("GuardPolicy", "p") "spec:\n" spec "\n"
#define C(spec)    HEAD("ClusterGuardPolicy", "p") "spec:\n" spec "\n"
#define T(spec)    HEAD("GuardTarget", "t") "spec:\n  " spec "\n"
#define R(rule)    P("  rules: [{name: r, " rule "}]")
#define PG(more)   T("{protocol: postgres, hosts: [a.b], ports: [5432], " more "}")
#define HOST(host) T("{protocol: tcp, hosts: [" host "], ports: [1]}")

static const struct refusal documents[] = {
    {"just words", "p.yaml:1: document: expected a mapping, found a string"},
    {"[]", "p.yaml:1: document: expected a mapping, found a list"},
    {"kind: GuardPolicy", "p.yaml:1: apiVersion: required"},
    {"apiVersion: chaperone.dev/v1alpha1", "p.yaml:1: kind: required"},
    {"apiVersion: 1\nkind: GuardPolicy",
     "p.yaml:1: apiVersion: expected a string, found a whole number (1); put it in quotes"},
    {"kind: GuardPolicy\napiVersion: chaperone.dev/v1",
     "p.yaml:2: apiVersion: unknown version 'chaperone.dev/v1' of GuardPolicy (expected "
     "chaperone.dev/v1alpha1)"},
    {"apiVersion: v1\nkind: Secret",
     "p.yaml:1: apiVersion: unknown version 'v1' of Secret (expected chaperone.dev/v1alpha1)"},
    {"apiVersion: chaperone.dev/v1alpha1\nkind: GuardPolcy",
     "p.yaml:2: kind: unknown kind 'GuardPolcy' (did you mean GuardPolicy?)"},
    {"apiVersion: chaperone.dev/v1alpha1\nkind: Banana", "p.yaml:2: kind: unknown kind 'Banana'"},
    {HEAD("ApprovalRequest", "p") "spec: {}",
     "p.yaml:2: kind: an ApprovalRequest is made by a guard and decided by people; it is no "
     "policy"},
    {"apiVersion: chaperone.dev/v1alpha1\nkind: GuardPolicy\nspec: {}",
     "p.yaml:1: metadata: required"},
    {"apiVersion: chaperone.dev/v1alpha1\nkind: GuardPolicy\nmetadata: {}\nspec: {}",
     "p.yaml:3: metadata.name: required"},
    {HEAD("GuardPolicy", "p"), "p.yaml:1: spec: required"},
    {HEAD("GuardPolicy", "p") "spec:\n", "p.yaml:4: spec: expected a mapping, found nothing"},
    {HEAD("GuardPolicy", "p") "spec: {}\nstaus: {}",
     "p.yaml:5: staus: unknown field (did you mean status?)"},
    {HEAD("GuardPolicy", "P_1") "spec: {}", "p.yaml:3: metadata.name: 'P_1' is not a name: "
                                            "lower-case letters, digits, '-' and '.', at "
                                            "most 253"},
    {HEAD("GuardPolicy", "p-") "spec: {}",
     "p.yaml:3: metadata.name: 'p-' is not a name: lower-case letters, digits, '-' and '.', at "
     "most 253"},
    {HEAD("GuardPolicy", "a..b") "spec: {}",
     "p.yaml:3: metadata.name: 'a..b' is not a name: lower-case letters, digits, '-' and '.', "
     "at most 253"},
    {HEAD("GuardPolicy", "p, namespace: a.b") "spec: {}",
     "p.yaml:3: metadata.namespace: 'a.b' is not a name: lower-case letters, digits and '-', "
     "at "
     "most 63"},
    {HEAD("GuardPolicy", "p, namepace: x") "spec: {}",
     "p.yaml:3: metadata.namepace: unknown field (did you mean namespace?)"},
    {HEAD("ClusterGuardPolicy", "p, namespace: x") "spec: {}",
     "p.yaml:3: metadata.namespace: a ClusterGuardPolicy has no namespace"},
    {P("  {}") "---\n" P("  {}"),
     "p.yaml:9: metadata.name: there is already a GuardPolicy 'p' (p.yaml:1)"},
    {HEAD("GuardPolicy", "no") "spec: {}",
     "p.yaml:3: metadata.name: expected a string, found true or false (no); put it in quotes"},
    {"apiVersion: v1\nkind: List\nitems: 1", "p.yaml:3: items: expected a list, found a whole "
                                             "number (1)"},
    {"apiVersion: v1\nkind: List", "p.yaml:1: items: required"},
    {"apiVersion: v1\nkind: List\nitems:\n- kind: GuardPolicy",
     "p.yaml:4: items[0].apiVersion: required"},
    {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}",
     "p.yaml:4: items[0]: a list in a list"},
};

static void test_documents(void **state)
{
    (void)state;
    check_all(documents, ARRAY_LEN(documents));
}

static const struct refusal fields[] = {
    {P("  rule: []"), "p.yaml:5: spec.rule: unknown field (did you mean rules?)"},
    {P("  mode: audit"), "p.yaml:5: spec.mode: unknown mode 'audit' (did you mean Audit?)"},
    {P("  mode: Off"), "p.yaml:5: spec.mode: expected a string, found true or false (Off); put "
                       "it in quotes"},
    {P("  mode: [Audit]"), "p.yaml:5: spec.mode: expected a string, found a list"},
    {P("  rules: {}"), "p.yaml:5: spec.rules: expected a list, found a mapping"},
    {P("  rules:"), "p.yaml:5: spec.rules: expected a list, found nothing"},
    {P("  rules:\n  - x"), "p.yaml:6: spec.rules[0]: expected a mapping, found a string"},
    {P("  rules:\n  - action: Deny"), "p.yaml:6: spec.rules[0].name: required"},
    {P("  rules:\n  - name: r\n"), "p.yaml:6: spec.rules[0].action: required"},
    {R("actoin: Deny"), "p.yaml:5: spec.rules[0].actoin: unknown field (did you mean action?)"},
    {R("action: Block"), "p.yaml:5: spec.rules[0].action: unknown action 'Block'"},
    {R("action: allow"),
     "p.yaml:5: spec.rules[0].action: unknown action 'allow' (did you mean Allow?)"},
    {P("  rules: [{name: a b, action: Deny}]"),
     "p.yaml:5: spec.rules[0].name: 'a b' is not a rule's name: letters, digits, '-', '_' and "
     "'.', at most 63"},
    {P("  rules:\n  - {name: r, action: Deny, sql: {operations: [Do]}}\n  - {name: s, action: "
       "Deny, sql: {operations: [Do]}}\n  - {name: r, action: Deny, sql: {operations: [Do]}}"),
     "p.yaml:8: spec.rules[2].name: the rule 'r' is there twice (first on line 6)"},
    {P("  recording: {required: yes}"),
     "p.yaml:5: spec.recording.required: 'yes' means different things to different readers; "
     "write true or false"},
    {P("  recording: {required: \"true\"}"),
     "p.yaml:5: spec.recording.required: expected true or false, found a string"},
    {P("  recording: {content: All}"), "p.yaml:5: spec.recording.content: unknown content 'All'"},
    {P("  recording: {durability: Disk}"),
     "p.yaml:5: spec.recording.durability: unknown durability 'Disk'"},
    {P("  recording: {maxResultBytes: -1}"),
     "p.yaml:5: spec.recording.maxResultBytes: must be between 0 and 1073741824"},
    {P("  recording: {maxResultBytes: 0x10}"),
     "p.yaml:5: spec.recording.maxResultBytes: expected a size such as 65536, 64Ki or 1Mi, "
     "found a number (0x10)"},
    {P("  recording: {maxResultBytes: 1MB}"),
     "p.yaml:5: spec.recording.maxResultBytes: '1MB' is not a size such as 65536, 64Ki or 1Mi"},
    {P("  recording: {maxResultBytes: 2Gi}"),
     "p.yaml:5: spec.recording.maxResultBytes: must be at most 1Gi"},
};

static void test_fields(void **state)
{
    (void)state;
    check_all(fields, ARRAY_LEN(fields));
}

#define SQL(sql) R("action: Allow, sql: {" sql "}")
static const struct refusal sql_rules[] = {
    {P("  rules:\n  - {name: a, action: Deny, sql: {operations: [Do]}}\n"
       "  - {name: b, action: Deny, sql: {operations: [Do]}}\n"
       "  - name: c\n    action: Deny\n    sql:\n      operations: [Selct]\n"),
     "p.yaml:11: spec.rules[2].sql.operations[0]: unknown operation 'Selct' (did you mean "
     "Select?)"},
    {SQL("operations: [select]"),
     "p.yaml:5: spec.rules[0].sql.operations[0]: unknown operation 'select' (did you mean "
     "Select?)"},
    {SQL("operations: [Everything]"),
     "p.yaml:5: spec.rules[0].sql.operations[0]: unknown operation 'Everything'"},
    {SQL("operations: []"), "p.yaml:5: spec.rules[0].sql.operations: an empty list says "
                            "nothing; leave the field out or fill it"},
    {SQL("operations: Read"),
     "p.yaml:5: spec.rules[0].sql.operations: expected a list, found a string"},
    {SQL("operations: [1]"),
     "p.yaml:5: spec.rules[0].sql.operations[0]: expected a string, found a whole number (1); "
     "put it in quotes"},
    {SQL("relations: [a.b]"), "p.yaml:5: spec.rules[0].sql.operations: required (or functions, "
                              "or in a Mask rule columns)"},
    {SQL("functions: [f], relations: [a.b]"),
     "p.yaml:5: spec.rules[0].sql.relations: narrows operations; the rule names none"},
    {SQL("operations: [Read], tables: [a.b]"), "p.yaml:5: spec.rules[0].sql.tables: unknown field"},
    {SQL("operations: [Read], relatons: [a.b]"),
     "p.yaml:5: spec.rules[0].sql.relatons: unknown field (did you mean relations?)"},
    {SQL("operations: [Read], relations: []"),
     "p.yaml:5: spec.rules[0].sql.relations: an empty list says nothing; leave the field out "
     "or "
     "fill it"},
    {SQL("operations: [Read], relations: [users]"),
     "p.yaml:5: spec.rules[0].sql.relations[0]: expected schema.relation; for any schema write "
     "\"*.users\""},
    {SQL("operations: [Read], relations: [a.b, db.a.b]"),
     "p.yaml:5: spec.rules[0].sql.relations[1]: 'db.a.b' has too many parts; write names with "
     "dots in double quotes"},
    {SQL("operations: [Read], relations: [a.]"),
     "p.yaml:5: spec.rules[0].sql.relations[0]: 'a.' has an empty part"},
    {SQL("operations: [Read], relations: ['a.\"\"']"),
     "p.yaml:5: spec.rules[0].sql.relations[0]: 'a.\"\"' has an empty part"},
    {SQL("operations: [Read], relations: ['a.\"b']"),
     "p.yaml:5: spec.rules[0].sql.relations[0]: a double quote is not closed"},
    {SQL("operations: [Read], relations: ['a.\"b\"c']"),
     "p.yaml:5: spec.rules[0].sql.relations[0]: expected a dot after the quoted name in "
     "'a.\"b\"c'"},
    {SQL("operations: [Read], relations: ['a.us?rs']"),
     "p.yaml:5: spec.rules[0].sql.relations[0]: '?' needs double quotes around the name; only "
     "* "
     "is a wildcard"},
    {SQL("operations: [Read], relations: ['a.b; drop']"),
     "p.yaml:5: spec.rules[0].sql.relations[0]: ';' needs double quotes around the name; only "
     "* "
     "is a wildcard"},
    {SQL("operations: [Begin, Set], relations: [a.b]"),
     "p.yaml:5: spec.rules[0].sql.relations: none of the rule's operations has a relation"},
    {SQL("operations: [Update], where: Missing"),
     "p.yaml:5: spec.rules[0].sql.where: unknown word 'Missing'"},
    {SQL("operations: [Select, Truncate], where: Absent"),
     "p.yaml:5: spec.rules[0].sql.where: narrows Update and Delete; the rule names neither"},
    {SQL("operations: [Read], functions: [a.b.c]"),
     "p.yaml:5: spec.rules[0].sql.functions[0]: 'a.b.c' has too many parts; write names with "
     "dots in double quotes"},
    {SQL("operations: [Read], functions: ['f()']"),
     "p.yaml:5: spec.rules[0].sql.functions[0]: '(' needs double quotes around the name; only "
     "* "
     "is a wildcard"},
    {SQL("operations: [Read], functions: [' f']"),
     "p.yaml:5: spec.rules[0].sql.functions[0]: begins or ends with a blank"},
    {SQL("columns: [a.b.c]"), "p.yaml:5: spec.rules[0].sql.columns: only in a rule with action "
                              "Mask"},
    {R("action: Allow"), "p.yaml:5: spec.rules[0]: a rule needs sql, kube or ssh"},
    {R("action: Deny, sql: {operations: [Read]}, kube: {resources: [pods]}"),
     "p.yaml:5: spec.rules[0].kube: a rule has only one of sql, kube and ssh; make it two "
     "rules"},
    {R("action: Deny, sql: {operations: [Read]}, ssh: {requests: [exec]}"),
     "p.yaml:5: spec.rules[0].ssh: a rule has only one of sql, kube and ssh; make it two "
     "rules"},
    {R("action: Deny, kube: {resources: [pods]}, ssh: {requests: [exec]}"),
     "p.yaml:5: spec.rules[0].ssh: a rule has only one of sql, kube and ssh; make it two "
     "rules"},
    {R("action: Allow, message: hello, sql: {operations: [Read]}"),
     "p.yaml:5: spec.rules[0].message: only in rules that refuse or ask"},
    {R("action: Deny, message: \"a\\tb\", sql: {operations: [Read]}"),
     "p.yaml:5: spec.rules[0].message: contains a control character"},
    {R("action: Deny, message: \"\", sql: {operations: [Read]}"),
     "p.yaml:5: spec.rules[0].message: must not be empty"},
};

static void test_sql_rules(void **state)
{
    (void)state;
    check_all(sql_rules, ARRAY_LEN(sql_rules));
}

#define MASK(more) R("action: Mask, " more)
static const struct refusal mask_rules[] = {
    {MASK("mask: {}"), "p.yaml:5: spec.rules[0]: a Mask rule needs sql.columns, values or kube"},
    {MASK("ssh: {requests: [exec]}"), "p.yaml:5: spec.rules[0].ssh: nothing of ssh can be masked"},
    {MASK("sql: {operations: [Read]}"),
     "p.yaml:5: spec.rules[0].sql.operations: a Mask rule has only sql.columns; other rules "
     "decide on operations"},
    {MASK("sql: {columns: [a.b.c], operations: [Read]}"),
     "p.yaml:5: spec.rules[0].sql.operations: a Mask rule has only sql.columns; other rules "
     "decide on operations"},
    {MASK("sql: {columns: [a.b.c], functions: [f]}"),
     "p.yaml:5: spec.rules[0].sql.functions: a Mask rule has only sql.columns; other rules "
     "decide on operations"},
    {MASK("sql: {columns: []}"), "p.yaml:5: spec.rules[0].sql.columns: an empty list says "
                                 "nothing; leave the field out or fill it"},
    {MASK("sql: {columns: [users.email]}"),
     "p.yaml:5: spec.rules[0].sql.columns[0]: expected schema.relation.column, as in "
     "\"public.users.email\""},
    {MASK("sql: {columns: [a.b.c]}, mask: {method: Hash}"),
     "p.yaml:5: spec.rules[0].mask.method: unknown method 'Hash'"},
    {MASK("sql: {columns: [a.b.c]}, mask: {method: partial}"),
     "p.yaml:5: spec.rules[0].mask.method: unknown method 'partial' (did you mean Partial?)"},
    {MASK("sql: {columns: [a.b.c]}, mask: {method: null}"),
     "p.yaml:5: spec.rules[0].mask.method: expected a string, found nothing"},
    {MASK("sql: {columns: [a.b.c]}, mask: {predicates: true}"),
     "p.yaml:5: spec.rules[0].mask.predicates: expected a string, found true or false (true); "
     "put it in quotes"},
    {MASK("sql: {columns: [a.b.c]}, mask: {predicate: Deny}"),
     "p.yaml:5: spec.rules[0].mask.predicate: unknown field (did you mean predicates?)"},
    {MASK("values: {detectors: [email]}, mask: {predicates: Allow}"),
     "p.yaml:5: spec.rules[0].mask.predicates: only for masks of columns"},
    {MASK("values: {detectors: [email]}, mask: {writeBack: Allow}"),
     "p.yaml:5: spec.rules[0].mask.writeBack: only for masks of columns"},
    {MASK("values: {}"), "p.yaml:5: spec.rules[0].values.detectors: required"},
    {MASK("values: {detectors: []}"), "p.yaml:5: spec.rules[0].values.detectors: an empty list "
                                      "says nothing; leave the field out "
                                      "or fill it"},
    {MASK("values: {detectors: [emial]}"),
     "p.yaml:5: spec.rules[0].values.detectors[0]: unknown detector 'emial' (did you mean "
     "email?)"},
    {MASK("values: {detectors: [email]}, kube: {resources: [secrets]}"),
     "p.yaml:5: spec.rules[0].values: a rule has only one of values, kube and ssh"},
    {MASK("sql: {columns: [a.b.c]}, approval: {}"),
     "p.yaml:5: spec.rules[0].approval: only in a rule with action RequireApproval"},
    {R("action: Allow, sql: {operations: [Read]}, mask: {}"),
     "p.yaml:5: spec.rules[0].mask: only in a rule with action Mask"},
    {R("action: Deny, values: {detectors: [email]}"),
     "p.yaml:5: spec.rules[0].values: only in a rule with action Mask"},
};

static void test_mask_rules(void **state)
{
    (void)state;
    check_all(mask_rules, ARRAY_LEN(mask_rules));
}

#define ASK(approval)                                                                              \
    R("action: RequireApproval, sql: {operations: [Read]}, approval: {" approval "}")
#define AT "p.yaml:5: spec.rules[0].approval."
static const struct refusal approvals[] = {
    {R("action: Allow, sql: {operations: [Read]}, approval: {}"),
     "p.yaml:5: spec.rules[0].approval: only in a rule with action RequireApproval"},
    {R("action: Deny, sql: {operations: [Read]}, approval: {}"),
     "p.yaml:5: spec.rules[0].approval: only in a rule with action RequireApproval"},
    {ASK("count: 0"), AT "count: must be between 1 and 8"},
    {ASK("count: 9"), AT "count: must be between 1 and 8"},
    {ASK("count: \"2\""), AT "count: expected a whole number, found a string"},
    {ASK("count: 1.5"), AT "count: expected a whole number, found a number (1.5)"},
    {ASK("count: 99999999999999999999"),
     AT "count: expected a whole number, found a number (99999999999999999999)"},
    {ASK("count: 3, approvers: {users: [a, b]}"),
     AT "count: more people than approvers.users names (2)"},
    {ASK("uses: 0"), AT "uses: must be between 1 and 1000"},
    {ASK("timeout: 60"), AT "timeout: expected a duration with its unit, such as 60s"},
    {ASK("timeout: 60 s"), AT "timeout: '60 s' is not a duration such as 60s, 10m or 1h"},
    {ASK("timeout: 1d"), AT "timeout: '1d' is not a duration such as 60s, 10m or 1h"},
    {ASK("timeout: 1m1h"), AT "timeout: '1m1h' is not a duration such as 60s, 10m or 1h"},
    {ASK("timeout: -5s"), AT "timeout: '-5s' is not a duration such as 60s, 10m or 1h"},
    {ASK("timeout: s"), AT "timeout: 's' is not a duration such as 60s, 10m or 1h"},
    {ASK("timeout: \"\""), AT "timeout: '' is not a duration such as 60s, 10m or 1h"},
    {ASK("timeout: 0s"), AT "timeout: must be between 1s and 86400s"},
    {ASK("timeout: 25h"), AT "timeout: must be between 1s and 86400s"},
    {ASK("validFor: 999999999h"), AT "validFor: must be between 1s and 86400s"},
    {ASK("validFor: 9999999999s"),
     AT "validFor: '9999999999s' is not a duration such as 60s, 10m or 1h"},
    {ASK("validFor: []"), AT "validFor: expected a duration such as 60s, 10m or 1h, found a list"},
    {ASK("delivery: Wait"), AT "delivery: unknown delivery 'Wait'"},
    {ASK("allowself: true"), AT "allowself: unknown field (did you mean allowSelf?)"},
    {ASK("approvers: {}"), AT "approvers: names nobody; leave it out if anyone who may approve "
                              "will do"},
    {ASK("approvers: {groups: []}"), AT "approvers.groups: an empty list says nothing; leave "
                                        "the field out or fill it"},
    {ASK("approvers: {groups: [\"\"]}"), AT "approvers.groups[0]: must not be empty"},
    {ASK("approvers: [dba]"), AT "approvers: expected a mapping, found a list"},
};

static void test_approvals(void **state)
{
    (void)state;
    check_all(approvals, ARRAY_LEN(approvals));
}

#define KUBE(kube) R("action: Allow, kube: {" kube "}")
#define SSH(ssh)   R("action: Allow, ssh: {" ssh "}")
static const struct refusal kube_and_ssh_rules[] = {
    {KUBE("verbs: [get]"), "p.yaml:5: spec.rules[0].kube: needs resources or nonResourceURLs"},
    {KUBE("verbs: [gets], resources: [pods]"),
     "p.yaml:5: spec.rules[0].kube.verbs[0]: unknown verb 'gets' (did you mean get?)"},
    {KUBE("verbs: [Get], resources: [pods]"),
     "p.yaml:5: spec.rules[0].kube.verbs[0]: unknown verb 'Get' (did you mean get?)"},
    {KUBE("resources: [Pods]"), "p.yaml:5: spec.rules[0].kube.resources[0]: 'Pods' is no "
                                "resource such as pods or pods/log"},
    {KUBE("resources: [pods/]"), "p.yaml:5: spec.rules[0].kube.resources[0]: 'pods/' is no "
                                 "resource such as pods or pods/log"},
    {KUBE("resources: [a/b/c]"), "p.yaml:5: spec.rules[0].kube.resources[0]: 'a/b/c' is no "
                                 "resource such as pods or pods/log"},
    {KUBE("resources: [\"\"]"), "p.yaml:5: spec.rules[0].kube.resources[0]: must not be empty"},
    {KUBE("resources: [[pods]]"),
     "p.yaml:5: spec.rules[0].kube.resources[0]: expected a string, found a list"},
    {KUBE("resources: [pods], groups: [Apps]"),
     "p.yaml:5: spec.rules[0].kube.groups[0]: 'Apps' is no API group"},
    {KUBE("resources: [pods], namespaces: [a.b]"),
     "p.yaml:5: spec.rules[0].kube.namespaces[0]: 'a.b' is no namespace"},
    {KUBE("resources: [pods], names: []"),
     "p.yaml:5: spec.rules[0].kube.names: an empty list says nothing; leave the field out or "
     "fill it"},
    {KUBE("resources: [pods], relations: [a.b]"),
     "p.yaml:5: spec.rules[0].kube.relations: unknown field"},
    {SSH("argv: [[ls]]"), "p.yaml:5: spec.rules[0].ssh.requests: required"},
    {SSH("requests: []"), "p.yaml:5: spec.rules[0].ssh.requests: an empty list says nothing; "
                          "leave the field out or fill it"},
    {SSH("requests: [exce]"), "p.yaml:5: spec.rules[0].ssh.requests[0]: unknown request 'exce' "
                              "(did you mean exec?)"},
    {SSH("requests: [exec], argv: [uptime]"),
     "p.yaml:5: spec.rules[0].ssh.argv[0]: expected a list, found a string"},
    {SSH("requests: [exec], argv: [[]]"),
     "p.yaml:5: spec.rules[0].ssh.argv[0]: an empty list says nothing; leave the field out or "
     "fill it"},
    {SSH("requests: [exec], argv: [[df, -1]]"),
     "p.yaml:5: spec.rules[0].ssh.argv[0][1]: expected a string, found a whole number (-1); "
     "put "
     "it in quotes"},
    {SSH("requests: [sftp], argv: [[ls]]"),
     "p.yaml:5: spec.rules[0].ssh.argv: only with the request exec"},
    {SSH("requests: [exec], paths: [/a]"),
     "p.yaml:5: spec.rules[0].ssh.paths: only with the request sftp"},
    {SSH("requests: [exec], access: [read]"),
     "p.yaml:5: spec.rules[0].ssh.access: only with the request sftp"},
    {SSH("requests: [sftp], paths: [srv]"),
     "p.yaml:5: spec.rules[0].ssh.paths[0]: 'srv' is not an absolute path"},
    {SSH("requests: [sftp], paths: [/srv/../etc]"),
     "p.yaml:5: spec.rules[0].ssh.paths[0]: '/srv/../etc' has empty parts, '.' or '..'"},
    {SSH("requests: [sftp], paths: [/srv/..]"),
     "p.yaml:5: spec.rules[0].ssh.paths[0]: '/srv/..' has empty parts, '.' or '..'"},
    {SSH("requests: [sftp], paths: [/srv//x]"),
     "p.yaml:5: spec.rules[0].ssh.paths[0]: '/srv//x' has empty parts, '.' or '..'"},
    {SSH("requests: [sftp], access: [execute]"),
     "p.yaml:5: spec.rules[0].ssh.access[0]: unknown access 'execute'"},
};

static void test_kube_and_ssh_rules(void **state)
{
    (void)state;
    check_all(kube_and_ssh_rules, ARRAY_LEN(kube_and_ssh_rules));
}

static const struct refusal subjects_and_targets[] = {
    {P("  subjects: [{}]"), "p.yaml:5: spec.subjects[0]: an empty entry; for every agent leave "
                            "spec.subjects out, or write podSelector: {}"},
    {P("  subjects: [{namespaceSelector: {}}]"),
     "p.yaml:5: spec.subjects[0].namespaceSelector: only a ClusterGuardPolicy selects "
     "namespaces; a GuardPolicy is for its own"},
    {P("  subjects: [{serviceAccounts: []}]"),
     "p.yaml:5: spec.subjects[0].serviceAccounts: an empty list says nothing; leave the field "
     "out or fill it"},
    {P("  subjects: [{groups: x}]"),
     "p.yaml:5: spec.subjects[0].groups: expected a list, found a string"},
    {P("  subjects: [{podSelector: {app: x}}]"),
     "p.yaml:5: spec.subjects[0].podSelector.app: unknown field"},
    {P("  subjects: [{podSelector: {matchLabels: {v: 1}}}]"),
     "p.yaml:5: spec.subjects[0].podSelector.matchLabels.v: expected a string, found a whole "
     "number (1); put it in quotes"},
    {P("  subjects: [{podSelector: {matchExpressions: [{key: a, operator: Equals}]}}]"),
     "p.yaml:5: spec.subjects[0].podSelector.matchExpressions[0].operator: unknown operator "
     "'Equals'"},
    {P("  subjects: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]"),
     "p.yaml:5: spec.subjects[0].podSelector.matchExpressions[0].values: required with In and "
     "NotIn"},
    {P("  subjects: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: "
       "[b]}]}}]"),
     "p.yaml:5: spec.subjects[0].podSelector.matchExpressions[0].values: only with In and "
     "NotIn"},
    {C("  subjects: [{namespaceSelector: {matchLabels: {team: a}}}]"),
     "p.yaml:5: spec.subjects[0].namespaceSelector: 'team': only the label "
     "kubernetes.io/metadata.name is known to a guard"},
    {P("  targets: []"), "p.yaml:5: spec.targets: an empty list says nothing; leave the field "
                         "out or fill it"},
    {P("  targets: [{}]"), "p.yaml:5: spec.targets[0].name: required"},
    {DB P("  targets: [{name: db}, {name: dbb}]"),
     "p.yaml:10: spec.targets[1].name: there is no GuardTarget 'dbb' (did you mean db?)"},
    {P("  targets:\n  - databases: [x]\n    name: orders-db"),
     "p.yaml:7: spec.targets[0].name: there is no GuardTarget 'orders-db'"},
    {P("  targets: [{name: other/db}]"),
     "p.yaml:5: spec.targets[0].name: 'other/db': a policy can only name targets of its own "
     "namespace"},
    {P("  targets: [{name: db, namespace: other}]"),
     "p.yaml:5: spec.targets[0].namespace: a policy can only name targets of its own "
     "namespace; "
     "leave this out"},
    {DB P("  targets: [{name: db, databases: []}]"),
     "p.yaml:10: spec.targets[0].databases: an empty list says nothing; leave the field out or "
     "fill it"},
    {DB P("  targets: [{name: db, namespaces: [shop]}]"),
     "p.yaml:10: spec.targets[0].namespaces: the target 'db' has no namespaces"},
    {P("  targets: [{name: kubernetes, databases: [shop]}]"),
     "p.yaml:5: spec.targets[0].databases: the target 'kubernetes' has no databases"},
    {HEAD("GuardTarget",
          "db, namespace: a") "spec: {protocol: tcp, hosts: [h.x], ports: "
                              "[1]}\n---\n" HEAD("GuardPolicy",
                                                 "p, namespace: b") "spec: {targets: [{name: "
                                                                    "db}]}",
     "p.yaml:9: spec.targets[0].name: there is no GuardTarget 'db'"},
    {P("  egress: [{host: a.b}]"), "p.yaml:5: spec.egress[0].ports: required"},
    {P("  egress: [{ports: [443]}]"), "p.yaml:5: spec.egress[0].host: required"},
    {P("  egress: [{host: \"*.a.b\", ports: [443]}]"),
     "p.yaml:5: spec.egress[0].host: host names have no wildcards; list each name"},
};

static void test_subjects_and_targets(void **state)
{
    (void)state;
    check_all(subjects_and_targets, ARRAY_LEN(subjects_and_targets));
}

static const struct refusal targets[] = {
    {T("{}"), "p.yaml:5: spec.protocol: required"},
    {T("{protocol: postgres, ports: [1]}"), "p.yaml:5: spec.hosts: required"},
    {T("{protocol: postgres, hosts: [a.b]}"), "p.yaml:5: spec.ports: required"},
    {T("{protocol: postgresql}"),
     "p.yaml:5: spec.protocol: unknown protocol 'postgresql' (did you mean postgres?)"},
    {T("{protocol: mysql}"), "p.yaml:5: spec.protocol: unknown protocol 'mysql'"},
    {T("{protocol: tcp, hosts: [], ports: [1]}"),
     "p.yaml:5: spec.hosts: an empty list says nothing; leave the field out or fill it"},
    {T("{protocol: tcp, hosts: [a.b], ports: []}"),
     "p.yaml:5: spec.ports: an empty list says nothing; leave the field out or fill it"},
    {T("{protocol: tcp, hosts: [a.b], ports: [0]}"),
     "p.yaml:5: spec.ports[0]: must be between 1 and 65535"},
    {T("{protocol: tcp, hosts: [a.b], ports: [65536]}"),
     "p.yaml:5: spec.ports[0]: must be between 1 and 65535"},
    {T("{protocol: tcp, hosts: [a.b], ports: [\"80\"]}"),
     "p.yaml:5: spec.ports[0]: expected a whole number, found a string"},
    {T("{protocol: tcp, hosts: [a.b], ports: [80, 81, 80]}"),
     "p.yaml:5: spec.ports: port 80 is there twice"},
    {T("{protocol: tcp, hosts: [a.b], ports: 80}"),
     "p.yaml:5: spec.ports: expected a list, found a whole number (80)"},
    {HOST("10.9.0.0/33"), "p.yaml:5: spec.hosts[0]: a prefix here has at most 32 bits"},
    {HOST("10.9.0.5/24"), "p.yaml:5: spec.hosts[0]: the address has bits behind the /24; write "
                          "the network's own address, or /32 for this one"},
    {HOST("10.9.0.0/"), "p.yaml:5: spec.hosts[0]: '10.9.0.0/' is not a network such as "
                        "10.9.0.0/24"},
    {HOST("10.9.0.0/024"), "p.yaml:5: spec.hosts[0]: '10.9.0.0/024' is not a network such as "
                           "10.9.0.0/24"},
    {HOST("10.9.0/24"), "p.yaml:5: spec.hosts[0]: '10.9.0/24' is not a network such as "
                        "10.9.0.0/24"},
    {HOST("a.b/24"), "p.yaml:5: spec.hosts[0]: 'a.b/24' is not a network such as 10.9.0.0/24"},
    {HOST("'2001:db8::1/32'"), "p.yaml:5: spec.hosts[0]: the address has bits behind the /32; "
                               "write the network's own address, or /128 for this one"},
    {HOST("'::ffff:10.0.0.0/104'"),
     "p.yaml:5: spec.hosts[0]: write networks of v4-mapped addresses as IPv4"},
    {HOST("10.1.2"), "p.yaml:5: spec.hosts[0]: '10.1.2' is neither a name nor a whole address"},
    {HOST("10.1.2.300"),
     "p.yaml:5: spec.hosts[0]: '10.1.2.300' is neither a name nor a whole address"},
    {HOST("'2130706433'"),
     "p.yaml:5: spec.hosts[0]: '2130706433' is neither a name nor a whole address"},
    {HOST("'0x7f000001'"),
     "p.yaml:5: spec.hosts[0]: '0x7f000001' is neither a name nor a whole address"},
    {HOST("'fe80::1%eth0'"),
     "p.yaml:5: spec.hosts[0]: 'fe80::1%eth0' is no host name, address or network"},
    {HOST("'db.svc:5432'"),
     "p.yaml:5: spec.hosts[0]: 'db.svc:5432' is no host name, address or network"},
    {HOST("a..b"), "p.yaml:5: spec.hosts[0]: 'a..b' is no host name, address or network"},
    {HOST("'a b'"), "p.yaml:5: spec.hosts[0]: 'a b' is no host name, address or network"},
    {HOST("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b"),
     "p.yaml:5: spec.hosts[0]: "
     "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b' is no host name, "
     "address "
     "or network"},
    {HOST("-a"), "p.yaml:5: spec.hosts[0]: '-a' is no host name, address or network"},
    {HOST("\"a\\x01\""), "p.yaml:5: spec.hosts[0]: contains a control character"},
    {PG("tls: {mode: verify-full}"), "p.yaml:5: spec.tls.mode: unknown mode 'verify-full' (did "
                                     "you mean VerifyFull?)"},
    {PG("tls: {mode: Disable, serverName: a.b}"),
     "p.yaml:5: spec.tls.serverName: there is no certificate with mode Disable"},
    {PG("tls: {mode: Require, caSecretRef: {name: ca}}"),
     "p.yaml:5: spec.tls.caSecretRef: only mode VerifyFull checks the server's certificate"},
    {PG("tls: {caSecretRef: {key: ca.crt}}"), "p.yaml:5: spec.tls.caSecretRef.name: required"},
    {PG("tls: {caSecretRef: {name: ca, namespace: x}}"),
     "p.yaml:5: spec.tls.caSecretRef.namespace: a target's secrets are of its own namespace; "
     "leave this out"},
    {PG("tls: {caSecretRef: {name: ../x}}"), "p.yaml:5: spec.tls.caSecretRef.name: '../x' is "
                                             "not a name: lower-case letters, digits, '-' "
                                             "and '.', at most 253"},
    {PG("tls: {caSecretRef: {name: ca, key: ../x}}"),
     "p.yaml:5: spec.tls.caSecretRef.key: '../x' is not a secret's key"},
    {PG("tls: {serverName: 10.0.0.0/8}"),
     "p.yaml:5: spec.tls.serverName: expected one name or address"},
    {PG("credentials: {}"), "p.yaml:5: spec.credentials.secretRef: required"},
    {PG("credentials: {secretRef: {name: a, namespace: b}}"),
     "p.yaml:5: spec.credentials.secretRef.namespace: a target's secrets are of its own "
     "namespace; leave this out"},
    {PG("credentials: {password: hunter2}"), "p.yaml:5: spec.credentials.password: unknown field"},
    {PG("ssh: {hostKeys: [x]}"),
     "p.yaml:5: spec.ssh.hostKeys[0]: expected \"TYPE BASE64\", as in a known_hosts file"},
    {PG("ssh: {hostKeys: [ssh-dss AAAA]}"),
     "p.yaml:5: spec.ssh.hostKeys[0]: unknown type of host key 'ssh-dss'"},
    {PG("ssh: {hostKeys: [ssh-ed25519 AAAA]}"),
     "p.yaml:5: spec.ssh.hostKeys[0]: the key is damaged, or not of the type ssh-ed25519"},
    {PG("ssh: {hostKeys: [ssh-rsa "
        "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f]}"),
     "p.yaml:5: spec.ssh.hostKeys[0]: the key is damaged, or not of the type ssh-rsa"},
    {PG("ssh: {hostKeys: [ssh-ed25519 "
        "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f]}"),
     "p.yaml:5: spec.ssh: only for protocol ssh"},
    {T("{protocol: ssh, hosts: [a.b], ports: [22]}"),
     "p.yaml:5: spec.ssh.hostKeys: required for protocol ssh: there is no trust on first use"},
    {T("{protocol: ssh, hosts: [a.b], ports: [22], ssh: {}}"),
     "p.yaml:5: spec.ssh.hostKeys: required"},
    {T("{protocol: ssh, hosts: [a.b], ports: [22], ssh: {hostKeys: []}}"),
     "p.yaml:5: spec.ssh.hostKeys: an empty list says nothing; leave the field out or fill it"},
    {T("{protocol: tcp, hosts: [a.b], ports: [1], tls: {}}"),
     "p.yaml:5: spec.tls: not for protocol tcp"},
    {T("{protocol: tcp, hosts: [a.b], ports: [1], credentials: {secretRef: {name: a}}}"),
     "p.yaml:5: spec.credentials: not for protocol tcp: the guard only relays"},
    {T("{protocol: postgres, hosts: [10.0.0.1, 0.0.0.0/0], ports: [1], credentials: "
       "{secretRef: "
       "{name: a}}}"),
     "p.yaml:5: spec.hosts: '0.0.0.0/0' is every address; a target with credentials has to say "
     "where they may go"},
};

static void test_targets(void **state)
{
    (void)state;
    check_all(targets, ARRAY_LEN(targets));
}

/* The path and the reason fit, however long what is quoted. */
static void test_long_words_are_cut(void **state)
{
    size_t n = 100000;
    char *yaml = malloc(n + 200), wanted[200];
    int at = snprintf(yaml, 200, "%sspec:\n  mode: \"", HEAD("GuardPolicy", "p"));

    (void)state;
    memset(yaml + at, 'x', n);
    strcpy(yaml + at + n, "\"\n");
    snprintf(wanted, sizeof wanted, "p.yaml:5: spec.mode: unknown mode '%.64s'", yaml + at);
    check(yaml, wanted);
    strcpy(yaml + at + 900, "\"\n");
    memset(yaml + at - 7, 'x', 7); /* the key now: "  xxxxxxx…" */
    yaml[at - 7] = '"';
    strcpy(yaml + at + 900, "\": 1\n");
    snprintf(wanted, sizeof wanted, "p.yaml:5: spec.%.64s: unknown field", yaml + at);
    check(yaml, wanted);
    free(yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_sql_rules),
        cmocka_unit_test(test_mask_rules),
        cmocka_unit_test(test_approvals),
        cmocka_unit_test(test_kube_and_ssh_rules),
        cmocka_unit_test(test_subjects_and_targets),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_long_words_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
