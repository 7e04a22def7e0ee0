/* SPDX-License-Identifier: Apache-2.0
 * The built program and policies: explain, test.
 */
#include "run_program.h"

/* ---- policies ---- */

static void write_file(const struct fixture *f, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char policies[] =
    "apiVersion: chaperone.dev/v1alpha1\n"
    "kind: GuardTarget\n"
    "metadata: {name: db, namespace: agents}\n"
    "spec: {protocol: postgres, hosts: [127.0.0.1], ports: [5432]}\n"
    "---\n"
    "apiVersion: chaperone.dev/v1alpha1\n"
    "kind: GuardPolicy\n"
    "metadata: {name: p, namespace: agents}\n"
    "spec:\n"
    "  rules:\n"
    "  - {name: read, action: Allow, sql: {operations: [Read], relations: [\"public.*\"]}}\n"
    "  - {name: pii, action: Mask, sql: {columns: [\"public.users.email\"]}, mask: {method: "
    "Partial}}\n"
    "  - {name: writes, action: RequireApproval, sql: {operations: [Update]}}\n"
    "  - {name: none, action: Deny, sql: {operations: [Update], where: Absent}}\n";

static void make_policies(struct fixture *f, char dir[static 128])
{
    snprintf(dir, 128, "%s/policies", f->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    write_file(f, "policies/p.yaml", policies);
}

/* Without a statement: what an identity may do. */
static void explain_lists_what_an_identity_may_do(void **state)
{
    static const char text[] =
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardTarget\n"
        "metadata: {name: db, namespace: agents}\n"
        "spec: {protocol: postgres, hosts: [127.0.0.1], ports: [5432], credentials: {secretRef: "
        "{name: login}}}\n"
        "---\n"
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardPolicy\n"
        "metadata: {name: analysts, namespace: agents}\n"
        "spec:\n"
        "  subjects: [{groups: [analysts]}, {claims: {department: [it]}}]\n"
        "  targets: [{name: db, databases: [orders], credentials: {role: ro}}]\n"
        "  rules:\n"
        "  - {name: read, action: Allow, sql: {operations: [Select], relations: [\"report.*\"]}}\n";
    struct fixture *f = *state;
    char dir[128];

    snprintf(dir, sizeof dir, "%s/policies", f->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    write_file(f, "policies/p.yaml", text);
    assert_int_equal(run(f, "explain", "--policies", dir, "--groups", "analysts", NULL), 0);
    SAYS("target db (postgres; the guard logs in; a token is needed where");
    SAYS("GuardPolicy analysts (Enforce; databases orders; in role ro)");
    SAYS("read: Allow Select on report.*");
    assert_int_equal(run(f, "explain", "--policies", dir, "--claims", "department=it", NULL), 0);
    SAYS("read: Allow");
    assert_int_equal(run(f, "explain", "--policies", dir, "--claims", "department=hr", NULL), 1);
    SAYS("refused: no policy selects this agent here");
    assert_int_equal(run(f, "explain", "--policies", dir, NULL), 1);
    assert_int_equal(run(f, "explain", "--policies", dir, "--claims", "department", NULL), 2);
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--groups", "analysts", "-o", "json", NULL), 0);
    SAYS("\"role\": \"ro\"");
}

/* The same for what is no database. */
static void explain_lists_ssh_and_kubernetes(void **state)
{
    static const char text[] =
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardTarget\n"
        "metadata: {name: box, namespace: agents}\n"
        "spec: {protocol: ssh, hosts: [127.0.0.1], ports: [22], credentials: {secretRef: {name: "
        "login}}, ssh: {hostKeys: [\"ssh-ed25519 "
        "AAAAC3NzaC1lZDI1NTE5AAAAIJ0rGqLwQJ0w8mGvXHqzJ1kqkq5oZ3x3xX9p3k0m0abc\"]}}\n"
        "---\n"
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardPolicy\n"
        "metadata: {name: p, namespace: agents}\n"
        "spec:\n"
        "  subjects: [{groups: [ops]}]\n"
        "  targets: [{name: box}, {name: kubernetes, namespaces: [shop]}]\n"
        "  rules:\n"
        "  - {name: df, action: Allow, ssh: {requests: [exec], argv: [[df, \"-h\"], [uptime]]}}\n"
        "  - {name: files, action: Allow, ssh: {requests: [sftp], paths: [\"/srv/**\"], access: "
        "[read]}}\n"
        "  - {name: harm, action: Deny, ssh: {requests: [exec], hazards: [PowerOff]}}\n"
        "  - {name: look, action: Allow, kube: {verbs: [get, list], resources: [pods, pods/log], "
        "names: [\"web-*\"]}}\n"
        "  - {name: ls, action: Allow, kube: {verbs: [connect], resources: [pods/exec], argv: "
        "[[ls, "
        "\"...\"]]}}\n"
        "  - {name: try, action: Allow, kube: {verbs: [patch], resources: [deployments], dryRun: "
        "Only}}\n"
        "  - {name: cards, action: Mask, values: {detectors: [creditCard]}}\n";
    struct fixture *f = *state;
    char dir[128];

    snprintf(dir, sizeof dir, "%s/policies", f->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    write_file(f, "policies/p.yaml", text);
    assert_int_equal(run(f, "explain", "--policies", dir, "--groups", "ops", NULL), 0);
    SAYS("target box (ssh; the guard logs in");
    SAYS("df: Allow exec: df -h, uptime");
    SAYS("files: Allow sftp to read /srv/**");
    SAYS("harm: Deny exec if PowerOff");
    SAYS("target kubernetes (kubernetes; the guard logs in");
    SAYS("(Enforce; namespaces shop)");
    SAYS("look: Allow get, list pods, pods/log named web-*");
    SAYS("ls: Allow connect pods/exec: ls ...");
    SAYS("try: Allow patch deployments dry run: Only");
    SAYS("cards: Mask values creditCard");
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--groups", "ops", "--target", "kubernetes", NULL), 0);
    assert_null(strstr(f->out, "target box"));
    assert_int_equal(run(f, "explain", "--policies", dir, "--groups", "dev", NULL), 1);
    SAYS("refused: no policy selects this agent here");
}

static void explain_explains(void **state)
{
    struct fixture *f = *state;
    char dir[128];

    make_policies(f, dir);
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "select * from users", NULL), 0);
    SAYS("Select public.users");
    SAYS("public.users.email, Partial, rule pii");
    SAYS("Allow by rule read");
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "update a set b = 1 where c = 2", NULL), 0);
    SAYS("RequireApproval by rule writes");
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "update a set b = 1", NULL), 1);
    SAYS("Deny by rule none");
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "select 1; drop table a", NULL),
                     1);
    SAYS("the whole message => Deny");
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "selec \x1b[2J", NULL), 1);
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select * from private.t", "--json", NULL),
        1);
    SAYS("\"verdict\": \"Deny\"");
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select 1", "--target", "x", NULL), 2);
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select 1", "--namespace", "other", NULL), 2);
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select 1", "--labels", "x", NULL), 2);
}

static void tests_pass_and_fail(void **state)
{
    struct fixture *f = *state;
    char dir[128], file[128];

    make_policies(f, dir);
    snprintf(file, sizeof file, "%s/t.yaml", f->dir);
    write_file(f, "t.yaml",
               "policies: policies\n"
               "cases:\n"
               "- {name: reading, sql: select * from a, expect: Allow, rule: read}\n"
               "- {name: writing, sql: update a set b = 1 where c = 2, expect: RequireApproval}\n");
    assert_int_equal(run(f, "test", file, NULL), 0);
    SAYS("PASS");
    assert_null(strstr(f->out, "FAIL"));
    write_file(f, "t.yaml",
               "policies: policies\n"
               "cases:\n"
               "- {name: reading, sql: select * from a, expect: Deny}\n"
               "- {name: rule, sql: select * from a, expect: Allow, rule: another}\n");
    assert_int_equal(run(f, "test", file, NULL), 1);
    assert_null(strstr(f->out, "PASS"));
}

/* The same names and values as a token that the guard has verified. */
static void tests_have_groups_and_claims(void **state)
{
    static const char text[] =
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardTarget\n"
        "metadata: {name: db, namespace: agents}\n"
        "spec: {protocol: postgres, hosts: [127.0.0.1], ports: [5432], credentials: {secretRef: "
        "{name: login}}}\n"
        "---\n"
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardPolicy\n"
        "metadata: {name: it, namespace: agents}\n"
        "spec:\n"
        "  subjects: [{groups: [dba], claims: {department: [it], team: [b]}}]\n"
        "  rules: [{name: read, action: Allow, sql: {operations: [Read]}}]\n";
    static const char *const rows[][2] = {
        {"{groups: [dba], claims: {department: it, team: [a, b]}}", "Allow"},
        {"{groups: [dba], claims: {team: [b], department: [hr, it]}}", "Allow"},
        {"{groups: [dba], claims: {department: it, team: [a]}}", "Deny"},
        {"{groups: [dba], claims: {department: it}}", "Deny"},
        {"{groups: [dba], claims: {department: b, team: it}}", "Deny"},
        {"{claims: {department: it, team: b}}", "Deny"},
        {"{groups: [dba]}", "Deny"},
        {"{labels: {department: it, team: b}, groups: [dba]}", "Deny"},
    };
    struct fixture *f = *state;
    char dir[128], file[128], cases[512];

    make_policies(f, dir);
    write_file(f, "policies/p.yaml", text);
    snprintf(file, sizeof file, "%s/t.yaml", f->dir);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(
            cases, sizeof cases,
            "policies: policies\ncases: [{sql: select 1, target: db, agent: %s, expect: %s}]\n",
            rows[i][0], rows[i][1]);
        write_file(f, "t.yaml", cases);
        if (run(f, "test", file, NULL) != 0)
            fail_msg("%s\n%s%s", cases, f->out, f->err);
    }
}

static void broken_tests_are_no_tests(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "policies: policies\n",
        "policies: policies\ncases: []\n",
        "policies: policies\ncases: [{sql: select 1}]\n",
        "policies: policies\ncases: [{expect: Allow}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Maybe}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, expcet: Deny}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, agent: {ns: x}}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, agent: {claims: [x]}}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, agent: {claims: {a: {}}}}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, agent: {claims: {a: [1]}}}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, target: none}]\n",
        "policies: nowhere\ncases: [{sql: select 1, expect: Allow}]\n",
        "cases: [{sql: select 1, expect: Allow}]\n",
        "policies: policies\ncase: [{sql: select 1, expect: Allow}]\n",
    };
    struct fixture *f = *state;
    char dir[128], file[128];

    make_policies(f, dir);
    snprintf(file, sizeof file, "%s/t.yaml", f->dir);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        write_file(f, "t.yaml", texts[i]);
        if (run(f, "test", file, NULL) != 2)
            fail_msg("exit code %d for:\n%s", f->code, texts[i]);
        COMPLAINS(i == 13 ? "nowhere" : "t.yaml");
    }
}

/* Commands and files of SSH targets. */
static void explain_knows_ssh(void **state)
{
    static const char text[] =
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardTarget\n"
        "metadata: {name: bastion, namespace: agents}\n"
        "spec: {protocol: ssh, hosts: [127.0.0.1], ports: [22], ssh: {hostKeys: [\"ssh-ed25519 "
        "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\"]}}\n"
        "---\n"
        "apiVersion: chaperone.dev/v1alpha1\n"
        "kind: GuardPolicy\n"
        "metadata: {name: p, namespace: agents}\n"
        "spec:\n"
        "  rules:\n"
        "  - {name: look, action: Allow, ssh: {requests: [exec], argv: [[uptime]]}}\n"
        "  - {name: trees, action: Deny, ssh: {requests: [exec], hazards: [DeleteTree]}}\n"
        "  - {name: ask, action: RequireApproval, ssh: {requests: [exec], argv: [[touch, '**']]}}\n"
        "  - {name: files, action: Allow, ssh: {requests: [sftp], paths: ['/srv/**'], access: "
        "[read]}}\n";
    static const struct {
        const char *option, *value, *says;
        int code;
    } rows[] = {
        {"--ssh", "uptime", "Allow by rule look of policy p", 0},
        {"--ssh", "uptime; id", "not plain", 1},
        {"--ssh", "cd / && rm -rf srv", "hazard DeleteTree", 1},
        {"--ssh", "sh -c 'rm -rf srv'", "Deny by rule trees", 1},
        {"--ssh", "touch '/x y'", "command [touch] [/x y]\n  => RequireApproval by rule ask", 0},
        {"--ssh", "echo 'x \x1b[2J", "\\x1b[2J", 1},
        {"--sftp", "/srv/a", "Allow by rule files", 0},
        {"--sftp", "/etc/a", "Deny: reading /etc/a over sftp", 1},
        {"--sftp", "/srv/../etc/a", "", 2},
    };
    struct fixture *f = *state;
    char dir[128];

    make_policies(f, dir);
    assert_int_equal(run(f, "explain", "--policies", dir, "--ssh", "id", NULL), 2);
    COMPLAINS("no ssh target");
    write_file(f, "policies/p.yaml", text);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(run(f, "explain", "--policies", dir, rows[i].option, rows[i].value, NULL),
                         rows[i].code);
        SAYS(rows[i].says);
        assert_null(strchr(f->out, '\x1b'));
    }
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sftp", "/srv/a", "--access", "write", NULL), 1);
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sftp", "/srv/a", "--access", "eat", NULL), 2);
    assert_int_equal(run(f, "explain", "--policies", dir, "--ssh", "id", "--sftp", "/srv/a", NULL),
                     2);
    assert_int_equal(run(f, "explain", "--policies", dir, "--ssh", "id", "--sql", "x", NULL), 2);
    assert_int_equal(run(f, "explain", "--policies", dir, "--ssh", "uptime", "--json", NULL), 0);
    SAYS("\"plain\": true");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(explain_explains),
        T(explain_lists_what_an_identity_may_do),
        T(explain_lists_ssh_and_kubernetes),
        T(tests_pass_and_fail),
        T(tests_have_groups_and_claims),
        T(broken_tests_are_no_tests),
        T(explain_knows_ssh),
    };

    return run_group("tests", tests, ARRAY_LEN(tests));
}
