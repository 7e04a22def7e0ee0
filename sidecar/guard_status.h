/* SPDX-License-Identifier: Apache-2.0
 * /livez, /readyz and /metrics over HTTP (libmicrohttpd), and the fields of `kubectl-guard status`.
 */
#pragma once

#include "session/guard.h"
#include "src-common/buffer.h"

#include <sys/socket.h>

struct status;
struct cluster;
/* cluster: NULL when standalone. */
int status_start(struct guard *g, struct cluster *cluster, const struct sockaddr *addr,
                 struct status **ret, struct error *err) MUST_CHECK;
void status_stop(struct status *s); /* accepts NULL */
/* control_config.status; arg is the guard. */
void status_fields(struct buffer *out, void *arg);
