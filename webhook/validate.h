/* SPDX-License-Identifier: Apache-2.0
 * The last look at a pod, after all mutations: the guard is in it as it has to be, and nothing
 * leads around it. Pure functions of the request.
 */
#pragma once

#include "agentpod.h"

/* CREATE of a pod. */
void validate_created_pod(const struct config *c, const struct review *r, const struct secrets *s,
                          struct answer *a);
/* UPDATE of a pod or of its ephemeral containers. Only the latter bring containers, and so need the
 * secrets; for others they may be empty. */
void validate_updated_pod(const struct config *c, const struct review *r, const struct secrets *s,
                          struct answer *a);

/* CONNECT: a command line that may run in the guard's container, and what the person needs to be
 * allowed for it. */
enum connect_need { CONNECT_REFUSED = 0, CONNECT_FREE, CONNECT_GET, CONNECT_DELETE };
/* What somebody wants to exec or attach to. Other containers are free. A refusal is in the
 * answer. */
enum connect_need validate_connect(const struct review *r, struct answer *a);
