/* SPDX-License-Identifier: Apache-2.0
 * Proof, before any other process of the pod starts, that the rules do what they are for. An init
 * container that exits 0 without this would open the pod on a kernel that ignores a rule.
 */
#pragma once

#include "src-common/error.h"

struct selftest_config {
    uint16_t capture;
    uint32_t uid, gid; /* the guard's */
    bool ipv6;
};

/* Constant words for each test: "redirected", "refused", "exempt" when passed; "skipped: …" or
 * "failed: …" otherwise; NULL when not reached. Index 0 is IPv4, 1 is IPv6. */
struct selftest_result {
    const char *tcp[2];   /* an agent's connection arrives at the capture port */
    const char *udp[2];   /* an agent's datagram is refused */
    const char *guard[2]; /* the guard's own connection does not arrive there */
};

/* 0 when nothing failed and redirection was proven in at least one family. Otherwise -errno, and
 * err says which test and what to look at. result is filled in either way. */
int selftest_run(const struct selftest_config *c, struct selftest_result *result,
                 struct error *err) MUST_CHECK;
