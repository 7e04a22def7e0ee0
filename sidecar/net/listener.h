/* SPDX-License-Identifier: Apache-2.0
 * Accepts connections: on the capture port, where iptables sends what the agent dialled, and on
 * explicit listeners. One thread for all of them; it never talks to a peer.
 */
#pragma once

#include "address.h"

/* Where a connection was meant to go. */
struct listener_origin {
    const char *target;               /* explicit listener: its target's name; else NULL */
    struct sockaddr_storage original; /* captured: what the agent dialled */
    struct sockaddr_storage peer;
};

struct listener_explicit {
    struct sockaddr_storage addr;
    const char *target; /* lives as long as the listener */
};

/* Takes over the descriptor (non-blocking, tuned). Must not block. */
typedef void listener_accept_fn(int fd, const struct listener_origin *origin, void *arg);

struct listener;
/* Binds everything, then starts the thread. capture_port 0: none; it is bound on 127.0.0.1 and ::1
 * only, which is where REDIRECT in the OUTPUT chain leads. */
int listener_start(const struct listener_explicit *list, size_t n, uint16_t capture_port,
                   listener_accept_fn *accepted, void *arg, struct listener **ret,
                   struct error *err) MUST_CHECK;
/* No connection is accepted after it returns. */
void listener_stop(struct listener *l); /* accepts NULL */
