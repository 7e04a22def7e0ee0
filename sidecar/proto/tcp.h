/* SPDX-License-Identifier: Apache-2.0
 * Plain relay: targets of protocol tcp and egress that a policy permits. Bytes are counted and
 * the connection is recorded; nothing is looked at.
 */
#pragma once

#include "sidecar/session/session.h"

extern const struct proto_ops tcp_ops;
