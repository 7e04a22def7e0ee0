/* SPDX-License-Identifier: Apache-2.0
 * All that the rest of the guard knows of protocols: a table from what a GuardTarget says to
 * the code that speaks it. A new protocol is a folder here and a row in detect.c.
 */
#pragma once

#include "sidecar/session/session.h"

/* The protocol of the session's target; the plain relay for tcp targets and permitted egress. NULL
 * when this guard does not speak it: the connection is refused. */
const struct proto_ops *proto_detect(const struct session *s);
