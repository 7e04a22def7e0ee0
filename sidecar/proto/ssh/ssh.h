/* SPDX-License-Identifier: Apache-2.0
 * The SSH guard: a server towards the agent, a client towards the target, on the session's own
 * thread from accept to close. docs/ssh.md.
 */
#pragma once

#include "sidecar/proto/proto.h"

extern const struct proto_ops ssh_guard_ops;
