/* SPDX-License-Identifier: Apache-2.0
 * Whether an agent may come to a target at all, and whether it needs a token for that: asked by
 * every protocol when it lets somebody in, and again when policy has changed. Any thread.
 */
#pragma once

#include "token.h"

/* by_policy: a policy that selects the agent has identity.requireToken. Where the guard has no
 * credentials there is no place for a token: what the agent presents is the target's. */
bool admission_needs_token(const struct target *t, bool has_issuers, bool by_policy);

/* -EACCES with the reason when the view's policies do not let in who has that identity; NULL: no
 * token was checked. */
int admission_check(const struct policy_view *v, const struct target *t, const struct identity *id,
                    struct error *err) MUST_CHECK;

/* Replaces *view (NULL: there is none yet) by that of the snapshot for this agent, where the
 * protocol has no databases, and checks it. -ENOMEM: *view is as it was. */
struct admission {
    struct policy_snapshot *snapshot;
    struct agent agent;
    const struct target *target;
    const struct identity *identity;
};
int admission_enter(const struct admission *a, struct policy_view **view,
                    struct error *err) MUST_CHECK;
/* The reason of a refusal where a token is needed and nobody's is trusted. -EACCES. */
int admission_no_issuer(const struct target *t, struct error *err);
