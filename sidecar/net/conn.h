/* SPDX-License-Identifier: Apache-2.0
 * One leg of a session: a non-blocking socket, plain or under TLS, with one face. A connection
 * belongs to one thread at a time (the handshake thread, then a loop). The *_by functions wait,
 * at most until a deadline (clock_mono_ms), and are for handshake threads; the others never wait.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <openssl/ssl.h>
#include <sys/socket.h>

struct conn {
    int fd;                  /* -1: none */
    SSL *ssl;                /* NULL: plain */
    bool want_write_to_read; /* TLS has to write before it can read on */
    bool want_read_to_write;
    bool eof;
};

void conn_init(struct conn *c, int fd);
/* Ends our direction: TLS's close_notify, if that is possible at once, and a FIN. Accepts an unused
 * one. */
void conn_shut(struct conn *c);
/* Sends TLS's close_notify if that is possible at once, then closes. Accepts an unused one. */
void conn_close(struct conn *c);

/* Bytes read; 0 at the end of the stream; -EAGAIN; -errno (-EPROTO: TLS failed). */
ssize_t conn_read(struct conn *c, void *p, size_t n);
/* Bytes written, perhaps fewer than n; -EAGAIN; -errno. */
ssize_t conn_write(struct conn *c, const void *p, size_t n);
/* True when bytes that were received wait inside TLS, where poll cannot see them. */
bool conn_has_buffered(const struct conn *c);

/* Exactly n bytes. -ECONNRESET when the stream ends early, -ETIMEDOUT. */
int conn_read_exact_by(struct conn *c, void *p, size_t n, uint64_t deadline_ms) MUST_CHECK;
int conn_write_all_by(struct conn *c, struct bytes b, uint64_t deadline_ms) MUST_CHECK;
/* The first byte, left in the socket. Plain connections only. */
int conn_peek_by(struct conn *c, uint8_t *ret, uint64_t deadline_ms) MUST_CHECK;
/* Runs SSL_accept or SSL_connect to the end; takes ownership of ssl in any case. err has
 * OpenSSL's reason. */
int conn_tls_accept_by(struct conn *c, SSL *ssl, uint64_t deadline_ms,
                       struct error *err) MUST_CHECK;
int conn_tls_connect_by(struct conn *c, SSL *ssl, uint64_t deadline_ms,
                        struct error *err) MUST_CHECK;

/* SO_KEEPALIVE with short probes, TCP_NODELAY, TCP_USER_TIMEOUT: a vanished peer is noticed. */
void conn_tune_socket(int fd);
