/* SPDX-License-Identifier: Apache-2.0
 * What the flow writes into the record (docs/records.md).
 */
#include "flow.h"

#include "sidecar/proto/lines.h"
#include "src-common/clock.h"

#include <stdio.h>

static void finish_line(struct pgflow *f)
{
    if (record_end(f->record) != 0) {
        atomic_fetch_add(&f->session->guard->counters.record_failures, 1);
        pgflow_fatal(f, "58030", "the session cannot be recorded");
    }
}

void pgflow_record_statement(struct pgflow *f, uint32_t n, const char *kind, struct bytes text,
                             struct bytes parameters_json, const struct pgverdict *v,
                             const struct pgdenial *denied)
{
    struct buffer *b = record_begin(f->record, "statement");
    const struct decision *d = v ? &v->decision : NULL;

    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "kind", bytes_str(kind));
    jsonw_kstr(b, "text", text);
    if (parameters_json.len) {
        jsonw_key(b, "parameters");
        buffer_add(b, parameters_json);
    }
    jsonw_kstr(b, "verdict", bytes_str(denied || !d ? "Deny" : lines_verdict(d->verdict)));
    lines_rule(b, d);
    if (d && d->audited)
        jsonw_kbool(b, "wouldDeny", d->would != VERDICT_ALLOW);
    if (d && d->verdict != VERDICT_ALLOW)
        jsonw_kstr(b, "reason", bytes_str(d->reason));
    finish_line(f);
    atomic_fetch_add_explicit(&f->session->statements, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->session->guard->counters.statements, 1, memory_order_relaxed);
}

void pgflow_record_decision(struct pgflow *f, uint32_t n, const struct pgverdict *v,
                            const struct pgdenial *d)
{
    struct buffer *b = record_begin(f->record, "decision");
    char request[64];

    snprintf(request, sizeof request, "%s/%u", f->session->id, n);
    jsonw_ku64(b, "n", n);
    jsonw_kstr(b, "verdict", BYTES("Deny"));
    jsonw_kstr(b, "sqlstate", bytes_str(d->sqlstate));
    lines_rule(b, v ? &v->decision : NULL);
    if (v && v->message.n && v->message.statements[0].policy.n_objects)
        jsonw_kstr(b, "operation",
                   bytes_str(operation_name(v->message.statements[0].policy.objects[0].op)));
    jsonw_kstr(b, "reason", bytes_str(d->detail[0] ? d->detail : d->message));
    jsonw_kstr(b, "requestId", bytes_str(request));
    finish_line(f);
}

void pgflow_record_approval(struct pgflow *f, const char *phase)
{
    struct buffer *b = record_begin(f->record, "approval");

    jsonw_ku64(b, "n", f->approval_n);
    jsonw_kstr(b, "id", bytes_str(f->approval_id));
    jsonw_kstr(b, "phase", bytes_str(phase));
    lines_decisions(b, f->session->guard, f->approval_id);
    finish_line(f);
}

void pgflow_record_error(struct pgflow *f, uint32_t n, struct bytes body, bool notice)
{
    struct buffer *b = record_begin(f->record, notice ? "notice" : "error");

    jsonw_ku64(b, "n", n);
    if (notice)
        jsonw_kstr(b, "severity", pgwire_error_field(body, 'V'));
    jsonw_kstr(b, "sqlstate", pgwire_error_field(body, 'C'));
    jsonw_kstr(b, "message", pgwire_error_field(body, 'M'));
    if (!notice)
        jsonw_kstr(b, "from", BYTES("upstream"));
    finish_line(f);
}

/* ---- results ---- */

void pgresult_open(struct pgflow *f, uint32_t n, struct rowplan *plan)
{
    struct pgresult *r = &f->result;

    rowplan_unref(r->plan);
    r->plan = plan ? rowplan_ref(plan) : NULL;
    r->n = n;
    r->rows = r->bytes = 0;
    r->truncated = false;
    r->copy = PGCOPY_NONE;
    r->open = true;
    buffer_reset(&r->json, 16 * 1024);
}

void pgresult_row(struct pgflow *f, struct bytes body)
{
    struct pgresult *r = &f->result;
    const struct recording_settings *s = f->context->recording;

    r->rows++;
    r->bytes += body.len;
    if (s->statements_only || !r->plan)
        return;
    if (r->truncated || buffer_len(&r->json) + body.len > s->max_result_bytes) {
        r->truncated = true;
        return;
    }
    buffer_add_u8(&r->json, buffer_len(&r->json) ? ',' : '[');
    row_to_record(r->plan, body, &r->json);
}

void pgresult_copy(struct pgflow *f, struct bytes data)
{
    struct pgresult *r = &f->result;
    const struct recording_settings *s = f->context->recording;

    if (s->statements_only)
        return;
    if (r->truncated || buffer_len(&r->json) + data.len > s->max_result_bytes)
        r->truncated = true;
    else
        buffer_add(&r->json, data);
}

static void record_copy(struct pgflow *f)
{
    struct pgresult *r = &f->result;
    struct buffer *b = record_begin(f->record, "data");

    jsonw_ku64(b, "n", r->n);
    jsonw_kstr(b, "direction",
               r->copy == PGCOPY_TO_CLIENT ? BYTES("toClient") : BYTES("fromClient"));
    jsonw_ku64(b, "bytes", r->bytes);
    jsonw_kstr(b, "text", buffer_bytes(&r->json));
    if (r->truncated) {
        jsonw_key(b, "truncated");
        buffer_append(b, "true", 4);
    }
    finish_line(f);
}

void pgresult_close(struct pgflow *f, struct bytes tag, bool suspended)
{
    struct pgresult *r = &f->result;
    struct buffer *b;

    if (r->copy)
        record_copy(f);
    b = record_begin(f->record, "result");
    jsonw_ku64(b, "n", r->n);
    if (r->plan) {
        jsonw_key(b, "columns");
        rowplan_to_record(r->plan, b);
    }
    if (buffer_len(&r->json) && !r->copy) {
        jsonw_key(b, "rows");
        buffer_add(b, buffer_bytes(&r->json));
        buffer_add_u8(b, ']');
    }
    jsonw_ku64(b, "rowCount", r->rows);
    jsonw_ku64(b, "bytes", r->bytes);
    if (r->truncated) {
        jsonw_key(b, "truncated");
        buffer_append(b, "true", 4);
    }
    jsonw_kstr(b, "tag", suspended ? BYTES("(suspended)") : tag);
    finish_line(f);
    atomic_fetch_add_explicit(&f->session->guard->counters.masked_values, f->scratch.masked_values,
                              memory_order_relaxed);
    f->scratch.masked_values = 0;
    rowplan_unref(r->plan);
    r->plan = NULL;
    r->open = false;
    buffer_reset(&r->json, 16 * 1024);
}
