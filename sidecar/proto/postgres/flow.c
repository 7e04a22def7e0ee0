/* SPDX-License-Identifier: Apache-2.0
 * The flow's own bookkeeping: queue of outstanding answers, denials, end.
 */
#include "flow_internal.h"

#include "src-common/clock.h"

#include <errno.h>
#include <stdio.h>

#define MAX_PARTIAL (PGWIRE_MAX_BIND + 256 * 1024)

/* ---- queue ---- */

struct pgpending *pgqueue_push(struct pgqueue *q)
{
    struct pgpending *e;

    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 16;
        struct pgpending *p = malloc(cap * sizeof *p);

        if (!p)
            return NULL;
        for (size_t i = 0; i < q->n; i++)
            p[i] = *pgqueue_at(q, i);
        free(q->p);
        q->p = p;
        q->cap = cap;
        q->first = 0;
    }
    e = &q->p[(q->first + q->n++) % q->cap];
    *e = (struct pgpending){0};
    return e;
}

struct pgpending *pgqueue_at(struct pgqueue *q, size_t i)
{
    return i < q->n ? &q->p[(q->first + i) % q->cap] : NULL;
}

void pgqueue_pop(struct pgqueue *q)
{
    q->first = (q->first + 1) % q->cap;
    q->n--;
    if (q->n == 0 && q->cap > 1024) /* a burst is over: give its memory back */
        pgqueue_done(q);
}

void pgqueue_done(struct pgqueue *q)
{
    free(q->p);
    *q = (struct pgqueue){0};
}

void pgflow_drop_pending(struct pgflow *f, bool undo)
{
    struct pgpending *e = pgqueue_at(&f->pending, 0);

    if (undo)
        pgname_undo_apply(&f->names, e->undo);
    else
        pgname_undo_free(e->undo);
    pgprepared_unref(e->prepared);
    pgportal_unref(e->portal);
    free(e->denial);
    pgqueue_pop(&f->pending);
}

/* ---- life ---- */

int pgflow_init(struct pgflow *f, struct session *s, struct relay *relay, struct pgcontext *context)
{
    *f = (struct pgflow){.session = s, .relay = relay, .record = s->record, .tx_status = 'I'};
    f->context = context;
    buffer_init(&f->c_partial, MAX_PARTIAL);
    buffer_init(&f->s_partial, MAX_PARTIAL);
    buffer_init(&f->work, MAX_PARTIAL);
    buffer_init(&f->last_description, 8192);
    buffer_init(&f->shape, 64 * 1024 + 64);
    buffer_init(&f->scratch.cell, MAX_PARTIAL);
    buffer_init(&f->result.json, SIZE_MAX / 4);
    return detect_scratch_new(&f->scratch.detect);
}

void pgflow_done(struct pgflow *f)
{
    while (f->pending.n)
        pgflow_drop_pending(f, false);
    pgqueue_done(&f->pending);
    pgnames_done(&f->names);
    pgverdict_unref(f->judged);
    rowplan_unref(f->result.plan);
    rowplan_unref(f->last_plan);
    buffer_done(&f->last_description);
    buffer_done(&f->c_partial);
    buffer_done(&f->s_partial);
    buffer_done(&f->work);
    buffer_done(&f->shape);
    buffer_done(&f->scratch.cell);
    buffer_done(&f->result.json);
    detect_stream_free(f->stream.detect);
    detect_scratch_free(f->scratch.detect);
    free(f->search_path);
    pgcontext_unref(f->context);
}

bool pgflow_quiet(const struct pgflow *f)
{
    return f->pending.n == 0 && !f->batch_open && !f->copy_in && f->s_pass == 0 &&
           f->stream.left == 0;
}

void pgflow_fatal(struct pgflow *f, const char *sqlstate, const char *message)
{
    struct pgwire_error e = {"FATAL", sqlstate, message, NULL, NULL};
    struct buffer *b;

    if (f->end_reason)
        return;
    f->end_reason = message;
    /* Behind a row that is half sent nothing can be said. */
    if (f->s_pass == 0 && f->stream.left == 0)
        pgwire_add_error(relay_out(f->relay, SIDE_CLIENT), false, &e);
    b = record_begin(f->record, "error");
    jsonw_kstr(b, "sqlstate", bytes_str(sqlstate));
    jsonw_kstr(b, "message", bytes_str(message));
    jsonw_kstr(b, "from", BYTES("guard"));
    if (record_end(f->record) != 0)
        atomic_fetch_add(&f->session->guard->counters.record_failures, 1);
    relay_end(f->relay);
}

void pgflow_schema_changed(struct pgflow *f)
{
    pgcatalog_changed();
    f->schema_changed_in_tx = true; /* if it is in none, ReadyForQuery says so */
}

/* ---- denial ---- */

void pgflow_describe_denial(const struct pgflow *f, const struct pgverdict *v, uint32_t n,
                            struct pgdenial *ret)
{
    const struct decision *d = &v->decision;

    *ret = (struct pgdenial){.sqlstate = "42501"};
    snprintf(ret->hint, sizeof ret->hint, "Request %s/%u.", f->session->id, n);
    if (v->sqlstate) {
        snprintf(ret->sqlstate, sizeof ret->sqlstate, "%s", v->sqlstate);
        snprintf(ret->message, sizeof ret->message, "%s", v->reason);
        snprintf(ret->detail, sizeof ret->detail,
                 "Chaperone denies what its parser (PostgreSQL %s) cannot read.",
                 sql_parser_version());
        return;
    }
    if (d->rule)
        snprintf(ret->message, sizeof ret->message, "refused by rule \"%s\"%s%s%s%s%s", d->rule,
                 d->policy ? " of policy \"" : "", d->policy ? d->policy : "",
                 d->policy ? "\"" : "", d->message ? ": " : "", d->message ? d->message : "");
    else
        snprintf(ret->message, sizeof ret->message, "refused: %s", d->reason);
    snprintf(ret->detail, sizeof ret->detail, "%s", d->reason);
}

void pgflow_say_denied(struct pgflow *f, const struct pgdenial *d)
{
    struct pgwire_error e = {"ERROR", d->sqlstate, d->message, d->detail[0] ? d->detail : NULL,
                             d->hint[0] ? d->hint : NULL};

    pgwire_add_error(relay_out(f->relay, SIDE_CLIENT), false, &e);
}

/* Sends something that surely fails in the statement's place. The upstream's own error is then
 * replaced by ours: so an open transaction really fails, answers come in order, and every
 * ReadyForQuery is the upstream's word. It sees no byte of what was refused. */
static enum handled poison(struct pgflow *f, bool extended, const struct pgdenial *d)
{
    struct buffer *out = relay_out(f->relay, SIDE_UPSTREAM);
    struct pgpending *e = pgqueue_push(&f->pending);

    if (!e || !(e->denial = malloc(sizeof *d)))
        return HANDLED_FATAL;
    *e->denial = *d;
    e->kind = extended ? PGPENDING_PARSE : PGPENDING_QUERY;
    if (extended)
        pgwire_add_parse(out, "", "CHAPERONE REFUSED A STATEMENT");
    else
        pgwire_add_query(out, "CHAPERONE REFUSED A STATEMENT");
    if (extended) {
        f->batch_open = true;
        f->skip_to_sync = true;
    }
    return HANDLED_OK;
}

enum handled pgflow_deny(struct pgflow *f, bool extended, const struct pgdenial *d)
{
    atomic_fetch_add(&f->session->denied, 1);
    atomic_fetch_add(&f->session->guard->counters.denied, 1);
    if (f->tx_status == 'T' || f->pending.n || f->batch_open)
        return poison(f, extended, d);
    pgflow_say_denied(f, d);
    if (extended)
        f->skip_to_sync = true;
    else
        pgwire_add_ready(relay_out(f->relay, SIDE_CLIENT), f->tx_status);
    return HANDLED_OK;
}
