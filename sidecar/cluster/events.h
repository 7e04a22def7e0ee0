/* SPDX-License-Identifier: Apache-2.0
 * Kubernetes Events about the agent's pod: `kubectl describe pod` tells its story. What happens in
 * sessions is read from the lines of their records. Equal Events become a series; a token bucket
 * and bounded queues keep a busy agent from filling the API server's store. Text names rules,
 * targets and sessions, never what is in a statement.
 */
#pragma once

#include "sidecar/session/guard.h"
#include "src-common/kube/kube.h"

/* By urgency: the first are sent first. */
enum event_kind {
    EVENT_APPROVAL_REQUESTED,
    EVENT_APPROVAL_DECIDED,
    EVENT_APPROVAL_ENDED, /* expired, withdrawn, could not be asked */
    EVENT_RECORDING_FAILED,
    EVENT_RECORDING_RESTORED,
    EVENT_UPLOAD_FAILED,
    EVENT_UPLOAD_RESTORED,
    EVENT_POLICY_REFUSED,
    EVENT_POLICY_RESTORED,
    EVENT_DENIED,
    EVENT_CONNECTION_DENIED,
    EVENT_GUARD_STARTED,
    EVENT_RECORDS_ANCHORED,
    EVENT_SESSION_ENDED,
    EVENT_SESSION_STARTED,
    EVENT_N_KINDS
};

struct events;
/* Starts the sender and watches the guard's spool. */
int events_start(struct guard *g, struct kube *k, struct events **ret,
                 struct error *err) MUST_CHECK;
/* Sends what is left for a moment. No session may be left. Accepts NULL. */
void events_stop(struct events *e);
/* Queues one; never blocks. Any thread, any lock. e may be NULL: nothing happens. */
void events_say(struct events *e, enum event_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

struct events_counters {
    uint64_t sent, dropped;
};
struct events_counters events_counters(struct events *e);
