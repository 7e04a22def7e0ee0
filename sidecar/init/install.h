/* SPDX-License-Identifier: Apache-2.0
 * Puts the rules into the kernel with the tools at hand: the nft backend, or legacy iptables where
 * the kernel has no nf_tables.
 */
#pragma once

#include "rules.h"

enum install_backend { INSTALL_AUTO, INSTALL_NFT, INSTALL_LEGACY };

struct install {
    uint16_t capture;
    uint32_t uid, gid;
    const struct nameservers *nameservers;
    enum install_backend backend; /* as asked for */
    bool ipv6;                    /* the kernel has it */
};

/* Whether this kernel can make IPv6 sockets at all. A switched-off interface is not "no IPv6":
 * it can be switched on again. */
bool install_kernel_has_ipv6(void);

/* Installs both families, replacing what an earlier run left. *used is the backend that did it.
 * On failure err says what is missing and what to do about it; whatever was installed stays. */
int install_apply(const struct install *in, enum install_backend *used,
                  struct error *err) MUST_CHECK;

/* Appends, for people, what install_apply would feed to each tool; changes nothing. */
int install_show(const struct install *in, struct buffer *out, struct error *err) MUST_CHECK;

const char *install_backend_name(enum install_backend b);
