/* SPDX-License-Identifier: Apache-2.0
 * What all sessions of the process share. main() builds it before the first connection is
 * accepted and takes it down after the last; only `snapshot` and the counters change between.
 */
#pragma once

#include "jobs.h"
#include "sidecar/approval/approval.h"
#include "sidecar/mask/mask.h"
#include "sidecar/net/loop.h"
#include "sidecar/net/tls.h"
#include "sidecar/policy/policy.h"
#include "sidecar/record/record.h"
#include "sidecar/sql/parser.h"

#include <pthread.h>
#include <stdatomic.h>

struct guard_counters { /* /metrics */
    _Atomic uint64_t sessions_total, sessions_refused, statements, denied, approvals, masked_values,
        parse_misses, record_failures, policy_reload_failures, auth_failures;
    _Atomic uint64_t bytes_to_client, bytes_to_upstream;
};

struct guard {
    struct agent agent;
    char identity[300];      /* "system:serviceaccount:NS:SA" or what stands for it */
    const char *secrets_dir; /* or NULL */
    unsigned max_sessions;
    unsigned handshake_timeout_ms;
    unsigned policy_stale_after_ms;

    struct record_spool *spool;
    struct approvals *approvals;
    struct tls_authority *authority;
    struct sql_parser *parser;
    struct masker *masker;
    struct jobs *jobs;
    struct loop *loops[16];
    unsigned n_loops;
    _Atomic unsigned next_loop;

    pthread_mutex_t policy_lock;
    struct policy_snapshot *snapshot;     /* under policy_lock */
    _Atomic uint64_t policy_generation;   /* of snapshot: cheap to compare for each message */
    _Atomic uint64_t policy_bad_since_ms; /* 0: the newest policy is in force */
    char policy_error[640];               /* under policy_lock */

    struct guard_counters counters;
};

/* A counted reference to the policy now in force. */
struct policy_snapshot *guard_policy(struct guard *g);
/* Puts a snapshot in force (takes over the reference) and wakes all sessions. */
void guard_set_policy(struct guard *g, struct policy_snapshot *s);
/* The newest policy was refused: the last good one stays until it is stale, then all is denied. */
void guard_policy_failed(struct guard *g, const char *why);
bool guard_policy_stale(struct guard *g);
