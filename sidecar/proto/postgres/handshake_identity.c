/* SPDX-License-Identifier: Apache-2.0
 * Who the agent is: the token that it sends in place of a password, and whether policy then lets it
 * in. Nothing has been sent to the upstream yet, nor a connection opened.
 */
#include "handshake.h"

#include "sidecar/identity/admission.h"
#include "src-common/clock.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>

#define MAX_PASSWORD_MESSAGE (4u << 20) /* more is not even read to be refused politely */

/* ---- is a token needed ---- */

static int with_view(struct pghandshake *h, struct policy_view **ret)
{
    struct session *s = h->session;
    const struct agent agent = session_agent(s);

    if (policy_view_new(s->snapshot, &agent, s->target, h->startup.database, ret) != 0)
        return pghandshake_fail(h, "53200", "out of memory");
    return 0;
}

/* 1: yes; 0: no; -1: failed. */
static int needs_token(struct pghandshake *h)
{
    _cleanup_(policy_view_unref) struct policy_view *v = NULL;

    if (with_view(h, &v) != 0)
        return -1;
    return admission_needs_token(h->session->target, h->session->guard->has_issuers,
                                 policy_view_identity(v)->require_token);
}

/* ---- taking it ---- */

static bool is_local(const struct sockaddr_storage *a)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

    if (a->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127));
}

/* TLS, this machine, or redirected inside the pod: a token does not cross a network in clear. */
static bool leg_is_private(const struct pghandshake *h)
{
    return h->client_tls || !h->session->origin.target || is_local(&h->session->origin.peer);
}

/* What is too long is read to its end: closing before would take our answer along. */
static int refuse_long(struct pghandshake *h, uint32_t left)
{
    uint8_t chunk[4096];

    while (left && left <= MAX_PASSWORD_MESSAGE) {
        size_t n = min_size(left, sizeof chunk);

        if (conn_read_exact_by(&h->session->client, chunk, n, h->deadline_ms) != 0)
            break;
        left -= (uint32_t)n;
    }
    explicit_bzero(chunk, sizeof chunk);
    return pghandshake_fail(h, "28000", "the token is longer than %u bytes", TOKEN_MAX_BYTES);
}

static int ask_token(struct pghandshake *h, struct secret *ret)
{
    static const uint8_t request[] = {'R', 0, 0, 0, 8, 0, 0, 0, 3}; /* AuthenticationCleartext… */
    struct conn *c = &h->session->client;
    uint8_t header[PGWIRE_HEADER], body[TOKEN_MAX_BYTES + 1];
    struct bytes text;
    uint32_t len;
    int rc = conn_write_all_by(c, bytes_of(request, sizeof request), h->deadline_ms);

    if (rc == 0)
        rc = conn_read_exact_by(c, header, sizeof header, h->deadline_ms);
    if (rc) {
        snprintf(h->failure, sizeof h->failure, "agent's leg, asked for a token: %s",
                 strerror(-rc));
        return -1;
    }
    len = get_be32(header + 1);
    if (header[0] != 'p' || len < 5)
        return pghandshake_fail(h, "08P01", "expected a password message with the token");
    if (len - 4 > sizeof body)
        return refuse_long(h, len - 4);
    rc = conn_read_exact_by(c, body, len - 4, h->deadline_ms);
    if (rc == 0 && pgwire_parse_string(bytes_of(body, len - 4), &text) != 0)
        rc = -EBADMSG;
    if (rc == 0)
        rc = secret_set(ret, text.p, text.len);
    explicit_bzero(body, sizeof body);
    return rc ? pghandshake_fail(h, "08P01", "malformed password message") : 0;
}

static int take_token(struct pghandshake *h)
{
    struct session *s = h->session;
    _cleanup_(issuers_unref) struct issuers *issuers = NULL;
    struct secret token = {0};
    struct identity *id = NULL;
    struct error err = {""};
    int rc;

    if (!s->guard->has_issuers) {
        (void)admission_no_issuer(s->target, &err);
        return pghandshake_fail(h, "28000", "%s", err.text);
    }
    if (!leg_is_private(h))
        return pghandshake_fail(h, "28000",
                                "the token would cross the network in clear: connect with "
                                "sslmode=require or better");
    h->method = "token";
    rc = ask_token(h, &token);
    issuers = guard_issuers(s->guard);
    if (rc == 0 &&
        (rc = token_validate(issuers, secret_bytes(&token), &s->guard->agent, &id, &err)))
        rc = pghandshake_fail(h, rc == -ENOMEM ? "53200" : "28000", "%s", err.text);
    secret_done(&token);
    atomic_fetch_add(rc ? &s->guard->counters.tokens_refused : &s->guard->counters.tokens_accepted,
                     1);
    if (rc == 0)
        session_identify(s, id);
    return rc ? -1 : 0;
}

/* ---- what policy says ---- */

static int set_pinned(struct pghandshake *h, const struct identity_settings *i)
{
    snprintf(h->pins.user, sizeof h->pins.user, "%s", i->user ? i->user : "");
    snprintf(h->pins.role, sizeof h->pins.role, "%s", i->role ? i->role : "");
    h->pins.at_expiry = i->end_at_expiry;
    h->pins.injected = h->session->target->credentials_secret != NULL;
    return 0;
}

/* An agent that no policy selects here is not let through to try. */
static int check_policy(struct pghandshake *h)
{
    _cleanup_(policy_view_unref) struct policy_view *v = NULL;
    const struct session *s = h->session;
    struct error err = {""};

    if (with_view(h, &v) != 0)
        return -1;
    if (policy_view_empty(v))
        return pghandshake_fail(
            h, "28000", "no GuardPolicy lets this agent use database \"%s\" of target \"%s\"",
            h->startup.database, s->target->name);
    if (admission_check(v, s->target, s->identity, &err) != 0)
        return pghandshake_fail(h, "28000", "%s", err.text);
    return set_pinned(h, policy_view_identity(v));
}

int pghandshake_identify(struct pghandshake *h)
{
    int rc = needs_token(h);

    if (rc > 0)
        rc = take_token(h);
    return rc ? -1 : check_policy(h);
}

bool pgpins_hold(const struct pgpins *p, const struct session *s, const char *database)
{
    _cleanup_(policy_snapshot_unref) struct policy_snapshot *now = guard_policy(s->guard);
    _cleanup_(policy_view_unref) struct policy_view *v = NULL;
    const struct agent agent = session_agent(s);
    const struct identity_settings *i;
    const struct target *t = policy_target_by_name(now, agent.namespace_, s->target_name);

    if (!t || policy_view_new(now, &agent, t, database, &v) != 0 ||
        admission_check(v, t, s->identity, NULL) != 0)
        return false;
    i = policy_view_identity(v);
    return p->injected == (t->credentials_secret != NULL) &&
           strcmp(i->user ? i->user : "", p->user) == 0 &&
           strcmp(i->role ? i->role : "", p->role) == 0;
}
