/* SPDX-License-Identifier: Apache-2.0
 * The two legs before login: encryption requests and startup messages (manual 55.2.1, 55.2.9 to
 * 55.2.11). Each request is taken at most once, and bytes that were sent before encryption
 * was agreed are a protocol violation (CVE-2021-23214, CVE-2021-23222).
 */
#include "handshake.h"

#include "src-common/clock.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>

/* Anything that waits on a plain connection right now was sent ahead of our answer. */
static bool has_early_bytes(int fd)
{
    uint8_t one;

    return recv(fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static int accept_tls(struct pghandshake *h, bool direct)
{
    struct session *s = h->session;
    char address[ADDRESS_TEXT_LEN] = "";
    struct error err = {""};
    const uint8_t *alpn;
    unsigned alpn_len;
    SSL *ssl;

    if (!s->origin.target)
        address_host_text((struct sockaddr *)&s->origin.original, address);
    else
        snprintf(address, sizeof address, "127.0.0.1");
    if (tls_server_new(s->guard->authority, address, "postgresql", &ssl) != 0)
        return pghandshake_fail(h, "53200", "out of memory");
    if (conn_tls_accept_by(&s->client, ssl, h->deadline_ms, &err) != 0) {
        snprintf(h->failure, sizeof h->failure, "agent's leg: %.200s", err.text);
        return -1;
    }
    h->client_tls = true;
    SSL_get0_alpn_selected(s->client.ssl, &alpn, &alpn_len);
    if (direct && alpn_len == 0)
        return pghandshake_fail(h, "08P01", "direct TLS needs ALPN \"postgresql\"");
    return 0;
}

static int answer(struct pghandshake *h, uint8_t byte)
{
    if (has_early_bytes(h->session->client.fd))
        return pghandshake_fail(h, "08P01",
                                "received unencrypted data after an encryption request");
    return conn_write_all_by(&h->session->client, (struct bytes){&byte, 1}, h->deadline_ms) ? -1
                                                                                            : 0;
}

/* ---- CancelRequest ---- */

static int upstream_tls(struct pghandshake *h);

static void send_cancel(struct pghandshake *h, const struct pgcancel_upstream *up)
{
    struct buffer out;

    buffer_init(&out, 512);
    buffer_add_be32(&out, (uint32_t)(12 + up->key_len));
    buffer_add_be32(&out, PGSTARTUP_CANCEL);
    buffer_add_be32(&out, up->pid);
    buffer_append(&out, up->key, up->key_len);
    if (conn_write_all_by(&h->session->upstream, buffer_bytes(&out), h->deadline_ms) == 0) {
        uint8_t eof;

        /* The server closes when it has signalled: the client may rely on that order. */
        if (conn_read_exact_by(&h->session->upstream, &eof, 1, h->deadline_ms) == 0)
            h->session->upstream.eof = true;
    }
    buffer_wipe(&out);
}

/* A wrong key gets the same silence as the server gives. */
static int handle_cancel(struct pghandshake *h, struct bytes body)
{
    struct pgcancel_upstream up;
    struct session *mine = h->session, *other;
    struct error err;

    if (body.len < 5 || body.len > 4 + PGCANCEL_MAX_KEY)
        return 0;
    other = pgcancel_find(get_be32(body.p), (struct bytes){body.p + 4, body.len - 4}, &up);
    if (!other)
        return 0;
    session_post(other, INBOX_CANCEL);
    /* It goes where the session went, not where this connection was meant to go. */
    policy_snapshot_unref(mine->snapshot);
    mine->snapshot = up.snapshot; /* its reference is ours now */
    mine->target = up.target;
    mine->origin.target = other->origin.target;
    mine->origin.original = other->origin.original;
    if (session_connect(mine, &err) == 0 && upstream_tls(h) == 0)
        send_cancel(h, &up);
    explicit_bzero(&up, sizeof up);
    session_unref(other);
    return 0;
}

/* ---- the client's leg ---- */

/* One packet without a type byte: its code, and what follows in h->raw. */
static int read_packet(struct pghandshake *h, uint32_t *ret_code, struct bytes *ret_body)
{
    uint8_t head[8];
    uint32_t len;
    int rc = conn_read_exact_by(&h->session->client, head, sizeof head, h->deadline_ms);

    if (rc) {
        snprintf(h->failure, sizeof h->failure, "agent's leg: %s",
                 rc == -ETIMEDOUT ? "no startup message in time" : strerror(-rc));
        return -1;
    }
    len = get_be32(head);
    *ret_code = get_be32(head + 4);
    if (len < 8 || len - 8 > sizeof h->raw)
        return pghandshake_fail(h, "08P01", "invalid length of startup packet");
    rc = conn_read_exact_by(&h->session->client, h->raw, len - 8, h->deadline_ms);
    if (rc) {
        snprintf(h->failure, sizeof h->failure, "agent's leg: %s", strerror(-rc));
        return -1;
    }
    *ret_body = (struct bytes){h->raw, len - 8};
    return 0;
}

static int take_startup(struct pghandshake *h, uint32_t version, struct bytes body)
{
    struct error err = {""};
    bool tell;
    int rc;

    if (version >> 16 != 3)
        return pghandshake_fail(h, "0A000",
                                "unsupported frontend protocol %u.%u: the guard speaks 3.0 and 3.2",
                                version >> 16, version & 0xffff);
    rc = pgstartup_parse(body, (uint16_t)version, &h->startup, &err);
    if (rc)
        return pghandshake_fail(h, rc == -EACCES ? "0A000" : "08P01", "%s", err.text);
    if (h->session->over_limit)
        return pghandshake_fail(h, "53300", "the guard has too many sessions already");
    h->minor = pgstartup_negotiate(&h->startup, &tell);
    if (tell)
        pgstartup_add_negotiate(&h->startup, h->minor, &h->greeting);
    return 1;
}

int pghandshake_client(struct pghandshake *h)
{
    bool seen_ssl = false, seen_gss = false;
    uint8_t first;

    if (conn_peek_by(&h->session->client, &first, h->deadline_ms) != 0) {
        snprintf(h->failure, sizeof h->failure, "agent's leg: nothing was sent");
        return -1;
    }
    if (first == 0x16) { /* a TLS record: direct TLS, PostgreSQL 17 */
        if (accept_tls(h, true) != 0)
            return -1;
        seen_ssl = seen_gss = true;
    }
    for (;;) {
        struct bytes body;
        uint32_t code;

        if (read_packet(h, &code, &body) != 0)
            return -1;
        if (code == PGSTARTUP_CANCEL)
            return handle_cancel(h, body);
        if (code == PGSTARTUP_SSL && !seen_ssl && body.len == 0) {
            seen_ssl = seen_gss = true;
            if (answer(h, 'S') != 0 || accept_tls(h, false) != 0)
                return -1;
        } else if (code == PGSTARTUP_GSSENC && !seen_gss && body.len == 0) {
            seen_gss = true;
            if (answer(h, 'N') != 0)
                return -1;
        } else if (code == PGSTARTUP_SSL || code == PGSTARTUP_GSSENC) {
            return pghandshake_fail(h, "08P01", "repeated or malformed encryption request");
        } else {
            return take_startup(h, code, body);
        }
    }
}

/* ---- the upstream's leg ---- */

static int upstream_tls(struct pghandshake *h)
{
    struct session *s = h->session;
    uint8_t request[8], reply;
    struct error err = {""};
    SSL *ssl;
    int rc;

    if (s->target->tls == TARGET_TLS_DISABLE)
        return 0;
    put_be32(request, 8);
    put_be32(request + 4, PGSTARTUP_SSL);
    rc = conn_write_all_by(&s->upstream, (struct bytes){request, 8}, h->deadline_ms);
    if (rc == 0)
        rc = conn_read_exact_by(&s->upstream, &reply, 1, h->deadline_ms);
    if (rc)
        return pghandshake_fail(h, "08006", "upstream: %s", strerror(-rc));
    if (reply != 'S')
        return pghandshake_fail(
            h, "08006", "the upstream does not offer TLS, which GuardTarget \"%s\" requires",
            s->target->name);
    if (has_early_bytes(s->upstream.fd))
        return pghandshake_fail(h, "08P01",
                                "the upstream sent unencrypted data after agreeing to TLS");
    rc = tls_client_new(s->target, s->guard->secrets_dir, session_upstream_host(s), &ssl, &err);
    if (rc == 0 && h->credential.tls_cert.len) {
        rc = tls_client_certify(ssl, secret_bytes(&h->credential.tls_cert),
                                secret_bytes(&h->credential.tls_key), &err);
        if (rc)
            SSL_free(ssl);
    }
    if (rc == 0)
        rc = conn_tls_connect_by(&s->upstream, ssl, h->deadline_ms, &err);
    if (rc)
        return pghandshake_fail(h, "08006", "upstream: %s", err.text);
    h->upstream_tls = true;
    return 0;
}

int pghandshake_upstream(struct pghandshake *h)
{
    struct error err = {""};
    struct buffer out;
    int rc = session_connect(h->session, &err);

    if (rc)
        return pghandshake_fail(h, "08001", "upstream: %s", err.text);
    rc = upstream_tls(h);
    if (rc)
        return rc;
    buffer_init(&out, 2 * PGSTARTUP_MAX);
    rc = pgstartup_build(&h->startup, h->minor, &out);
    if (rc == 0)
        rc = conn_write_all_by(&h->session->upstream, buffer_bytes(&out), h->deadline_ms);
    buffer_done(&out);
    return rc ? pghandshake_fail(h, "08006", "upstream: %s", strerror(-rc)) : 0;
}
