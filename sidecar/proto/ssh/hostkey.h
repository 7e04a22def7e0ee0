/* SPDX-License-Identifier: Apache-2.0
 * The key by which agents know the guard. One ed25519 key for all targets: the guard, not the
 * target, is what the agent's connection ends at; which key the target has to show is pinned in
 * its GuardTarget.
 */
#pragma once

#include "src-common/error.h"

#include <libssh/libssh.h>

/* Takes the key from STATE_DIR/ssh_host_ed25519_key, or makes one (and keeps it there); NULL: a
 * fresh one, in memory only. With a trust directory, writes known_hosts there: one line that is
 * good for every host name, so that StrictHostKeyChecking holds. Called once, before listeners. */
int hostkey_start(const char *trust_dir, const char *state_dir, struct error *err) MUST_CHECK;

/* Gives the session the socket, the key and the algorithms to offer as a server. `gcm_only`: the
 * client is known to have AES-GCM, which is the fastest and would not be its first choice. Any
 * thread. The descriptor belongs to the session from then on, also on failure after it was taken
 * (ret_taken). */
int hostkey_accept(ssh_session s, int fd, bool gcm_only, bool *ret_taken,
                   struct error *err) MUST_CHECK;
