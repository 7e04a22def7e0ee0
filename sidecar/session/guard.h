/* SPDX-License-Identifier: Apache-2.0
 * What all sessions of the process share. main() builds it before the first connection is
 * accepted and takes it down after the last; only `snapshot` and the counters change between.
 */
#pragma once

#include "jobs.h"
#include "sidecar/approval/approval.h"
#include "sidecar/identity/token.h"
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
        parse_misses, record_failures, policy_reload_failures, auth_failures, tokens_accepted,
        tokens_refused, injected_logins;
    _Atomic uint64_t bytes_to_client, bytes_to_upstream;
};

struct guard {
    struct agent agent; /* as the pod says; its labels may change: ask guard_agent */
    _Atomic(const char *const *) labels;
    char identity[300];      /* "system:serviceaccount:NS:SA" or what stands for it */
    const char *secrets_dir; /* or NULL */
    bool has_issuers;        /* false: no tokens are taken */
    /* In a cluster: its API server, and what stands for --secrets there. NULL: none. */
    const struct target *kubernetes;
    const char *kubernetes_secrets;
    unsigned max_sessions;
    unsigned handshake_timeout_ms;
    unsigned policy_stale_after_ms;
    unsigned anchor_ms; /* between two Events that say where the ledger stands */

    struct record_spool *spool;
    struct shipper *shipper; /* NULL: records stay where they are */
    struct approvals *approvals;
    struct tls_authority *authority;
    struct sql_parser *parser;
    struct masker *masker;
    struct jobs *jobs;
    struct loop *loops[16];
    unsigned n_loops;
    _Atomic unsigned next_loop;

    pthread_mutex_t policy_lock;
    struct issuers *issuers;              /* under policy_lock: whose tokens are trusted, or NULL */
    struct policy_snapshot *snapshot;     /* under policy_lock */
    _Atomic uint64_t policy_generation;   /* of snapshot: cheap to compare for each message */
    _Atomic uint64_t policy_bad_since_ms; /* 0: the newest policy is in force */
    _Atomic bool policy_unknown;          /* none was ever read: not ready, all is denied */
    char policy_error[640];               /* under policy_lock */
    char *policy_objects; /* under policy_lock: JSON array of what makes up the snapshot, or NULL */

    struct guard_counters counters;
};

/* A counted reference to the policy now in force. */
struct policy_snapshot *guard_policy(struct guard *g);
/* The same of the trusted issuers. Only where has_issuers. */
struct issuers *guard_issuers(struct guard *g);
/* Takes over the reference; has_issuers stays. Returns the former ones, for the caller to give
 * back: the last who does waits for their threads. */
struct issuers *guard_set_issuers(struct guard *g, struct issuers *i);
/* Puts a snapshot in force (takes over the reference) and wakes all sessions. */
void guard_set_policy(struct guard *g, struct policy_snapshot *s);
/* The newest policy was refused: the last good one stays until it is stale, then all is denied. */
void guard_policy_failed(struct guard *g, const char *why);
/* What is in force may not be the newest since then (monotonic; 0: it is): an object that is stored
 * is invalid, or nobody says whether it changed. */
void guard_policy_doubt(struct guard *g, uint64_t since_ms, const char *why);
/* JSON, [{"kind":…,"namespace":…,"name":…,"uid":…,"generation":…}…]; takes it over. NULL: none. */
void guard_set_policy_objects(struct guard *g, char *json);
/* Too old to decide by, or never read: everything is to be refused. */
bool guard_policy_stale(struct guard *g);

/* The pod's agent with the labels that it has now; they live as long as the process. */
struct agent guard_agent(struct guard *g);
/* key, value, …, NULL. Takes it over and never frees it: sessions may be reading the old ones. The
 * caller puts a policy in force behind it, so that open sessions are judged anew. */
void guard_set_labels(struct guard *g, const char *const *labels);
