/* SPDX-License-Identifier: Apache-2.0
 * The order of a session with an API server.
 */
#include "kube.h"

#include "guard.h"

#include <errno.h>
#include <stdio.h>

#define ARENA_MAX ((size_t)16 << 20)

static int start_tls(struct kubeguard *g, struct error *err)
{
    struct session *s = g->session;
    char address[ADDRESS_TEXT_LEN] = "127.0.0.1";
    SSL *ssl = NULL;

    if (!s->origin.target)
        address_host_text((struct sockaddr *)&s->origin.original, address);
    if (tls_server_new(s->guard->authority, address, "http/1.1", &ssl) != 0)
        return error_set(err, -ENOMEM, "out of memory");
    return conn_tls_accept_by(&s->client, ssl, s->deadline_ms, err);
}

static int start(struct kubeguard *g, struct error *err)
{
    struct session *s = g->session;
    bool built_in = s->target == s->guard->kubernetes;
    int rc = session_keep_thread(s);

    g->secrets_dir = built_in ? s->guard->kubernetes_secrets : s->guard->secrets_dir;
    g->agent.conn = &s->client;
    g->upstream.conn = &s->upstream;
    buffer_init(&g->agent.in, HTTP_HEAD_MAX + KUBEGUARD_CHUNK);
    buffer_init(&g->upstream.in, HTTP_HEAD_MAX + KUBEGUARD_CHUNK);
    arena_init(&g->arena, ARENA_MAX);
    if (rc)
        return error_set(err, rc, "out of memory");
    rc = start_tls(g, err);
    return rc ? error_prefix(err, rc, "the agent's TLS") : 0;
}

/* Who may not come here is told so in HTTP, for each request of his. */
static int refuse_all(struct kubeguard *g, const char *why)
{
    int rc = kubeio_fill(g, &g->agent, 10000);

    kubejournal_malformed(g, "", why);
    (void)kubejournal_flush(g);
    return rc == 1 ? kubeguard_reply(g, 403, why, true) : rc;
}

static void serve(struct kubeguard *g)
{
    struct error err = {""};

    if (g->session->over_limit || kubeguard_admit(g, &err) != 0) {
        const char *why = g->session->over_limit ? "too many sessions" : err.text;

        /* A token may be what is missing: only a request can bring it. */
        if (g->session->over_limit || !g->view || !g->session->guard->has_issuers ||
            !g->session->target->credentials_secret) {
            (void)!refuse_all(g, why);
            kubeguard_end(g, why);
            return;
        }
    }
    session_set_state(g->session, "open");
    while (!g->ending && kubeguard_serve(g) == 0)
        ;
    kubeguard_end(g, "the agent closed the connection");
}

static void finish(struct kubeguard *g)
{
    identity_unref(g->identity);
    secret_done(&g->token);
    secret_done(&g->relayed);
    policy_view_unref(g->view);
    buffer_wipe(&g->agent.in);
    buffer_wipe(&g->upstream.in);
    arena_done(&g->arena);
}

static void run(struct session *s)
{
    struct kubeguard *g = calloc(1, sizeof *g);
    struct error err = {""};

    if (!g || session_record_open(s) != 0) {
        free(g);
        session_end(s, "the session cannot be recorded");
        return;
    }
    g->session = s;
    s->proto = g;
    if (start(g, &err) == 0)
        serve(g);
    else
        kubeguard_end(g, err.text);
    finish(g);
    session_end(s, g->end_reason);
    free(g);
}

/* Sessions on their own thread are not called: session_take. */
static void inbox(struct session *s, unsigned what)
{
    (void)s, (void)what;
}

const struct proto_ops kube_guard_ops = {"kubernetes", run, inbox};
