/* SPDX-License-Identifier: Apache-2.0
 * The conditions Accepted and Enforced of policies and targets.
 */
#pragma once

#include "call.h"

/* What the conditions are made of. All lists are borrowed. */
struct policystatus_world {
    struct json_object *targets; /* all GuardTargets */
    struct json_object *pods;    /* running guards: namespace, name, uid, ip, account, labels */
    struct json_object *answers; /* guards_ask(pods) */
    const char *now;             /* RFC 3339 */
};

struct policystatus_kind {
    const char *kind, *resource;
};
extern const struct policystatus_kind policystatus_policy, policystatus_cluster_policy,
    policystatus_target;

/* The status that the object should have: observedGeneration and conditions; a condition whose
 * status stays keeps its lastTransitionTime. The caller owns it; NULL when out of memory. Pure. */
struct json_object *policystatus_make(const struct policystatus_kind *kind,
                                      struct json_object *object,
                                      const struct policystatus_world *w);
/* Writes what has changed, for all of a list. `settled`: set to false when a guard does not have
 * the newest generation of something yet. Returns how many calls failed. */
size_t policystatus_run(struct kube *k, const struct policystatus_kind *kind,
                        struct json_object *objects, const struct policystatus_world *w,
                        bool *settled);
