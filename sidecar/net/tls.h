/* SPDX-License-Identifier: Apache-2.0
 * TLS on both legs. Towards the agent: a certificate authority of this process, and a leaf for
 * whatever name or address the agent dialled. Towards the target: what GuardTarget.tls says.
 * Any thread; contexts are shared and immutable.
 */
#pragma once

#include "sidecar/policy/policy.h"
#include "src-common/bytes.h"

#include <openssl/ssl.h>

struct tls_authority;

/* Makes a P-256 authority; with a state directory, the one that is kept there (ca.key, ca.crt,
 * 0600) or else a fresh one that is then kept. With a trust directory, writes there what the agent
 * needs to verify us: ca.crt, <hash>.0 and bundle.pem (the system's roots and ours). The key goes
 * nowhere but to the state directory. */
int tls_authority_new(const char *trust_dir, const char *state_dir, struct tls_authority **ret,
                      struct error *err) MUST_CHECK;
void tls_authority_free(struct tls_authority *a); /* accepts NULL */

/* A server-side SSL for one agent connection. The leaf carries the client's SNI and
 * `address` (the address the agent dialled, as text). `alpn` is the one protocol spoken
 * ("postgresql"): a client that offers others only is refused (RFC 7301); whether it had to offer
 * any is the caller's question. The caller frees it, or passes it to conn_tls_accept_by. */
int tls_server_new(struct tls_authority *a, const char *address, const char *alpn,
                   SSL **ret) MUST_CHECK;

/* A client-side SSL for a target: verification as the target says, against the CA in
 * secrets_dir/<secret>/<key> or the system's roots. `host` is what was dialled. */
int tls_client_new(const struct target *t, const char *secrets_dir, const char *host, SSL **ret,
                   struct error *err) MUST_CHECK;
/* Gives a client-side SSL a certificate (with its chain) and the key to it, both PEM. Before the
 * handshake. -EINVAL, with a reason that says nothing of the key. */
int tls_client_certify(SSL *ssl, struct bytes certificates, struct bytes key,
                       struct error *err) MUST_CHECK;
