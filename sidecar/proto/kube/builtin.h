/* SPDX-License-Identifier: Apache-2.0
 * What no policy lifts: requests that would lead around the guard, and pods' templates that carry
 * more than they show. Pure.
 */
#pragma once

#include "sidecar/policy/policy.h"

#include <json-c/json_object.h>

struct builtin_facts {
    const struct kube_act *act;
    struct json_object *body; /* NULL: none */
    bool json_patch;          /* body is a list of operations */
    bool apply;               /* server-side apply: what is left out is removed */
    bool forced;              /* with force=true */
    bool masked;              /* Mask rules may concern the object, and there is a body */
    const char *container;    /* of exec, attach and logs; NULL: not said */
    const char *namespace_;   /* the agent's own */
    const struct policy_snapshot *snapshot;
};

/* Why the request is refused whatever policy says; NULL: it is not. Static text. */
const char *builtin_denies(const struct builtin_facts *f);
/* What of the body an Allow rule does not cover (mounts of Secrets, of the host, …); NULL: nothing.
 */
const char *builtin_risk(const struct builtin_facts *f);
/* Whether the request starts pods in another namespace than the agent's. */
bool builtin_starts_pods_elsewhere(const struct builtin_facts *f);
/* Whether what is refused, or a risk, depends on the body of such a request. */
bool builtin_reads_body(const struct kube_act *act);
