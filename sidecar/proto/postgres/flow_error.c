/* SPDX-License-Identifier: Apache-2.0
 * What the upstream says besides results: errors, notices, notifications, settings. Their texts
 * can carry stored values, so they are reduced or searched like results.
 */
#include "flow_internal.h"

#include <string.h>

/* SQLSTATE classes whose primary message speaks of the statement's own words or of the
 * server's state, never of stored values; 23 (constraints) has its values in DETAIL. */
static bool message_is_safe(struct bytes sqlstate)
{
    static const char classes[][3] = {"42", "25", "26", "34", "40", "57", "53", "54",
                                      "55", "08", "0A", "3D", "3F", "3B", "23", "28"};

    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (sqlstate.len == 5 && memcmp(sqlstate.p, classes[i], 2) == 0)
            return true;
    return false;
}

/* Fields that are kept: severity, code, position; names of objects. The message when it is safe. */
static void reduce_error(struct pgflow *f, struct bytes body, struct buffer *out)
{
    struct bytes code = pgwire_error_field(body, 'C');
    struct cursor c = cursor_over(body);
    uint8_t field;

    while ((field = cursor_u8(&c)) != 0) {
        struct bytes value = cursor_cstr(&c);

        if (c.bad || !strchr("SVCMPstcdn", field))
            continue;
        if (field == 'M' && !message_is_safe(code))
            value = BYTES("error text withheld: the statement touches masked data");
        buffer_add_u8(out, field);
        if (row_mask_text(f->context, &f->scratch, value, out) != 0)
            out->failed = true;
        buffer_add_u8(out, 0);
    }
    buffer_add_u8(out, 0);
}

/* All fields, values found by detectors replaced. */
static void scan_error(struct pgflow *f, struct bytes body, struct buffer *out)
{
    struct cursor c = cursor_over(body);
    uint8_t field;

    while ((field = cursor_u8(&c)) != 0) {
        struct bytes value = cursor_cstr(&c);

        if (c.bad)
            break;
        buffer_add_u8(out, field);
        if (row_mask_text(f->context, &f->scratch, value, out) != 0)
            out->failed = true;
        buffer_add_u8(out, 0);
    }
    buffer_add_u8(out, 0);
}

static void send_error(struct pgflow *f, const struct pgwire_msg *m, bool reduce, uint32_t n)
{
    struct buffer *out = relay_out(f->relay, SIDE_CLIENT);
    size_t before = buffer_len(out);
    size_t mark = pgwire_start(out, m->type);
    struct bytes all;

    if (reduce)
        reduce_error(f, m->body, out);
    else
        scan_error(f, m->body, out);
    pgwire_finish(out, mark);
    if (out->failed) {
        pgflow_fatal(f, "53200", "out of memory");
        return;
    }
    all = buffer_bytes(out);
    pgflow_record_error(
        f, n, (struct bytes){all.p + before + PGWIRE_HEADER, all.len - before - PGWIRE_HEADER},
        m->type == PGWIRE_B_NOTICE);
}

/* Takes back what the i-th pending message did to names, but not what later ones did since.
 * `unknown`: part of it may have happened, so that nothing is known of these names. */
static void undo_names(struct pgflow *f, size_t i, bool unknown)
{
    struct pgname_undo *undo = take(&pgqueue_at(&f->pending, i)->undo);

    if (unknown)
        pgname_undo_blank(undo);
    for (size_t j = i + 1; undo && j < f->pending.n; j++)
        if (pgqueue_at(&f->pending, j)->undo)
            pgname_undo_hand_on(&undo, pgqueue_at(&f->pending, j)->undo);
    pgname_undo_apply(&f->names, undo);
}

/* Handing undos on compares names with names; a pipeline that is made to fail on purpose must not
 * keep the loop busy with it. `n`: entries that failed. */
static bool too_much_undoing(struct pgflow *f, size_t n)
{
    size_t failed = 0, later = 0;

    for (size_t i = 0; i < f->pending.n; i++)
        if (pgqueue_at(&f->pending, i)->undo)
            *(i < n ? &failed : &later) += 1;
    return failed && later > (4u << 20) / failed;
}

/* The upstream has failed on the head of the queue and skips what follows until Sync. Names
 * that those messages would have changed are put back, newest first. */
static void skip_failed(struct pgflow *f)
{
    size_t n = 0;

    while (pgqueue_at(&f->pending, n) && pgqueue_at(&f->pending, n)->kind != PGPENDING_SYNC)
        n++;
    /* The client has not sent it yet: what it sends until then is skipped there, and so here. */
    if (n == f->pending.n)
        f->skip_to_sync = true;
    if (too_much_undoing(f, n)) {
        pgflow_fatal(f, "54000", "too many statements were prepared behind one that failed");
        return;
    }
    for (size_t i = n; i-- > 0;)
        undo_names(f, i, false);
    while (n--)
        pgflow_drop_pending(f, false);
}

enum handled pgflow_on_error(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = pgqueue_at(&f->pending, 0);
    struct bytes severity = pgwire_error_field(m->body, 'V');
    bool fatal = bytes_eq_str(severity, "FATAL") || bytes_eq_str(severity, "PANIC");

    if (f->result.open)
        pgresult_close(f, BYTES("(failed)"), false);
    if (e && e->denial && !fatal) {
        pgflow_say_denied(f, e->denial);
    } else {
        send_error(f, m, e && e->reduce_errors, e ? e->n : 0);
    }
    if (fatal) {
        f->end_reason = "upstream ended the session";
        relay_end(f->relay);
        return HANDLED_OK;
    }
    if (!e)
        return pgflow_violation(f, "unexpected ErrorResponse");
    pgflow_copy_in_ended(f, e);
    if (e->kind == PGPENDING_QUERY) {
        /* What completed before the failure has kept its effect on names (PREPARE is not
         * transactional), and we cannot tell which: forget them all. An unknown name is refused. */
        undo_names(f, 0, e->completed != 0);
        free(take(&e->denial));
    } else if (e->kind != PGPENDING_SYNC) {
        skip_failed(f);
    }
    return HANDLED_OK;
}

enum handled pgflow_on_notice(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgpending *e = pgqueue_at(&f->pending, 0);

    /* A notice's text is whatever a function or trigger chose to say. */
    if (e && e->reduce_errors && !message_is_safe(pgwire_error_field(m->body, 'C')))
        return HANDLED_OK;
    send_error(f, m, e && e->reduce_errors, e ? e->n : 0);
    return HANDLED_OK;
}

enum handled pgflow_on_notification(struct pgflow *f, const struct pgwire_msg *m)
{
    struct cursor c = cursor_over(m->body);
    uint32_t pid = cursor_be32(&c);
    struct bytes channel = cursor_cstr(&c), payload = cursor_cstr(&c);
    struct buffer *out = relay_out(f->relay, SIDE_CLIENT);
    size_t mark;

    if (!cursor_at_end(&c))
        return pgflow_violation(f, "malformed NotificationResponse");
    mark = pgwire_start(out, PGWIRE_B_NOTIFICATION);
    buffer_add_be32(out, pid);
    buffer_add(out, channel);
    buffer_add_u8(out, 0);
    /* It may come from a trigger, in anybody's session: with masked columns nothing vouches for it.
     */
    if (!f->context->column_masks && row_mask_text(f->context, &f->scratch, payload, out) != 0)
        return pgflow_violation(f, "out of memory");
    buffer_add_u8(out, 0);
    pgwire_finish(out, mark);
    return HANDLED_OK;
}

/* Settings on which the parser and the server have to agree may not move under us. */
enum handled pgflow_on_parameter_status(struct pgflow *f, const struct pgwire_msg *m)
{
    struct cursor c = cursor_over(m->body);
    struct bytes name = cursor_cstr(&c), value = cursor_cstr(&c);

    if (!cursor_at_end(&c))
        return pgflow_violation(f, "malformed ParameterStatus");
    if ((bytes_eq_str(name, "client_encoding") && !bytes_eq_str(value, "UTF8")) ||
        (bytes_eq_str(name, "standard_conforming_strings") && !bytes_eq_str(value, "on")))
        return pgflow_violation(f, "client_encoding or standard_conforming_strings was changed");
    pgflow_pass(f, m->raw);
    return HANDLED_OK;
}
