/* SPDX-License-Identifier: Apache-2.0
 * The controller's thread: woken by watches, and by time.
 */
#include "controller.h"

#include "expiry.h"
#include "guards.h"
#include "policystatus.h"
#include "rbac.h"
#include "src-common/clock.h"
#include "src-common/log.h"
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define TICK_MS        5000  /* approvals are looked at so often */
#define SETTLE_MS      300   /* changes come in groups */
#define RESYNC_MS      60000 /* everything, whether something changed or not */
#define FIRST_RETRY_MS 1000  /* guards take a moment to have a new policy */

enum store_no { NAMESPACES, POLICIES, CLUSTER_POLICIES, TARGETS, PODS, APPROVALS, N_STORES };

struct job { /* runs when something changed, and when it is due */
    atomic_bool changed;
    uint64_t due_ms; /* monotonic */
    unsigned retry_ms;
};

struct controller {
    struct kube *kube;
    struct store *stores[N_STORES];
    struct job rbac, status;
    pthread_t thread;
    bool started, stop, woken;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_ullong rounds, failures;
};

/* ---- what is kept of objects ---- */

static struct json_object *keep_namespace(struct json_object *o)
{
    struct json_object *label = value_get(value_at(o, "metadata.labels"), ENABLED_LABEL);
    struct json_object *deleted = value_at(o, "metadata.deletionTimestamp");

    if (deleted || !label || strcmp(json_object_get_string(label), "enabled") != 0)
        return NULL;
    return json_object_new_string(value_text(o, "metadata.name"));
}

/* managedFields are half of it, and nothing to us. */
static struct json_object *keep_object(struct json_object *o)
{
    struct json_object *copy = value_copy(o);

    json_object_object_del(value_get(copy, "metadata"), "managedFields");
    return copy;
}

/* Statements may be long. */
static struct json_object *keep_approval(struct json_object *o)
{
    struct json_object *copy = keep_object(o);
    struct json_object *spec = value_get(copy, "spec");

    json_object_object_del(spec, "statement");
    json_object_object_del(spec, "parameters");
    return copy;
}

static bool copy_text(struct json_object *from, const char *path, struct json_object *to,
                      const char *key)
{
    return value_set(to, key, json_object_new_string(value_text(from, path)));
}

static struct json_object *keep_pod(struct json_object *o)
{
    struct json_object *p, *labels = value_at(o, "metadata.labels");

    if (value_at(o, "metadata.deletionTimestamp") ||
        strcmp(value_text(o, "status.phase"), "Running") != 0 || !*value_text(o, "status.podIP"))
        return NULL;
    p = json_object_new_object();
    if (copy_text(o, "metadata.namespace", p, "namespace") &&
        copy_text(o, "metadata.name", p, "name") && copy_text(o, "metadata.uid", p, "uid") &&
        copy_text(o, "status.podIP", p, "ip") &&
        copy_text(o, "spec.serviceAccountName", p, "account") &&
        value_set(p, "labels", labels ? value_copy(labels) : json_object_new_object()))
        return p;
    json_object_put(p);
    return NULL;
}

/* ---- waking ---- */

static void wake(struct controller *c)
{
    pthread_mutex_lock(&c->lock);
    c->woken = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

static void on_namespaces(void *arg)
{
    struct controller *c = arg;

    c->rbac.changed = true;
    wake(c);
}

static void on_policies(void *arg)
{
    struct controller *c = arg;

    c->status.changed = true;
    wake(c);
}

static void on_approvals(void *arg)
{
    (void)arg; /* looked at by time */
}

/* True: go on. Waits until something changes or a tick has passed, and then for things to settle.
 */
static bool wait_for(struct controller *c, unsigned ms, bool until_woken)
{
    struct timespec until;
    uint64_t ns;
    bool stop;

    clock_gettime(CLOCK_REALTIME, &until);
    ns = (uint64_t)until.tv_nsec + (uint64_t)ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&c->lock);
    while (!c->stop && !(until_woken && c->woken) &&
           pthread_cond_timedwait(&c->wake, &c->lock, &until) == 0)
        ;
    c->woken = false;
    stop = c->stop;
    pthread_mutex_unlock(&c->lock);
    return !stop;
}

/* ---- jobs ---- */

static bool is_due(struct job *j)
{
    bool changed = atomic_exchange(&j->changed, false);

    if (changed)
        j->retry_ms = FIRST_RETRY_MS;
    return changed || clock_mono_ms() >= j->due_ms;
}

/* Not well yet: again soon, then less and less soon. */
static void finish_job(struct job *j, bool well)
{
    if (well) {
        j->retry_ms = FIRST_RETRY_MS;
        j->due_ms = clock_mono_ms() + RESYNC_MS;
        return;
    }
    j->due_ms = clock_mono_ms() + j->retry_ms;
    j->retry_ms = j->retry_ms * 2 > RESYNC_MS ? RESYNC_MS : j->retry_ms * 2;
}

static void run_rbac(struct controller *c)
{
    _cleanup_(value_put) struct json_object *namespaces = store_copy(c->stores[NAMESPACES]);
    struct error err;
    int rc;

    if (!namespaces)
        return; /* what is not known is not removed */
    rc = rbac_reconcile(c->kube, namespaces, &err);
    if (rc) {
        c->failures++;
        log_warn("controller.rbac", F_STR("error", err.text));
    }
    finish_job(&c->rbac, rc == 0);
}

static void run_status(struct controller *c)
{
    static const struct {
        enum store_no store;
        const struct policystatus_kind *kind;
    } kinds[] = {{POLICIES, &policystatus_policy},
                 {CLUSTER_POLICIES, &policystatus_cluster_policy},
                 {TARGETS, &policystatus_target}};
    _cleanup_(value_put) struct json_object *targets = store_copy(c->stores[TARGETS]);
    _cleanup_(value_put) struct json_object *pods = store_copy(c->stores[PODS]);
    _cleanup_(value_put) struct json_object *answers = NULL;
    char now[CLOCK_RFC3339_LEN + 1];
    bool settled = true;
    size_t failed = 0;

    if (!targets || !pods)
        return;
    answers = guards_ask(pods, GUARDS_PORT);
    clock_rfc3339(clock_wall_us(), now);
    memcpy(now + 19, "Z", 2);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct policystatus_world w = {targets, pods, answers, now};
        _cleanup_(value_put) struct json_object *list = store_copy(c->stores[kinds[i].store]);

        failed += policystatus_run(c->kube, kinds[i].kind, list, &w, &settled);
    }
    c->failures += failed;
    finish_job(&c->status, settled && failed == 0);
}

static void run_expiry(struct controller *c)
{
    _cleanup_(value_put) struct json_object *requests = store_copy(c->stores[APPROVALS]);

    c->failures += expiry_run(c->kube, requests, (int64_t)(clock_wall_us() / 1000000));
}

static unsigned until_next(const struct controller *c)
{
    uint64_t now = clock_mono_ms(), due = now + TICK_MS;

    due = c->rbac.due_ms < due ? c->rbac.due_ms : due;
    due = c->status.due_ms < due ? c->status.due_ms : due;
    return due > now + SETTLE_MS ? (unsigned)(due - now) : SETTLE_MS;
}

static void *controller_main(void *arg)
{
    struct controller *c = arg;

    while (wait_for(c, until_next(c), true) && wait_for(c, SETTLE_MS, false)) {
        if (is_due(&c->rbac))
            run_rbac(c);
        if (is_due(&c->status))
            run_status(c);
        run_expiry(c);
        c->rounds++;
    }
    return NULL;
}

/* ---- start, stop ---- */

static int start_stores(struct controller *c, struct error *err)
{
    const struct {
        struct kube_place place;
        const char *selector;
        store_keep_fn *keep;
        void (*changed)(void *arg);
    } wanted[N_STORES] = {
        [NAMESPACES] = {{"api/v1", .resource = "namespaces"}, NULL, keep_namespace, on_namespaces},
        [POLICIES] = {{GUARD_API, .resource = "guardpolicies"}, NULL, keep_object, on_policies},
        [CLUSTER_POLICIES] = {{GUARD_API, .resource = "clusterguardpolicies"},
                              NULL,
                              keep_object,
                              on_policies},
        [TARGETS] = {{GUARD_API, .resource = "guardtargets"}, NULL, keep_object, on_policies},
        [PODS] = {{"api/v1", .resource = "pods"},
                  "chaperone.dev/injected=true",
                  keep_pod,
                  on_policies},
        [APPROVALS] = {{GUARD_API, .resource = "approvalrequests"},
                       NULL,
                       keep_approval,
                       on_approvals},
    };
    int rc = 0;

    for (size_t i = 0; i < N_STORES && rc == 0; i++) {
        const struct store_config s = {c->kube,        wanted[i].place,   wanted[i].selector,
                                       wanted[i].keep, wanted[i].changed, c};

        rc = store_start(&s, &c->stores[i], err);
    }
    return rc;
}

int controller_start(struct kube *k, struct controller **ret, struct error *err)
{
    struct controller *c = calloc(1, sizeof *c);
    int rc;

    if (!c)
        return error_set(err, -ENOMEM, "out of memory");
    c->kube = k;
    c->rbac.retry_ms = c->status.retry_ms = FIRST_RETRY_MS;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    rc = start_stores(c, err);
    if (rc == 0 && pthread_create(&c->thread, NULL, controller_main, c) != 0)
        rc = error_set(err, -EAGAIN, "no thread");
    if (rc) {
        controller_stop(c);
        return rc;
    }
    c->started = true;
    *ret = c;
    return 0;
}

void controller_stop(struct controller *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    if (c->started)
        pthread_join(c->thread, NULL); /* it reads the stores */
    for (size_t i = 0; i < N_STORES; i++)
        store_stop(c->stores[i]);
    free(c);
}

unsigned long long controller_rounds(const struct controller *c)
{
    return c ? c->rounds : 0;
}

unsigned long long controller_failures(const struct controller *c)
{
    return c ? c->failures : 0;
}
