/* SPDX-License-Identifier: Apache-2.0
 * What a namespace's GuardTargets mean for its pods: the Secrets that they name (the guard mounts
 * them, the agent may not have the logins among them), and whether there are SSH hosts.
 */
#pragma once

#include "value.h"

/* What the guard mounts besides, when it is there: the key of Token masks. */
#define SECRETS_MASK_KEY "chaperone-mask-key"

struct secrets {
    struct json_object *mounted; /* list of names: sorted, each once */
    struct json_object *logins;  /* of these the credentials, and the mask key */
    bool ssh;                    /* a target is reached by SSH */
};

/* From a list of GuardTarget objects. -ENOMEM. */
int secrets_of_targets(struct json_object *targets, struct secrets *ret) MUST_CHECK;
/* Adds names of Secrets that are the guard's alone. -ENOMEM. */
int secrets_add(struct secrets *s, struct json_object *names) MUST_CHECK;
bool secrets_name_ok(const char *s);
void secrets_done(struct secrets *s);
