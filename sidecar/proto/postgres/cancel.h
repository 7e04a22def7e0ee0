/* SPDX-License-Identifier: Apache-2.0
 * Cancel keys. The agent gets a key of ours; the upstream's own never leaves the guard. Any thread.
 */
#pragma once

#include "sidecar/session/session.h"

#define PGCANCEL_MAX_KEY 256

struct pgcancel_upstream { /* BackendKeyData of the upstream */
    uint32_t pid;
    uint8_t key[PGCANCEL_MAX_KEY];
    size_t key_len;                   /* 0: it gave none */
    struct policy_snapshot *snapshot; /* where the session went when it began: pgcancel_find gives a
                                         counted reference */
    const struct target *target;
};

/* Registers the session and makes its key of key_len (4 or 32) bytes. Keeps a reference to the
 * session until pgcancel_forget. */
int pgcancel_register(struct session *s, const struct pgcancel_upstream *up, size_t key_len,
                      uint32_t *ret_pid, uint8_t *ret_key) MUST_CHECK;
void pgcancel_forget(struct session *s);
/* Finds the session for what a CancelRequest carries (comparing in constant time): a counted
 * reference, and its upstream's key; or NULL. */
struct session *pgcancel_find(uint32_t pid, struct bytes key, struct pgcancel_upstream *ret);
