/* SPDX-License-Identifier: Apache-2.0
 * Which protocol a session speaks. Declared, never sniffed: the policy names the destination
 * and its protocol, so an agent cannot choose another parser by sending other bytes.
 */
#include "proto.h"

#include "sidecar/proto/kube/kube.h"
#include "sidecar/proto/postgres/postgres.h"
#include "sidecar/proto/ssh/ssh.h"
#include "sidecar/proto/tcp.h"

const struct proto_ops *proto_detect(const struct session *s)
{
    static const struct proto_ops *const table[] = {
        [TARGET_UNKNOWN] = NULL,       [TARGET_POSTGRES] = &postgres_ops,
        [TARGET_SSH] = &ssh_guard_ops, [TARGET_KUBERNETES] = &kube_guard_ops,
        [TARGET_TCP] = &tcp_ops,
    };

    return s->target ? table[s->target->protocol] : &tcp_ops;
}
