/* SPDX-License-Identifier: Apache-2.0
 * ApprovalRequests at admission: who may make one, who decides, and that it is written down who did
 * (docs/kubernetes.md, Approvals). Pure functions of the request and a few facts.
 */
#pragma once

#include "review.h"

struct approval_facts {
    uint64_t now_us;        /* wall clock */
    const char *controller; /* our own user name */
    bool guarded_account;   /* the person is a ServiceAccount of a namespace with guards */
};

/* "system:serviceaccount:NS:NAME": the namespace, cut out into `out`. False for other names. */
#define APPROVAL_NAMESPACE_LEN 254
bool approval_account_namespace(const char *username, char out[static APPROVAL_NAMESPACE_LEN]);
/* Seconds since 1970 of an RFC 3339 time, -1: it is none. */
int64_t approval_time(const char *text);

void approval_check_created(const struct review *r, const struct approval_facts *f,
                            struct answer *a);
void approval_check_updated(const struct review *r, struct answer *a);
/* UPDATE of status, mutating: by, groups and at of a new decision, and the phase that follows. */
void approval_stamp(const struct review *r, const struct approval_facts *f, struct answer *a);
/* UPDATE of status, validating: what was stamped, by whom, and whether he may. */
void approval_check_status(const struct review *r, const struct approval_facts *f,
                           struct answer *a);
