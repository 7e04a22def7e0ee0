/* SPDX-License-Identifier: Apache-2.0
 * Decisions on ApprovalRequests. Their creation is requestcheck.c's.
 */
#include "approval.h"

#include "src-common/clock.h"

#include <stdio.h>
#include <time.h>

#define ACCOUNT_PREFIX "system:serviceaccount:"
/* Between stamping and validation, on two replicas. */
#define CLOCK_SLACK_S 300

/* ---- words ---- */

bool approval_account_namespace(const char *username, char out[static APPROVAL_NAMESPACE_LEN])
{
    size_t prefix = strlen(ACCOUNT_PREFIX), n;

    if (strncmp(username, ACCOUNT_PREFIX, prefix) != 0)
        return false;
    n = strcspn(username + prefix, ":");
    if (n == 0 || n >= APPROVAL_NAMESPACE_LEN || username[prefix + n] != ':')
        return false;
    snprintf(out, APPROVAL_NAMESPACE_LEN, "%.*s", (int)n, username + prefix);
    return true;
}

int64_t approval_time(const char *text)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int sign, hours = 0, minutes = 0;

    if (!end)
        return -1;
    if (*end == '.')
        end += 1 + strspn(end + 1, "0123456789");
    if (strcmp(end, "Z") == 0)
        return timegm(&tm);
    sign = *end == '-' ? -1 : 1;
    if ((*end != '+' && *end != '-') || strlen(end) != 6 ||
        sscanf(end + 1, "%2d:%2d", &hours, &minutes) != 2)
        return -1;
    return timegm(&tm) - sign * (hours * 3600 + minutes * 60);
}

static const char *phase_of(struct json_object *request)
{
    const char *phase = value_text(request, "status.phase");

    return *phase ? phase : "Pending";
}

static struct json_object *decisions_of(struct json_object *request)
{
    return value_at(request, "status.decisions");
}

/* One Deny ends it; otherwise `count` different people. */
static const char *phase_from(struct json_object *request)
{
    struct json_object *decisions = decisions_of(request);
    int64_t needed = value_int(request, "spec.count", 1), approvals = 0;

    for (size_t i = 0; i < value_n(decisions); i++) {
        const char *decision = value_text(value_item(decisions, i), "decision");

        if (strcmp(decision, "Deny") == 0)
            return "Denied";
        approvals += strcmp(decision, "Approve") == 0;
    }
    return approvals >= needed ? "Approved" : "Pending";
}

/* ---- shapes ---- */

static const struct value_shape shapes[] = {
    {"spec", json_type_object},
    {"spec.pod", json_type_string},
    {"spec.podUID", json_type_string},
    {"spec.serviceAccount", json_type_string},
    {"spec.identity", json_type_string},
    {"spec.expiresAt", json_type_string},
    {"spec.count", json_type_int},
    {"spec.allowSelf", json_type_boolean},
    {"spec.requireReason", json_type_boolean},
    {"spec.approvers.groups[]", json_type_string},
    {"spec.approvers.users[]", json_type_string},
    {"status.phase", json_type_string},
    {"status.decisions[]", json_type_object},
    {"status.decisions[].by", json_type_string},
    {"status.decisions[].groups[]", json_type_string},
    {"status.decisions[].at", json_type_string},
    {"status.decisions[].decision", json_type_string},
    {"status.decisions[].reason", json_type_string},
    {"status.decisions[].uses", json_type_int},
    {"status.decisions[].validForSeconds", json_type_int},
};

static bool well_formed(const struct review *r, struct answer *a)
{
    struct error err;

    if (r->object && r->old && value_expect(r->object, shapes, ARRAY_LEN(shapes), &err) == 0 &&
        value_expect(r->old, shapes, ARRAY_LEN(shapes), &err) == 0)
        return true;
    answer_refuse(a, "%s", r->object && r->old ? err.text : "object, oldObject: required");
    return false;
}

/* ---- stamping ---- */

void approval_stamp(const struct review *r, const struct approval_facts *f, struct answer *a)
{
    struct json_object *groups = value_get(r->user, "groups");
    char at[CLOCK_RFC3339_LEN + 1];
    size_t n;

    if (!well_formed(r, a))
        return;
    n = value_n(decisions_of(r->object));
    if (n != value_n(decisions_of(r->old)) + 1)
        return; /* nobody's decision; validation has the last word */
    clock_rfc3339(f->now_us, at);
    memcpy(at + 19, "Z", 2);
    n--;
    patch_add(&a->patch, json_object_new_string(r->username), "/status/decisions/%zu/by", n);
    patch_add(&a->patch, groups ? json_object_get(groups) : json_object_new_array(),
              "/status/decisions/%zu/groups", n);
    patch_add(&a->patch, json_object_new_string(at), "/status/decisions/%zu/at", n);
    patch_add(&a->patch, json_object_new_string(phase_from(r->object)), "/status/phase");
}

/* ---- who decides ---- */

static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n")] == 0;
}

static bool is_approver(const struct review *r)
{
    struct json_object *users = value_at(r->object, "spec.approvers.users");
    struct json_object *wanted = value_at(r->object, "spec.approvers.groups");
    struct json_object *groups = value_get(r->user, "groups");

    if (!value_n(users) && !value_n(wanted))
        return true;
    for (size_t i = 0; i < value_n(groups); i++) {
        if (value_has(wanted, json_object_get_string(value_item(groups, i))))
            return true;
    }
    return value_has(users, r->username);
}

/* The agent, by the name that its token gave, or by its service account. */
static bool is_requester(const struct review *r)
{
    char account[512];

    snprintf(account, sizeof account, ACCOUNT_PREFIX "%s:%s", r->namespace_,
             value_text(r->object, "spec.serviceAccount"));
    return strcmp(r->username, account) == 0 ||
           strcmp(r->username, value_text(r->object, "spec.identity")) == 0;
}

static void check_person(const struct review *r, const struct approval_facts *f, bool approve,
                         struct answer *a)
{
    char ns[APPROVAL_NAMESPACE_LEN];
    bool account = approval_account_namespace(r->username, ns);

    if (f->guarded_account || (account && strcmp(ns, r->namespace_) == 0))
        answer_refuse(a,
                      "status.decisions: %.128s is a service account of a namespace with guards, "
                      "which may not decide; a person has to",
                      r->username);
    else if (strcmp(r->username, "system:anonymous") == 0 ||
             strcmp(r->username, f->controller) == 0)
        answer_refuse(a, "status.decisions: %.128s may not decide; a person has to", r->username);
    else if (approve && is_requester(r) && !value_bool(r->object, "spec.allowSelf"))
        answer_refuse(a,
                      "status.decisions: %.128s asked for this and cannot approve it; another "
                      "person has to",
                      r->username);
    else if (!is_approver(r))
        answer_refuse(a,
                      "status.decisions: %.128s is not among the approvers of rule \"%.64s\"; see "
                      "spec.approvers",
                      r->username, value_text(r->object, "spec.rule"));
}

static void check_not_twice(const struct review *r, struct answer *a)
{
    struct json_object *before = decisions_of(r->old);

    for (size_t i = 0; i < value_n(before); i++) {
        if (strcmp(value_text(value_item(before, i), "by"), r->username) == 0)
            answer_refuse(a,
                          "status.decisions: %.128s has decided already; %lld different people "
                          "have to",
                          r->username, (long long)value_int(r->object, "spec.count", 1));
    }
}

static void check_open(const struct review *r, const struct approval_facts *f, struct answer *a)
{
    const char *phase = phase_of(r->old), *expires = value_text(r->old, "spec.expiresAt");
    int64_t until = approval_time(expires);

    if (strcmp(phase, "Pending") != 0)
        answer_refuse(a,
                      "status.phase: the request is %.16s, which is final; the agent has to ask "
                      "again",
                      phase);
    else if (until < 0 || (int64_t)(f->now_us / 1000000) >= until)
        answer_refuse(a, "spec.expiresAt: the request ran out at %.64s; the agent has to ask again",
                      expires);
}

/* ---- what is decided ---- */

static void check_entry(const struct review *r, struct json_object *d, struct answer *a)
{
    static const char *const known[] = {"by",   "groups",         "at", "decision", "reason",
                                        "uses", "validForSeconds"};
    static const char *const limits[] = {"uses", "validForSeconds"};
    const char *decision = value_text(d, "decision");
    bool approve = strcmp(decision, "Approve") == 0;

    if (!approve && strcmp(decision, "Deny") != 0)
        answer_refuse(a, "status.decisions: decision: expected Approve or Deny");
    if (approve && value_bool(r->object, "spec.requireReason") && is_blank(value_text(d, "reason")))
        answer_refuse(a, "status.decisions: reason: rule \"%.64s\" requires one",
                      value_text(r->object, "spec.rule"));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (value_get(d, limits[i]) && value_int(d, limits[i], 0) < 1)
            answer_refuse(a, "status.decisions: %s: has to be at least 1", limits[i]);
    }
    json_object_object_foreach(d, key, unused)
    {
        bool found = false;

        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            found = found || strcmp(known[i], key) == 0;
        if (!found && unused)
            answer_refuse(a, "status.decisions: %.64s: unknown field", key);
    }
}

/* What the mutating half wrote; missing when somebody turned it off. */
static void check_stamp(const struct review *r, const struct approval_facts *f,
                        struct json_object *d, struct answer *a)
{
    struct json_object *groups = value_get(r->user, "groups"), *said = value_get(d, "groups");
    int64_t at = approval_time(value_text(d, "at")), now = (int64_t)(f->now_us / 1000000);
    bool same = value_n(groups) == 0 ? value_n(said) == 0 : json_object_equal(groups, said);

    if (strcmp(value_text(d, "by"), r->username) != 0 || !same || at < now - CLOCK_SLACK_S ||
        at > now + CLOCK_SLACK_S)
        answer_refuse(a,
                      "status.decisions: by, groups and at are not what the webhook writes there; "
                      "is /stamp-approval in the MutatingWebhookConfiguration?");
}

static bool is_kept(struct json_object *before, struct json_object *now)
{
    for (size_t i = 0; i < value_n(before); i++) {
        if (!json_object_equal(value_item(before, i), value_item(now, i)))
            return false;
    }
    return true;
}

static void check_decision(const struct review *r, const struct approval_facts *f, struct answer *a)
{
    struct json_object *before = decisions_of(r->old), *now = decisions_of(r->object);
    struct json_object *d = value_item(now, value_n(now) - 1);

    if (!is_kept(before, now)) {
        answer_refuse(a,
                      "status.decisions: earlier entries have to stay as they are; somebody else "
                      "may have decided meanwhile: look again and repeat");
        return;
    }
    check_open(r, f, a);
    check_person(r, f, strcmp(value_text(d, "decision"), "Approve") == 0, a);
    check_not_twice(r, a);
    check_entry(r, d, a);
    check_stamp(r, f, d, a);
    if (strcmp(phase_of(r->object), phase_from(r->object)) != 0)
        answer_refuse(a, "status.phase: is not what follows from the decisions; leave it out");
}

/* ---- expiry ---- */

static const char *extra(const struct review *r, const char *key)
{
    struct json_object *v = value_item(value_get(value_get(r->user, "extra"), key), 0);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

/* The guard whose request it is. */
static bool is_its_guard(const struct review *r)
{
    char account[512];
    const char *uid = value_text(r->old, "spec.podUID");

    snprintf(account, sizeof account, ACCOUNT_PREFIX "%s:%s", r->namespace_,
             value_text(r->old, "spec.serviceAccount"));
    return strcmp(r->username, account) == 0 && *uid &&
           strcmp(extra(r, "authentication.kubernetes.io/pod-uid"), uid) == 0;
}

static void check_expiry(const struct review *r, const struct approval_facts *f, struct answer *a)
{
    int64_t until = approval_time(value_text(r->old, "spec.expiresAt"));
    bool over = (int64_t)(f->now_us / 1000000) >= until;
    bool controller = strcmp(r->username, f->controller) == 0;

    if (strcmp(phase_of(r->object), "Expired") != 0 || strcmp(phase_of(r->old), "Pending") != 0)
        answer_refuse(a, "status: expected exactly one new entry in decisions");
    else if (!is_its_guard(r) && !(controller && over))
        answer_refuse(a,
                      "status.phase: only the guard that asked, and the controller once the time "
                      "is over, may set Expired; append a Deny to decisions");
}

void approval_check_status(const struct review *r, const struct approval_facts *f, struct answer *a)
{
    size_t before, now;

    if (!well_formed(r, a))
        return;
    if (json_object_equal(value_get(r->object, "status"), value_get(r->old, "status")))
        return;
    before = value_n(decisions_of(r->old));
    now = value_n(decisions_of(r->object));
    if (now == before + 1)
        check_decision(r, f, a);
    else if (now == before && is_kept(decisions_of(r->old), decisions_of(r->object)))
        check_expiry(r, f, a);
    else
        answer_refuse(a,
                      "status.decisions: expected exactly one new entry, and the earlier ones as "
                      "they were");
}
