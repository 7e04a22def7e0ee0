/* SPDX-License-Identifier: Apache-2.0
 * What sessions with an API server write into the record (docs/records.md).
 */
#include "guard.h"

#include "sidecar/proto/lines.h"
#include "src-common/clock.h"

#include <stdio.h>

#define BODY_KEPT ((size_t)64 << 10) /* of a request, in its statement */

static void finish_line(struct kubeguard *g)
{
    if (record_end(g->session->record) != 0) {
        atomic_fetch_add(&g->session->guard->counters.record_failures, 1);
        kubeguard_end(g, "the session cannot be recorded");
    }
}

bool kubejournal_flush(struct kubeguard *g)
{
    if (record_flush(g->session->record) == 0)
        return true;
    atomic_fetch_add(&g->session->guard->counters.record_failures, 1);
    return g->view && !policy_view_recording(g->view)->required;
}

/* The session has its thread: it may wait for the disk. */
bool kubejournal_commit(struct kubeguard *g)
{
    const struct recording_settings *s = g->view ? policy_view_recording(g->view) : NULL;

    if (record_flush_through(g->session->record, s && s->to_disk) == 0)
        return true;
    atomic_fetch_add(&g->session->guard->counters.record_failures, 1);
    return s && !s->required;
}

void kubejournal_auth(struct kubeguard *g, const char *outcome, const char *why)
{
    struct session *s = g->session;
    struct buffer *b = record_begin(s->record, "auth");

    jsonw_kstr(b, "outcome", bytes_str(outcome));
    jsonw_kstr(b, "method", BYTES("token"));
    jsonw_kstr(b, "identity", bytes_str(session_identity_name(s)));
    /* Of a refused token nothing but the reason: whose session it is has been said. */
    if (s->identity && strcmp(outcome, "Refused") != 0)
        identity_describe(s->identity, b);
    if (why)
        jsonw_kstr(b, "reason", bytes_str(why));
    jsonw_kbool(b, "ok", !why);
    finish_line(g);
    if (strcmp(outcome, "Refused") == 0)
        atomic_fetch_add(&s->guard->counters.auth_failures, 1);
}

static void add_argv(struct buffer *b, const struct ssh_command *c)
{
    jsonw_key(b, "argv");
    buffer_add_u8(b, '[');
    for (size_t i = 0; i < c->n; i++) {
        if (i)
            buffer_add_u8(b, ',');
        jsonw_str(b, bytes_str(c->argv[i]));
    }
    buffer_add_u8(b, ']');
}

static void add_act(struct buffer *b, const struct kube_act *a)
{
    const struct {
        const char *key, *value;
    } parts[] = {
        {"verb", a->verb},
        {"group", a->group},
        {"version", a->version},
        {"resource", a->resource},
        {"subresource", a->subresource},
        {"namespace", a->namespace_},
        {"name", a->name},
    };

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].value && parts[i].value[0])
            jsonw_kstr(b, parts[i].key, bytes_str(parts[i].value));
    }
    if (a->dry_run)
        jsonw_kbool(b, "dryRun", true);
    if (a->command)
        add_argv(b, a->command);
}

/* The body, masked as an answer would be. What a JSON patch sets has no kind: of a Secret it is
 * left out. */
static void add_body(struct kubeguard *g, struct buffer *b, struct kuberequest *r)
{
    struct kubemask m;
    struct json_object *o = r->body;
    bool ok = o && g->view && kubemask_init(&m, g->view, &r->act, g->session->guard->masker) == 0;
    struct buffer text;

    if (!ok)
        return;
    buffer_init(&text, (size_t)16 << 20);
    if (r->json_patch) {
        if (!m.secrets && m.n_rules == 0 && !m.detectors)
            buffer_append(&text, r->body_text, r->body_len);
    } else if (kubemask_piece(bytes_of(r->body_text, r->body_len), &text, &m) != 0) {
        buffer_reset(&text, 0);
    }
    if (buffer_len(&text)) {
        jsonw_kstr(b, "body",
                   bytes_of(text.p + text.start, min_size(buffer_len(&text), BODY_KEPT)));
        if (buffer_len(&text) > BODY_KEPT)
            jsonw_kbool(b, "bodyCut", true);
    }
    buffer_wipe(&text);
    kubemask_done(&m);
}

static void add_protobuf(struct buffer *b, const struct kuberequest *r)
{
    size_t n = min_size(r->body_len, BODY_KEPT / 4 * 3), len = (n + 2) / 3 * 4;
    uint8_t *p;

    jsonw_key(b, "protobuf");
    buffer_add_u8(b, '"');
    p = buffer_reserve(b, len + 1);
    if (p) {
        EVP_EncodeBlock(p, (const uint8_t *)r->body_text, (int)n);
        buffer_commit(b, len);
    }
    buffer_add_u8(b, '"');
}

static void count(struct kubeguard *g, bool denied)
{
    struct session *s = g->session;

    atomic_fetch_add_explicit(&s->statements, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->guard->counters.statements, 1, memory_order_relaxed);
    if (!denied)
        return;
    atomic_fetch_add_explicit(&s->denied, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->guard->counters.denied, 1, memory_order_relaxed);
}

void kubejournal_statement(struct kubeguard *g, struct kuberequest *r, const struct decision *d,
                           const char *reason)
{
    struct buffer *b = record_begin(g->session->record, "statement");

    jsonw_ku64(b, "n", r->n);
    jsonw_kstr(b, "kind", BYTES("kube"));
    jsonw_kstr(b, "text", bytes_str(r->line));
    add_act(b, &r->act);
    if (r->protobuf)
        add_protobuf(b, r);
    else
        add_body(g, b, r);
    jsonw_kstr(b, "verdict", bytes_str(d ? lines_verdict(d->verdict) : "Deny"));
    lines_rule(b, d);
    if (d && d->audited)
        jsonw_kbool(b, "wouldDeny", d->would != VERDICT_ALLOW);
    if (reason && reason[0])
        jsonw_kstr(b, "reason", bytes_str(reason));
    finish_line(g);
    count(g, !d || d->verdict == VERDICT_DENY);
}

void kubejournal_malformed(struct kubeguard *g, const char *what, const char *reason)
{
    struct buffer *b = record_begin(g->session->record, "statement");

    jsonw_ku64(b, "n", g->n);
    jsonw_kstr(b, "kind", BYTES("kube"));
    jsonw_kstr(b, "text", bytes_str(what));
    jsonw_kstr(b, "verdict", BYTES("Deny"));
    jsonw_kstr(b, "reason", bytes_str(reason));
    finish_line(g);
    count(g, true);
}

/* Verb and resource; names, and URLs of other kinds, are the agent's words. */
static void add_operation(struct buffer *b, const struct kube_act *a)
{
    bool sub = a->subresource && a->subresource[0];
    char text[160];

    if (!a->verb || !a->verb[0])
        return;
    snprintf(text, sizeof text, "%s %s%s%s", a->verb,
             a->resource && a->resource[0] ? a->resource : "a URL", sub ? "/" : "",
             sub ? a->subresource : "");
    jsonw_kstr(b, "operation", bytes_str(text));
}

void kubejournal_decision(struct kubeguard *g, const struct kuberequest *r,
                          const struct decision *d, const char *reason)
{
    struct buffer *b = record_begin(g->session->record, "decision");
    char request[64];

    snprintf(request, sizeof request, "%s/%u", g->session->id, r->n);
    jsonw_ku64(b, "n", r->n);
    jsonw_kstr(b, "verdict", BYTES("Deny"));
    lines_rule(b, d);
    add_operation(b, &r->act);
    jsonw_kstr(b, "reason", bytes_str(reason));
    jsonw_kstr(b, "requestId", bytes_str(request));
    finish_line(g);
}

void kubejournal_approval(struct kubeguard *g, uint32_t n, const char *id, const char *phase)
{
    struct buffer *b = record_begin(g->session->record, "approval");

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "id", bytes_str(id));
    jsonw_kstr(b, "phase", bytes_str(phase));
    lines_decisions(b, g->session->guard, id);
    finish_line(g);
}

/* Up to maxResultBytes of a request; the rest is counted in its result. */
void kubejournal_data(struct kubeguard *g, uint32_t n, const char *stream, struct bytes data)
{
    const struct recording_settings *settings = policy_view_recording(g->view);
    uint64_t room =
        settings->max_result_bytes > g->recorded ? settings->max_result_bytes - g->recorded : 0;
    struct bytes kept = {data.p, data.len < room ? data.len : (size_t)room};
    struct buffer *b;

    g->recorded += data.len;
    if (settings->statements_only || kept.len == 0)
        return;
    b = record_begin(g->session->record, "data");
    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "direction",
               stream[0] == 's' && stream[3] == 'i' ? BYTES("fromClient") : BYTES("toClient"));
    jsonw_kstr(b, "stream", bytes_str(stream));
    jsonw_ku64(b, "bytes", kept.len);
    lines_content(b, kept);
    finish_line(g);
}

void kubejournal_result(struct kubeguard *g, struct kuberequest *r, const struct kubejournal_end *e)
{
    struct buffer *b = record_begin(g->session->record, "result");

    jsonw_ku64(b, "n", r->n);
    jsonw_ku64(b, "status", e->status);
    if (e->exit_status >= 0)
        jsonw_ku64(b, "exitStatus", (uint64_t)e->exit_status);
    jsonw_ku64(b, "bytes", e->bytes);
    jsonw_ku64(b, "bytesIn", e->bytes_in);
    if (e->masked)
        jsonw_ku64(b, "masked", e->masked);
    if (g->view && g->recorded > policy_view_recording(g->view)->max_result_bytes)
        jsonw_kbool(b, "truncated", true);
    if (e->error)
        jsonw_kstr(b, "error", bytes_str(e->error));
    jsonw_ku64(b, "durationUs", (clock_mono_ms() - r->started_ms) * 1000);
    finish_line(g);
}
