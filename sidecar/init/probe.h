/* SPDX-License-Identifier: Apache-2.0
 * One attempt to reach an address, made by a forked child as another user, because the rules look
 * at the owner of a socket. Single-threaded programs only.
 */
#pragma once

#include "src-common/base.h"

#include <sys/socket.h>
#include <sys/types.h>

/* The child's exit status. The zero value is what no probe expects. */
enum probe_outcome {
    PROBE_BROKEN,    /* the child failed in another way, or died */
    PROBE_CONNECTED, /* TCP: somebody answered. UDP: the datagram left without an error */
    PROBE_REFUSED,   /* TCP: reset. UDP: not permitted, or an ICMP error came back */
    PROBE_NO_ROUTE,  /* no route or no source address: nothing was sent */
    PROBE_SILENT,    /* TCP: no answer in time */
    PROBE_CANNOT_BE, /* the child may not become that user */
};

struct probe {
    int kind; /* SOCK_STREAM or SOCK_DGRAM */
    struct sockaddr_storage to;
    unsigned wait_ms;
    bool must_be; /* without the right to change users: false = stay who we are */
    uint32_t uid, gid;
};

/* The child's process id, or -errno. It runs for wait_ms at most and a little more. */
pid_t probe_start(const struct probe *p) MUST_CHECK;
enum probe_outcome probe_finish(pid_t pid);
