/* SPDX-License-Identifier: Apache-2.0
 * What the guard logs in with: a Secret as it is mounted, one file for each key. It is read for
 * every login and forgotten after it, so that a rotated Secret is the next login's. For every
 * protocol. Blocks on the disk.
 */
#pragma once

#include "src-common/error.h"
#include "src-common/secret.h"

#define CREDENTIAL_MAX_BYTES 65536

/* What is absent is empty. One line break at the end of username, password and token is not
 * theirs. */
struct credential {
    char username[256];
    struct secret password;
    struct secret token;             /* key `token`: bearer token */
    struct secret ssh_key;           /* key `ssh-privatekey` */
    struct secret tls_cert, tls_key; /* keys `tls.crt`, `tls.key`: PEM */
    uint8_t digest[32];              /* of all of it: has it changed? */
};

/* Reads DIR/NAME/<key>. Where the directory is mounted by Kubernetes, all keys are of one version.
 * -ENOENT (the directory is not there: not mounted), -EINVAL, … with a reason that names files and
 * never what is in them. */
int credential_load(const char *secrets_dir, const char *name, struct credential *ret,
                    struct error *err) MUST_CHECK;
/* Wipes. Accepts a zeroed one. */
void credential_done(struct credential *c);
bool credential_same(const struct credential *a, const struct credential *b);
