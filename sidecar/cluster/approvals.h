/* SPDX-License-Identifier: Apache-2.0
 * Requests for approval as ApprovalRequest objects (docs/kubernetes.md, Approvals). A sender thread
 * makes them and expires them; a watch brings people's decisions, which are checked again and
 * given to the registry. Nobody waits in vain: what cannot be asked is refused at once.
 */
#pragma once

#include "events.h"

struct clusterapprovals;
/* Becomes the outlet of the guard's approvals. */
int clusterapprovals_start(struct guard *g, struct kube *k, struct events *events,
                           struct clusterapprovals **ret, struct error *err) MUST_CHECK;
/* No session may be left. Accepts NULL. */
void clusterapprovals_stop(struct clusterapprovals *a);
/* Whether people can be asked now. Any thread. */
bool clusterapprovals_open(struct clusterapprovals *a);
