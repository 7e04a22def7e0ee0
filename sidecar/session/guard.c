/* SPDX-License-Identifier: Apache-2.0
 * The policy that is in force.
 */
#include "session.h"

#include "src-common/clock.h"

#include <stdio.h>

struct policy_snapshot *guard_policy(struct guard *g)
{
    struct policy_snapshot *s;

    pthread_mutex_lock(&g->policy_lock);
    s = policy_snapshot_ref(g->snapshot);
    pthread_mutex_unlock(&g->policy_lock);
    return s;
}

struct issuers *guard_issuers(struct guard *g)
{
    struct issuers *i;

    pthread_mutex_lock(&g->policy_lock);
    i = issuers_ref(g->issuers);
    pthread_mutex_unlock(&g->policy_lock);
    return i;
}

struct issuers *guard_set_issuers(struct guard *g, struct issuers *i)
{
    struct issuers *former;

    pthread_mutex_lock(&g->policy_lock);
    former = g->issuers;
    g->issuers = i;
    pthread_mutex_unlock(&g->policy_lock);
    return former;
}

void guard_set_policy(struct guard *g, struct policy_snapshot *s)
{
    struct policy_snapshot *old;

    pthread_mutex_lock(&g->policy_lock);
    old = g->snapshot;
    g->snapshot = s;
    g->policy_error[0] = '\0';
    atomic_store(&g->policy_unknown, false);
    atomic_store(&g->policy_generation, policy_snapshot_generation(s));
    atomic_store(&g->policy_bad_since_ms, 0);
    pthread_mutex_unlock(&g->policy_lock);
    policy_snapshot_unref(old);
    registry_post_all(INBOX_POLICY);
}

void guard_policy_failed(struct guard *g, const char *why)
{
    uint64_t none = 0;

    atomic_fetch_add(&g->counters.policy_reload_failures, 1);
    pthread_mutex_lock(&g->policy_lock);
    snprintf(g->policy_error, sizeof g->policy_error, "%s", why);
    pthread_mutex_unlock(&g->policy_lock);
    atomic_compare_exchange_strong(&g->policy_bad_since_ms, &none, clock_mono_ms());
}

void guard_policy_doubt(struct guard *g, uint64_t since_ms, const char *why)
{
    pthread_mutex_lock(&g->policy_lock);
    snprintf(g->policy_error, sizeof g->policy_error, "%s", since_ms ? why : "");
    atomic_store(&g->policy_bad_since_ms, since_ms);
    pthread_mutex_unlock(&g->policy_lock);
}

void guard_set_policy_objects(struct guard *g, char *json)
{
    char *old;

    pthread_mutex_lock(&g->policy_lock);
    old = g->policy_objects;
    g->policy_objects = json;
    pthread_mutex_unlock(&g->policy_lock);
    free(old);
}

struct agent guard_agent(struct guard *g)
{
    struct agent a = g->agent;

    a.labels = atomic_load(&g->labels);
    return a;
}

void guard_set_labels(struct guard *g, const char *const *labels)
{
    atomic_store(&g->labels, labels);
}

bool guard_policy_stale(struct guard *g)
{
    uint64_t since = atomic_load_explicit(&g->policy_bad_since_ms, memory_order_relaxed);

    if (atomic_load_explicit(&g->policy_unknown, memory_order_relaxed))
        return true;
    return since && clock_mono_ms() - since > g->policy_stale_after_ms;
}
