/* SPDX-License-Identifier: Apache-2.0
 * The name servers that resolv.conf lists: the only hosts outside the pod that the agent may reach
 * without the guard, on port 53. Addresses are kept in binary, so nothing of the file's text can
 * reach the rules.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <netinet/in.h>

/* Resolvers use the first three; a file that lists more than this is not a resolver's. */
#define NAMESERVERS_MAX 16

struct nameserver {
    bool v6;
    union {
        struct in_addr v4;
        struct in6_addr v6;
    } addr;
};

struct nameservers {
    struct nameserver server[NAMESERVERS_MAX];
    size_t n;
    size_t ignored; /* lines with no usable address, or past the maximum */
};

/* Never fails: what cannot be read as a unicast address is left out (closed) and counted.
 * Loopback servers are left out without being counted: they need no rule. Duplicates count once. */
void nameservers_parse(struct bytes text, struct nameservers *ret);

/* A missing file is an empty list. -errno and err when it exists and cannot be read. */
int nameservers_load(const char *path, struct nameservers *ret, struct error *err) MUST_CHECK;

/* The address as text, for a rule or a message. */
const char *nameserver_text(const struct nameserver *s, char out[static INET6_ADDRSTRLEN]);
