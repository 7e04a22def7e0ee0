/* SPDX-License-Identifier: Apache-2.0
 * The text that iptables-restore and ip6tables-restore are fed. Pure: configuration in, text out.
 *
 * Four chains of our own. The built-in chains get one jump each, in front of everything else, so
 * that rules of a service mesh or of a CNI plugin stay as they are and come after ours.
 *   nat     CHAPERONE_OUT       who is redirected      CHAPERONE_REDIRECT  to where
 *   filter  CHAPERONE_EGRESS    what may leave         CHAPERONE_IN        what may come in
 */
#pragma once

#include "src-common/buffer.h"

#include "nameservers.h"

enum rules_family { RULES_IPV4, RULES_IPV6 };

/* How many jumps to our chains are there already, from an earlier run. Each is deleted before the
 * new one goes in: deleting one that is not there would fail the whole transaction. */
struct rules_present {
    unsigned nat_output;
    unsigned filter_output;
    unsigned filter_input;
};

struct rules_config {
    enum rules_family family;
    uint16_t capture;  /* the guard's port for redirected connections */
    uint32_t uid, gid; /* the guard's; a packet is the guard's when both match */
    const struct nameservers *nameservers;
    struct rules_present present;
};

/* -ENOBUFS or -ENOMEM as of the buffer. */
int rules_write(const struct rules_config *c, struct buffer *out) MUST_CHECK;

/* Reads the output of iptables-save (either family). More than a few jumps are nobody's doing:
 * -E2BIG. */
int rules_find_present(struct bytes saved, struct rules_present *ret) MUST_CHECK;
