/* SPDX-License-Identifier: Apache-2.0
 * Views: which policies apply to one agent on one target, and what follows from them together.
 * Rules were indexed when the snapshot was loaded, so making a view costs a walk over policies.
 */
#include "view.h"

#include <errno.h>
#include <stdio.h>

#include "sidecar/mask/detect.h"

_Static_assert(DETECTOR_COUNT <= 32, "detectors are a set of 32 bits");

/* ---- which policies ---- */

static void select_policies(struct policy_view *v, const struct agent *agent,
                            const struct target *target, const char *database)
{
    const struct policy_snapshot *s = v->snapshot;

    for (size_t i = 0; i < s->n_policies; i++) {
        const struct policy *p = s->policies[i];

        if (!policy_selects(p, agent) || !policy_covers(p, target, database))
            continue;
        v->policies[v->n++].policy = p;
        policy_settle_identity(p, target, database, &v->identity);
        v->any_enforce |= p->mode == POLICY_ENFORCE;
        v->any_audit |= p->mode == POLICY_AUDIT;
    }
}

static void settle_grants(struct policy_view *v)
{
    bool own_enforce = false, own = false;

    for (size_t i = 0; i < v->n; i++) {
        const struct policy *p = v->policies[i].policy;

        own |= !p->cluster;
        own_enforce |= !p->cluster && p->mode == POLICY_ENFORCE;
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct policy *p = v->policies[i].policy;

        v->policies[i].grants = p->mode == POLICY_ENFORCE && (!p->cluster || !own_enforce);
        v->policies[i].grants_among_all = !p->cluster || !own;
    }
}

/* ---- what follows ---- */

/* The most complete record that any of them asks for. */
static void settle_recording(struct policy_view *v)
{
    if (v->n == 0) {
        v->recording = (struct recording_settings){.required = true, .max_result_bytes = 1 << 20};
        return;
    }
    v->recording = v->policies[0].policy->recording;
    for (size_t i = 1; i < v->n; i++) {
        const struct recording_settings *r = &v->policies[i].policy->recording;

        v->recording.required |= r->required;
        v->recording.to_disk |= r->to_disk;
        v->recording.statements_only &= r->statements_only;
        if (v->recording.max_result_bytes < r->max_result_bytes)
            v->recording.max_result_bytes = r->max_result_bytes;
    }
}

static void add_masks(struct policy_view *v, const struct rule *r)
{
    if (r->sql) {
        memcpy(v->masks + v->n_masks, r->sql->columns.items, r->sql->columns.n * sizeof *v->masks);
        v->n_masks += r->sql->columns.n;
    }
    v->detectors |= r->detectors;
    for (unsigned d = 0; d < DETECTOR_COUNT; d++) {
        if (r->detectors & UINT32_C(1) << d && v->detector_methods[d] < r->method)
            v->detector_methods[d] = r->method;
    }
}

/* Masks of Audit policies stay off: they change what the agent sees. */
static int settle_masks(struct policy_view *v)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n; i++)
        n += v->policies[i].policy->n_column_masks;
    v->masks = calloc(n + 1, sizeof *v->masks);
    if (!v->masks)
        return -ENOMEM;
    for (size_t i = 0; i < v->n; i++) {
        const struct policy *p = v->policies[i].policy;
        const struct rule *rules = p->rules.items;

        for (size_t j = 0; j < p->rules.n && p->mode == POLICY_ENFORCE; j++) {
            if (rules[j].action != ACTION_MASK)
                continue;
            add_masks(v, &rules[j]);
            if (p->cluster)
                v->floor_detectors |= rules[j].detectors;
        }
    }
    return 0;
}

static void explain_empty(struct policy_view *v, const struct agent *agent,
                          const struct target *target, const char *database)
{
    const char *ns = agent->namespace_ ? agent->namespace_ : "";

    snprintf(
        v->nobody, sizeof v->nobody,
        "no policy selects the agent %.63s (namespace '%.63s') for the target '%.63s'%s%.40s%s; "
        "ask for a GuardPolicy that names it",
        agent->pod ? agent->pod : "", ns, target->name, database ? ", database '" : "",
        database ? database : "", database ? "'" : "");
}

/* ---- life ---- */

int policy_view_new(struct policy_snapshot *s, const struct agent *agent,
                    const struct target *target, const char *database, struct policy_view **ret)
{
    struct policy_view *v = calloc(1, sizeof *v + s->n_policies * sizeof v->policies[0]);

    if (!v)
        return -ENOMEM;
    atomic_init(&v->refs, 1);
    v->snapshot = policy_snapshot_ref(s);
    v->target_name = target->name;
    select_policies(v, agent, target, database);
    settle_grants(v);
    settle_recording(v);
    explain_empty(v, agent, target, database);
    if (settle_masks(v) < 0) {
        policy_view_unref(v);
        return -ENOMEM;
    }
    *ret = v;
    return 0;
}

struct policy_view *policy_view_ref(struct policy_view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void policy_view_unref(struct policy_view *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    policy_snapshot_unref(v->snapshot);
    free(v->masks);
    free(v);
}

/* ---- asking ---- */

bool policy_view_empty(const struct policy_view *v)
{
    return v->n == 0;
}

const struct policy_snapshot *policy_view_snapshot(const struct policy_view *v)
{
    return v->snapshot;
}

const struct column_mask *policy_view_column_masks(const struct policy_view *v, size_t *n)
{
    *n = v->n_masks;
    return v->masks;
}

uint32_t policy_view_detectors(const struct policy_view *v)
{
    return v->detectors;
}

enum mask_method policy_view_detector_method(const struct policy_view *v, unsigned detector)
{
    return detector < ARRAY_LEN(v->detector_methods) ? v->detector_methods[detector] : MASK_NONE;
}

const struct recording_settings *policy_view_recording(const struct policy_view *v)
{
    return &v->recording;
}

const struct identity_settings *policy_view_identity(const struct policy_view *v)
{
    return &v->identity;
}
