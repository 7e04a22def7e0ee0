/* SPDX-License-Identifier: Apache-2.0
 * The guard in a cluster (--kubernetes): policies, approvals and Events are objects of the API
 * server, the agent's labels and token come from mounted files. One thread for housekeeping;
 * watches and senders have their own.
 */
#pragma once

#include "sidecar/session/guard.h"
#include "src-common/buffer.h"

struct cluster;
struct cluster_config {
    struct guard *guard;
    const char *account_dir; /* NULL: the usual place */
    const char *labels_file; /* NULL: labels do not change */
    const char *agent_token; /* NULL: none is copied */
    const char *trust;       /* NULL: no service account for the agent */
};

/* Needs the guard's approvals, spool and jobs. Does not wait for the API server: until it has
 * answered the guard is not ready. err names the file or option that is wrong. */
int cluster_start(const struct cluster_config *c, struct cluster **ret,
                  struct error *err) MUST_CHECK;
/* No session may begin any more. What is left of Events is sent for a moment. Accepts NULL. */
void cluster_stop(struct cluster *c);
/* Appends what /metrics says of the cluster. Any thread. */
void cluster_metrics(struct cluster *c, struct buffer *out);
