/* SPDX-License-Identifier: Apache-2.0
 * The registry of statements that wait for a person: asking, expiring, listing. Who may decide
 * is decide.c's.
 */
#include "request.h"

#include "src-common/clock.h"

#include <errno.h>

#define SWEEP_MS 1000 /* statements that use a grant up come here often */

int approvals_new(size_t max_pending, struct approvals **ret)
{
    struct approvals *a = calloc(1, sizeof *a);

    if (!a)
        return -ENOMEM;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->notified, NULL);
    a->max_pending = max_pending;
    *ret = a;
    return 0;
}

void approvals_free(struct approvals *a)
{
    if (!a)
        return;
    while (a->first) {
        struct request *next = a->first->next;

        request_free(a->first);
        a->first = next;
    }
    pthread_cond_destroy(&a->notified);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

struct request *approvals_find(struct approvals *a, const char *id)
{
    struct request *r = a->first;

    while (r && strcmp(r->info.id, id) != 0)
        r = r->next;
    return r;
}

void approvals_set_outlet(struct approvals *a, const struct approvals_outlet *outlet, void *arg)
{
    pthread_mutex_lock(&a->lock);
    a->outlet = outlet;
    a->outlet_arg = arg;
    pthread_mutex_unlock(&a->lock);
}

void approvals_settle(struct approvals *a, struct request *r, enum approval_phase phase)
{
    if (a->outlet)
        a->outlet->settled(r->info.id, phase, a->outlet_arg);
    r->info.phase = phase;
    r->decided_ms = clock_mono_ms();
    a->n_pending--;
    a->n_kept++;
    a->version++;
}

void approvals_notify(struct approvals *a, struct request *r)
{
    approval_notify_fn *fn = r->notify;
    char id[APPROVAL_ID_LEN + 1];
    void *arg = r->notify_arg;
    enum approval_phase phase = r->info.phase;

    if (!fn)
        return;
    r->notify = NULL;
    r->notifying = true;
    r->notifier = pthread_self();
    memcpy(id, r->info.id, sizeof id);
    pthread_mutex_unlock(&a->lock);
    fn(id, phase, arg);
    pthread_mutex_lock(&a->lock);
    r->notifying = false;
    pthread_cond_broadcast(&a->notified);
}

static void forget(struct approvals *a, struct request **at, struct request *before)
{
    struct request *r = *at;

    *at = r->next;
    if (a->last == r)
        a->last = before;
    a->n_kept--;
    a->bytes -= r->bytes;
    request_free(r);
}

/* Decided requests leave when they are old, or when there are too many of them; those that still
 * grant something go last, because with them goes the grant. */
static void sweep(struct approvals *a, bool need_room)
{
    uint64_t now = clock_mono_ms();

    for (int pass = 0; pass < 2; pass++) {
        struct request **at = &a->first, *before = NULL;

        while (*at) {
            struct request *r = *at;
            bool full = a->n_kept > APPROVAL_KEPT_MAX || need_room;
            bool old = now - r->decided_ms >= APPROVAL_KEPT_MS && !request_has_grant(r, now);

            need_room = need_room && a->bytes > APPROVAL_BYTES_MAX / 2;
            if (r->info.phase != APPROVAL_PENDING && !r->notifying &&
                (old || (full && (pass == 1 || !request_has_grant(r, now))))) {
                forget(a, at, before);
                continue;
            }
            before = r;
            at = &r->next;
        }
    }
}

void approvals_expire(struct approvals *a)
{
    uint64_t now = clock_mono_ms();
    struct request *r = a->first;

    while (r) {
        if (r->info.phase == APPROVAL_PENDING && now >= r->due_ms) {
            approvals_settle(a, r, APPROVAL_EXPIRED);
            approvals_notify(a, r);
            r = a->first; /* the lock was away: start again, what is settled stays settled */
            continue;
        }
        r = r->next;
    }
    if (a->n_kept > APPROVAL_KEPT_MAX || now >= a->next_sweep_ms) {
        sweep(a, false);
        a->next_sweep_ms = now + SWEEP_MS;
    }
}

/* A live grant for exactly this, under exactly this policy. */
static struct request *find_grant(struct approvals *a, const struct approval_ask *ask)
{
    uint64_t now = clock_mono_ms();

    for (struct request *r = a->first; r; r = r->next)
        if (r->generation == ask->policy_generation && request_has_grant(r, now) &&
            memcmp(r->digest, ask->digest, sizeof r->digest) == 0)
            return r;
    return NULL;
}

/* The pending ticket that an equal ask joins. One from before a change of policy is withdrawn: its
 * grant would be void. */
static struct request *find_ticket(struct approvals *a, const struct approval_ask *ask)
{
    for (struct request *r = a->first; r; r = r->next) {
        if (r->info.phase != APPROVAL_PENDING || !r->info.ticket ||
            memcmp(r->digest, ask->digest, sizeof r->digest) != 0)
            continue;
        if (r->generation == ask->policy_generation)
            return r;
        approvals_settle(a, r, APPROVAL_WITHDRAWN);
    }
    return NULL;
}

static bool has_room(struct approvals *a, size_t bytes)
{
    if (a->n_pending >= a->max_pending || bytes > APPROVAL_BYTES_MAX)
        return false;
    if (a->bytes > APPROVAL_BYTES_MAX - bytes)
        sweep(a, true);
    return a->bytes <= APPROVAL_BYTES_MAX - bytes;
}

static bool tell_outlet(struct approvals *a, const struct request *r)
{
    struct approval_info *copy;

    if (!a->outlet)
        return true;
    copy = calloc(1, sizeof *copy);
    if (!copy || request_copy_info(r, copy) != 0) {
        free(copy);
        return false;
    }
    a->outlet->asked(copy, a->outlet_arg);
    return true;
}

static enum approval_answer add_request(struct approvals *a, const struct approval_ask *ask,
                                        approval_notify_fn *notify, void *arg,
                                        char ret_id[static APPROVAL_ID_LEN + 1])
{
    struct request *r;

    if (a->outlet && !a->outlet->open(a->outlet_arg))
        return APPROVAL_ANSWER_AWAY;
    if (!has_room(a, ask->statement.len + ask->parameters.len))
        return APPROVAL_ANSWER_REFUSED;
    r = request_new(ask);
    if (!r || approvals_find(a, r->info.id) || !tell_outlet(a, r)) {
        request_free(r);
        return APPROVAL_ANSWER_REFUSED;
    }
    if (!r->info.ticket) {
        r->notify = notify;
        r->notify_arg = arg;
    }
    if (a->last)
        a->last->next = r;
    else
        a->first = r;
    a->last = r;
    a->n_pending++;
    a->bytes += r->bytes;
    a->version++;
    memcpy(ret_id, r->info.id, APPROVAL_ID_LEN + 1);
    return r->info.ticket ? APPROVAL_ANSWER_TICKET : APPROVAL_ANSWER_WAIT;
}

enum approval_answer approvals_ask(struct approvals *a, const struct approval_ask *ask,
                                   approval_notify_fn *notify, void *arg,
                                   char ret_id[static APPROVAL_ID_LEN + 1])
{
    enum approval_answer answer = APPROVAL_ANSWER_GRANTED;
    struct request *r;

    ret_id[0] = '\0';
    pthread_mutex_lock(&a->lock);
    approvals_expire(a);
    r = find_grant(a, ask);
    if (r) {
        if (r->info.uses_left != APPROVAL_UNLIMITED)
            r->info.uses_left--;
        a->version++;
    } else if (ask->settings->ticket && (r = find_ticket(a, ask))) {
        answer = APPROVAL_ANSWER_TICKET;
    } else {
        answer = add_request(a, ask, notify, arg, ret_id);
    }
    if (r)
        memcpy(ret_id, r->info.id, APPROVAL_ID_LEN + 1);
    pthread_mutex_unlock(&a->lock);
    return answer;
}

bool approvals_withdraw(struct approvals *a, const char *id)
{
    struct request *r;
    bool waited = false;

    pthread_mutex_lock(&a->lock);
    r = approvals_find(a, id);
    if (r && r->info.phase == APPROVAL_PENDING) {
        waited = take(&r->notify) != NULL;
        approvals_settle(a, r, APPROVAL_WITHDRAWN);
    }
    /* The callback may be on its way on another thread: it has to return before the session's
     * memory goes. The request can be forgotten while we wait, so it is looked up again. */
    while ((r = approvals_find(a, id)) && r->notifying &&
           !pthread_equal(r->notifier, pthread_self()))
        pthread_cond_wait(&a->notified, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return waited;
}

uint64_t approvals_tick(struct approvals *a)
{
    uint64_t now, left = 1000;

    pthread_mutex_lock(&a->lock);
    approvals_expire(a);
    now = clock_mono_ms();
    for (const struct request *r = a->first; r; r = r->next)
        if (r->info.phase == APPROVAL_PENDING && r->due_ms < now + left)
            left = r->due_ms > now ? r->due_ms - now : 0;
    pthread_mutex_unlock(&a->lock);
    return left;
}

int approvals_list(struct approvals *a, struct approval_info **ret, size_t *ret_n)
{
    struct approval_info *list;
    size_t n = 0;

    pthread_mutex_lock(&a->lock);
    list = calloc(a->n_pending + a->n_kept + 1, sizeof *list);
    for (const struct request *r = a->first; list && r; r = r->next) {
        if (request_copy_info(r, &list[n]) == 0) {
            n++;
            continue;
        }
        while (n > 0)
            approval_info_done(&list[--n]);
        free(list);
        list = NULL;
    }
    pthread_mutex_unlock(&a->lock);
    if (!list)
        return -ENOMEM;
    *ret = list;
    *ret_n = n;
    return 0;
}

int approvals_get(struct approvals *a, const char *id, struct approval_info *ret)
{
    const struct request *r;
    int e = -ENOENT;

    pthread_mutex_lock(&a->lock);
    r = approvals_find(a, id);
    if (r)
        e = request_copy_info(r, ret);
    pthread_mutex_unlock(&a->lock);
    return e;
}

uint64_t approvals_version(struct approvals *a)
{
    uint64_t v;

    pthread_mutex_lock(&a->lock);
    v = a->version;
    pthread_mutex_unlock(&a->lock);
    return v;
}
