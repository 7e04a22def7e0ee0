/* SPDX-License-Identifier: Apache-2.0
 * Rows too long to be held: masked as they pass. The message's length has been sent ahead, so
 * masking here keeps lengths: masked cells and found values are overwritten with '*'.
 */
#include "flow_internal.h"

#include <errno.h>

#define PIECE (64 * 1024)

/* What the bytes at hand are. */
enum { STREAM_COUNT = 0, STREAM_LENGTH, STREAM_CELL };

static const struct rowplan_column *stream_column(const struct pgflow *f)
{
    static const struct rowplan_column copy_row = {.action = COLUMN_SCAN};

    return f->stream.copy ? &copy_row : &f->result.plan->columns[f->stream.column];
}

int pgstream_start(struct pgflow *f, const struct pgwire_msg *m, bool copy)
{
    struct pgstream *s = &f->stream;

    if (s->detect_serial != f->context->serial) {
        detect_stream_free(take(&s->detect));
        if (f->context->detectors && detect_stream_new(f->context->detectors, &s->detect) != 0)
            return -ENOMEM;
        s->detect_serial = f->context->serial;
    }
    s->left = m->full_len - PGWIRE_HEADER;
    s->copy = copy;
    s->state = copy ? STREAM_CELL : STREAM_COUNT;
    s->cell_left = copy ? s->left : 0;
    s->column = 0;
    s->head_n = 0;
    return buffer_append(relay_out(f->relay, SIDE_CLIENT), m->raw.p, PGWIRE_HEADER);
}

/* Collects a field of n bytes that may be split. Returns the bytes taken. */
static size_t take_head(struct pgstream *s, struct bytes in, unsigned n)
{
    size_t taken = min_size(in.len, n - s->head_n);

    memcpy(s->head + s->head_n, in.p, taken);
    s->head_n += (unsigned)taken;
    return taken;
}

static int take_count(struct pgflow *f, struct bytes in, size_t *ret_used)
{
    struct pgstream *s = &f->stream;

    *ret_used = take_head(s, in, 2);
    if (s->head_n < 2)
        return 0;
    if (get_be16(s->head) != f->result.plan->n)
        return -EBADMSG;
    s->head_n = 0;
    s->state = STREAM_LENGTH;
    return buffer_append(relay_out(f->relay, SIDE_CLIENT), s->head, 2);
}

static int take_length(struct pgflow *f, struct bytes in, size_t *ret_used)
{
    struct pgstream *s = &f->stream;
    uint32_t len;

    *ret_used = take_head(s, in, 4);
    if (s->head_n < 4)
        return 0;
    s->head_n = 0;
    len = get_be32(s->head);
    if (s->column >= f->result.plan->n || (len != UINT32_MAX && len > s->left))
        return -EBADMSG;
    if (len == UINT32_MAX || len == 0) {
        s->column++;
    } else {
        s->state = STREAM_CELL;
        s->cell_left = len;
        s->cell_start = true;
    }
    return buffer_append(relay_out(f->relay, SIDE_CLIENT), s->head, 4);
}

/* Stars; quoted where the type is JSON, so that it still parses. */
static int star_out(struct pgflow *f, size_t n, bool last)
{
    struct pgstream *s = &f->stream;
    enum column_type type = stream_column(f)->type;
    bool json = type == COLUMN_TYPE_JSON || type == COLUMN_TYPE_JSONB;
    uint8_t *to = buffer_reserve(relay_out(f->relay, SIDE_CLIENT), n);

    if (!to)
        return -ENOMEM;
    memset(to, '*', n);
    if (json && s->cell_start)
        to[0] = '"';
    if (json && last)
        to[n - 1] = '"';
    s->cell_start = false;
    buffer_commit(relay_out(f->relay, SIDE_CLIENT), n);
    return 0;
}

static int take_cell(struct pgflow *f, struct bytes in, size_t *ret_used)
{
    struct pgstream *s = &f->stream;
    struct bytes piece = {in.p, min_size(min_size(in.len, s->cell_left), PIECE)};
    bool last = piece.len == s->cell_left;
    const struct rowplan_column *col = stream_column(f);
    struct buffer *out = relay_out(f->relay, SIDE_CLIENT);
    int rc;

    if (col->action == COLUMN_MASK)
        rc = star_out(f, piece.len, last);
    else if (col->action == COLUMN_SCAN && s->detect)
        rc = detect_stream_feed(s->detect, f->scratch.detect, piece, last, out);
    else
        rc = buffer_add(out, piece);
    *ret_used = piece.len;
    s->cell_left -= piece.len;
    if (last) {
        s->column++;
        s->state = STREAM_LENGTH;
    }
    return rc;
}

int pgstream_feed(struct pgflow *f, struct bytes in, size_t *ret_used)
{
    struct pgstream *s = &f->stream;

    *ret_used = 0;
    in.len = min_size(in.len, s->left);
    while (in.len) {
        size_t used;
        int rc = s->state == STREAM_COUNT    ? take_count(f, in, &used)
                 : s->state == STREAM_LENGTH ? take_length(f, in, &used)
                                             : take_cell(f, in, &used);

        if (rc)
            return rc;
        in = (struct bytes){in.p + used, in.len - used};
        s->left -= used;
        *ret_used += used;
    }
    if (s->left == 0 && !s->copy && (s->column != f->result.plan->n || s->state != STREAM_LENGTH))
        return -EBADMSG;
    return 0;
}
