/* SPDX-License-Identifier: Apache-2.0
 * Inside of the approval registry: one request, and the list of them. Everything here is guarded
 * by the registry's lock.
 */
#pragma once

#include "approval.h"

#include <pthread.h>

#define APPROVAL_UNLIMITED UINT32_MAX          /* uses, when only a time was given */
#define APPROVAL_KEPT_MAX  1000                /* decided requests */
#define APPROVAL_KEPT_MS   ((uint64_t)3600000) /* how long they are kept */
#define APPROVAL_BYTES_MAX ((size_t)128 << 20) /* statements and parameters of all requests */

struct request {
    struct request *next;      /* older first */
    struct approval_info info; /* what is shown; its strings are this request's */
    uint8_t digest[32];
    uint64_t generation;
    size_t bytes;                /* weight of statement and parameters */
    uint64_t due_ms, decided_ms; /* monotonic */
    /* The grant, once approved: info.uses_left identical statements until then. While people are
     * still voting: the narrowest of what they gave. */
    uint64_t grant_until_ms;
    uint32_t uses, valid_for_s;
    uid_t voters[APPROVAL_MAX_DECISIONS];
    /* The session's callback; NULL once it was called or is not wanted any more. */
    approval_notify_fn *notify;
    void *notify_arg;
    bool notifying; /* the callback runs right now, on notifier, without the lock */
    pthread_t notifier;
};

struct approvals {
    pthread_mutex_t lock;
    pthread_cond_t notified; /* some request's callback has returned */
    struct request *first, *last;
    size_t n_pending, n_kept, max_pending, bytes;
    uint64_t version, next_sweep_ms;
    const struct approvals_outlet *outlet; /* NULL: none */
    void *outlet_arg;
};

/* A new pending request made from an ask, not yet in the registry. NULL when out of memory. */
struct request *request_new(const struct approval_ask *ask);
void request_free(struct request *r); /* accepts NULL */
bool request_has_grant(const struct request *r, uint64_t now_ms);
/* A deep copy of what is shown. 0 or -ENOMEM. */
int request_copy_info(const struct request *r, struct approval_info *ret) MUST_CHECK;

struct request *approvals_find(struct approvals *a, const char *id);
/* Ends a pending request. The caller notifies with approvals_notify. */
void approvals_settle(struct approvals *a, struct request *r, enum approval_phase phase);
/* Tells the session, if it still wants to know. Releases the lock for the call and takes it again:
 * the list may have changed, r is still there. */
void approvals_notify(struct approvals *a, struct request *r);
/* Expires what is due and forgets what is old, notifying as it goes. */
void approvals_expire(struct approvals *a);
