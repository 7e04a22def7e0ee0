/* SPDX-License-Identifier: Apache-2.0
 * Who may decide, and what a decision does.
 */
#include "request.h"

#include "src-common/clock.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#define MAX_GROUPS 256
#define NAME_MAX_  128
#define MAX_SPAN_S (7 * 24 * 3600) /* a grant outlives no week */

/* The person who decides, as the system knows them. */
struct person {
    const char *by; /* "uid:1000(alice)" */
    uid_t uid;
    bool owner; /* root or the guard's own user: the socket is theirs */
    char name[NAME_MAX_];
    gid_t groups[MAX_GROUPS];
    int n_groups;
    const char *const *group_names; /* of a vote given elsewhere; NULL: the system's groups count */
};

/* Asks the user database, which may block: done before the registry is locked. Whoever it does
 * not know has no name and no groups. */
static void person_lookup(struct person *p, const char *by, uid_t uid)
{
    struct passwd pw, *found = NULL;
    char text[4096];

    p->group_names = NULL;
    p->by = by;
    p->uid = uid;
    p->owner = uid == 0 || uid == geteuid();
    p->name[0] = '\0';
    p->n_groups = 0;
    if (uid == (uid_t)-1 || getpwuid_r(uid, &pw, text, sizeof text, &found) != 0 || !found ||
        strlen(pw.pw_name) >= sizeof p->name)
        return;
    memcpy(p->name, pw.pw_name, strlen(pw.pw_name) + 1);
    p->n_groups = MAX_GROUPS;
    if (getgrouplist(p->name, pw.pw_gid, p->groups, &p->n_groups) < 0)
        p->n_groups = 0;
}

static bool in_group(const struct person *p, const char *group)
{
    struct group gr, *found = NULL;
    char *text = malloc(1 << 16);
    bool member = false;

    if (text && getgrnam_r(group, &gr, text, 1 << 16, &found) == 0 && found)
        for (int i = 0; i < p->n_groups && !member; i++)
            member = p->groups[i] == gr.gr_gid;
    free(text);
    return member;
}

static bool in_any_group(const struct person *p, char *const *groups)
{
    for (size_t i = 0; groups[i]; i++)
        if (in_group(p, groups[i]))
            return true;
    return false;
}

static bool is_named(const struct person *p, const char *who)
{
    char uid[32];

    snprintf(uid, sizeof uid, "uid:%u", (unsigned)p->uid);
    return strcmp(who, p->by) == 0 || (p->uid != (uid_t)-1 && strcmp(who, uid) == 0) ||
           (p->name[0] && strcmp(who, p->name) == 0);
}

static bool may_decide(const struct person *p, const struct request *r, bool in_groups)
{
    if (p->owner || (!r->info.users[0] && !r->info.groups[0]) || in_groups)
        return true;
    for (size_t i = 0; r->info.users[i]; i++)
        if (is_named(p, r->info.users[i]))
            return true;
    return false;
}

static bool blank(const char *s)
{
    return !s || s[strspn(s, " \t\r\n")] == '\0';
}

/* A second vote of the same person is refused; but whoever approved may still deny. */
static bool voted_already(const struct request *r, const struct person *p, bool approve)
{
    for (size_t i = 0; i < r->info.n_decisions; i++) {
        const struct approval_decision *d = &r->info.decisions[i];

        if (approve &&
            (strcmp(d->by, p->by) == 0 || (p->uid != (uid_t)-1 && r->voters[i] == p->uid)))
            return true;
    }
    return false;
}

static int check_vote(const struct request *r, const struct person *p, bool approve,
                      const char *reason, struct error *err)
{
    const struct approval_info *i = &r->info;

    if (approve && !i->allow_self && is_named(p, i->identity))
        return error_set(err, -EPERM,
                         "%s asked for this and cannot approve it: another person has to", p->by);
    if (voted_already(r, p, approve))
        return error_set(err, -EPERM,
                         "%s has approved request %s already: %u different people have to", p->by,
                         i->id, i->count);
    if (approve && i->require_reason && blank(reason))
        return error_set(err, -EINVAL, "rule %s requires a reason: say --reason", i->rule);
    if (strlen(p->by) >= sizeof i->decisions[0].by ||
        (!p->group_names && reason && strlen(reason) >= sizeof i->decisions[0].reason))
        return error_set(err, -EINVAL, "the reason is too long: at most %zu bytes",
                         sizeof i->decisions[0].reason - 1);
    if (i->n_decisions >= APPROVAL_MAX_DECISIONS)
        return error_set(err, -EPERM, "request %s cannot take more than %d decisions", i->id,
                         APPROVAL_MAX_DECISIONS);
    return 0;
}

struct vote {
    bool approve;
    const char *reason;
    uint32_t uses, valid_for_s;
    uint64_t at_us; /* 0: now */
};

static void add_vote(struct request *r, const struct person *p, const struct vote *v)
{
    struct approval_decision *d = &r->info.decisions[r->info.n_decisions];

    r->voters[r->info.n_decisions++] = p->uid;
    snprintf(d->by, sizeof d->by, "%s", p->by);
    snprintf(d->decision, sizeof d->decision, "%s", v->approve ? "approve" : "deny");
    snprintf(d->reason, sizeof d->reason, "%s", v->reason ? v->reason : "");
    d->at_us = v->at_us ? v->at_us : clock_wall_us();
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Several people may give different widths: the narrowest counts. A time alone means any number
 * of uses within it. */
static void narrow_grant(struct request *r, uint32_t uses, uint32_t valid_for_s)
{
    uint32_t given = uses ? uses : valid_for_s ? APPROVAL_UNLIMITED : r->info.uses;

    r->uses = min_u32(r->uses, given);
    r->valid_for_s = min_u32(r->valid_for_s, valid_for_s ? valid_for_s : r->info.valid_for_s);
}

/* A held statement takes the first use itself; a ticket's is taken by the retry. */
static void grant(struct request *r)
{
    r->info.uses_left = r->uses;
    if (!r->info.ticket && r->uses != APPROVAL_UNLIMITED)
        r->info.uses_left--;
    r->grant_until_ms = clock_mono_ms() + (uint64_t)min_u32(r->valid_for_s, MAX_SPAN_S) * 1000;
}

static size_t approve_votes(const struct request *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->info.n_decisions; i++)
        n += r->info.decisions[i].decision[0] == 'a';
    return n;
}

static int decide_locked(struct approvals *a, struct request *r, const struct person *p,
                         const struct vote *v, struct error *err)
{
    int e = check_vote(r, p, v->approve, v->reason, err);

    if (e != 0)
        return e;
    add_vote(r, p, v);
    a->version++;
    if (!v->approve) {
        approvals_settle(a, r, APPROVAL_DENIED);
        approvals_notify(a, r);
        return 0;
    }
    narrow_grant(r, v->uses, v->valid_for_s);
    if (approve_votes(r) >= r->info.count) {
        grant(r);
        approvals_settle(a, r, APPROVAL_APPROVED);
        approvals_notify(a, r);
    }
    return 0;
}

/* Whether the person is in one of the groups that the request wants, without its lock. */
static bool wanted_group(struct approvals *a, const char *id, const struct person *p)
{
    struct approval_info info;
    bool in;

    if (p->owner || p->n_groups == 0 || approvals_get(a, id, &info) != 0)
        return false;
    in = in_any_group(p, info.groups);
    approval_info_done(&info);
    return in;
}

/* The request by its id, when it may still be decided on. */
static int find_pending(struct approvals *a, const char *id, struct request **ret,
                        struct error *err)
{
    struct request *r = approvals_find(a, id);

    if (!r)
        return error_set(err, -ENOENT, "there is no request %s (decided ones are kept for an hour)",
                         id);
    if (r->info.phase != APPROVAL_PENDING)
        return error_set(err, -EALREADY, "request %s is not pending: it is %s", id,
                         approval_phase_name(r->info.phase));
    *ret = r;
    return 0;
}

int approvals_decide(struct approvals *a, const char *id, bool approve, const char *by,
                     uid_t by_uid, const char *reason, uint32_t uses, uint32_t valid_for_s,
                     struct error *err)
{
    const struct vote v = {approve, reason, uses, valid_for_s, 0};
    struct person p;
    struct request *r;
    bool in_groups;
    int e;

    person_lookup(&p, by, by_uid);
    in_groups = wanted_group(a, id, &p);
    pthread_mutex_lock(&a->lock);
    approvals_expire(a);
    r = approvals_find(a, id);
    if (r && !may_decide(&p, r, in_groups))
        e = error_set(err, -EPERM, "%s is not among the approvers of rule %s", by, r->info.rule);
    else
        e = find_pending(a, id, &r, err);
    if (e == 0)
        e = decide_locked(a, r, &p, &v, err);
    pthread_mutex_unlock(&a->lock);
    return e;
}

/* ---- votes given elsewhere ---- */

static bool names_meet(char *const *wanted, const char *const *has)
{
    for (size_t i = 0; wanted[i]; i++)
        for (size_t j = 0; has && has[j]; j++)
            if (strcmp(wanted[i], has[j]) == 0)
                return true;
    return false;
}

int approvals_vote(struct approvals *a, const char *id, const struct approval_vote *vote,
                   struct error *err)
{
    static const char *const none[] = {NULL};
    const struct vote v = {vote->approve, vote->reason, vote->uses, vote->valid_for_s, vote->at_us};
    const struct person p = {
        .by = vote->by, .uid = (uid_t)-1, .group_names = vote->groups ? vote->groups : none};
    struct request *r;
    int e;

    pthread_mutex_lock(&a->lock);
    approvals_expire(a);
    e = find_pending(a, id, &r, err);
    if (e == 0 && v.approve && !may_decide(&p, r, names_meet(r->info.groups, p.group_names)))
        e = error_set(err, -EPERM, "%s is not among the approvers of rule %s", p.by, r->info.rule);
    if (e == 0)
        e = decide_locked(a, r, &p, &v, err);
    pthread_mutex_unlock(&a->lock);
    return e;
}

void approvals_close(struct approvals *a, const char *id, enum approval_phase phase, const char *by,
                     const char *why)
{
    const struct person p = {.by = by ? by : "", .uid = (uid_t)-1};
    struct request *r;

    pthread_mutex_lock(&a->lock);
    r = approvals_find(a, id);
    if (r && r->info.phase == APPROVAL_PENDING) {
        if (phase == APPROVAL_DENIED && r->info.n_decisions < APPROVAL_MAX_DECISIONS)
            add_vote(r, &p, &(struct vote){.reason = why});
        snprintf(r->info.fault, sizeof r->info.fault, "%s", why ? why : "");
        approvals_settle(a, r, phase);
        approvals_notify(a, r);
    }
    pthread_mutex_unlock(&a->lock);
}
