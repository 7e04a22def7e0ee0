/* SPDX-License-Identifier: Apache-2.0
 * From the client: framing, dispatch, and the messages that carry no statement.
 */
#include "flow_internal.h"

#include <errno.h>
#include <stdio.h>

/* What is collected of a message before it is refused unread. */
#define COLLECT_SQL  ((1u << 20) + 1024)
#define COLLECT_BIND PGWIRE_MAX_BIND

void pgflow_forward(struct pgflow *f, struct bytes raw)
{
    if (f->borrowable)
        relay_pass(f->relay, SIDE_UPSTREAM, raw);
    else
        relay_send(f->relay, SIDE_UPSTREAM, raw);
}

struct pgpending *pgflow_expect(struct pgflow *f, enum pgpending_kind kind)
{
    struct pgpending *e = pgqueue_push(&f->pending);

    if (e)
        e->kind = kind;
    if (e && kind != PGPENDING_QUERY && kind != PGPENDING_SYNC)
        f->batch_open = true;
    return e;
}

/* ---- messages without a statement ---- */

static enum handled on_sync(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e;

    pgflow_forward(f, m->raw);
    if (f->copy_in)
        return HANDLED_OK; /* the upstream ignores it while it copies in */
    f->skip_to_sync = false;
    f->batch_open = false;
    e = pgflow_expect(f, PGPENDING_SYNC);
    if (!e)
        return HANDLED_FATAL;
    /* The transaction may end here, and deferred constraints and triggers speak. */
    e->reduce_errors = f->context->column_masks;
    return HANDLED_OK;
}

static enum handled on_flush(struct pgflow *f, const struct pgwire_msg *m)
{
    pgflow_forward(f, m->raw);
    return HANDLED_OK;
}

static enum handled on_terminate(struct pgflow *f, const struct pgwire_msg *m)
{
    pgflow_forward(f, m->raw);
    f->end_reason = "client terminated";
    relay_end(f->relay);
    return HANDLED_OK;
}

/* COPY data belongs to a COPY that was judged. Without one (it was refused, or has failed) the
 * upstream would ignore it; it does not even see it. */
static enum handled on_copy_data(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = pgqueue_at(&f->pending, 0);
    size_t rest = m->full_len - m->raw.len;

    if (!e || (!f->copy_in && f->result.open)) {
        f->c_discard = rest;
        return HANDLED_OK;
    }
    if (f->result.copy == PGCOPY_FROM_CLIENT) {
        f->result.bytes += m->full_len;
        f->result.truncated |= rest != 0;
        pgresult_copy(f, m->body);
    }
    pgflow_forward(f, m->raw);
    f->c_pass = rest;
    return HANDLED_OK;
}

static enum handled on_copy_end(struct pgflow *f, const struct pgwire_msg *m)
{
    if (f->copy_in || f->pending.n)
        pgflow_forward(f, m->raw);
    f->copy_in = false;
    return HANDLED_OK;
}

static enum handled on_function_call(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgdenial d = {.sqlstate = "0A000",
                         .message = "the FunctionCall message is not permitted through the guard",
                         .hint = "Call the function in a SELECT."};

    (void)m;
    pgflow_record_statement(f, ++f->n, "functionCall", (struct bytes){0}, (struct bytes){0}, NULL,
                            &d);
    pgflow_record_decision(f, f->n, NULL, &d);
    return pgflow_deny(f, false, &d);
}

static enum handled on_close(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgwire_named c;
    struct pgpending *e;

    if (pgwire_parse_named(m->body, &c) != 0 || !(e = pgflow_expect(f, PGPENDING_CLOSE)))
        return HANDLED_FATAL;
    if (pgnames_set(&f->names, c.kind == 'S' ? PGNAME_PREPARED : PGNAME_PORTAL, c.name, NULL,
                    &e->undo) != 0)
        return HANDLED_FATAL;
    pgflow_forward(f, m->raw);
    return HANDLED_OK;
}

/* ---- dispatch ---- */

typedef enum handled handler_fn(struct pgflow *f, const struct pgwire_msg *m);

static handler_fn *const handlers[128] = {
    [PGWIRE_F_QUERY] = pgflow_on_query,
    [PGWIRE_F_PARSE] = pgflow_on_parse,
    [PGWIRE_F_BIND] = pgflow_on_bind,
    [PGWIRE_F_DESCRIBE] = pgflow_on_describe,
    [PGWIRE_F_EXECUTE] = pgflow_on_execute,
    [PGWIRE_F_CLOSE] = on_close,
    [PGWIRE_F_SYNC] = on_sync,
    [PGWIRE_F_FLUSH] = on_flush,
    [PGWIRE_F_FUNCTION_CALL] = on_function_call,
    [PGWIRE_F_COPY_DATA] = on_copy_data,
    [PGWIRE_F_COPY_DONE] = on_copy_end,
    [PGWIRE_F_COPY_FAIL] = on_copy_end,
    [PGWIRE_F_TERMINATE] = on_terminate,
};

static bool permitted_in_copy(uint8_t type)
{
    return type == PGWIRE_F_COPY_DATA || type == PGWIRE_F_COPY_DONE || type == PGWIRE_F_COPY_FAIL ||
           type == PGWIRE_F_SYNC || type == PGWIRE_F_FLUSH || type == PGWIRE_F_TERMINATE;
}

static enum handled dispatch(struct pgflow *f, const struct pgwire_msg *m)
{
    if (f->skip_to_sync && m->type != PGWIRE_F_SYNC && m->type != PGWIRE_F_TERMINATE) {
        f->c_discard = m->full_len - m->raw.len;
        return HANDLED_OK;
    }
    if (f->copy_in && !permitted_in_copy(m->type))
        return HANDLED_FATAL;
    return handlers[m->type](f, m);
}

/* A message that is too long to be judged is refused without being kept. */
static enum handled refuse_oversized(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgdenial d = {.sqlstate = "54000"};
    bool extended = m->type != PGWIRE_F_QUERY && m->type != PGWIRE_F_FUNCTION_CALL;

    f->c_discard = m->full_len - m->raw.len;
    if (f->skip_to_sync)
        return HANDLED_OK;
    snprintf(d.message, sizeof d.message, "message of %zu bytes is too long for the guard to judge",
             m->full_len);
    snprintf(d.hint, sizeof d.hint, "Limits: %u bytes of SQL, %u bytes of parameters.", 1u << 20,
             PGWIRE_MAX_BIND);
    pgflow_record_statement(f, ++f->n, "oversized", bytes_of(m->body.p, min_size(m->body.len, 512)),
                            (struct bytes){0}, NULL, &d);
    pgflow_record_decision(f, f->n, NULL, &d);
    return pgflow_deny(f, extended, &d);
}

static bool oversized(const struct pgwire_msg *m)
{
    switch (m->type) {
    case PGWIRE_F_QUERY:
    case PGWIRE_F_PARSE:
    case PGWIRE_F_FUNCTION_CALL:
        return m->full_len > COLLECT_SQL;
    case PGWIRE_F_BIND:
        return m->full_len > COLLECT_BIND;
    default:
        return false;
    }
}

/* Takes one step at the front of `in`. Returns the bytes it is done with; 0: cannot go on. */
static size_t step(struct pgflow *f, struct bytes in)
{
    struct pgwire_msg m;
    enum handled h;
    enum frame frame;

    if (f->c_pass) {
        struct bytes part = {in.p, min_size(in.len, f->c_pass)};

        pgflow_forward(f, part);
        f->c_pass -= part.len;
        return part.len;
    }
    if (f->c_discard) {
        size_t n = min_size(in.len, f->c_discard);

        f->c_discard -= n;
        return n;
    }
    frame = pgwire_frame(PGWIRE_FROM_FRONTEND, in, &m);
    if (frame == FRAME_BAD) {
        pgflow_fatal(f, "08P01", "invalid frontend message");
        return 0;
    }
    if (frame == FRAME_MORE && m.full_len == 0)
        return 0;
    if (oversized(&m))
        h = refuse_oversized(f, &m);
    else if (frame == FRAME_MORE)
        return 0;
    else
        h = dispatch(f, &m);
    if (h == HANDLED_FATAL && !f->end_reason)
        pgflow_fatal(f, "08P01", "unexpected or malformed frontend message");
    if (h != HANDLED_OK)
        return 0;
    f->refreshed = false;
    return m.raw.len;
}

/* As many steps as can be taken. Returns the bytes consumed. */
static size_t feed(struct pgflow *f, struct bytes in)
{
    size_t used = 0;

    while (used < in.len && f->park == PGPARK_NONE && !f->end_reason) {
        size_t n;

        if (f->pending.n >= PGQUEUE_HIGH && !f->c_pass && !f->c_discard) {
            size_t mark = pgwire_start(relay_out(f->relay, SIDE_UPSTREAM), PGWIRE_F_FLUSH);

            pgwire_finish(relay_out(f->relay, SIDE_UPSTREAM), mark);
            f->park = PGPARK_QUEUE;
            break;
        }
        n = step(f, (struct bytes){in.p + used, in.len - used});
        if (n == 0)
            break;
        used += n;
    }
    return used;
}

static void keep(struct pgflow *f, struct bytes rest)
{
    if (rest.len && !f->end_reason && buffer_add(&f->c_partial, rest) != 0)
        pgflow_fatal(f, "53200", "out of memory");
}

static void pause_or_resume(struct pgflow *f)
{
    if (f->park != PGPARK_NONE)
        relay_pause(f->relay, SIDE_CLIENT);
    else
        relay_resume(f->relay, SIDE_CLIENT);
}

/* Works off c_partial; what is forwarded from it is copied, for it may move. */
static void feed_partial(struct pgflow *f)
{
    size_t used;

    f->borrowable = false;
    used = feed(f, buffer_bytes(&f->c_partial));
    buffer_consume(&f->c_partial, used);
    if (buffer_len(&f->c_partial) == 0)
        buffer_reset(&f->c_partial, 8 * 1024);
    pause_or_resume(f);
}

void pgflow_from_client(struct pgflow *f, struct bytes chunk)
{
    atomic_fetch_add_explicit(&f->session->bytes_to_upstream, chunk.len, memory_order_relaxed);
    if (f->end_reason)
        return;
    if (buffer_len(&f->c_partial)) {
        keep(f, chunk);
        feed_partial(f);
    } else {
        size_t used;

        f->borrowable = true;
        used = feed(f, chunk);
        keep(f, (struct bytes){chunk.p + used, chunk.len - used});
        pause_or_resume(f);
    }
}

void pgflow_resume(struct pgflow *f)
{
    f->park = PGPARK_NONE;
    feed_partial(f);
}
