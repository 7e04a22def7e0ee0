/* SPDX-License-Identifier: Apache-2.0
 * Sending requests, and taking decisions.
 */
#include "approvals.h"

#include "approval_object.h"
#include "src-common/clock.h"
#include "src-common/kube/watch.h"
#include "src-common/log.h"

#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define API           "apis/chaperone.dev/v1alpha1"
#define RESOURCE      "approvalrequests"
#define CALL_MS       3000
#define ASK_TRIES     3
#define ASK_PAUSE_MS  300
#define AWAY_MS       3000 /* after a failure nobody is asked for so long */
#define EXPIRE_TRIES  20   /* then the controller, which expires what is old, has to do it */
#define EXPIRE_CAP_MS 30000
#define MAX_TASKS     2048
#define SETTLE_MS     10000 /* a list may be older than what was just made */

enum task_kind { TASK_ASK, TASK_EXPIRE };

struct task {
    struct task *next;
    enum task_kind kind;
    char id[APPROVAL_ID_LEN + 1];
    struct approval_info *info; /* TASK_ASK; owned */
    uint64_t due_ms;
    unsigned tries;
    bool dropped; /* while it is being done: the request is over */
};

struct asked { /* an object that exists, and whose request is pending */
    struct asked *next;
    char id[APPROVAL_ID_LEN + 1];
    uint64_t since_ms;
    size_t n_seen; /* decisions that were looked at */
};

struct clusterapprovals {
    struct guard *guard;
    struct kube *kube;
    struct events *events;
    struct watch *watch;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* for what follows; taken inside the registry's lock, never around it */
    pthread_cond_t more;
    struct task *tasks, *current;
    size_t n_tasks;
    struct asked *asked;
    bool stopping, up;
    uint64_t away_until_ms;
};

/* ---- tasks ---- */

static void task_free(struct task *t)
{
    if (t->info)
        approval_info_done(t->info);
    free(t->info);
    free(t);
}

/* Under the lock. Takes over info. */
static void add_task(struct clusterapprovals *a, enum task_kind kind, const char *id,
                     struct approval_info *info)
{
    struct task *t = a->n_tasks < MAX_TASKS ? calloc(1, sizeof *t) : NULL, **at = &a->tasks;

    if (!t) {
        if (info)
            approval_info_done(info);
        free(info);
        return; /* an ask that is lost ends with its timeout, an expiry is the controller's */
    }
    t->kind = kind;
    t->info = info;
    snprintf(t->id, sizeof t->id, "%s", id);
    while (*at)
        at = &(*at)->next;
    *at = t;
    a->n_tasks++;
    pthread_cond_signal(&a->more);
}

/* The first of that kind that is due, taken out; else *wait_ms says when to look again. Under the
 * lock. */
static struct task *due_task(struct clusterapprovals *a, enum task_kind kind, uint64_t *wait_ms)
{
    uint64_t now = clock_mono_ms();

    for (struct task **at = &a->tasks; *at; at = &(*at)->next) {
        struct task *t = *at;

        if (t->kind != kind)
            continue;
        if (t->due_ms <= now) {
            *at = t->next;
            a->n_tasks--;
            return t;
        }
        if (t->due_ms - now < *wait_ms)
            *wait_ms = t->due_ms - now;
    }
    return NULL;
}

/* A statement waits behind an ask; nobody waits for an expiry. Under the lock. */
static struct task *next_task(struct clusterapprovals *a, uint64_t *wait_ms)
{
    struct task *t;

    *wait_ms = 60000;
    t = due_task(a, TASK_ASK, wait_ms);
    return t ? t : due_task(a, TASK_EXPIRE, wait_ms);
}

/* It has been tried. False: it is not to be tried again, and is the caller's. */
static bool put_back(struct clusterapprovals *a, struct task *t, bool again, uint64_t wait_ms)
{
    pthread_mutex_lock(&a->lock);
    a->current = NULL;
    again = again && !t->dropped;
    if (again) {
        t->due_ms = clock_mono_ms() + wait_ms;
        t->next = a->tasks;
        a->tasks = t;
        a->n_tasks++;
    }
    pthread_mutex_unlock(&a->lock);
    return again;
}

/* ---- what exists ---- */

static struct asked *find_asked(struct clusterapprovals *a, const char *id)
{
    struct asked *k = a->asked;

    while (k && strcmp(k->id, id) != 0)
        k = k->next;
    return k;
}

static struct asked *add_asked(struct clusterapprovals *a, const char *id)
{
    struct asked *k = find_asked(a, id);

    if (k || !(k = calloc(1, sizeof *k)))
        return k;
    snprintf(k->id, sizeof k->id, "%s", id);
    k->since_ms = clock_mono_ms();
    k->next = a->asked;
    a->asked = k;
    return k;
}

static void drop_asked(struct clusterapprovals *a, const char *id)
{
    for (struct asked **at = &a->asked; *at; at = &(*at)->next) {
        if (strcmp((*at)->id, id) == 0) {
            struct asked *k = *at;

            *at = k->next;
            free(k);
            return;
        }
    }
}

/* ---- the outlet: the registry's lock is held ---- */

bool clusterapprovals_open(struct clusterapprovals *a)
{
    bool open;

    pthread_mutex_lock(&a->lock);
    open = a->up && clock_mono_ms() >= a->away_until_ms;
    pthread_mutex_unlock(&a->lock);
    return open;
}

static bool outlet_open(void *arg)
{
    return clusterapprovals_open(arg);
}

static void outlet_asked(struct approval_info *copy, void *arg)
{
    struct clusterapprovals *a = arg;

    pthread_mutex_lock(&a->lock);
    add_task(a, TASK_ASK, copy->id, copy);
    pthread_mutex_unlock(&a->lock);
}

/* Forgets an ask that has not been sent. */
static bool cancel_ask(struct clusterapprovals *a, const char *id)
{
    for (struct task **at = &a->tasks; *at; at = &(*at)->next) {
        struct task *t = *at;

        if (t->kind == TASK_ASK && strcmp(t->id, id) == 0) {
            bool sent = t->tries > 0; /* an answer may have been lost */

            *at = t->next;
            a->n_tasks--;
            task_free(t);
            return !sent;
        }
    }
    return false;
}

static void outlet_settled(const char *id, enum approval_phase phase, void *arg)
{
    struct clusterapprovals *a = arg;
    bool here = phase == APPROVAL_EXPIRED || phase == APPROVAL_WITHDRAWN ||
                phase == APPROVAL_FAILED; /* decided ones have their phase from the decision */

    if (here)
        events_say(a->events, EVENT_APPROVAL_ENDED, "approval %s: %s", id,
                   approval_phase_name(phase));
    pthread_mutex_lock(&a->lock);
    drop_asked(a, id);
    if (a->current && a->current->kind == TASK_ASK && strcmp(a->current->id, id) == 0)
        a->current->dropped = true; /* the sender expires it when it has been made */
    else if (!cancel_ask(a, id) && here)
        add_task(a, TASK_EXPIRE, id, NULL);
    pthread_mutex_unlock(&a->lock);
}

static const struct approvals_outlet outlet = {outlet_open, outlet_asked, outlet_settled};

/* ---- sending ---- */

static int call(struct clusterapprovals *a, const char *method, const char *id, struct bytes body,
                struct error *err)
{
    bool patch = id != NULL;
    const struct kube_place place = {.api = API,
                                     .namespace_ = a->guard->agent.namespace_,
                                     .resource = RESOURCE,
                                     .name = id,
                                     .subresource = patch ? "status" : NULL};
    struct kube_request r = {.method = method,
                             .content_type = patch ? KUBE_MERGE_PATCH : NULL,
                             .text = body,
                             .timeout_ms = CALL_MS};
    struct kube_reply reply;
    struct buffer path;
    int rc;

    buffer_init(&path, KUBE_PATH_MAX);
    rc = kube_path(&place, &path);
    if (rc == 0) {
        r.path = (const char *)buffer_bytes(&path).p;
        rc = kube_call(a->kube, &r, &reply, err);
        kube_reply_done(&reply);
    }
    buffer_done(&path);
    return rc;
}

static int create(struct clusterapprovals *a, const struct task *t, struct error *err)
{
    struct buffer body;
    int rc;

    buffer_init(&body, (size_t)8 << 20);
    approval_object_write(t->info, &a->guard->agent, &body);
    rc = body.failed ? error_set(err, -ENOBUFS, "the statement is too long to be shown")
                     : call(a, "POST", NULL, buffer_bytes(&body), err);
    buffer_done(&body);
    if (rc == -EEXIST && t->tries > 0)
        rc = 0; /* the answer to the first try was lost */
    return rc;
}

/* For a moment nothing new is asked: it is refused at once instead of when its own call fails. */
static void nobody_answers(struct clusterapprovals *a)
{
    pthread_mutex_lock(&a->lock);
    a->away_until_ms = clock_mono_ms() + AWAY_MS;
    pthread_mutex_unlock(&a->lock);
}

/* When one cannot be asked for want of a server, neither can those behind it. */
static void fail_asks(struct clusterapprovals *a, struct task *first, const char *why)
{
    struct task *failed = first, *t;

    nobody_answers(a);
    pthread_mutex_lock(&a->lock);
    for (struct task **at = &a->tasks; *at;) {
        t = *at;
        if (t->kind != TASK_ASK) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        a->n_tasks--;
        t->next = failed;
        failed = t;
    }
    pthread_mutex_unlock(&a->lock);
    while ((t = failed)) {
        failed = t->next;
        approvals_close(a->guard->approvals, t->id, APPROVAL_FAILED, NULL, why);
        task_free(t);
    }
}

static void ask_done(struct clusterapprovals *a, struct task *t)
{
    const struct approval_info *i = t->info;
    bool dropped;

    events_say(
        a->events, EVENT_APPROVAL_REQUESTED,
        "approval %s: rule \"%.63s\" of policy \"%.253s\" holds %.300s on %.128s; session %s",
        t->id, i->rule, i->policy, i->effect, i->target, i->session);
    pthread_mutex_lock(&a->lock);
    dropped = t->dropped;
    a->current = NULL;
    if (dropped)
        add_task(a, TASK_EXPIRE, t->id, NULL);
    else
        add_asked(a, t->id);
    pthread_mutex_unlock(&a->lock);
    task_free(t);
}

static void do_ask(struct clusterapprovals *a, struct task *t)
{
    struct error err = {""};
    int rc = create(a, t, &err);
    bool again;

    if (rc == 0) {
        ask_done(a, t);
        return;
    }
    log_warn("approval.not_asked", F_STR("id", t->id), F_STR("reason", err.text));
    again = kube_is_transient(rc) && rc != -ETIMEDOUT && ++t->tries < ASK_TRIES;
    if (put_back(a, t, again, ASK_PAUSE_MS))
        return;
    if (kube_is_transient(rc)) {
        t->next = NULL;
        fail_asks(a, t, "the API server is away");
    } else {
        approvals_close(a->guard->approvals, t->id, APPROVAL_FAILED, NULL, err.text);
        task_free(t);
    }
}

static void do_expire(struct clusterapprovals *a, struct task *t)
{
    struct error err = {""};
    int rc = call(a, "PATCH", t->id, BYTES("{\"status\":{\"phase\":\"Expired\"}}"), &err);
    uint64_t wait = (uint64_t)ASK_PAUSE_MS << (t->tries < 8 ? t->tries : 8);

    if (rc && kube_is_transient(rc))
        nobody_answers(a);
    /* -EINVAL, -EACCES: somebody decided meanwhile, or time ran out; either way it is over. */
    if (put_back(a, t, rc && kube_is_transient(rc) && ++t->tries < EXPIRE_TRIES,
                 wait < EXPIRE_CAP_MS ? wait : EXPIRE_CAP_MS))
        return;
    if (rc && rc != -ENOENT)
        log_warn("approval.not_expired", F_STR("id", t->id), F_STR("reason", err.text));
    task_free(t);
}

static void *sender_main(void *arg)
{
    struct clusterapprovals *a = arg;

    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        uint64_t wait_ms;
        struct task *t = next_task(a, &wait_ms);
        struct timespec until;

        if (t) {
            a->current = t->kind == TASK_ASK ? t : NULL;
            pthread_mutex_unlock(&a->lock);
            (t->kind == TASK_ASK ? do_ask : do_expire)(a, t);
            pthread_mutex_lock(&a->lock);
            continue;
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)(wait_ms / 1000);
        until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000)
            until.tv_sec++, until.tv_nsec -= 1000000000;
        pthread_cond_timedwait(&a->more, &a->lock, &until);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- decisions ---- */

static void take_vote(struct clusterapprovals *a, const char *id, struct json_object *decision)
{
    struct approval_object_vote v;
    struct error err = {""};
    int rc = approval_object_vote(decision, a->guard->agent.namespace_, &v, &err);

    if (rc == 0)
        rc = approvals_vote(a->guard->approvals, id, &v.vote, &err);
    if (rc) {
        log_warn("approval.vote_refused", F_STR("id", id), F_STR("reason", err.text));
    } else {
        log_info("approval.vote", F_STR("id", id), F_STR("by", v.vote.by),
                 F_STR("decision", v.vote.approve ? "Approve" : "Deny"));
        events_say(a->events, EVENT_APPROVAL_DECIDED, "approval %s: %s by %.256s", id,
                   v.vote.approve ? "Approve" : "Deny", v.vote.by);
    }
    approval_object_vote_done(&v);
}

/* How many decisions had been looked at before; all up to n are now. */
static size_t see_decisions(struct clusterapprovals *a, const char *id, size_t n)
{
    struct asked *k;
    size_t seen;

    pthread_mutex_lock(&a->lock);
    k = add_asked(a, id);
    seen = k ? k->n_seen : 0;
    if (k && n > seen)
        k->n_seen = n;
    pthread_mutex_unlock(&a->lock);
    return seen;
}

/* Our own word counts: the object's phase only ends what the decisions did not. */
static void take_phase(struct clusterapprovals *a, const char *id, const char *phase)
{
    struct approvals *registry = a->guard->approvals;

    if (strcmp(phase, "Denied") == 0)
        approvals_close(registry, id, APPROVAL_DENIED, "the API server", "");
    else if (strcmp(phase, "Expired") == 0)
        approvals_close(registry, id, APPROVAL_EXPIRED, NULL, "");
    else if (strcmp(phase, "Approved") == 0)
        approvals_close(registry, id, APPROVAL_DENIED, "the guard",
                        "the decisions in the ApprovalRequest do not satisfy the rule");
}

static void take_object(struct clusterapprovals *a, struct json_object *o)
{
    const char *id = kube_get_str(o, "metadata.name"), *phase = kube_get_str(o, "status.phase");
    struct json_object *decisions = kube_get(o, "status.decisions");
    struct approval_info info;
    size_t n =
        json_object_is_type(decisions, json_type_array) ? json_object_array_length(decisions) : 0;
    bool pending, same;

    if (strlen(id) > APPROVAL_ID_LEN || approvals_get(a->guard->approvals, id, &info) != 0) {
        if (!phase[0] || strcmp(phase, "Pending") == 0) { /* of a guard that was restarted */
            pthread_mutex_lock(&a->lock);
            add_task(a, TASK_EXPIRE, id, NULL);
            pthread_mutex_unlock(&a->lock);
        }
        return;
    }
    pending = info.phase == APPROVAL_PENDING;
    same = strcmp(info.digest, kube_get_str(o, "spec.digest")) == 0;
    approval_info_done(&info);
    if (!pending)
        return;
    if (!same) {
        approvals_close(a->guard->approvals, id, APPROVAL_DENIED, "the guard",
                        "the ApprovalRequest is not the one that was made");
        return;
    }
    for (size_t i = see_decisions(a, id, n); i < n; i++)
        take_vote(a, id, json_object_array_get_idx(decisions, i));
    take_phase(a, id, phase);
}

static void gone(struct clusterapprovals *a, const char *id)
{
    approvals_close(a->guard->approvals, id, APPROVAL_DENIED, "the API server",
                    "the ApprovalRequest was deleted");
}

/* The next one that is in `asked` and not in items. */
static bool take_missing(struct clusterapprovals *a, struct json_object *items,
                         char id[static APPROVAL_ID_LEN + 1])
{
    uint64_t now = clock_mono_ms();
    bool missing = false;

    pthread_mutex_lock(&a->lock);
    for (struct asked *k = a->asked; k && !missing; k = k->next) {
        missing = now - k->since_ms > SETTLE_MS;
        for (size_t i = 0; missing && i < json_object_array_length(items); i++)
            missing = strcmp(k->id, kube_get_str(json_object_array_get_idx(items, i),
                                                 "metadata.name")) != 0;
        if (missing)
            memcpy(id, k->id, APPROVAL_ID_LEN + 1);
    }
    if (missing)
        drop_asked(a, id);
    pthread_mutex_unlock(&a->lock);
    return missing;
}

static void on_replaced(struct json_object *items, void *arg)
{
    struct clusterapprovals *a = arg;
    char id[APPROVAL_ID_LEN + 1];

    for (size_t i = 0; i < json_object_array_length(items); i++)
        take_object(a, json_object_array_get_idx(items, i));
    while (take_missing(a, items, id))
        gone(a, id);
}

static void on_changed(enum watch_type type, struct json_object *object, void *arg)
{
    if (type == WATCH_DELETED)
        gone(arg, kube_get_str(object, "metadata.name"));
    else
        take_object(arg, object);
}

static void on_state(const struct watch_state *s, void *arg)
{
    struct clusterapprovals *a = arg;

    pthread_mutex_lock(&a->lock);
    a->up = s->up;
    pthread_mutex_unlock(&a->lock);
    if (s->up)
        log_info("cluster.watching", F_STR("resource", RESOURCE));
    else
        log_warn("cluster.unreachable", F_STR("resource", RESOURCE), F_STR("reason", s->why));
}

/* ---- life ---- */

static int start(struct clusterapprovals *a, struct error *err)
{
    static const struct watch_ops ops = {on_replaced, on_changed, on_state};
    char selector[160];
    const struct watch_config c = {
        .kube = a->kube,
        .place = {.api = API, .namespace_ = a->guard->agent.namespace_, .resource = RESOURCE},
        .label_selector = selector,
        .ops = &ops,
        .arg = a};
    int rc;

    snprintf(selector, sizeof selector, APPROVAL_OBJECT_LABEL "=%.120s", a->guard->agent.pod_uid);
    rc = -pthread_create(&a->thread, NULL, sender_main, a);
    if (rc)
        return error_set(err, rc, "no thread: %s", strerror(-rc));
    a->running = true;
    return watch_start(&c, &a->watch, err);
}

int clusterapprovals_start(struct guard *g, struct kube *k, struct events *events,
                           struct clusterapprovals **ret, struct error *err)
{
    struct clusterapprovals *a = calloc(1, sizeof *a);
    int rc;

    if (!a)
        return error_set(err, -ENOMEM, "out of memory");
    a->guard = g;
    a->kube = k;
    a->events = events;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->more, NULL);
    rc = start(a, err);
    if (rc) {
        clusterapprovals_stop(a);
        return rc;
    }
    approvals_set_outlet(g->approvals, &outlet, a);
    *ret = a;
    return 0;
}

void clusterapprovals_stop(struct clusterapprovals *a)
{
    if (!a)
        return;
    watch_stop(a->watch);
    approvals_set_outlet(a->guard->approvals, NULL, NULL);
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_signal(&a->more);
    pthread_mutex_unlock(&a->lock);
    if (a->running)
        pthread_join(a->thread, NULL);
    while (a->tasks) {
        struct task *t = a->tasks;

        a->tasks = t->next;
        task_free(t);
    }
    while (a->asked)
        drop_asked(a, a->asked->id);
    pthread_cond_destroy(&a->more);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
