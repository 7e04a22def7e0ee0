/* SPDX-License-Identifier: Apache-2.0
 * What SSH sessions write into the record (docs/records.md).
 */
#include "relay.h"

#include "src-common/clock.h"

#include <openssl/evp.h>
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

static void add_bool(struct buffer *b, const char *key, bool value)
{
    jsonw_key(b, key);
    if (value)
        buffer_append(b, "true", 4);
    else
        buffer_append(b, "false", 5);
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
    add_bool(b, "ok", !why);
    finish_line(r);
    if (strcmp(outcome, "Refused") == 0)
        atomic_fetch_add(&r->session->guard->counters.auth_failures, 1);
}

static const char *verdict_name(enum verdict v)
{
    static const char *const names[] = {"Deny", "RequireApproval", "Allow"};

    return names[v];
}

static void add_rule(struct buffer *b, const struct decision *d)
{
    if (d && d->policy)
        jsonw_kstr(b, "policy", bytes_str(d->policy));
    if (d && d->rule)
        jsonw_kstr(b, "rule", bytes_str(d->rule));
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
    jsonw_kstr(b, "verdict", bytes_str(d ? verdict_name(d->verdict) : "Deny"));
    add_rule(b, d);
    if (d && d->audited)
        add_bool(b, "wouldDeny", d->would != VERDICT_ALLOW);
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
    add_rule(b, d);
    jsonw_kstr(b, "reason", bytes_str(reason));
    jsonw_kstr(b, "requestId", bytes_str(request));
    finish_line(r);
}

static void add_decisions(struct buffer *b, const struct approval_info *info)
{
    jsonw_kstr(b, "digest", bytes_str(info->digest));
    jsonw_key(b, "decisions");
    buffer_add_u8(b, '[');
    for (size_t i = 0; i < info->n_decisions; i++) {
        char at[CLOCK_RFC3339_LEN + 1];

        clock_rfc3339(info->decisions[i].at_us, at);
        buffer_append(b, i ? ",{" : "{", i ? 2 : 1);
        jsonw_kstr(b, "by", bytes_str(info->decisions[i].by));
        jsonw_kstr(b, "decision", bytes_str(info->decisions[i].decision));
        jsonw_kstr(b, "reason", bytes_str(info->decisions[i].reason));
        jsonw_kstr(b, "at", bytes_str(at));
        buffer_add_u8(b, '}');
    }
    buffer_add_u8(b, ']');
    if (info->n_decisions) {
        const struct approval_decision *last = &info->decisions[info->n_decisions - 1];

        jsonw_kstr(b, "by", bytes_str(last->by));
        jsonw_kstr(b, "reason", bytes_str(last->reason));
    }
}

void journal_approval(struct sshrelay *r, uint32_t n, const char *id, const char *phase)
{
    struct buffer *b = record_begin(r->session->record, "approval");
    struct approval_info info;

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "id", bytes_str(id));
    jsonw_kstr(b, "phase", bytes_str(phase));
    if (approvals_get(r->session->guard->approvals, id, &info) == 0) {
        add_decisions(b, &info);
        approval_info_done(&info);
    }
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

static bool is_utf8(struct bytes s)
{
    for (size_t i = 0; i < s.len;) {
        uint8_t c = s.p[i];
        size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

        if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || n > s.len - i)
            return false;
        for (size_t k = 1; k < n; k++) {
            if ((s.p[i + k] & 0xc0) != 0x80)
                return false;
        }
        if ((c == 0xe0 && s.p[i + 1] < 0xa0) || (c == 0xed && s.p[i + 1] > 0x9f) ||
            (c == 0xf0 && s.p[i + 1] < 0x90) || (c == 0xf4 && s.p[i + 1] > 0x8f))
            return false;
        i += n;
    }
    return true;
}

/* Text as text, everything else so that no byte is lost. */
static void add_content(struct buffer *b, struct bytes data)
{
    size_t n = (data.len + 2) / 3 * 4;
    uint8_t *p;

    if (is_utf8(data)) {
        jsonw_kstr(b, "text", data);
        return;
    }
    jsonw_key(b, "base64");
    buffer_add_u8(b, '"');
    p = buffer_reserve(b, n + 1);
    if (p) {
        EVP_EncodeBlock(p, data.p, (int)data.len);
        buffer_commit(b, n);
    }
    buffer_add_u8(b, '"');
}

void journal_data(struct sshrelay *r, uint32_t n, const char *stream, struct bytes data)
{
    struct buffer *b = record_begin(r->session->record, "data");

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "direction", stream[3] == 'i' ? BYTES("fromClient") : BYTES("toClient"));
    jsonw_kstr(b, "stream", bytes_str(stream));
    jsonw_ku64(b, "bytes", data.len);
    add_content(b, data);
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
        add_bool(b, "truncated", true);
    jsonw_ku64(b, "durationUs", (clock_mono_ms() - c->started_ms) * 1000);
    finish_line(c->relay);
}
