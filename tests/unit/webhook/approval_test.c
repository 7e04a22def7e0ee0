/* SPDX-License-Identifier: Apache-2.0
 * Who may make an ApprovalRequest, who decides, and what is written down about it.
 */
#include "webhook_support.h"

#include "webhook/approval.h"
#include "webhook/expiry.h"

#define NOW_S   1795557600 /* 2026-11-24T22:00:00Z */
#define LATER   "2026-11-24T22:01:00Z"
#define EARLIER "2026-11-24T21:59:00Z"
#define DIGEST  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct approval_facts facts = {
    .now_us = (uint64_t)NOW_S * 1000000,
    .controller = "system:serviceaccount:chaperone-system:chaperone-webhook"};

static void times_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t wanted;
    } rows[] = {
        {"2026-11-24T22:00:00Z", NOW_S},
        {"2026-11-24T22:00:00.123456Z", NOW_S},
        {"2026-11-24T23:00:00+01:00", NOW_S},
        {"2026-11-24T20:30:00-01:30", NOW_S},
        {"2026-11-24", -1},
        {"2026-11-24T22:00:00", -1},
        {"2026-11-24T22:00:00+1:00", -1},
        {"", -1},
        {"2026-11-24T22:00:00Z and more", -1},
        {"tomorrow", -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (approval_time(rows[i].text) != rows[i].wanted)
            fail_msg("%s: %lld", rows[i].text, (long long)approval_time(rows[i].text));
    }
}

/* ---- deciding ---- */

/* One request; what is not said is well. */
struct vote {
    const char *spec;    /* more members of spec, each with a comma before it */
    const char *expires; /* NULL: LATER */
    const char *old;     /* status before, NULL: {} */
    const char *new;     /* status after, before stamping */
    const char *user;    /* NULL: alice of dba */
    bool guarded;        /* the user is a service account of a namespace with guards */
    bool unstamped;      /* the mutating half is turned off */
    const char *wanted;  /* part of the refusal; NULL: allowed */
    const char *phase;   /* afterwards, when allowed */
};

static struct json_object *request(const struct vote *v, const char *status)
{
    char text[4096];

    snprintf(text, sizeof text,
             "{\"metadata\": {\"name\": \"abc\"}, \"spec\": {\"pod\": \"coder-0\", \"podUID\": "
             "\"u1\", \"serviceAccount\": \"coder\", \"identity\": \"agent-7\", \"rule\": "
             "\"writes\", \"count\": 1, \"expiresAt\": \"%s\"%s}, \"status\": %s}",
             v->expires ? v->expires : LATER, v->spec ? v->spec : "", status ? status : "{}");
    return parse(text);
}

static void decide(const struct vote *v)
{
    struct review r =
        review_of("UPDATE", "approvalrequests", request(v, v->new), request(v, v->old));
    struct approval_facts f = facts;
    struct answer stamp, a;

    f.guarded_account = v->guarded;
    if (v->user) {
        json_object_object_add(r.root, "user", r.user = parse(v->user));
        r.username = value_text(r.user, "username");
    }
    answer_init(&stamp);
    answer_init(&a);
    approval_stamp(&r, &f, &stamp);
    if (!v->unstamped)
        apply(r.object, stamp.patch.operations);
    approval_check_status(&r, &f, &a);
    answer_settle(&a);
    if (v->wanted ? a.allowed || !strstr(a.message, v->wanted) : !a.allowed)
        fail_msg("%s\n got: %s\nwant: %s", v->new, a.allowed ? "(allowed)" : a.message,
                 v->wanted ? v->wanted : "(allowed)");
    if (!v->wanted && v->phase)
        assert_string_equal(value_text(r.object, "status.phase"), v->phase);
    answer_done(&stamp);
    answer_done(&a);
    review_done(&r);
}

#define APPROVE "{\"decision\": \"Approve\", \"reason\": \"ok\"}"
#define ONE(d)  "{\"decisions\": [" d "]}"
#define BOB                                                                                        \
    "{\"by\": \"bob\", \"groups\": [\"dba\"], \"at\": \"" EARLIER "\", \"decision\": \"Approve\"}"

static void people_decide(void **state)
{
    static const struct vote rows[] = {
        {.new = ONE(APPROVE), .phase = "Approved"},
        {.new = ONE("{\"decision\": \"Deny\"}"), .phase = "Denied"},
        {.new = "{\"phase\": \"Approved\", \"decisions\": [{\"decision\": \"Deny\"}]}",
         .phase = "Denied"},
        {.spec = ", \"approvers\": {\"groups\": [\"dba\"]}",
         .new = ONE(APPROVE),
         .phase = "Approved"},
        {.spec = ", \"approvers\": {\"users\": [\"alice\"]}",
         .new = ONE(APPROVE),
         .phase = "Approved"},
        {.spec = ", \"count\": 2", .new = ONE(APPROVE), .phase = "Pending"},
        {.spec = ", \"count\": 2",
         .old = ONE(BOB),
         .new = ONE(BOB ", " APPROVE),
         .phase = "Approved"},
        {.new = ONE("{\"decision\": \"Approve\", \"uses\": 3, \"validForSeconds\": 60}"),
         .phase = "Approved"},
        {.spec = ", \"allowSelf\": true",
         .user = "{\"username\": \"agent-7\", \"groups\": []}",
         .new = ONE(APPROVE),
         .phase = "Approved"},
        {.user = "{\"username\": \"agent-7\"}",
         .new = ONE("{\"decision\": \"Deny\"}"),
         .phase = "Denied"},
        {.user = "{\"username\": \"system:serviceaccount:ci:bot\", \"groups\": [\"x\"]}",
         .new = ONE(APPROVE),
         .phase = "Approved"}, /* of a namespace without guards */
        {.old = "{\"phase\": \"Pending\", \"decisions\": []}",
         .new = "{\"phase\": \"Pending\", \"decisions\": []}"}, /* nothing changes */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        decide(&rows[i]);
}

static const struct vote refusals[] = {
    {.expires = EARLIER, .new = ONE(APPROVE), .wanted = "spec.expiresAt: the request ran out"},
    {.expires = "never", .new = ONE(APPROVE), .wanted = "spec.expiresAt"},
    {.old = "{\"phase\": \"Denied\"}",
     .new = ONE(APPROVE),
     .wanted = "status.phase: the request is Denied, which is final"},
    {.old = "{\"phase\": \"Expired\"}", .new = ONE(APPROVE), .wanted = "is Expired"},
    {.spec = ", \"count\": 2",
     .old = ONE("{\"by\": \"alice\", \"decision\": \"Approve\"}"),
     .new = ONE("{\"by\": \"alice\", \"decision\": \"Approve\"}, " APPROVE),
     .wanted = "alice has decided already"},
    {.user = "{\"username\": \"agent-7\"}",
     .new = ONE(APPROVE),
     .wanted = "agent-7 asked for this and cannot approve it"},
    {.user = "{\"username\": \"system:serviceaccount:agents:coder\"}",
     .new = ONE(APPROVE),
     .wanted = "is a service account of a namespace with guards"},
    {.user = "{\"username\": \"system:serviceaccount:agents:other\"}",
     .new = ONE(APPROVE),
     .wanted = "is a service account of a namespace with guards"},
    {.user = "{\"username\": \"system:serviceaccount:agents2:x\"}",
     .guarded = true,
     .new = ONE(APPROVE),
     .wanted = "is a service account of a namespace with guards"},
    {.user = "{\"username\": \"system:serviceaccount:chaperone-system:chaperone-webhook\"}",
     .new = ONE(APPROVE),
     .wanted = "may not decide; a person has to"},
    {.user = "{\"username\": \"system:anonymous\"}",
     .new = ONE(APPROVE),
     .wanted = "may not decide"},
    {.spec = ", \"approvers\": {\"groups\": [\"sre\"], \"users\": [\"bob\"]}",
     .new = ONE(APPROVE),
     .wanted = "alice is not among the approvers"},
    {.spec = ", \"approvers\": {\"groups\": [\"sre\"]}",
     .new = ONE("{\"decision\": \"Deny\"}"),
     .wanted = "alice is not among the approvers"},
    {.spec = ", \"requireReason\": true",
     .new = ONE("{\"decision\": \"Approve\", \"reason\": \" \"}"),
     .wanted = "reason: rule \"writes\" requires one"},
    {.new = ONE("{\"decision\": \"approve\"}"), .wanted = "expected Approve or Deny"},
    {.new = ONE("{}"), .wanted = "expected Approve or Deny"},
    {.new = ONE("{\"decision\": \"Approve\", \"uses\": 0}"), .wanted = "uses: has to be at least"},
    {.new = ONE("{\"decision\": \"Approve\", \"validForSeconds\": -1}"),
     .wanted = "validForSeconds: has to be"},
    {.new = ONE("{\"decision\": \"Approve\", \"as\": \"bob\"}"), .wanted = "as: unknown field"},
    {.new = ONE("{\"decision\": 1}"), .wanted = "status.decisions[0].decision: expected a string"},
    {.new = ONE(APPROVE ", " APPROVE), .wanted = "expected exactly one new entry"},
    {.old = ONE(BOB), .new = "{\"decisions\": []}", .wanted = "expected exactly one new entry"},
    {.spec = ", \"count\": 2",
     .old = ONE(BOB),
     .new = ONE("{\"by\": \"carol\", \"decision\": \"Approve\"}, " APPROVE),
     .wanted = "earlier entries have to stay"},
    {.spec = ", \"count\": 2",
     .old = ONE(BOB),
     .new = ONE("{\"by\": \"carol\", \"decision\": \"Approve\"}"),
     .wanted = "expected exactly one new entry"},
    {.unstamped = true,
     .new = "{\"phase\": \"Approved\", \"decisions\": [{\"by\": \"bob\", \"at\": \"" LATER
            "\", \"decision\": \"Approve\"}]}",
     .wanted = "by, groups and at are not what the webhook writes"},
    {.unstamped = true,
     .new = "{\"phase\": \"Approved\", \"decisions\": [{\"by\": \"alice\", \"groups\": "
            "[\"dba\", \"sre\"], \"at\": \"" LATER "\", \"decision\": \"Approve\"}]}",
     .wanted = "by, groups and at are not what"},
    {.unstamped = true,
     .new = "{\"phase\": \"Approved\", \"decisions\": [{\"by\": \"alice\", \"groups\": "
            "[\"dba\"], \"at\": \"2026-11-24T10:00:00Z\", \"decision\": \"Approve\"}]}",
     .wanted = "by, groups and at are not what"},
    {.unstamped = true,
     .spec = ", \"count\": 2",
     .new = "{\"phase\": \"Approved\", \"decisions\": [{\"by\": \"alice\", \"groups\": "
            "[\"dba\"], \"at\": \"" LATER "\", \"decision\": \"Approve\"}]}",
     .wanted = "status.phase: is not what follows"},
    {.new = "{\"phase\": \"Approved\"}", .wanted = "expected exactly one new entry"},
    {.new = "{\"phase\": \"Expired\"}", .wanted = "only the guard that asked"},
    {.old = "{\"phase\": \"Approved\"}", .new = "{\"phase\": \"Pending\"}", .wanted = "status:"},
};

static void others_do_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        decide(&refusals[i]);
}

#define SELF(uid)                                                                                  \
    "{\"username\": \"system:serviceaccount:agents:coder\", \"extra\": "                           \
    "{\"authentication.kubernetes.io/pod-name\": [\"coder-0\"], "                                  \
    "\"authentication.kubernetes.io/pod-uid\": [\"" uid "\"]}}"
#define CONTROLLER "{\"username\": \"system:serviceaccount:chaperone-system:chaperone-webhook\"}"

static void guards_and_controller_expire(void **state)
{
    static const struct vote rows[] = {
        {.user = SELF("u1"), .new = "{\"phase\": \"Expired\"}", .phase = "Expired"},
        {.user = SELF("u2"),
         .new = "{\"phase\": \"Expired\"}",
         .wanted = "only the guard that asked"},
        {.user = SELF("u1"), .new = "{\"phase\": \"Approved\"}", .wanted = "status:"},
        {.user = SELF("u1"), .new = ONE(APPROVE), .wanted = "service account of a namespace"},
        {.user = SELF("u1"),
         .old = "{\"phase\": \"Approved\"}",
         .new = "{\"phase\": \"Expired\"}",
         .wanted = "status:"},
        {.user = CONTROLLER,
         .expires = EARLIER,
         .new = "{\"phase\": \"Expired\"}",
         .phase = "Expired"},
        {.user = CONTROLLER, .new = "{\"phase\": \"Expired\"}", .wanted = "only the guard"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        decide(&rows[i]);
}

static void the_stamp_is_the_users(void **state)
{
    const struct vote v = {.new = ONE("{\"decision\": \"Approve\", \"by\": \"bob\", \"groups\": "
                                      "[\"sre\"], \"at\": \"2000-01-01T00:00:00Z\"}")};
    struct review r =
        review_of("UPDATE", "approvalrequests", request(&v, v.new), request(&v, NULL));
    struct json_object *d;
    struct answer a;

    (void)state;
    answer_init(&a);
    approval_stamp(&r, &facts, &a);
    apply(r.object, a.patch.operations);
    d = value_item(value_at(r.object, "status.decisions"), 0);
    assert_string_equal(value_text(d, "by"), "alice");
    assert_string_equal(value_text(d, "at"), "2026-11-24T22:00:00Z");
    assert_true(value_has(value_get(d, "groups"), "dba"));
    assert_false(value_has(value_get(d, "groups"), "sre"));
    answer_done(&a);
    review_done(&r);
}

/* ---- making ---- */

#define SPEC                                                                                       \
    "\"session\": \"s\", \"pod\": \"coder-0\", \"podUID\": \"u1\", \"serviceAccount\": \"coder\"," \
    "\"target\": \"t\", \"policy\": \"p\", \"rule\": \"r\", \"statement\": \"DELETE\","            \
    "\"digest\": \"" DIGEST "\", \"expiresAt\": \"" LATER "\", \"count\": 1"
#define META                                                                                       \
    "{\"name\": \"abc\", \"labels\": {\"chaperone.dev/pod-uid\": \"u1\"}, \"ownerReferences\": "   \
    "[{\"kind\": \"Pod\", \"name\": \"coder-0\", \"uid\": \"u1\"}]}"

static void make(const char *metadata, const char *spec, const char *user, const char *wanted)
{
    char text[4096];
    struct review r;
    struct answer a;

    snprintf(text, sizeof text, "{\"metadata\": %s, \"spec\": {%s}}", metadata, spec);
    r = review_of("CREATE", "approvalrequests", parse(text), NULL);
    json_object_object_add(r.root, "user", r.user = parse(user));
    r.username = value_text(r.user, "username");
    answer_init(&a);
    approval_check_created(&r, &facts, &a);
    answer_settle(&a);
    if (wanted ? a.allowed || !strstr(a.message, wanted) : !a.allowed)
        fail_msg("%s %s\n got: %s\nwant: %s", text, user, a.message, wanted ? wanted : "(allowed)");
    answer_done(&a);
    review_done(&r);
}

/* The last of equal keys counts. */
static void only_a_guard_makes_one_for_its_own_pod(void **state)
{
    (void)state;
    make(META, SPEC, SELF("u1"), NULL);
    make(META, SPEC, "{\"username\": \"alice\"}", "only guards make approval requests");
    make(META, SPEC, "{\"username\": \"system:serviceaccount:agents:coder\"}",
         "spec.pod: the token of the one who asks belongs to no pod");
    make(META, SPEC, SELF("u2"), "spec.podUID: is not the uid of the pod");
    make(META, SPEC ", \"pod\": \"other\"", SELF("u1"), "spec.pod: the token");
    make(META, SPEC ", \"serviceAccount\": \"other\"", SELF("u1"), "spec.serviceAccount");
    make("{\"name\": \"abc\", \"labels\": {\"chaperone.dev/pod-uid\": \"u2\"}}", SPEC, SELF("u1"),
         "metadata.labels: chaperone.dev/pod-uid");
    make("{\"name\": \"abc\", \"labels\": {\"chaperone.dev/pod-uid\": \"u1\"}}", SPEC, SELF("u1"),
         "metadata.ownerReferences: has to be the pod");
    make("{\"generateName\": \"a-\", \"labels\": {\"chaperone.dev/pod-uid\": \"u1\"}}", SPEC,
         SELF("u1"), "metadata.name: required");
    make(META, SPEC ", \"digest\": \"00\"", SELF("u1"), "spec.digest");
    make(META, SPEC ", \"expiresAt\": \"" EARLIER "\"", SELF("u1"), "spec.expiresAt");
    make(META, SPEC ", \"expiresAt\": \"2027-11-24T22:01:00Z\"", SELF("u1"), "spec.expiresAt");
    make(META, SPEC ", \"expiresAt\": \"soon\"", SELF("u1"), "spec.expiresAt");
    make(META, SPEC ", \"count\": 0", SELF("u1"), "spec.count");
    make(META, SPEC ", \"statement\": \"\"", SELF("u1"), "spec.statement: required");
    make(META, SPEC ", \"delivery\": \"Mail\"", SELF("u1"), "spec.delivery");
    make(META, SPEC ", \"session\": 7", SELF("u1"), "spec.session: expected a string");
}

static void updated(const char *now, const char *wanted)
{
    struct review r = review_of("UPDATE", "approvalrequests", parse(now),
                                parse("{\"metadata\": " META ", \"spec\": {" SPEC "}}"));
    struct answer a;

    answer_init(&a);
    approval_check_updated(&r, &a);
    answer_settle(&a);
    if (wanted ? a.allowed || !strstr(a.message, wanted) : !a.allowed)
        fail_msg("%s\n got: %s", now, a.message);
    answer_done(&a);
    review_done(&r);
}

static void what_was_asked_never_changes(void **state)
{
    (void)state;
    updated("{\"metadata\": " META ", \"spec\": {" SPEC "}}", NULL);
    updated("{\"metadata\": " META ", \"spec\": {" SPEC ", \"statement\": \"DROP\"}}",
            "spec: never changes");
    updated("{\"metadata\": " META ", \"spec\": {" SPEC ", \"uses\": 5}}", "spec: never changes");
    updated("{\"metadata\": {\"name\": \"abc\"}, \"spec\": {" SPEC "}}", "metadata.labels");
}

/* ---- the end ---- */

static void requests_end(void **state)
{
    static const struct {
        const char *request;
        int64_t now;
        enum expiry_step wanted;
    } rows[] = {
        {"{\"spec\": {\"expiresAt\": \"" LATER "\"}}", NOW_S, EXPIRY_NONE},
        {"{\"spec\": {\"expiresAt\": \"" LATER "\"}}", NOW_S + 60, EXPIRY_EXPIRE},
        {"{\"spec\": {\"expiresAt\": \"" LATER "\"}, \"status\": {\"phase\": \"Pending\"}}",
         NOW_S + 61, EXPIRY_EXPIRE},
        {"{\"spec\": {\"expiresAt\": \"" LATER "\"}, \"status\": {\"phase\": \"Expired\"}}",
         NOW_S + 61, EXPIRY_NONE},
        {"{\"spec\": {\"expiresAt\": \"" LATER "\"}, \"status\": {\"phase\": \"Expired\"}}",
         NOW_S + 60 + 86400, EXPIRY_DELETE},
        {"{\"spec\": {\"expiresAt\": \"" LATER "\"}, \"status\": {\"phase\": \"Approved\", "
         "\"decisions\": [{\"at\": \"" EARLIER "\"}]}}",
         NOW_S + 86400 - 61, EXPIRY_NONE},
        {"{\"spec\": {\"expiresAt\": \"" LATER "\"}, \"status\": {\"phase\": \"Denied\", "
         "\"decisions\": [{\"at\": \"" EARLIER "\"}]}}",
         NOW_S + 86400 - 60, EXPIRY_DELETE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_object *o = parse(rows[i].request);

        if (expiry_due(o, rows[i].now) != rows[i].wanted)
            fail_msg("row %zu: %d", i, expiry_due(o, rows[i].now));
        json_object_put(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(people_decide),
        cmocka_unit_test(others_do_not),
        cmocka_unit_test(guards_and_controller_expire),
        cmocka_unit_test(the_stamp_is_the_users),
        cmocka_unit_test(only_a_guard_makes_one_for_its_own_pod),
        cmocka_unit_test(what_was_asked_never_changes),
        cmocka_unit_test(requests_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
