/* SPDX-License-Identifier: Apache-2.0
 * Socket addresses: text, equality, and which host names stand for them.
 */
#pragma once

#include "src-common/error.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define ADDRESS_TEXT_LEN 64

/* "10.1.2.3:5432", "[2001:db8::1]:5432". v4-mapped addresses print as v4. */
void address_text(const struct sockaddr *a, char out[static ADDRESS_TEXT_LEN]);
/* The address alone. */
void address_host_text(const struct sockaddr *a, char out[static ADDRESS_TEXT_LEN]);
uint16_t address_port(const struct sockaddr *a);
socklen_t address_len(const struct sockaddr *a);
bool address_equal(const struct sockaddr *a, const struct sockaddr *b, bool with_port);
/* "ADDR:PORT", "[ADDR6]:PORT"; numeric. -EINVAL. */
int address_parse(const char *text, struct sockaddr_storage *ret, struct error *err) MUST_CHECK;

/* Whether the DNS name resolves to that address now. Blocks (getaddrinfo); answers are kept for
 * 10 s, so that one name asked for each connection costs one look-up. Any thread. */
bool address_is_name(const struct sockaddr *a, const char *name);

/* Opens a TCP connection, non-blocking afterwards; waits until the deadline. */
int address_connect(const struct sockaddr *a, uint64_t deadline_ms, int *ret_fd,
                    struct error *err) MUST_CHECK;
/* As address_connect, to a name or a numeric address: every address of it in turn. */
int address_connect_host(const char *host, uint16_t port, uint64_t deadline_ms, int *ret_fd,
                         struct error *err) MUST_CHECK;
