/* SPDX-License-Identifier: Apache-2.0
 * ApprovalRequest objects: from a request, and what people wrote into one. Pure.
 */
#pragma once

#include "sidecar/approval/approval.h"
#include "src-common/buffer.h"

struct json_object;

#define APPROVAL_OBJECT_LABEL "chaperone.dev/pod-uid"

/* The object as JSON text, valid UTF-8 whatever the statement holds. Failure is the buffer's. */
void approval_object_write(const struct approval_info *i, const struct agent *agent,
                           struct buffer *out);

struct approval_object_vote {
    struct approval_vote vote; /* its strings point into the decision's object */
    const char **groups;       /* owned */
};
/* Reads one of status.decisions. -EINVAL: what admission has to fill in is not there. -EPERM: a
 * service account of the agent's namespace, which cannot approve. ret is always set; release it
 * with approval_object_vote_done. */
int approval_object_vote(struct json_object *decision, const char *agent_namespace,
                         struct approval_object_vote *ret, struct error *err) MUST_CHECK;
void approval_object_vote_done(struct approval_object_vote *v);
