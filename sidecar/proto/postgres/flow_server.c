/* SPDX-License-Identifier: Apache-2.0
 * From the upstream: answers are matched with what was asked, rows are masked, errors are
 * reduced where they could carry what is masked, and everything is counted for the record.
 */
#include "flow_internal.h"

#include "binary.h"
#include "catalog_load.h"

#include <errno.h>
#include <stdio.h>

/* Rows up to this length are held whole and may change length when they are masked. */
#define HOLD_ROW    (64u << 10) /* longer ones pass in pieces, unrecorded, when nothing is masked */
#define COLLECT_ROW (4u << 20)

/* ---- small parts ---- */

void pgflow_pass(struct pgflow *f, struct bytes raw)
{
    if (f->s_borrowable)
        relay_pass(f->relay, SIDE_CLIENT, raw);
    else
        relay_send(f->relay, SIDE_CLIENT, raw);
}

static struct pgpending *head(struct pgflow *f)
{
    return pgqueue_at(&f->pending, 0);
}

/* The plan that rows of the entry at the head are treated by; NULL: none is known. */
static struct rowplan *current_plan(struct pgflow *f)
{
    return f->result.open ? f->result.plan : NULL;
}

enum handled pgflow_violation(struct pgflow *f, const char *what)
{
    pgflow_fatal(f, "08P01", what);
    return HANDLED_FATAL;
}

static bool kind_is(const struct pgpending *e, unsigned kinds)
{
    return e && (kinds & (1u << e->kind));
}
#define K(kind) (1u << PGPENDING_##kind)

/* ---- descriptions ---- */

/* Whether last_plan was made from these very bytes, in the same way. */
static bool same_plan(const struct pgflow *f, struct bytes body, bool strict)
{
    struct bytes last = buffer_bytes(&f->last_description);

    return f->last_plan && f->last_plan->context == f->context && last.len == body.len + 1 &&
           last.p[body.len] == strict && memcmp(last.p, body.p, body.len) == 0;
}

/* The plan for rows of that description. */
static enum handled make_plan(struct pgflow *f, bool strict, struct bytes body,
                              struct rowplan **ret)
{
    int rc;

    if (same_plan(f, body, strict)) {
        *ret = rowplan_ref(f->last_plan);
        return HANDLED_OK;
    }
    rc = rowplan_new(f->context, body, strict, ret);
    if (rc)
        return pgflow_violation(f, rc == -ENOMEM ? "out of memory" : "malformed RowDescription");
    rowplan_unref(take(&f->last_plan));
    buffer_reset(&f->last_description, 8192);
    buffer_add(&f->last_description, body);
    if (buffer_add_u8(&f->last_description, strict) == 0)
        f->last_plan = rowplan_ref(*ret);
    return HANDLED_OK;
}

/* The flags of the statement that a prepared statement will really run: EXECUTE and FETCH name
 * another. Strict when that cannot be known any more. */
static bool plan_is_strict(struct pgflow *f, const struct pgprepared *p)
{
    const struct sql_message *m = &p->verdict->message;
    bool strict = p->verdict->mask_originless;

    if (p->verdict->context_serial != f->context->serial)
        return true;
    for (size_t i = 0; i < m->n; i++) {
        const char *name = m->statements[i].name;

        if (m->statements[i].kind == SQL_EXECUTE && name) {
            const struct pgprepared *x = pgnames_get(&f->names, PGNAME_PREPARED, bytes_str(name));

            strict |= !x || x->verdict->mask_originless;
        } else if (m->statements[i].kind == SQL_FETCH && name) {
            const struct pgportal *x = pgnames_get(&f->names, PGNAME_PORTAL, bytes_str(name));

            strict |= !x || x->prepared->verdict->mask_originless;
        }
    }
    return strict;
}

static enum handled describe_prepared(struct pgflow *f, struct pgprepared *p, struct bytes body,
                                      struct rowplan **ret)
{
    bool strict = f->context->column_masks && plan_is_strict(f, p);
    enum handled h = make_plan(f, strict, body, ret);

    if (h != HANDLED_OK)
        return h;
    rowplan_unref(p->plan);
    p->plan = rowplan_ref(*ret);
    p->plan_serial = f->context->serial;
    return HANDLED_OK;
}

static enum handled on_row_description(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = head(f);
    struct rowplan *plan = NULL;
    bool hidden = e && e->hidden;
    enum handled h;

    if (kind_is(e, K(QUERY))) {
        h = make_plan(f, e->mask_originless, m->body, &plan);
        if (h != HANDLED_OK)
            return h;
        pgresult_open(f, e->n, plan);
    } else if (kind_is(e, K(DESCRIBE_STATEMENT)) && e->prepared) {
        h = describe_prepared(f, e->prepared, m->body, &plan);
        if (h != HANDLED_OK)
            return h;
        pgflow_drop_pending(f, false);
    } else if (kind_is(e, K(DESCRIBE_PORTAL))) {
        h = describe_prepared(f, e->portal->prepared, m->body, &plan);
        if (h != HANDLED_OK)
            return h;
        rowplan_unref(e->portal->plan);
        e->portal->plan = rowplan_ref(plan);
        pgflow_drop_pending(f, false);
    } else {
        return pgflow_violation(f, "unexpected RowDescription");
    }
    rowplan_unref(plan);
    if (!hidden)
        pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

static enum handled on_no_data(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = head(f);
    bool hidden;

    if (!kind_is(e, K(DESCRIBE_STATEMENT) | K(DESCRIBE_PORTAL)))
        return pgflow_violation(f, "unexpected NoData");
    if (e->portal)
        e->portal->no_rows = true;
    hidden = e->hidden;
    pgflow_drop_pending(f, false);
    if (!hidden)
        pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

static enum handled on_parameter_description(struct pgflow *f, const struct pgwire_msg *m)
{
    if (!kind_is(head(f), K(DESCRIBE_STATEMENT)))
        return pgflow_violation(f, "unexpected ParameterDescription");
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

/* ParseComplete, BindComplete, CloseComplete */
static enum handled on_complete(struct pgflow *f, const struct pgwire_msg *m)
{
    static const enum pgpending_kind kinds[] = {PGPENDING_PARSE, PGPENDING_BIND, PGPENDING_CLOSE};
    struct pgpending *e = head(f);

    if (!e || e->kind != kinds[m->type - '1'] || e->denial)
        return pgflow_violation(f, "unexpected completion");
    pgflow_drop_pending(f, false);
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

/* ---- rows ---- */

/* The portal's plan applies from its first row on. */
static enum handled open_result(struct pgflow *f, struct pgpending *e)
{
    if (f->result.open)
        return f->result.plan ? HANDLED_OK : pgflow_violation(f, "unexpected DataRow");
    if (!e->portal || !e->portal->plan)
        return pgflow_violation(f, "rows without a description");
    pgresult_open(f, e->n, e->portal->plan);
    return HANDLED_OK;
}

static enum handled row_ready(struct pgflow *f)
{
    struct pgpending *e = head(f);

    if (!kind_is(e, K(QUERY) | K(EXECUTE)) || e->denial)
        return pgflow_violation(f, "unexpected DataRow");
    if (e->kind == PGPENDING_EXECUTE)
        return open_result(f, e);
    return f->result.open && f->result.plan ? HANDLED_OK
                                            : pgflow_violation(f, "DataRow before RowDescription");
}

static enum handled rewrite_row(struct pgflow *f, const struct pgwire_msg *m)
{
    struct buffer *out = relay_out(f->relay, SIDE_CLIENT);
    size_t before = buffer_len(out);
    int rc = row_rewrite(f->result.plan, &f->scratch, m->body, out);

    if (rc == 0) {
        struct bytes all = buffer_bytes(out);

        pgresult_row(
            f, (struct bytes){all.p + before + PGWIRE_HEADER, all.len - before - PGWIRE_HEADER});
        return HANDLED_OK;
    }
    /* Half a row must not leave: take it back. */
    out->end = out->start + min_size(before, buffer_len(out));
    out->failed = false;
    return pgflow_violation(f, rc == -EBADMSG ? "malformed DataRow" : "a row could not be masked");
}

static bool note_hit(size_t offset, void *arg)
{
    *(size_t *)arg = offset;
    return true;
}

/* Where the first anchor begins; the end when there is none, the start when the engine fails. */
static const uint8_t *first_anchor(struct pgflow *f, const struct detector_set *d, struct bytes run)
{
    size_t at = run.len;

    return detect_anchors(d, f->scratch.detect, run, note_hit, &at) == 0 ? run.p + at : run.p;
}

/* Whether a row may hold a value. Most bursts have no anchor at all: one search is enough for all
 * of their rows. An anchor in what frames the rows concerns none of them: the search goes on
 * behind. `c`: the context whose detectors count, which for rows is their plan's: policy may have
 * changed since the statement was judged. */
static bool may_hold_values(struct pgflow *f, const struct pgcontext *c, struct bytes row)
{
    struct pgscan *s = &f->scan;
    const uint8_t *end = row.p + row.len;

    if (!f->s_borrowable || row.len == 0) /* not of the chunk */
        return row.len && first_anchor(f, c->detectors, row) != end;
    if (s->detectors != c->detectors || row.p >= s->clean_to) {
        s->detectors = c->detectors;
        s->clean_to = first_anchor(f, c->detectors,
                                   bytes_of(row.p, (size_t)(s->chunk.p + s->chunk.len - row.p)));
    }
    return s->clean_to < end;
}

static enum handled on_data_row(struct pgflow *f, const struct pgwire_msg *m)
{
    enum handled h = row_ready(f);
    const struct rowplan *p;

    if (h != HANDLED_OK)
        return h;
    p = current_plan(f);
    f->scratch.clean = !p->any_scan || !may_hold_values(f, p->context, m->body);
    if (p->any_mask || p->any_binary || !f->scratch.clean)
        return rewrite_row(f, m);
    pgresult_row(f, m->body);
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

/* A row too long to hold is masked as it passes. It is counted, not recorded. */
static enum handled start_stream(struct pgflow *f, const struct pgwire_msg *m, bool copy)
{
    f->result.rows++;
    f->result.bytes += m->full_len;
    f->result.truncated = true;
    if (pgstream_start(f, m, copy) != 0)
        return pgflow_violation(f, "out of memory");
    return HANDLED_OK;
}

/* A row that is longer than what has arrived. Without anything to mask it goes on in pieces. */
static enum handled on_part_of_row(struct pgflow *f, const struct pgwire_msg *m)
{
    enum handled h;

    if (f->collector)
        return HANDLED_PARKED;
    h = row_ready(f);
    if (h != HANDLED_OK)
        return h;
    if (f->result.plan->any_mask || f->result.plan->any_scan) {
        if (m->full_len <= COLLECT_ROW)
            return HANDLED_PARKED;
        return start_stream(f, m, false);
    }
    if (m->full_len <= HOLD_ROW && !f->result.truncated && !f->context->recording->statements_only)
        return HANDLED_PARKED; /* a read has cut it: the record wants it whole */
    f->result.rows++;
    f->result.bytes += m->full_len;
    f->result.truncated = true;
    pgflow_pass(f, m->raw);
    f->s_pass = m->full_len - m->raw.len;
    return HANDLED_OK;
}

/* ---- COPY ---- */

static enum handled on_copy_start(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = head(f);

    if (!kind_is(e, K(QUERY) | K(EXECUTE)))
        return pgflow_violation(f, "unexpected COPY");
    pgresult_open(f, e->n, NULL);
    f->result.copy_binary = m->body.len && m->body.p[0] == 1;
    f->result.copy = m->type == PGWIRE_B_COPY_IN ? PGCOPY_FROM_CLIENT : PGCOPY_TO_CLIENT;
    if (m->type == PGWIRE_B_COPY_IN) {
        f->copy_in = true;
        e->copy_in = true;
        /* The upstream ignores Syncs that came with the COPY (manual 55.2.6). */
        while (f->pending.n > 1 &&
               pgqueue_at(&f->pending, f->pending.n - 1)->kind == PGPENDING_SYNC) {
            f->pending.n--;
            f->batch_open = e->kind == PGPENDING_EXECUTE;
        }
    }
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

static enum handled mask_copy_row(struct pgflow *f, const struct pgwire_msg *m)
{
    struct buffer *out = relay_out(f->relay, SIDE_CLIENT);
    size_t mark = pgwire_start(out, PGWIRE_B_COPY_DATA);
    struct bytes all;
    int rc = f->result.copy_binary ? binary_mask_copy(f->context, f->scratch.detect, m->body, out,
                                                      &f->scratch.masked_values)
                                   : row_mask_text(f->context, &f->scratch, m->body, out);

    if (rc) {
        out->end = out->start + min_size(mark, buffer_len(out)); /* half a row must not leave */
        out->failed = false;
        return pgflow_violation(f, "a COPY row could not be searched");
    }
    pgwire_finish(out, mark);
    all = buffer_bytes(out);
    pgresult_copy(f, (struct bytes){all.p + mark + PGWIRE_HEADER, all.len - mark - PGWIRE_HEADER});
    return HANDLED_OK;
}

static enum handled on_copy_data(struct pgflow *f, const struct pgwire_msg *m)
{
    if (!f->result.open || !kind_is(head(f), K(QUERY) | K(EXECUTE)))
        return pgflow_violation(f, "unexpected CopyData");
    if (m->raw.len < m->full_len && f->context->detectors)
        return m->full_len <= COLLECT_ROW ? HANDLED_PARKED : start_stream(f, m, true);
    f->result.rows++;
    f->result.bytes += m->full_len;
    if (f->context->detectors && (f->result.copy_binary || may_hold_values(f, f->context, m->body)))
        return mask_copy_row(f, m);
    if (m->raw.len < m->full_len)
        f->result.truncated = true;
    pgresult_copy(f, m->body);
    pgflow_pass(f, m->raw);
    f->s_pass = m->full_len - m->raw.len;
    return HANDLED_OK;
}

static enum handled on_copy_done(struct pgflow *f, const struct pgwire_msg *m)
{
    if (!f->result.open)
        return pgflow_violation(f, "unexpected CopyDone");
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

/* ---- ends of statements ---- */

void pgflow_copy_in_ended(struct pgflow *f, struct pgpending *e)
{
    if (e->copy_in) {
        e->copy_in = false;
        f->copy_in = false;
    }
}

static enum handled on_statement_end(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = head(f);
    struct bytes tag = {0};

    if (!kind_is(e, K(QUERY) | K(EXECUTE)) || e->denial)
        return pgflow_violation(f, "unexpected end of a statement");
    if (m->type == PGWIRE_B_COMMAND_COMPLETE && pgwire_parse_string(m->body, &tag) != 0)
        return pgflow_violation(f, "malformed CommandComplete");
    pgflow_copy_in_ended(f, e);
    if (!f->result.open)
        pgresult_open(f, e->n, NULL);
    pgresult_close(f, tag, m->type == PGWIRE_B_PORTAL_SUSPENDED);
    if (e->changes_catalog)
        pgflow_schema_changed(f);
    if (e->ends_transaction && f->schema_changed_in_tx)
        pgcatalog_changed(); /* undone, perhaps: the next status may be the same, as of CHAIN */
    e->completed++;
    if (e->kind == PGPENDING_EXECUTE)
        pgflow_drop_pending(f, false);
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

static enum handled on_ready(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = head(f);
    uint8_t status = m->body.len == 1 ? m->body.p[0] : 0;

    if (!kind_is(e, K(QUERY) | K(SYNC)) || (status != 'I' && status != 'T' && status != 'E'))
        return pgflow_violation(f, "unexpected ReadyForQuery");
    if (f->result.open)
        pgresult_close(f, (struct bytes){0}, false);
    pgflow_copy_in_ended(f, e);
    if (e->changes_catalog)
        pgflow_schema_changed(f);
    pgflow_drop_pending(f, false);
    /* What was seen inside the transaction may have been rolled back. */
    if (status != f->tx_status && f->schema_changed_in_tx)
        pgcatalog_changed();
    f->schema_changed_in_tx &= status != 'I';
    f->tx_status = status;
    /* With more under way some portals are the next batch's. Those that linger do no harm: the
     * upstream knows none of them. */
    if (status == 'I' && pgflow_quiet(f))
        pgnames_transaction_ended(&f->names);
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}

/* ---- dispatch ---- */

typedef enum handled handler_fn(struct pgflow *f, const struct pgwire_msg *m);

static handler_fn *const handlers[128] = {
    [PGWIRE_B_ROW_DESCRIPTION] = on_row_description,
    [PGWIRE_B_DATA_ROW] = on_data_row,
    [PGWIRE_B_COPY_DATA] = on_copy_data,
    [PGWIRE_B_COMMAND_COMPLETE] = on_statement_end,
    [PGWIRE_B_EMPTY_QUERY] = on_statement_end,
    [PGWIRE_B_PORTAL_SUSPENDED] = on_statement_end,
    [PGWIRE_B_READY_FOR_QUERY] = on_ready,
    [PGWIRE_B_PARSE_COMPLETE] = on_complete,
    [PGWIRE_B_BIND_COMPLETE] = on_complete,
    [PGWIRE_B_CLOSE_COMPLETE] = on_complete,
    [PGWIRE_B_NO_DATA] = on_no_data,
    [PGWIRE_B_PARAMETER_DESCRIPTION] = on_parameter_description,
    [PGWIRE_B_ERROR] = pgflow_on_error,
    [PGWIRE_B_NOTICE] = pgflow_on_notice,
    [PGWIRE_B_NOTIFICATION] = pgflow_on_notification,
    [PGWIRE_B_PARAMETER_STATUS] = pgflow_on_parameter_status,
    [PGWIRE_B_COPY_IN] = on_copy_start,
    [PGWIRE_B_COPY_OUT] = on_copy_start,
    [PGWIRE_B_COPY_DONE] = on_copy_done,
};

static enum handled dispatch(struct pgflow *f, const struct pgwire_msg *m)
{
    if (f->collector && m->type != PGWIRE_B_NOTIFICATION)
        return pgcollector_message(f->collector, m) == 0
                   ? HANDLED_OK
                   : pgflow_violation(f, "catalogue query failed");
    if (!handlers[m->type])
        return pgflow_violation(f, "unexpected backend message");
    return handlers[m->type](f, m);
}

static size_t step(struct pgflow *f, struct bytes in)
{
    struct pgwire_msg m;
    enum handled h;

    if (f->s_pass) {
        struct bytes part = {in.p, min_size(in.len, f->s_pass)};

        pgflow_pass(f, part);
        f->s_pass -= part.len;
        return part.len;
    }
    if (f->stream.left) {
        size_t used;

        if (pgstream_feed(f, in, &used) != 0) {
            pgflow_violation(f, "malformed DataRow");
            return 0;
        }
        return used;
    }
    switch (pgwire_frame(PGWIRE_FROM_BACKEND, in, &m)) {
    case FRAME_OK:
        h = dispatch(f, &m);
        break;
    case FRAME_PART:
        h = m.type == PGWIRE_B_COPY_DATA && !f->collector ? on_copy_data(f, &m)
                                                          : on_part_of_row(f, &m);
        break;
    case FRAME_MORE:
        return 0;
    case FRAME_BAD:
    default:
        pgflow_violation(f, "invalid backend message");
        return 0;
    }
    if (h != HANDLED_OK)
        return 0;
    return f->stream.left ? PGWIRE_HEADER : m.raw.len; /* the rest goes through the stream */
}

static size_t feed(struct pgflow *f, struct bytes in)
{
    size_t used = 0;

    while (used < in.len && !f->end_reason) {
        size_t n = step(f, (struct bytes){in.p + used, in.len - used});

        if (n == 0)
            break;
        used += n;
    }
    return used;
}

/* A message was split between bursts: completes that one by itself, so that the rest of the
 * chunk need not be copied. Returns what is left of the chunk. */
static struct bytes complete_partial(struct pgflow *f, struct bytes chunk)
{
    while (buffer_len(&f->s_partial) && chunk.len && !f->end_reason) {
        size_t have = buffer_len(&f->s_partial), want, n;
        struct pgwire_msg m;

        pgwire_frame(PGWIRE_FROM_BACKEND, buffer_bytes(&f->s_partial), &m);
        want = m.full_len ? m.full_len : PGWIRE_HEADER;
        n = min_size(chunk.len, want > have ? want - have : 0);
        if (buffer_append(&f->s_partial, chunk.p, n) != 0) {
            pgflow_violation(f, "out of memory");
            break;
        }
        chunk = (struct bytes){chunk.p + n, chunk.len - n};
        f->s_borrowable = false;
        buffer_consume(&f->s_partial, feed(f, buffer_bytes(&f->s_partial)));
        if (n == 0 && buffer_len(&f->s_partial) >= want)
            break; /* complete, and yet not taken: the flow has ended */
    }
    if (buffer_len(&f->s_partial) == 0)
        buffer_reset(&f->s_partial, 8 * 1024);
    return chunk;
}

void pgflow_from_upstream(struct pgflow *f, struct bytes chunk)
{
    size_t used;

    atomic_fetch_add_explicit(&f->session->bytes_to_client, chunk.len, memory_order_relaxed);
    if (buffer_len(&f->s_partial))
        chunk = complete_partial(f, chunk);
    if (f->end_reason || chunk.len == 0)
        return;
    f->scan = (struct pgscan){.chunk = chunk};
    f->s_borrowable = true;
    used = feed(f, chunk);
    f->s_borrowable = false;
    if (used < chunk.len && !f->end_reason &&
        buffer_append(&f->s_partial, chunk.p + used, chunk.len - used) != 0)
        pgflow_violation(f, "out of memory");
}
