/* SPDX-License-Identifier: Apache-2.0
 * The kube-apiserver guard: HTTP/1.1 on both legs, on the session's own thread from accept to
 * close. docs/kube-guard.md.
 */
#pragma once

#include "sidecar/proto/proto.h"

extern const struct proto_ops kube_guard_ops;
