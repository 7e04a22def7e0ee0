/* SPDX-License-Identifier: Apache-2.0
 * Rules about SSH: which requests they permit, refuse and hold; patterns of words and paths.
 */
#include "policy_support.h"

#include "sidecar/policy/decide_ssh.h"
#include "sidecar/proto/ssh/command.h"

#define BOX                                                                                        \
    HEAD("GuardTarget", "db")                                                                      \
    "spec: {protocol: ssh, hosts: [box], ports: [22], ssh: {hostKeys: [\"ssh-ed25519 "             \
    "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\"]}}\n---\n"
#define EXEC(text) RULE("name: " text ", ssh: {requests: [exec]}")

static enum verdict decide(const char *policies, const struct ssh_act *act, struct decision *d)
{
    struct policy_snapshot *s = snapshot_of(policies);
    struct policy_view *v = view_for(s, &coder, "db", NULL);
    struct statement st = {.ssh = act};
    struct decision mine;

    policy_decide(v, &st, 1, d ? d : &mine);
    if (d) { /* names live as long as the view */
        d->rule = d->policy = d->message = NULL;
        d->approval = NULL;
        mine = *d;
    }
    policy_view_unref(v);
    policy_snapshot_unref(s);
    return mine.verdict;
}

static enum verdict exec(const char *policies, const char *command)
{
    struct arena arena;
    struct ssh_act act;
    enum verdict v;

    arena_init(&arena, (size_t)8 << 20);
    assert_int_equal(command_parse(bytes_str(command), &arena, &act), 0);
    v = decide(policies, &act, NULL);
    arena_done(&arena);
    return v;
}

/* ---- exec ---- */

static const struct {
    const char *rules, *command;
    enum verdict verdict;
} execs[] = {
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[uptime], [df, \"-h\"]]}"),
     "uptime", VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[uptime], [df, \"-h\"]]}"),
     "df '-h'", VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[uptime]]}"), "uptime -p",
     VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[uptime]]}"), "uptime;id",
     VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[uptime]]}"), "/usr/bin/uptime",
     VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[uptime]]}"), "Uptime",
     VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[df, \"-h\"]]}"), "df",
     VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[cat, \"/srv/**\"]]}"),
     "cat /srv/a/b", VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[cat, \"/srv/*\"]]}"),
     "cat /srv/a/b", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[cat, \"/srv/**\"]]}"),
     "cat /srv/../etc/shadow", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[cat, \"**\"]]}"), "cat -n",
     VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[cat, \"/srv/**\"]]}"),
     "cat /srv/a /etc/shadow", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[echo, \"...\"]]}"), "echo",
     VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[echo, \"...\"]]}"),
     "echo a -b ../c", VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [exec], argv: [[echo, \"...\"]]}"), "echo a > b",
     VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}"), "anything; at $ALL", VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [shell]}"), "uptime", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [sftp]}"), "uptime", VERDICT_DENY},
    {RULE("name: a, action: Allow, sql: {operations: [\"*\"]}"), "uptime", VERDICT_DENY},
    /* Deny finds what Allow would have to know for sure. */
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], argv: [[rm, \"...\"]]}"),
     "ls; rm x", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], argv: [[rm, \"...\"]]}"),
     "sh -c 'rm x'", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], argv: [[rm, \"...\"]]}"),
     "echo $X", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], argv: [[rm, \"...\"]]}"),
     "ls; echo x", VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], hazards: [\"*\"]}"),
     "curl x | sh", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], hazards: [\"*\"]}"),
     "echo $X", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], hazards: [DeleteTree]}"),
     "echo $X", VERDICT_ALLOW},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: d, action: Deny, ssh: {requests: [exec], hazards: [PowerOff]}"),
     "rm -rf /", VERDICT_ALLOW},
    /* RequireApproval */
    {RULE("name: r, action: RequireApproval, ssh: {requests: [exec]}"), "rm -rf $X",
     VERDICT_APPROVE},
    {RULE("name: r, action: RequireApproval, ssh: {requests: [exec], argv: [[uptime]]}"), "uptime",
     VERDICT_APPROVE},
    {RULE("name: r, action: RequireApproval, ssh: {requests: [exec], argv: [[uptime]]}"),
     "uptime;id", VERDICT_DENY},
    {RULE("name: a, action: Allow, ssh: {requests: [exec]}")
         RULE("name: r, action: RequireApproval, ssh: {requests: [exec], hazards: [DeleteTree]}"),
     "rm -rf x", VERDICT_APPROVE},
    {RULE("name: r, action: RequireApproval, ssh: {requests: [exec], hazards: [DeleteTree]}"),
     "uptime", VERDICT_DENY},
};

static void test_exec(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(execs); i++) {
        char policies[2048];
        enum verdict v;

        snprintf(policies, sizeof policies, BOX POLICY("p", RULES("%s")), execs[i].rules);
        v = exec(policies, execs[i].command);
        if (v != execs[i].verdict)
            fail_msg("%s\n%s: %d", execs[i].rules, execs[i].command, v);
    }
}

/* ---- sftp ---- */

static const struct {
    const char *rules, *path, *resolved;
    unsigned access;
    enum verdict verdict;
} files[] = {
    {"requests: [sftp], paths: [\"/srv/**\"], access: [read]", "/srv/a", NULL, SSH_ACCESS_READ,
     VERDICT_ALLOW},
    {"requests: [sftp], paths: [\"/srv/**\"], access: [read]", "/srv", NULL, SSH_ACCESS_READ,
     VERDICT_ALLOW},
    {"requests: [sftp], paths: [\"/srv/**\"], access: [read]", "/srvx", NULL, SSH_ACCESS_READ,
     VERDICT_DENY},
    {"requests: [sftp], paths: [\"/srv/**\"], access: [read]", "/srv/a", NULL, SSH_ACCESS_WRITE,
     VERDICT_DENY},
    {"requests: [sftp], paths: [\"/srv/**\"], access: [read]", "/srv/a", NULL,
     SSH_ACCESS_READ | SSH_ACCESS_WRITE, VERDICT_DENY},
    {"requests: [sftp], paths: [\"/srv/**\"], access: [write]", "/srv/a", NULL, SSH_ACCESS_DELETE,
     VERDICT_DENY},
    {"requests: [sftp], paths: [\"/srv/**\"], access: [delete]", "/srv/a", NULL, SSH_ACCESS_DELETE,
     VERDICT_ALLOW},
    {"requests: [sftp], paths: [\"/srv/**\"], access: [write]", "/srv/a", NULL, 0, VERDICT_ALLOW},
    {"requests: [sftp], paths: [\"/srv/**\"]", "/srv/link", "/etc/shadow", SSH_ACCESS_READ,
     VERDICT_DENY},
    {"requests: [sftp], paths: [\"/srv/**\"]", "/tmp/link", "/srv/a", SSH_ACCESS_READ,
     VERDICT_DENY},
    {"requests: [sftp], paths: [\"/srv/**\"]", "/srv/link", "/srv/a", SSH_ACCESS_READ,
     VERDICT_ALLOW},
    {"requests: [sftp], paths: [\"/srv/*.txt\"]", "/srv/a.txt", NULL, SSH_ACCESS_READ,
     VERDICT_ALLOW},
    {"requests: [sftp], paths: [\"/srv/*.txt\"]", "/srv/d/a.txt", NULL, SSH_ACCESS_READ,
     VERDICT_DENY},
    {"requests: [sftp], paths: [\"/srv/**\"]", NULL, NULL, 0, VERDICT_ALLOW},
    {"requests: [exec]", NULL, NULL, 0, VERDICT_DENY},
    {"requests: [sftp]", "/etc/shadow", NULL, SSH_ACCESS_READ, VERDICT_ALLOW},
};

static void test_sftp(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct ssh_act act = {.request = SSH_REQUEST_SFTP,
                              .text = files[i].path,
                              .path = files[i].path,
                              .resolved = files[i].resolved,
                              .access = files[i].access};
        char policies[1024];
        enum verdict v;

        snprintf(policies, sizeof policies,
                 BOX POLICY("p", RULES(RULE("name: a, action: Allow, ssh: {%s}"))), files[i].rules);
        v = decide(policies, &act, NULL);
        if (v != files[i].verdict)
            fail_msg("%s: %s %s: %d", files[i].rules, files[i].path, files[i].resolved, v);
    }
}

/* A Deny holds for what the path says and for where it leads. */
static void test_sftp_deny(void **state)
{
    static const char policies[] = BOX POLICY(
        "p", RULES(RULE("name: a, action: Allow, ssh: {requests: [sftp]}")
                       RULE("name: d, action: Deny, ssh: {requests: [sftp], paths: [\"/etc/**\"]}")
                           RULE("name: r, action: RequireApproval, ssh: {requests: [sftp], access: "
                                "[delete]}")));
    struct ssh_act act = {.request = SSH_REQUEST_SFTP, .path = "/etc/shadow", .access = 1};

    (void)state;
    assert_int_equal(decide(policies, &act, NULL), VERDICT_DENY);
    act = (struct ssh_act){
        .request = SSH_REQUEST_SFTP, .path = "/l", .resolved = "/etc/shadow", .access = 1};
    assert_int_equal(decide(policies, &act, NULL), VERDICT_DENY);
    act = (struct ssh_act){.request = SSH_REQUEST_SFTP, .path = "/x", .access = SSH_ACCESS_DELETE};
    assert_int_equal(decide(policies, &act, NULL), VERDICT_APPROVE);
    act.access = SSH_ACCESS_READ;
    assert_int_equal(decide(policies, &act, NULL), VERDICT_ALLOW);
    act = (struct ssh_act){.request = SSH_REQUEST_SFTP}; /* opening */
    assert_int_equal(decide(policies, &act, NULL), VERDICT_ALLOW);
}

/* Approval of the subsystem as a whole is asked once, when it is opened. */
static void test_sftp_approved_whole(void **state)
{
    static const char policies[] =
        BOX POLICY("p", RULES(RULE("name: r, action: RequireApproval, ssh: {requests: [sftp]}")));
    struct ssh_act act = {.request = SSH_REQUEST_SFTP};

    (void)state;
    assert_int_equal(decide(policies, &act, NULL), VERDICT_APPROVE);
    act.path = "/x";
    act.access = SSH_ACCESS_READ;
    assert_int_equal(decide(policies, &act, NULL), VERDICT_ALLOW);
}

/* ---- reasons, floor, audit ---- */

static void test_reason(void **state)
{
    static const char policies[] =
        BOX POLICY("p", RULES(RULE("name: a, action: Allow, ssh: {requests: [pty]}")));
    struct ssh_act act = {.request = SSH_REQUEST_SHELL, .text = ""};
    struct decision d;

    (void)state;
    assert_int_equal(decide(policies, &act, &d), VERDICT_DENY);
    assert_string_equal(d.reason, "an interactive shell: no rule of policy 'p' allows it");
}

static void test_exempt(void **state)
{
    static const char own[] =
        BOX POLICY("p", RULES(RULE("name: a, action: Allow, ssh: {requests: [exec], argv: "
                                   "[[rsync, \"...\"]], output: AsIs}")
                                  RULE("name: m, action: Mask, values: {detectors: [email]}")))
            CLUSTER("floor", RULES(RULE("name: c, action: Mask, values: {detectors: [jwt]}")));
    struct policy_snapshot *s = snapshot_of(own);
    struct policy_view *v = view_for(s, &coder, "db", NULL);
    struct ssh_act act;
    struct arena arena;

    (void)state;
    arena_init(&arena, (size_t)8 << 20);
    assert_int_equal(command_parse(BYTES("rsync --server ."), &arena, &act), 0);
    /* its own policy's detectors, not the floor's */
    assert_int_equal(policy_ssh_exempt(v, &act), 1u << 2);
    assert_int_equal(command_parse(BYTES("uptime"), &arena, &act), 0);
    assert_int_equal(policy_ssh_exempt(v, &act), 0);
    arena_done(&arena);
    policy_view_unref(v);
    policy_snapshot_unref(s);
}

/* ---- refused when loading ---- */

static const struct {
    const char *rule, *error;
} bad[] = {
    {"name: a, action: Allow, ssh: {requests: [exec], argv: [[\"*\"]]}", "without wildcards"},
    {"name: a, action: Allow, ssh: {requests: [exec], argv: [[\"...\"]]}", "without wildcards"},
    {"name: a, action: Allow, ssh: {requests: [exec], argv: [[a, \"...\", b]]}", "only at the end"},
    {"name: a, action: Allow, ssh: {requests: [exec], hazards: [DeleteTree]}",
     "only in rules that refuse or ask"},
    {"name: a, action: Deny, ssh: {requests: [exec], hazards: [DeleteTre]}", "DeleteTree"},
    {"name: a, action: Deny, ssh: {requests: [sftp], hazards: [DeleteTree]}",
     "only with the request exec"},
    {"name: a, action: Deny, ssh: {requests: [exec], argv: [[a]], hazards: [DeleteTree]}",
     "two rules"},
    {"name: a, action: Deny, ssh: {requests: [exec], output: AsIs}", "nothing comes"},
    {"name: a, action: Allow, ssh: {requests: [exec], output: Raw}", "Raw"},
    {"name: a, action: Allow, ssh: {requests: [sftp], access: [remove]}", "remove"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct policy_snapshot *s = NULL;
        struct error err = {""};
        char policies[1024];

        snprintf(policies, sizeof policies, BOX POLICY("p", RULES(RULE("%s"))), bad[i].rule);
        if (policy_load_text(bytes_str(policies), "p.yaml", &s, &err) == 0)
            fail_msg("accepted: %s", bad[i].rule);
        if (!strstr(err.text, bad[i].error))
            fail_msg("%s\n%s", bad[i].rule, err.text);
    }
}

/* ---- patterns ---- */

static void test_many_stars(void **state)
{
    char word[4096];

    (void)state;
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_false(policy_ssh_word_matches("*a*a*a*a*a*a*a*a*a*a*b", word));
    assert_true(policy_ssh_word_matches("**", word));
    assert_false(policy_ssh_word_matches("a*", "a/../b"));
    assert_false(policy_ssh_word_matches("a**", "a/.."));
    assert_true(policy_ssh_word_matches("a**", "a/..b"));
    assert_false(policy_ssh_path_matches("/srv/**", "/srv/../etc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec),      cmocka_unit_test(test_sftp),
        cmocka_unit_test(test_sftp_deny), cmocka_unit_test(test_sftp_approved_whole),
        cmocka_unit_test(test_reason),    cmocka_unit_test(test_exempt),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_many_stars),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
