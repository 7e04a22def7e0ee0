/* SPDX-License-Identifier: Apache-2.0
 * Reading, writing and waiting of a session; the connection to the API server.
 */
#include "guard.h"

#include "sidecar/identity/credential.h"
#include "src-common/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define STALL_MS   60000 /* nobody takes what is written */
#define CONNECT_MS 10000
#define REREAD_MS  30000 /* the token's file */
#define RECHECK_MS 20000 /* the agent's token */
#define LOOK_MS    250   /* how often a stream without pauses is interrupted for the inbox */
#define LEG_MAX    (HTTP_HEAD_MAX + 2 * KUBEGUARD_CHUNK)

void kubeguard_end(struct kubeguard *g, const char *reason)
{
    if (g->ending)
        return;
    g->ending = true;
    snprintf(g->end_reason, sizeof g->end_reason, "%s", reason);
}

/* ---- waiting ---- */

static void take_inbox(struct kubeguard *g)
{
    struct session *s = g->session;
    unsigned what = session_take(s);
    char why[160];

    if (what & INBOX_KILL) {
        pthread_mutex_lock(&s->lock);
        snprintf(why, sizeof why, "killed: %s", s->kill_reason);
        pthread_mutex_unlock(&s->lock);
        kubeguard_end(g, why);
    }
    if (what & INBOX_STOP)
        kubeguard_end(g, "the guard is shutting down");
    g->approval_came |= (what & INBOX_APPROVAL) != 0;
    if ((what & INBOX_POLICY) && !g->ending)
        kubeguard_policy_changed(g);
}

static int until_expiry(struct kubeguard *g, int timeout_ms)
{
    uint64_t left = g->identity ? identity_left_ms(g->identity, g->at_expiry) : RECHECK_MS;

    if (left == 0 && !g->ending) {
        kubejournal_auth(g, "Expired", "the token has expired");
        kubeguard_end(g, "the token has expired");
    }
    if (left > RECHECK_MS)
        left = RECHECK_MS;
    return timeout_ms < 0 || (uint64_t)timeout_ms > left ? (int)left : timeout_ms;
}

static int poll_legs(struct kubeguard *g, unsigned legs, short events, int timeout_ms)
{
    struct pollfd fds[3] = {
        {.fd = g->agent.conn->fd,
         .events = (short)(POLLRDHUP | (legs & KUBEIO_AGENT ? events : 0))},
        {.fd = legs & KUBEIO_UPSTREAM ? g->upstream.conn->fd : -1, .events = events},
        {.fd = g->session->wake_fd, .events = POLLIN},
    };
    int bits = 0;

    if (poll(fds, 3, timeout_ms) <= 0)
        return 0;
    if (fds[2].revents & POLLIN) {
        uint64_t ignored;

        (void)!read(g->session->wake_fd, &ignored, sizeof ignored);
        take_inbox(g);
    }
    if (fds[0].revents & (POLLRDHUP | POLLHUP | POLLERR))
        bits |= KUBEIO_GONE;
    if ((legs & KUBEIO_AGENT) && fds[0].revents)
        bits |= KUBEIO_AGENT;
    if (fds[1].revents)
        bits |= KUBEIO_UPSTREAM;
    return bits;
}

int kubeio_wait(struct kubeguard *g, unsigned legs, int timeout_ms)
{
    int bits = 0;

    timeout_ms = until_expiry(g, timeout_ms);
    if ((legs & KUBEIO_AGENT) && conn_has_buffered(g->agent.conn))
        bits |= KUBEIO_AGENT;
    if ((legs & KUBEIO_UPSTREAM) && conn_has_buffered(g->upstream.conn))
        bits |= KUBEIO_UPSTREAM;
    if (!g->ending)
        bits |= poll_legs(g, legs, POLLIN, bits ? 0 : timeout_ms);
    return g->ending ? -ECANCELED : bits;
}

/* A stream that always has more to read, or a reader who is never quick enough, does not wait
 * here; it ends with its token, with policy, and when it is killed, all the same. */
static int look_up(struct kubeguard *g)
{
    uint64_t now = clock_mono_ms();

    if (now - g->looked_ms >= LOOK_MS) {
        g->looked_ms = now;
        (void)until_expiry(g, 0);
        if (!g->ending)
            (void)poll_legs(g, 0, 0, 0);
    }
    return g->ending ? -ECANCELED : 0;
}

/* ---- reading and writing ---- */

static unsigned bit_of(const struct kubeguard *g, const struct kubeleg *l)
{
    return l == &g->agent ? KUBEIO_AGENT : KUBEIO_UPSTREAM;
}

int kubeio_fill(struct kubeguard *g, struct kubeleg *l, int timeout_ms)
{
    uint64_t deadline = clock_mono_ms() + (uint64_t)timeout_ms;
    size_t room = l->in.max - buffer_len(&l->in);

    for (;;) {
        uint8_t *to = buffer_reserve(&l->in, min_size(room, KUBEGUARD_CHUNK));
        ssize_t got = to ? conn_read(l->conn, to, min_size(room, KUBEGUARD_CHUNK)) : -ENOBUFS;
        uint64_t now = clock_mono_ms();
        int bits;

        if (got > 0) {
            buffer_commit(&l->in, (size_t)got);
            return look_up(g) ? -ECANCELED : 1;
        }
        if (got != -EAGAIN)
            return (int)got;
        if (timeout_ms >= 0 && now >= deadline)
            return -ETIMEDOUT;
        bits = kubeio_wait(g, bit_of(g, l), timeout_ms < 0 ? -1 : (int)(deadline - now));
        if (bits < 0)
            return bits;
        if ((bits & KUBEIO_GONE) && l != &g->agent)
            return -ECONNRESET;
    }
}

void kubeio_top_up(struct kubeleg *l)
{
    while (buffer_len(&l->in) < KUBEGUARD_CHUNK) {
        size_t room = KUBEGUARD_CHUNK - buffer_len(&l->in);
        uint8_t *to = buffer_reserve(&l->in, room);
        ssize_t got = to ? conn_read(l->conn, to, room) : 0;

        if (got <= 0)
            return;
        buffer_commit(&l->in, (size_t)got);
    }
}

int kubeio_write(struct kubeguard *g, struct kubeleg *l, struct bytes b)
{
    uint64_t deadline = clock_mono_ms() + STALL_MS;

    for (;;) {
        ssize_t put = b.len ? conn_write(l->conn, b.p, b.len) : 0;

        if (put > 0) {
            b.p += put;
            b.len -= (size_t)put;
            deadline = clock_mono_ms() + STALL_MS;
        }
        if (b.len == 0)
            return 0;
        if (put <= 0 && put != -EAGAIN)
            return put ? (int)put : -EPIPE;
        if (look_up(g) != 0)
            return -ECANCELED;
        if (put > 0)
            continue;
        if (clock_mono_ms() >= deadline)
            return -ETIMEDOUT;
        if (poll_legs(g, bit_of(g, l), POLLOUT, until_expiry(g, LOOK_MS)) & KUBEIO_GONE)
            return -ECONNRESET;
    }
}

/* ---- the API server ---- */

/* A bearer token is worth as much to whoever reads it: it only goes to whom the target names. The
 * key of a client certificate shows itself to nobody. */
static int check_verified(const struct target *t, const struct credential *c, struct error *err)
{
    if (!c->token.len || t->tls == TARGET_TLS_VERIFY_FULL)
        return 0;
    return error_set(err, -EACCES,
                     "the guard only sends the token of a secret over verified TLS: GuardTarget "
                     "'%s' needs tls.mode VerifyFull",
                     t->name);
}

static int read_credential(struct kubeguard *g, struct credential *c, struct error *err)
{
    const struct target *t = g->session->target;
    int rc;

    if (!g->secrets_dir)
        return error_set(err, -ENOENT,
                         "GuardTarget '%s' has credentials, and the guard was started without "
                         "--secrets",
                         t->name);
    rc = credential_load(g->secrets_dir, t->credentials_secret, c, err);
    if (rc == 0 && !c->token.len && !(c->tls_cert.len && c->tls_key.len))
        rc = error_set(err, -ENOENT, "secret %s has neither token nor tls.crt and tls.key",
                       t->credentials_secret);
    if (rc == 0)
        rc = check_verified(t, c, err);
    for (size_t i = 0; rc == 0 && i < c->token.len; i++) {
        if (c->token.p[i] <= ' ' || c->token.p[i] >= 0x7f)
            rc = error_set(err, -EINVAL, "the token of secret %s is none", t->credentials_secret);
    }
    return rc;
}

/* The kubelet renews it: read now and then. */
static int refresh_token(struct kubeguard *g, struct credential *c, struct error *err)
{
    int rc = read_credential(g, c, err);

    if (rc)
        return rc;
    secret_done(&g->token);
    memcpy(g->login_digest, c->digest, sizeof g->login_digest);
    if (c->token.len)
        rc = secret_set(&g->token, c->token.p, c->token.len);
    g->token_read_ms = clock_mono_ms();
    return rc ? error_set(err, rc, "out of memory") : 0;
}

static int start_tls(struct kubeguard *g, const struct credential *c, struct error *err)
{
    struct session *s = g->session;
    SSL *ssl = NULL;
    int rc;

    if (s->target->tls == TARGET_TLS_DISABLE)
        return 0;
    rc = tls_client_new(s->target, g->secrets_dir, session_upstream_host(s), &ssl, err);
    if (rc == 0 && c->tls_cert.len)
        rc = tls_client_certify(ssl, secret_bytes(&c->tls_cert), secret_bytes(&c->tls_key), err);
    if (rc) {
        SSL_free(ssl);
        return rc;
    }
    return conn_tls_connect_by(&s->upstream, ssl, s->deadline_ms, err);
}

void kubeupstream_close(struct kubeguard *g)
{
    conn_close(g->upstream.conn);
    buffer_reset(&g->upstream.in, KUBEGUARD_CHUNK);
}

/* The server closes idle connections: then there is something to be read, and that is the end. */
static bool still_open(struct kubeguard *g)
{
    struct pollfd p = {.fd = g->upstream.conn->fd, .events = POLLIN};

    return p.fd >= 0 && buffer_len(&g->upstream.in) == 0 && !conn_has_buffered(g->upstream.conn) &&
           poll(&p, 1, 0) == 0;
}

int kubeupstream_ready(struct kubeguard *g, struct error *err)
{
    struct session *s = g->session;
    struct credential c = {0};
    bool open = still_open(g);
    int rc = 0;

    if (s->target->credentials_secret && (!open || clock_mono_ms() - g->token_read_ms > REREAD_MS))
        rc = refresh_token(g, &c, err);
    if (rc == 0 && !open) {
        kubeupstream_close(g);
        s->deadline_ms = clock_mono_ms() + CONNECT_MS;
        buffer_init(&g->upstream.in, LEG_MAX);
        rc = session_connect(s, err);
        if (rc == 0)
            rc = start_tls(g, &c, err);
        if (rc)
            kubeupstream_close(g);
    }
    credential_done(&c);
    return rc;
}

bool kubeupstream_rotated(struct kubeguard *g)
{
    struct credential c = {0};
    bool changed = read_credential(g, &c, NULL) == 0 &&
                   memcmp(c.digest, g->login_digest, sizeof g->login_digest) != 0;

    credential_done(&c);
    return changed;
}
