/* SPDX-License-Identifier: Apache-2.0
 * One face over a socket, plain or under TLS: what is read and written, ends, deadlines, refused
 * handshakes.
 */
#include "sidecar/net/conn.h"
#include "sidecar/net/tls.h"
#include "src-common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 10000

static uint64_t soon(void)
{
    return clock_mono_ms() + DEADLINE_MS;
}

static void make_pair(struct conn *ret_a, struct conn *ret_b)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    conn_init(ret_a, fds[0]);
    conn_init(ret_b, fds[1]);
}

static void write_text(struct conn *c, const char *text)
{
    assert_int_equal(conn_write_all_by(c, bytes_str(text), soon()), 0);
}

static void read_text(struct conn *c, const char *text)
{
    char got[64] = "";

    assert_true(strlen(text) < sizeof got);
    assert_int_equal(conn_read_exact_by(c, got, strlen(text), soon()), 0);
    assert_string_equal(got, text);
}

/* ---- plain ---- */

static void test_plain(void **state)
{
    struct conn a, b;
    uint8_t byte;

    (void)state;
    make_pair(&a, &b);
    assert_int_equal(conn_read(&a, &byte, 1), -EAGAIN);
    assert_false(a.eof);
    write_text(&a, "hello, guard");
    assert_int_equal(conn_peek_by(&b, &byte, soon()), 0);
    assert_int_equal(byte, 'h');
    read_text(&b, "hello, "); /* the peeked byte is still there */
    read_text(&b, "guard");
    assert_false(conn_has_buffered(&b));
    conn_close(&a);
    assert_int_equal(a.fd, -1);
    assert_int_equal(conn_read(&b, &byte, 1), 0);
    assert_true(b.eof);
    assert_int_equal(conn_peek_by(&b, &byte, soon()), -ECONNRESET);
    conn_close(&a); /* once more does nothing */
    conn_close(&b);
}

static void test_stream_that_ends_early(void **state)
{
    struct conn a, b;
    char got[8];

    (void)state;
    make_pair(&a, &b);
    write_text(&a, "1234567");
    conn_close(&a);
    assert_int_equal(conn_read_exact_by(&b, got, sizeof got, soon()), -ECONNRESET);
    conn_close(&b);
}

/* A peer that is silent, or does not read, costs no more than the deadline. */
static void test_deadlines(void **state)
{
    static uint8_t much[8 << 20];
    uint64_t start_ms = clock_mono_ms();
    struct conn a, b;
    uint8_t byte;
    char got[4];

    (void)state;
    make_pair(&a, &b);
    write_text(&b, "123");
    assert_int_equal(conn_read_exact_by(&a, got, 4, start_ms + 50), -ETIMEDOUT);
    assert_int_equal(conn_peek_by(&a, &byte, start_ms + 100), -ETIMEDOUT);
    assert_int_equal(conn_write_all_by(&a, bytes_of(much, sizeof much), start_ms + 150),
                     -ETIMEDOUT);
    assert_in_range(clock_mono_ms() - start_ms, 150, DEADLINE_MS);
    assert_int_equal(conn_write(&a, much, 1), -EAGAIN);
    conn_close(&a);
    conn_close(&b);
}

/* No SIGPIPE: an error. */
static void test_write_to_the_gone(void **state)
{
    struct conn a, b;

    (void)state;
    make_pair(&a, &b);
    conn_close(&b);
    assert_int_equal(conn_write(&a, "x", 1), -EPIPE);
    assert_int_equal(conn_write_all_by(&a, bytes_str("x"), soon()), -EPIPE);
    conn_close(&a);
}

/* ---- under TLS ---- */

struct peer {
    struct conn conn;
    SSL *ssl;
    uint64_t deadline_ms;
    int rc;
    struct error err;
};

static struct tls_authority *authority;
static char trust[] = "/tmp/chaperone-conn-test.XXXXXX";

static int setup(void **state)
{
    struct error err;

    (void)state;
    return mkdtemp(trust) ? tls_authority_new(trust, NULL, &authority, &err) : -1;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    tls_authority_free(authority);
    snprintf(command, sizeof command, "rm -r '%s'", trust);
    return system(command);
}

static void *accept_peer(void *arg)
{
    struct peer *p = arg;

    p->rc = conn_tls_accept_by(&p->conn, p->ssl, p->deadline_ms, &p->err);
    return NULL;
}

/* A client that trusts the authority, or does not, and looks for that address in the certificate.
 */
static SSL *client_ssl(bool trusting, const char *address)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char path[128];
    SSL *ssl;

    snprintf(path, sizeof path, "%s/ca.crt", trust);
    assert_non_null(ctx);
    if (trusting)
        assert_int_equal(SSL_CTX_load_verify_locations(ctx, path, NULL), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    assert_non_null(ssl);
    assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address), 1);
    return ssl;
}

/* Both ends of a handshake; the client's outcome. */
static int handshake(struct peer *server, struct conn *client, SSL *ssl, struct error *err)
{
    pthread_t thread;
    int rc;

    *server = (struct peer){.deadline_ms = soon()};
    make_pair(&server->conn, client);
    assert_int_equal(tls_server_new(authority, "10.1.2.3", "postgresql", &server->ssl), 0);
    assert_int_equal(pthread_create(&thread, NULL, accept_peer, server), 0);
    rc = conn_tls_connect_by(client, ssl, soon(), err);
    if (rc)
        conn_close(client);
    pthread_join(thread, NULL);
    return rc;
}

/* Waits for bytes that are perhaps not in a record of their own. */
static ssize_t read_some(struct conn *c, void *p, size_t n)
{
    uint64_t until = soon();
    ssize_t got;

    while ((got = conn_read(c, p, n)) == -EAGAIN && clock_mono_ms() < until) {
        struct pollfd pfd = {c->fd, POLLIN, 0};

        poll(&pfd, 1, 100);
    }
    return got;
}

static void test_tls(void **state)
{
    struct error err = {""};
    struct peer server;
    struct conn client;
    char byte = 0;

    (void)state;
    if (handshake(&server, &client, client_ssl(true, "10.1.2.3"), &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(server.rc, 0);
    assert_int_equal(conn_read(&client, &byte, 1), -EAGAIN);
    write_text(&client, "startup");
    assert_int_equal(read_some(&server.conn, &byte, 1), 1);
    assert_int_equal(byte, 's');
    assert_true(conn_has_buffered(&server.conn)); /* poll would not tell of the rest */
    read_text(&server.conn, "tartup");
    assert_false(conn_has_buffered(&server.conn));
    write_text(&server.conn, "ready");
    read_text(&client, "ready");
    conn_close(&server.conn);
    assert_int_equal(read_some(&client, &byte, 1), 0); /* close_notify: a true end */
    assert_true(client.eof);
    conn_close(&client);
}

/* An end without close_notify may be anybody's: it is an error, not the end of the stream. */
static void test_tls_cut_off(void **state)
{
    struct error err = {""};
    struct peer server;
    struct conn client;
    char byte;

    (void)state;
    assert_int_equal(handshake(&server, &client, client_ssl(true, "10.1.2.3"), &err), 0);
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    assert_true(read_some(&server.conn, &byte, 1) < 0);
    assert_false(server.conn.eof);
    conn_close(&server.conn);
    conn_close(&client);
}

static void test_tls_somebody_elses_bytes(void **state)
{
    struct error err = {""};
    struct peer server;
    struct conn client;
    char byte;

    (void)state;
    assert_int_equal(handshake(&server, &client, client_ssl(true, "10.1.2.3"), &err), 0);
    assert_int_equal(write(client.fd, "Q\0\0\0\x0dSELECT 1\0", 14), 14);
    assert_int_equal(read_some(&server.conn, &byte, 1), -EPROTO);
    conn_close(&server.conn);
    conn_close(&client);
}

static void test_tls_refused(void **state)
{
    static const struct {
        bool trusting;
        const char *address, *reason;
    } rows[] = {
        {false, "10.1.2.3", "certificate verification failed"},
        {true, "10.1.2.4", "certificate verification failed"},
    };
    struct error err = {""};
    struct peer server;
    struct conn client;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        SSL *ssl = client_ssl(rows[i].trusting, rows[i].address);

        assert_int_equal(handshake(&server, &client, ssl, &err), -EPROTO);
        assert_non_null(strstr(err.text, rows[i].reason));
        conn_close(&server.conn);
    }
}

/* The peer speaks something else, leaves, or says nothing. */
static void test_tls_handshake_without_a_peer(void **state)
{
    struct error err = {""};
    struct conn a, b;
    uint64_t start_ms;

    (void)state;
    make_pair(&a, &b);
    write_text(&b, "N and then nothing that is TLS");
    assert_int_equal(conn_tls_connect_by(&a, client_ssl(true, "10.1.2.3"), soon(), &err), -EPROTO);
    assert_non_null(strstr(err.text, "TLS handshake failed"));
    conn_close(&a);
    conn_close(&b);

    make_pair(&a, &b);
    conn_close(&b);
    assert_int_equal(conn_tls_connect_by(&a, client_ssl(true, "10.1.2.3"), soon(), &err), -EPROTO);
    conn_close(&a);

    make_pair(&a, &b);
    start_ms = clock_mono_ms();
    assert_int_equal(conn_tls_connect_by(&a, client_ssl(true, "10.1.2.3"), start_ms + 50, &err),
                     -ETIMEDOUT);
    assert_non_null(strstr(err.text, "timed out"));
    assert_in_range(clock_mono_ms() - start_ms, 50, DEADLINE_MS);
    conn_close(&a);
    conn_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_stream_that_ends_early),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_write_to_the_gone),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_cut_off),
        cmocka_unit_test(test_tls_somebody_elses_bytes),
        cmocka_unit_test(test_tls_refused),
        cmocka_unit_test(test_tls_handshake_without_a_peer),
    };

    signal(SIGPIPE, SIG_IGN); /* as the guard does: OpenSSL writes with write() */
    return cmocka_run_group_tests(tests, setup, teardown);
}
