/* SPDX-License-Identifier: Apache-2.0
 * How the guard logs in at a target: from the secret that the GuardTarget names, mounted as
 * DIR/SECRET/KEY. Read for each login, so that a rotated secret is used at once.
 */
#pragma once

#include "sidecar/policy/policy.h"
#include "src-common/secret.h"

struct sshcredential {
    char user[128];         /* empty: the secret has none */
    struct secret key;      /* ssh-privatekey; empty: none */
    struct secret password; /* password; empty: none */
};

int sshcredential_read(const struct target *t, const char *secrets_dir, struct sshcredential *ret,
                       struct error *err) MUST_CHECK;
void sshcredential_done(struct sshcredential *c);
