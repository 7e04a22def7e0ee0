/* SPDX-License-Identifier: Apache-2.0
 * Login (manual 55.2.1, 55.3). The agent's own login is relayed: the guard sees, at most, what
 * the methods show. One case cannot be relayed: with TLS on both legs a client that supports
 * channel binding says so, and the upstream would take its absence for an attack. Then the
 * guard asks for the password on its own encrypted leg and logs in itself; it is wiped at once.
 */
#include "handshake.h"

#include "scram.h"
#include "src-common/secret.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>

static int send_to(struct pghandshake *h, struct conn *c, struct bytes b)
{
    int rc = conn_write_all_by(c, b, h->deadline_ms);

    return rc ? pghandshake_fail(h, "08006", "login: %s", strerror(-rc)) : 0;
}

/* The client's answer ('p'), into h->in. */
static int read_answer(struct pghandshake *h, struct pgwire_msg *ret)
{
    int rc = pghandshake_read(h, &h->session->client, false, ret);

    if (rc) {
        snprintf(h->failure, sizeof h->failure, "agent's leg during login: %s", strerror(-rc));
        return -1;
    }
    if (ret->type != 'p')
        return pghandshake_fail(h, "08P01", "expected an answer to the authentication request");
    return 0;
}

static int relay_answer(struct pghandshake *h)
{
    struct pgwire_msg m;
    int rc = read_answer(h, &m);

    return rc ? rc : send_to(h, &h->session->upstream, m.raw);
}

/* ---- the guard logs in itself ---- */

static int ask_password(struct pghandshake *h, struct secret *password)
{
    static const uint8_t request[] = {'R', 0, 0, 0, 8, 0, 0, 0, PGAUTH_CLEARTEXT};
    struct pgwire_msg m;
    struct bytes text;

    if (send_to(h, &h->session->client, bytes_of(request, sizeof request)) != 0 ||
        read_answer(h, &m) != 0)
        return -1;
    if (pgwire_parse_string(m.body, &text) != 0)
        return pghandshake_fail(h, "08P01", "malformed password message");
    if (secret_set(password, text.p, text.len) != 0)
        return pghandshake_fail(h, "53200", "out of memory");
    buffer_wipe(&h->in);
    return 0;
}

/* The next authentication message of the given kind. */
static int expect_auth(struct pghandshake *h, uint32_t code, struct bytes *ret)
{
    struct pgwire_msg m;
    int rc = pghandshake_read(h, &h->session->upstream, true, &m);

    if (rc)
        return pghandshake_fail(h, "08006", "upstream during login: %s", strerror(-rc));
    if (m.type == PGWIRE_B_ERROR)
        return pghandshake_refused(h, &m);
    if (m.type != PGWIRE_B_AUTHENTICATION || m.body.len < 4 || get_be32(m.body.p) != code)
        return pghandshake_fail(h, "08P01", "unexpected message from the upstream during login");
    *ret = (struct bytes){m.body.p + 4, m.body.len - 4};
    return 0;
}

static int send_sasl(struct pghandshake *h, const char *mechanism, struct bytes data)
{
    struct buffer out;
    size_t mark;
    int rc;

    buffer_init(&out, 8192);
    mark = pgwire_start(&out, 'p');
    if (mechanism) {
        buffer_add_cstr(&out, mechanism);
        buffer_add_be32(&out, (uint32_t)data.len);
    }
    buffer_add(&out, data);
    pgwire_finish(&out, mark);
    rc = out.failed ? pghandshake_fail(h, "53200", "out of memory")
                    : send_to(h, &h->session->upstream, buffer_bytes(&out));
    buffer_wipe(&out);
    return rc;
}

static int scram_exchange(struct pghandshake *h, struct scram_client *c, struct bytes password)
{
    struct error err = {""};
    struct buffer out;
    struct bytes in;
    int rc;

    buffer_init(&out, 8192);
    rc = scram_client_first(c, password, &out);
    if (rc == 0)
        rc = send_sasl(h, "SCRAM-SHA-256", buffer_bytes(&out));
    if (rc == 0)
        rc = expect_auth(h, PGAUTH_SASL_CONTINUE, &in);
    buffer_reset(&out, 0);
    if (rc == 0) {
        rc = scram_client_final(c, password, in, &out, &err);
        if (rc)
            rc = pghandshake_fail(h, "08P01", "%s", err.text);
    }
    if (rc == 0)
        rc = send_sasl(h, NULL, buffer_bytes(&out));
    if (rc == 0)
        rc = expect_auth(h, PGAUTH_SASL_FINAL, &in);
    if (rc == 0 && scram_client_verify(c, in) != 0)
        rc =
            pghandshake_fail(h, "28000", "the upstream could not prove that it knows the password");
    buffer_wipe(&out);
    return rc;
}

static bool offers(struct bytes list, const char *mechanism)
{
    struct cursor c = cursor_over(list);
    struct bytes m;

    while ((m = cursor_cstr(&c)).len)
        if (bytes_eq_str(m, mechanism))
            return true;
    return false;
}

int pghandshake_scram(struct pghandshake *h, struct bytes mechanisms, struct bytes password)
{
    struct scram_client c;
    int rc;

    if (!offers(mechanisms, "SCRAM-SHA-256"))
        return pghandshake_fail(h, "0A000",
                                "the upstream offers no SASL mechanism that the guard knows");
    rc = scram_client_init(&c) ? pghandshake_fail(h, "58000", "no randomness")
                               : scram_exchange(h, &c, password);
    scram_client_done(&c);
    return rc;
}

/* The mechanisms are in h->in, which the agent's answer overwrites: SCRAM-SHA-256 is among them. */
static int login_ourselves(struct pghandshake *h)
{
    struct secret password = {0};
    int rc;

    h->method = "scram-sha-256 (by the guard)";
    rc = ask_password(h, &password);
    if (rc == 0)
        rc = pghandshake_scram(h, bytes_of("SCRAM-SHA-256\0", 15), secret_bytes(&password));
    secret_done(&password);
    return rc;
}

/* ---- relaying ---- */

/* Offers SCRAM-SHA-256 alone: channel binding cannot pass through two TLS sessions. */
static int offer_scram(struct pghandshake *h)
{
    struct buffer out;
    size_t mark;
    int rc;

    h->method = "scram-sha-256 (relayed)";
    buffer_init(&out, 64);
    mark = pgwire_start(&out, PGWIRE_B_AUTHENTICATION);
    buffer_add_be32(&out, PGAUTH_SASL);
    buffer_add_cstr(&out, "SCRAM-SHA-256");
    buffer_add_u8(&out, 0);
    pgwire_finish(&out, mark);
    rc = send_to(h, &h->session->client, buffer_bytes(&out));
    buffer_done(&out);
    return rc ? rc : relay_answer(h);
}

static int on_sasl(struct pghandshake *h, struct bytes mechanisms)
{
    if (!offers(mechanisms, "SCRAM-SHA-256"))
        return pghandshake_fail(h, "0A000",
                                "the upstream offers no SASL mechanism that the guard knows");
    if (h->client_tls && h->upstream_tls)
        return login_ourselves(h);
    return offer_scram(h);
}

/* 0: go on; 1: logged in. */
static int on_authentication(struct pghandshake *h, const struct pgwire_msg *m)
{
    uint32_t code = m->body.len >= 4 ? get_be32(m->body.p) : UINT32_MAX;
    int rc;

    switch (code) {
    case PGAUTH_OK:
        if (!h->method)
            h->method = "trust";
        buffer_add(&h->greeting, m->raw);
        return 1;
    case PGAUTH_CLEARTEXT:
    case PGAUTH_MD5:
        h->method = code == PGAUTH_MD5 ? "md5 (relayed)" : "password (relayed)";
        rc = send_to(h, &h->session->client, m->raw);
        return rc ? rc : relay_answer(h);
    case PGAUTH_SASL:
        return on_sasl(h, (struct bytes){m->body.p + 4, m->body.len - 4});
    case PGAUTH_SASL_CONTINUE:
        rc = send_to(h, &h->session->client, m->raw);
        return rc ? rc : relay_answer(h);
    case PGAUTH_SASL_FINAL:
        return send_to(h, &h->session->client, m->raw);
    default:
        return pghandshake_fail(
            h, "0A000",
            "the upstream asks for an authentication method (%u) that cannot be relayed", code);
    }
}

int pghandshake_login(struct pghandshake *h)
{
    for (int messages = 0; messages < 32; messages++) {
        struct pgwire_msg m;
        int rc = pghandshake_read(h, &h->session->upstream, true, &m);

        if (rc)
            return pghandshake_fail(h, "08006", "upstream during login: %s", strerror(-rc));
        switch (m.type) {
        case PGWIRE_B_AUTHENTICATION:
            rc = on_authentication(h, &m);
            break;
        case PGWIRE_B_ERROR:
            return pghandshake_refused(h, &m);
        case PGWIRE_B_NOTICE:
            rc = send_to(h, &h->session->client, m.raw);
            break;
        case PGWIRE_B_NEGOTIATE_VERSION: /* an older server: its keys are short, that is all */
            break;
        default:
            rc = pghandshake_fail(h, "08P01", "unexpected message from the upstream during login");
        }
        if (rc)
            return rc < 0 ? rc : 0;
    }
    return pghandshake_fail(h, "08P01", "the upstream's login does not end");
}
