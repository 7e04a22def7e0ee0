/* SPDX-License-Identifier: Apache-2.0
 * One side of an SSH session: the agent (we are its server) or the target (we are its client).
 * Both belong to the session's thread. libssh's sessions do not block; waiting is sshleg_wait's.
 *
 * Each side has its own libssh event. In one event, the end of one connection would be taken for
 * the end of the other while that one is flushed (ssh_handle_packets, libssh 0.10 and 0.11).
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <libssh/callbacks.h>

/* Modern algorithms only. No chacha20-poly1305 and no CBC: without them Terrapin (CVE-2023-48795)
 * has nothing to work on even where a peer lacks strict key exchange. */
#define SSHLEG_KEX                                                                                 \
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,"        \
    "ecdh-sha2-nistp521,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,"              \
    "diffie-hellman-group14-sha256"
#define SSHLEG_CIPHERS_GCM "aes128-gcm@openssh.com,aes256-gcm@openssh.com"
#define SSHLEG_CIPHERS     SSHLEG_CIPHERS_GCM ",aes256-ctr,aes128-ctr"
#define SSHLEG_MACS                                                                                \
    "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512"

/* Global requests of the agent that libssh refuses by itself: no message tells of them. */
#define SSHLEG_REFUSED 16

struct sshleg_refused {
    char names[SSHLEG_REFUSED][64]; /* cut */
    unsigned n;                     /* also those that found no room */
};

struct sshleg {
    ssh_session ssh; /* NULL: not open */
    ssh_event event;
    struct ssh_counter_struct received; /* libssh counts, so that no packet goes unnoticed */
    bool added;                         /* to event */
    bool upstream;                      /* the target's */
    bool failed;
    bool cramped; /* the peer's maximum packet size is too small to work with */
};

/* Makes the event. The session is the leg's from then on. -ENOMEM. */
int sshleg_open(struct sshleg *l, ssh_session ssh) MUST_CHECK;
/* From now on they are noted here, as long as this thread works for the session; NULL: no more. */
void sshleg_note_refused(struct sshleg_refused *to);
/* Says goodbye with a message (NULL: none) if the connection is up, and frees. Accepts an unused
 * one. All channels of the session are gone afterwards. */
void sshleg_close(struct sshleg *l, const char *message);
/* Before the key exchange: none is offered, also none that begins after login. */
int sshleg_no_compression(ssh_session ssh) MUST_CHECK;
bool sshleg_alive(const struct sshleg *l);

/* Waits until a leg or wake_fd has something, at most timeout_ms, and lets libssh process it. Legs
 * may be unused, wake_fd -1. True when a leg read something. */
bool sshleg_wait(struct sshleg *a, struct sshleg *b, int wake_fd, int timeout_ms);
/* Writes to a channel what its window takes, as libssh does: bytes written, or SSH_ERROR. *sized is
 * the channel's, false at first: as long as it is, little is written at once. When that takes many
 * packets the peer's maximum packet size is too small: the leg is `cramped`, and has to be closed.
 */
int sshleg_write(struct sshleg *l, ssh_channel to, bool *sized, struct bytes data, bool is_stderr);
/* Processes what a leg has received, without waiting; true when there was something. */
bool sshleg_process(struct sshleg *l);
