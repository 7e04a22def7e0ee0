/* SPDX-License-Identifier: Apache-2.0
 * The control socket: a unix stream socket (0600) on which people's tools ask and decide. One
 * JSON object a line in each direction. Requests {"cmd": …}:
 *   list                         ->
 * {"approvals":[{id,phase,session,target,database,user,policy,rule,
 *                                    statement,parameters,effect,digest,created,expires,count,groups,
 *                                    ticket,decisions:[{by,decision,reason,at}]}…]}
 *   show     id                  -> {"approval":{…}}
 *   approve  id [reason uses forSeconds]   deny id [reason]   -> {"approval":{…}}
 *   watch                        -> a line {"approval":{…}} for each change, until closed
 *   sessions                     ->
 * {"sessions":[{id,target,database,user,client,state,started,statements,denied,…}…]} kill session
 * -> {"ok":true} tail     session | "all"     -> each record line as it is written, until closed
 *   status                       ->
 * {"version","policyGeneration","policyDigest","ready","sessions",…} An error is
 * {"error":"words","code":"NotFound|Denied|Invalid|Conflict"}. The caller's identity is the
 * kernel's word for it (SO_PEERCRED).
 */
#pragma once

#include "sidecar/approval/approval.h"
#include "sidecar/record/record.h"

struct control;
struct control_config {
    const char *path;
    struct approvals *approvals;
    /* Where people decide instead of here, for the error: "use kubectl guard approve". NULL: here.
     */
    const char *decide_elsewhere;
    struct record_spool *spool; /* for the tap; may be NULL */
    /* Appends the fields of `status` (jsonw). Any thread. */
    void (*status)(struct buffer *out, void *arg);
    void *arg;
};
/* Starts the service thread. */
int control_start(const struct control_config *config, struct control **ret,
                  struct error *err) MUST_CHECK;
void control_stop(struct control *c); /* accepts NULL; removes the socket */
