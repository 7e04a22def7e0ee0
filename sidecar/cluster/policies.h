/* SPDX-License-Identifier: Apache-2.0
 * GuardPolicies and GuardTargets of the pod's namespace and ClusterGuardPolicies, watched. Whenever
 * any of them changes all are loaded together, with the loader of files, and put in force. The
 * watches run on threads of their own; everything else on the caller's.
 */
#pragma once

#include "sidecar/session/guard.h"
#include "src-common/kube/watch.h"

struct policies;
struct policies_config {
    struct guard *guard;
    struct kube *kube; /* borrowed */
    int wake_fd;       /* eventfd: policies_tick is to be called */
    /* A set of objects was refused, or is good again (NULL). May be NULL. */
    void (*refused)(const char *why, void *arg);
    void *arg;
};

/* Until the first sync nothing is permitted and the guard is not ready. */
int policies_start(const struct policies_config *c, struct policies **ret,
                   struct error *err) MUST_CHECK;
void policies_stop(struct policies *p); /* accepts NULL */
/* Loads what changed once it has been quiet, and judges how old what is known is. Milliseconds
 * until it is to be called again, at the latest. */
unsigned policies_tick(struct policies *p);
/* Everything is put in force again, so that open sessions are judged anew: labels changed. */
void policies_again(struct policies *p);
/* For /metrics: whether all watches are up. Any thread. */
bool policies_watched(struct policies *p);
