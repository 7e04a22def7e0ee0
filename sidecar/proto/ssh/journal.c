/* SPDX-License-Identifier: Apache-2.0
 * What SSH sessions write into the record (docs/records.md).
 */
#include "relay.h"

#include "sidecar/proto/lines.h"
#include "src-common/clock.h"

#include <stdio.h>

static void finish_line(struct sshrelay *r)
{
    if (record_end(r->session->record) != 0) {
        atomic_fetch_add(&r->session->guard->counters.record_failures, 1);
        sshrelay_end(r, "the session cannot be recorded");
    }
}

bool journal_flush(struct sshrelay *r)
{
    if (record_flush(r->session->record) == 0)
        return true;
    atomic_fetch_add(&r->session->guard->counters.record_failures, 1);
    return r->view && !policy_view_recording(r->view)->required;
}

/* The session has its thread: it may wait for the disk. */
bool journal_commit(struct sshrelay *r)
{
    const struct recording_settings *s = r->view ? policy_view_recording(r->view) : NULL;

    if (record_flush_through(r->session->record, s && s->to_disk) == 0)
        return true;
    atomic_fetch_add(&r->session->guard->counters.record_failures, 1);
    return s && !s->required;
}

void journal_auth(struct sshrelay *r, const char *method, const char *outcome, const char *why)
{
    struct buffer *b = record_begin(r->session->record, "auth");

    jsonw_kstr(b, "outcome", bytes_str(outcome));
    jsonw_kstr(b, "user", bytes_str(r->user));
    jsonw_kstr(b, "upstreamUser", bytes_str(r->target_user));
    jsonw_kstr(b, "method", bytes_str(method));
    jsonw_kstr(b, "identity", bytes_str(session_identity_name(r->session)));
    if (r->session->identity)
        identity_describe(r->session->identity, b);
    if (why)
        jsonw_kstr(b, "reason", bytes_str(why));
    jsonw_kbool(b, "ok", !why);
    finish_line(r);
    if (strcmp(outcome, "Refused") == 0)
        atomic_fetch_add(&r->session->guard->counters.auth_failures, 1);
}

void journal_statement(struct sshrelay *r, uint32_t n, const char *kind, struct bytes text,
                       const struct decision *d, const char *reason)
{
    struct buffer *b = record_begin(r->session->record, "statement");
    struct session *s = r->session;
    bool denied = !d || d->verdict == VERDICT_DENY;

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "kind", bytes_str(kind));
    jsonw_kstr(b, "text", text);
    jsonw_kstr(b, "verdict", bytes_str(d ? lines_verdict(d->verdict) : "Deny"));
    lines_rule(b, d);
    if (d && d->audited)
        jsonw_kbool(b, "wouldDeny", d->would != VERDICT_ALLOW);
    if (reason && reason[0])
        jsonw_kstr(b, "reason", bytes_str(reason));
    finish_line(r);
    atomic_fetch_add_explicit(&s->statements, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->guard->counters.statements, 1, memory_order_relaxed);
    if (denied) {
        atomic_fetch_add_explicit(&s->denied, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->guard->counters.denied, 1, memory_order_relaxed);
    }
}

void journal_decision(struct sshrelay *r, uint32_t n, const char *kind, const struct decision *d,
                      const char *reason)
{
    struct buffer *b = record_begin(r->session->record, "decision");
    char request[64];

    snprintf(request, sizeof request, "%s/%u", r->session->id, n);
    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "verdict", BYTES("Deny"));
    jsonw_kstr(b, "operation", bytes_str(kind));
    lines_rule(b, d);
    jsonw_kstr(b, "reason", bytes_str(reason));
    jsonw_kstr(b, "requestId", bytes_str(request));
    finish_line(r);
}

void journal_approval(struct sshrelay *r, uint32_t n, const char *id, const char *phase)
{
    struct buffer *b = record_begin(r->session->record, "approval");

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "id", bytes_str(id));
    jsonw_kstr(b, "phase", bytes_str(phase));
    lines_decisions(b, r->session->guard, id);
    finish_line(r);
}

void journal_notice(struct sshrelay *r, uint32_t n, const char *message)
{
    struct buffer *b = record_begin(r->session->record, "notice");

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "message", bytes_str(message));
    finish_line(r);
}

void journal_error(struct sshrelay *r, uint32_t n, const char *message, bool upstream)
{
    struct buffer *b = record_begin(r->session->record, "error");

    if (n)
        jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "message", bytes_str(message));
    jsonw_kstr(b, "from", upstream ? BYTES("upstream") : BYTES("guard"));
    finish_line(r);
}

/* ---- data ---- */

void journal_data(struct sshrelay *r, uint32_t n, const char *stream, struct bytes data)
{
    struct buffer *b = record_begin(r->session->record, "data");

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "direction", stream[3] == 'i' ? BYTES("fromClient") : BYTES("toClient"));
    jsonw_kstr(b, "stream", bytes_str(stream));
    jsonw_ku64(b, "bytes", data.len);
    lines_content(b, data);
    finish_line(r);
}

void journal_result(struct channel *c)
{
    struct buffer *b = record_begin(c->relay->session->record, "result");

    jsonw_ku64(b, "n", c->n);
    if (c->exit_status >= 0)
        jsonw_ku64(b, "exitStatus", (uint64_t)c->exit_status);
    if (c->exit_signal[0])
        jsonw_kstr(b, "exitSignal", bytes_str(c->exit_signal));
    jsonw_ku64(b, "bytes", c->out.bytes + c->err.bytes);
    jsonw_ku64(b, "bytesIn", c->in.bytes);
    if (c->in.truncated || c->out.truncated || c->err.truncated)
        jsonw_kbool(b, "truncated", true);
    jsonw_ku64(b, "durationUs", (clock_mono_ms() - c->started_ms) * 1000);
    finish_line(c->relay);
}
