/* SPDX-License-Identifier: Apache-2.0
 * Validation of pods.
 */
#include "validate.h"

#include <stdio.h>

#define REMEDY "leave the guard to injection, and see whether another webhook changes it"

/* ---- the guard's own part ---- */

static void check_guard_container(struct json_object *pod, size_t i, struct json_object *wanted,
                                  struct answer *a)
{
    struct json_object *found = value_item(value_at(pod, "spec.initContainers"), i);
    const char *name = value_text(wanted, "name"), *field;

    if (strcmp(value_text(found, "name"), name) != 0) {
        answer_refuse(a, "spec.initContainers[%zu]: has to be the guard's \"%s\"; " REMEDY, i,
                      name);
        return;
    }
    field = guard_difference(wanted, found);
    if (field)
        answer_refuse(a, "spec.initContainers[%zu].%.64s: is not what was injected; " REMEDY, i,
                      field);
}

static void check_volumes(struct json_object *pod, struct json_object *wanted, struct answer *a)
{
    struct json_object *volumes = value_at(pod, "spec.volumes");

    for (size_t i = 0; i < value_n(wanted); i++) {
        struct json_object *w = value_item(wanted, i);
        const char *name = value_text(w, "name");
        struct json_object *found = pod_named(volumes, name, NULL);

        if (!found || !json_object_equal(w, found))
            answer_refuse(a, "spec.volumes: \"%.64s\" is %s; " REMEDY, name,
                          found ? "not what was injected" : "missing");
    }
    for (size_t i = 0; i < value_n(volumes); i++) {
        struct json_object *v = value_item(volumes, i);
        const char *name = value_text(v, "name");

        if (pod_starts_with(name, POD_RESERVED) && !pod_named(wanted, name, NULL))
            answer_refuse(a, "spec.volumes[%zu].name: \"%.64s\" is reserved for the guard; " REMEDY,
                          i, name);
        if (pod_starts_with(name, "kube-api-access-") && value_get(v, "projected"))
            answer_refuse(a,
                          "spec.volumes[%zu]: the token of the service account is the guard's "
                          "alone; " REMEDY,
                          i);
    }
}

static void check_guard(const struct config *c, struct json_object *pod,
                        const struct guard_ids *ids, struct answer *a)
{
    _cleanup_(value_put) struct json_object *secrets = guard_secrets_of(pod);
    _cleanup_(value_put) struct json_object *volumes = guard_volumes(c, secrets);
    _cleanup_(value_put) struct json_object *init = guard_init_container(c, ids);
    _cleanup_(value_put) struct json_object *guard = guard_container(c, ids, secrets);
    struct json_object *automount = value_at(pod, "spec.automountServiceAccountToken");

    if (!secrets || !volumes || !init || !guard) {
        answer_refuse(a, "out of memory");
        return;
    }
    check_guard_container(pod, 0, init, a);
    check_guard_container(pod, 1, guard, a);
    check_volumes(pod, volumes, a);
    if (!automount || json_object_get_boolean(automount))
        answer_refuse(a, "spec.automountServiceAccountToken: has to be false; " REMEDY);
}

static void check_ids(struct json_object *pod, const struct guard_ids *ids, struct answer *a)
{
    char field[GUARD_FIELD_LEN];

    if (guard_ids_used(pod, ids, field))
        answer_refuse(
            a, "%s: is the guard's user or group in this pod (%u, %u); choose another number",
            field, ids->uid, ids->gid);
}

/* ---- CREATE ---- */

static void check_agents(const struct config *c, struct json_object *pod, struct answer *a)
{
    for (struct pod_walk w = pod_walk(pod); pod_next(&w);) {
        if (!pod_is_guards(&w))
            agentpod_check_container(c, pod, &w, a);
    }
}

static void check_reserved_names(struct json_object *pod, struct answer *a)
{
    char where[POD_WHERE_LEN];

    for (struct pod_walk w = pod_walk(pod); pod_next(&w);) {
        if (!pod_is_guards(&w) && (strcmp(w.name, POD_GUARD) == 0 || strcmp(w.name, POD_INIT) == 0))
            answer_refuse(a, "%s.name: \"%s\" is reserved for the guard; rename the container",
                          pod_where(&w, where), w.name);
    }
}

void validate_created_pod(const struct config *c, const struct review *r, const struct secrets *s,
                          struct answer *a)
{
    struct guard_ids ids;
    struct error err;

    if (pod_check_shape(r->object, &err) < 0) {
        answer_refuse(a, "%s", err.text);
        return;
    }
    agentpod_check_pod(r->object, a);
    check_agents(c, r->object, a);
    check_reserved_names(r->object, a);
    agentpod_check_tokens(c, r->object, a);
    agentpod_check_logins(r->object, s, a);
    if (!guard_ids_read(c, r->object, &ids)) {
        answer_refuse(a, "spec.initContainers: the guard is missing, or its user and group are not "
                         "what was injected; " REMEDY);
        return;
    }
    check_ids(r->object, &ids, a);
    check_guard(c, r->object, &ids, a);
}

/* ---- UPDATE ---- */

static bool has_guard(struct json_object *pod)
{
    struct json_object *inits = value_at(pod, "spec.initContainers");

    return pod_named(inits, POD_GUARD, NULL) || pod_named(inits, POD_INIT, NULL);
}

/* Nearly all of a pod is fixed once it is created; images are not. What was injected with other
 * images or settings than today's stays what it was. */
static void check_unchanged(const struct review *r, struct answer *a)
{
    struct json_object *now = value_at(r->object, "spec.initContainers");
    struct json_object *before = value_at(r->old, "spec.initContainers");

    for (size_t i = 0; i < 2; i++) {
        const char *field = guard_difference(value_item(before, i), value_item(now, i));

        if (field)
            answer_refuse(a,
                          "spec.initContainers[%zu].%.64s: the guard of a running pod cannot be "
                          "changed; delete the pod, so that a new one is made",
                          i, field);
    }
}

static void check_new_ephemeral(const struct config *c, const struct review *r,
                                const struct secrets *s, struct answer *a)
{
    struct json_object *before = value_at(r->old, "spec.ephemeralContainers");

    for (struct pod_walk w = pod_walk(r->object); pod_next(&w);) {
        if (strcmp(w.list, "ephemeralContainers") != 0 || pod_named(before, w.name, NULL))
            continue;
        agentpod_check_container(c, r->object, &w, a);
        agentpod_check_variables(&w, s, a);
    }
}

/* The guard's numbers in this pod; a configuration that has changed since does not matter. */
static bool read_ids(struct json_object *pod, struct guard_ids *ret)
{
    static const struct config any = {0};

    return guard_ids_read(&any, pod, ret);
}

void validate_updated_pod(const struct config *c, const struct review *r, const struct secrets *s,
                          struct answer *a)
{
    struct guard_ids ids;
    struct error err;

    if (!r->old || pod_check_shape(r->object, &err) < 0 || pod_check_shape(r->old, &err) < 0) {
        answer_refuse(a, "%s", r->old ? err.text : "oldObject: required");
        return;
    }
    if (!has_guard(r->old)) {
        answer_warn(a, "this pod was created before injection was turned on: no guard is in it");
        return;
    }
    check_unchanged(r, a);
    check_reserved_names(r->object, a);
    check_new_ephemeral(c, r, s, a);
    if (read_ids(r->object, &ids))
        check_ids(r->object, &ids, a);
    else
        answer_refuse(a,
                      "spec.initContainers: the guard's user and group are not what was injected");
    if (a->n_reasons && review_is(r, "UPDATE", "ephemeralcontainers"))
        answer_warn(a, "kubectl debug --profile=restricted makes a container that is permitted");
}
