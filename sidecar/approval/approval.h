/* SPDX-License-Identifier: Apache-2.0
 * Statements that wait for a person. One registry per process; any thread. A session submits a
 * request and parks (Hold) or refuses (Ticket); people decide over the control socket; the
 * session is told through its inbox. A grant binds a digest of everything that was shown:
 * statement, parameters, target, database, role, search_path, identity, policy.
 */
#pragma once

#include "sidecar/policy/policy.h"
#include "src-common/bytes.h"

#define APPROVAL_ID_LEN 12 /* lower-case base32, and a NUL */

enum approval_phase {
    APPROVAL_PENDING = 0,
    APPROVAL_APPROVED,
    APPROVAL_DENIED,
    APPROVAL_EXPIRED,
    APPROVAL_WITHDRAWN, /* the client went away, or policy changed */
    APPROVAL_FAILED     /* nobody could be asked; info.fault says why */
};
const char *approval_phase_name(enum approval_phase p);

struct approval_decision {
    char by[256];     /* who: "uid:0(root)" on the control socket, the API server's user name in a
                         cluster */
    char decision[8]; /* "approve" or "deny" */
    char reason[512];
    uint64_t at_us; /* wall clock */
};

#define APPROVAL_MAX_DECISIONS 8

/* A copy of a request's state, for showing. Strings are owned: approval_info_done. */
struct approval_info {
    char id[APPROVAL_ID_LEN + 1];
    enum approval_phase phase;
    char *session, *pod, *service_account, *identity, *target, *database, *user, *policy, *rule,
        *statement, *parameters,
        *effect; /* statement is whole; effect: "Update public.orders (where)" */
    char digest[65];
    uint64_t created_us, expires_us;
    uint32_t count; /* distinct approvals needed */
    bool ticket, require_reason, allow_self;
    uint32_t uses, valid_for_s; /* that the rule gives */
    uint32_t uses_left;
    char **groups, **users; /* approvers, NULL-terminated; both empty: anyone who may approve */
    char fault[256];        /* APPROVAL_FAILED */
    struct approval_decision decisions[APPROVAL_MAX_DECISIONS];
    size_t n_decisions;
};
void approval_info_done(struct approval_info *i);

struct approvals;
int approvals_new(size_t max_pending, struct approvals **ret) MUST_CHECK;
void approvals_free(struct approvals *a); /* accepts NULL */

/* What a session asks. Strings are borrowed for the call. */
struct approval_ask {
    const char *session, *pod, *service_account, *identity, *target, *database, *user, *policy,
        *rule, *effect;
    struct bytes statement;
    struct bytes parameters; /* as shown: JSON array text, or empty */
    uint8_t digest[32];
    const struct approval_settings *settings;
    uint64_t policy_generation;
};

/* Called once, from the deciding thread, with the registry's lock NOT held; must only post to an
 * inbox. */
typedef void approval_notify_fn(const char id[static APPROVAL_ID_LEN + 1],
                                enum approval_phase phase, void *arg);

enum approval_answer {
    APPROVAL_ANSWER_REFUSED = 0, /* queue full: -> 53400 */
    APPROVAL_ANSWER_WAIT,        /* Hold: parked; notify will be called */
    APPROVAL_ANSWER_TICKET,      /* Ticket: pending under ret_id; refuse the statement with it */
    APPROVAL_ANSWER_GRANTED,     /* a live grant for this digest was used up by one; go on */
    APPROVAL_ANSWER_AWAY,        /* nobody can be asked now: the API server is away -> 58030 */
};
/* An equal pending ask (same digest) of a Ticket joins the existing request. */
enum approval_answer approvals_ask(struct approvals *a, const struct approval_ask *ask,
                                   approval_notify_fn *notify, void *arg,
                                   char ret_id[static APPROVAL_ID_LEN + 1]);
/* The session stops waiting (client gone, policy changed, cancelled). After it returns notify is
 * not called any more. True: it was not called at all, and what its arg holds is the caller's to
 * release. */
bool approvals_withdraw(struct approvals *a, const char *id) MUST_CHECK;

/* Decides, from the control socket. `by` is the verified identity. uses and valid_for_s override
 * the rule's when > 0 (a Hold approved with them leaves a grant behind for identical statements).
 * 0; -ENOENT; -EALREADY (not pending); -EPERM (same person twice, self-approval, not of the
 * groups); -EINVAL (reason required). err says it in words. */
int approvals_decide(struct approvals *a, const char *id, bool approve, const char *by,
                     uid_t by_uid, const char *reason, uint32_t uses, uint32_t valid_for_s,
                     struct error *err) MUST_CHECK;
/* A vote that was given elsewhere, and whose voter admission has verified. */
struct approval_vote {
    bool approve;
    const char *by;
    const char *const *groups; /* NULL-terminated */
    const char *reason;        /* NULL: none; what is too long to keep is cut */
    uint32_t uses, valid_for_s;
    uint64_t at_us; /* wall clock; 0: now */
};
/* As approvals_decide; whoever denies need not be among the approvers. */
int approvals_vote(struct approvals *a, const char *id, const struct approval_vote *vote,
                   struct error *err) MUST_CHECK;
/* Ends a pending request otherwise: phase is APPROVAL_DENIED (by and why become a decision),
 * _EXPIRED or _FAILED (why becomes the fault). Nothing happens when it is not pending. */
void approvals_close(struct approvals *a, const char *id, enum approval_phase phase, const char *by,
                     const char *why);

/* Requests that are objects elsewhere, where people decide: whoever keeps them there is told. All
 * are called with the registry's lock held and must only queue. */
struct approvals_outlet {
    /* Whether people can be asked now. */
    bool (*open)(void *arg);
    /* A new request. The copy is the callee's: approval_info_done, free. */
    void (*asked)(struct approval_info *copy, void *arg);
    void (*settled)(const char *id, enum approval_phase phase, void *arg);
};
/* Before the first request. NULL: none. */
void approvals_set_outlet(struct approvals *a, const struct approvals_outlet *outlet, void *arg);

/* Expires what is due; returns milliseconds until the next expiry (or 1000). Called by a service
 * thread. */
uint64_t approvals_tick(struct approvals *a);
/* Copies of all requests, newest last (decided ones are kept for an hour, at most 1000). Caller
 * frees. */
int approvals_list(struct approvals *a, struct approval_info **ret, size_t *ret_n) MUST_CHECK;
int approvals_get(struct approvals *a, const char *id, struct approval_info *ret) MUST_CHECK;
/* Grows with every change of any request: watchers poll it. */
uint64_t approvals_version(struct approvals *a);
