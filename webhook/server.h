/* SPDX-License-Identifier: Apache-2.0
 * HTTPS for admission and plain HTTP for status (libmicrohttpd; a thread for each connection, since
 * checks ask the API server). A certificate is changed by handing the listening socket to a new
 * daemon: the old one goes on with the connections that it has and closes each after its next
 * answer, so that none is cut.
 */
#pragma once

#include "admit.h"

#include <sys/socket.h>

struct server;

/* Listens at once; serves once there is a certificate. The admit is borrowed. */
int server_new(struct admit *ad, const struct sockaddr *addr, struct server **ret,
               struct error *err) MUST_CHECK;
/* PEM texts; copied. From then on new connections see this certificate. One thread at a time. */
int server_set_certificate(struct server *s, const char *certificate, const char *key,
                           struct error *err) MUST_CHECK;
/* Ends daemons of earlier certificates that have no connection left. The same thread, now and then.
 */
void server_tick(struct server *s);
/* Goes on, but closes each connection after its next answer: clients go elsewhere. */
void server_drain(struct server *s);
/* Stops accepting, answers what was begun for at most timeout_ms, ends. Accepts NULL. */
void server_stop(struct server *s, unsigned timeout_ms);

/* /livez, /readyz, /metrics. */
struct health {
    /* True when ready; otherwise the reasons are appended. */
    bool (*ready)(struct buffer *why, void *arg);
    void (*metrics)(struct buffer *out, void *arg);
    void *arg;
};
struct health_server;
int health_start(const struct health *h, const struct sockaddr *addr, struct health_server **ret,
                 struct error *err) MUST_CHECK;
void health_stop(struct health_server *h); /* accepts NULL */
