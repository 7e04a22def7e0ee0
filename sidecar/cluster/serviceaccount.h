/* SPDX-License-Identifier: Apache-2.0
 * What the agent's containers find in place of the pod's service account: a token that only the
 * guard accepts, the guard's CA, and the namespace.
 */
#pragma once

#include "src-common/error.h"

struct serviceaccount {
    const char *token_file; /* the agent's token as the kubelet renews it; NULL: none is given */
    const char *trust;      /* DIR; its ca.crt is there already */
    const char *namespace_;
    char *token; /* as last copied; its owner is this */
};

/* Writes DIR/serviceaccount/{ca.crt,namespace,token}, all readable by the agent. */
int serviceaccount_start(struct serviceaccount *s, struct error *err) MUST_CHECK;
/* Copies the token again if it changed. 1: it did. */
int serviceaccount_look(struct serviceaccount *s, struct error *err) MUST_CHECK;
void serviceaccount_done(struct serviceaccount *s);
