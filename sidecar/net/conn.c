/* SPDX-License-Identifier: Apache-2.0
 * Non-blocking connections, plain or TLS.
 */
#include "conn.h"

#include "src-common/clock.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

void conn_init(struct conn *c, int fd)
{
    *c = (struct conn){.fd = fd};
}

void conn_shut(struct conn *c)
{
    int cork = 1;

    if (c->fd < 0)
        return;
    if (c->ssl) {
        /* In one segment: a server that has closed answers the first with an RST. Conntrack would
         * keep a connection that it never saw a FIN of, and the agent's next from that port fails.
         */
        setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &cork, sizeof cork);
        ERR_clear_error();
        if (SSL_is_init_finished(c->ssl))
            SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    shutdown(c->fd, SHUT_WR);
}

void conn_close(struct conn *c)
{
    /* A FIN first, even when unread bytes make it an RST after that: after a bare RST from our side
     * conntrack keeps the redirection, and the next connection that has the same port, perhaps our
     * own to the server, would be led to our listener. */
    conn_shut(c);
    SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    conn_init(c, -1);
}

/* What OpenSSL's failure means to the caller. */
static ssize_t tls_failure(struct conn *c, int rc, bool reading)
{
    int saved = errno;

    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        c->want_read_to_write = !reading;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        c->want_write_to_read = reading;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        c->eof = true;
        return 0;
    case SSL_ERROR_SYSCALL:
        return saved ? -saved : -ECONNRESET;
    default:
        ERR_clear_error();
        return -EPROTO;
    }
}

ssize_t conn_read(struct conn *c, void *p, size_t n)
{
    ssize_t got;

    if (c->ssl) {
        int rc;

        c->want_write_to_read = false;
        ERR_clear_error();
        errno = 0;
        rc = SSL_read(c->ssl, p, n > INT_MAX ? INT_MAX : (int)n);
        return rc > 0 ? rc : tls_failure(c, rc, true);
    }
    do
        got = recv(c->fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        c->eof = true;
    return got < 0 ? -errno : got;
}

ssize_t conn_write(struct conn *c, const void *p, size_t n)
{
    ssize_t put;

    if (c->ssl) {
        int rc;

        c->want_read_to_write = false;
        ERR_clear_error();
        errno = 0;
        rc = SSL_write(c->ssl, p, n > INT_MAX ? INT_MAX : (int)n);
        if (rc > 0)
            return rc;
        put = tls_failure(c, rc, false);
        return put ? put : -EPIPE;
    }
    do
        put = send(c->fd, p, n, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

bool conn_has_buffered(const struct conn *c)
{
    return c->ssl && SSL_has_pending(c->ssl);
}

/* Waits for the socket, or for what TLS needs first. 0 or -ETIMEDOUT. */
static int wait_by(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        uint64_t now = clock_mono_ms();
        int rc;

        if (now >= deadline_ms)
            return -ETIMEDOUT;
        rc = poll(&p, 1, (int)min_size(deadline_ms - now, INT_MAX));
        if (rc > 0)
            return 0;
        if (rc < 0 && errno != EINTR)
            return -errno;
    }
}

int conn_read_exact_by(struct conn *c, void *p, size_t n, uint64_t deadline_ms)
{
    uint8_t *to = p;

    while (n) {
        ssize_t got = conn_read(c, to, n);

        if (got > 0) {
            to += got;
            n -= (size_t)got;
        } else if (got == 0) {
            return -ECONNRESET;
        } else if (got == -EAGAIN) {
            int rc = wait_by(c->fd, c->want_write_to_read ? POLLOUT : POLLIN, deadline_ms);

            if (rc)
                return rc;
        } else {
            return (int)got;
        }
    }
    return 0;
}

int conn_write_all_by(struct conn *c, struct bytes b, uint64_t deadline_ms)
{
    while (b.len) {
        ssize_t put = conn_write(c, b.p, b.len);

        if (put > 0) {
            b.p += put;
            b.len -= (size_t)put;
        } else if (put == -EAGAIN) {
            int rc = wait_by(c->fd, c->want_read_to_write ? POLLIN : POLLOUT, deadline_ms);

            if (rc)
                return rc;
        } else {
            return put ? (int)put : -EPIPE;
        }
    }
    return 0;
}

int conn_peek_by(struct conn *c, uint8_t *ret, uint64_t deadline_ms)
{
    for (;;) {
        ssize_t got = recv(c->fd, ret, 1, MSG_PEEK);
        int rc;

        if (got == 1)
            return 0;
        if (got == 0)
            return -ECONNRESET;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        rc = wait_by(c->fd, POLLIN, deadline_ms);
        if (rc)
            return rc;
    }
}

static int tls_reason(SSL *ssl, struct error *err)
{
    long verify = SSL_get_verify_result(ssl);
    unsigned long code = ERR_get_error();
    char text[256] = "connection closed";

    if (code)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    if (verify != X509_V_OK)
        return error_set(err, -EPROTO, "certificate verification failed: %s",
                         X509_verify_cert_error_string(verify));
    return error_set(err, -EPROTO, "TLS handshake failed: %s", text);
}

static int tls_handshake_by(struct conn *c, int (*step)(SSL *), uint64_t deadline_ms,
                            struct error *err)
{
    if (SSL_set_fd(c->ssl, c->fd) != 1)
        return error_set(err, -ENOMEM, "out of memory");
    for (;;) {
        int rc, why;
        short events;

        ERR_clear_error();
        rc = step(c->ssl);
        if (rc == 1)
            return 0;
        why = SSL_get_error(c->ssl, rc);
        if (why == SSL_ERROR_WANT_READ)
            events = POLLIN;
        else if (why == SSL_ERROR_WANT_WRITE)
            events = POLLOUT;
        else
            return tls_reason(c->ssl, err);
        rc = wait_by(c->fd, events, deadline_ms);
        if (rc)
            return error_set(err, rc, "TLS handshake timed out");
    }
}

int conn_tls_accept_by(struct conn *c, SSL *ssl, uint64_t deadline_ms, struct error *err)
{
    c->ssl = ssl;
    return tls_handshake_by(c, SSL_accept, deadline_ms, err);
}

int conn_tls_connect_by(struct conn *c, SSL *ssl, uint64_t deadline_ms, struct error *err)
{
    c->ssl = ssl;
    return tls_handshake_by(c, SSL_connect, deadline_ms, err);
}

static void set_int(int fd, int level, int option, int value)
{
    /* All of these are improvements, none is needed for correctness. */
    (void)!setsockopt(fd, level, option, &value, sizeof value);
}

void conn_tune_socket(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
}
