/* SPDX-License-Identifier: Apache-2.0
 * Framing, parsing and building of PostgreSQL messages.
 */
#include "wire.h"

#include <errno.h>

enum how { UNKNOWN = 0, WHOLE, STREAM };

struct message_type {
    const char *name;
    uint32_t max;
    enum how how;
};

static const struct message_type types[2][128] = {
    {
#define FRONTEND(byte, name, max, how) [byte] = {#name, max, how},
#define BACKEND(byte, name, max, how)
#include "messages.def"
#undef FRONTEND
#undef BACKEND
    },
    {
#define FRONTEND(byte, name, max, how)
#define BACKEND(byte, name, max, how) [byte] = {#name, max, how},
#include "messages.def"
#undef FRONTEND
#undef BACKEND
    },
};

enum frame pgwire_frame(enum pgwire_sender sender, struct bytes in, struct pgwire_msg *ret)
{
    const struct message_type *t;
    uint32_t length;

    *ret = (struct pgwire_msg){0};
    if (in.len == 0)
        return FRAME_MORE;
    ret->type = in.p[0];
    t = in.p[0] < 128 ? &types[sender][in.p[0]] : NULL;
    if (!t || t->how == UNKNOWN)
        return FRAME_BAD;
    if (in.len < PGWIRE_HEADER)
        return FRAME_MORE;
    length = get_be32(in.p + 1); /* counts itself */
    if (length < 4 || length - 4 > t->max)
        return FRAME_BAD;
    ret->full_len = (size_t)length + 1;
    ret->raw = (struct bytes){in.p, min_size(in.len, ret->full_len)};
    ret->body = (struct bytes){in.p + PGWIRE_HEADER, ret->raw.len - PGWIRE_HEADER};
    if (in.len >= ret->full_len)
        return FRAME_OK;
    return t->how == STREAM ? FRAME_PART : FRAME_MORE;
}

const char *pgwire_name(enum pgwire_sender sender, uint8_t type)
{
    const char *name = type < 128 ? types[sender][type].name : NULL;

    return name ? name : "unknown";
}

int pgwire_parse_parse(struct bytes body, struct pgwire_parse *ret)
{
    struct cursor c = cursor_over(body);

    ret->name = cursor_cstr(&c);
    ret->query = cursor_cstr(&c);
    ret->n_types = cursor_be16(&c);
    ret->types = cursor_take(&c, (size_t)ret->n_types * 4);
    return cursor_at_end(&c) ? 0 : -EBADMSG;
}

struct bytes pgwire_next_value(struct cursor *at)
{
    uint32_t len = cursor_be32(at);

    if (len == UINT32_MAX)
        return (struct bytes){0};
    return cursor_take(at, len); /* a negative length other than -1 is longer than any body */
}

int pgwire_parse_bind(struct bytes body, struct pgwire_bind *ret)
{
    struct cursor c = cursor_over(body);
    const uint8_t *first;

    ret->portal = cursor_cstr(&c);
    ret->statement = cursor_cstr(&c);
    ret->n_param_formats = cursor_be16(&c);
    ret->param_formats = cursor_take(&c, (size_t)ret->n_param_formats * 2);
    ret->n_params = cursor_be16(&c);
    first = c.at;
    for (unsigned i = 0; i < ret->n_params && !c.bad; i++)
        pgwire_next_value(&c);
    ret->params = (struct bytes){first, c.bad ? 0 : (size_t)(c.at - first)};
    ret->n_result_formats = cursor_be16(&c);
    ret->result_formats = cursor_take(&c, (size_t)ret->n_result_formats * 2);
    return cursor_at_end(&c) ? 0 : -EBADMSG;
}

int pgwire_parse_named(struct bytes body, struct pgwire_named *ret)
{
    struct cursor c = cursor_over(body);

    ret->kind = cursor_u8(&c);
    ret->name = cursor_cstr(&c);
    return cursor_at_end(&c) && (ret->kind == 'S' || ret->kind == 'P') ? 0 : -EBADMSG;
}

int pgwire_parse_execute(struct bytes body, struct pgwire_execute *ret)
{
    struct cursor c = cursor_over(body);

    ret->portal = cursor_cstr(&c);
    ret->max_rows = cursor_be32(&c);
    return cursor_at_end(&c) ? 0 : -EBADMSG;
}

int pgwire_parse_string(struct bytes body, struct bytes *ret)
{
    struct cursor c = cursor_over(body);

    *ret = cursor_cstr(&c);
    return cursor_at_end(&c) ? 0 : -EBADMSG;
}

int pgwire_format(struct bytes formats, uint16_t n, uint16_t i)
{
    if (n == 0)
        return 0;
    if (n == 1)
        return get_be16(formats.p);
    return i < n ? get_be16(formats.p + 2 * (size_t)i) : 0;
}

int pgwire_parse_row_description(struct bytes body,
                                 int (*each)(const struct pgwire_column *c, unsigned i, void *arg),
                                 void *arg, uint16_t *ret_n)
{
    struct cursor c = cursor_over(body);
    uint16_t n = cursor_be16(&c);

    for (unsigned i = 0; i < n; i++) {
        struct pgwire_column col;
        int rc;

        col.name = cursor_cstr(&c);
        col.table_oid = cursor_be32(&c);
        col.attribute = (int16_t)cursor_be16(&c);
        col.type_oid = cursor_be32(&c);
        cursor_take(&c, 6); /* type size, type modifier */
        col.format = (int16_t)cursor_be16(&c);
        if (c.bad)
            return -EBADMSG;
        rc = each(&col, i, arg);
        if (rc)
            return rc;
    }
    *ret_n = n;
    return cursor_at_end(&c) ? 0 : -EBADMSG;
}

struct bytes pgwire_error_field(struct bytes body, char field)
{
    struct cursor c = cursor_over(body);
    uint8_t code;

    while ((code = cursor_u8(&c)) != 0) {
        struct bytes value = cursor_cstr(&c);

        if (code == (uint8_t)field && !c.bad)
            return value;
    }
    return (struct bytes){0};
}

size_t pgwire_start(struct buffer *out, uint8_t type)
{
    size_t mark = buffer_len(out);

    buffer_add_u8(out, type);
    buffer_add_be32(out, 0);
    return mark;
}

void pgwire_finish(struct buffer *out, size_t mark)
{
    if (!out->failed)
        put_be32(out->p + out->start + mark + 1, (uint32_t)(buffer_len(out) - mark - 1));
}

static void add_field(struct buffer *out, char code, const char *value)
{
    if (!value)
        return;
    buffer_add_u8(out, (uint8_t)code);
    buffer_add_cstr(out, value);
}

void pgwire_add_error(struct buffer *out, bool notice, const struct pgwire_error *e)
{
    size_t mark = pgwire_start(out, notice ? PGWIRE_B_NOTICE : PGWIRE_B_ERROR);

    add_field(out, 'S', e->severity);
    add_field(out, 'V', e->severity);
    add_field(out, 'C', e->sqlstate);
    add_field(out, 'M', e->message);
    add_field(out, 'D', e->detail);
    add_field(out, 'H', e->hint);
    buffer_add_u8(out, 0);
    pgwire_finish(out, mark);
}

void pgwire_add_ready(struct buffer *out, uint8_t status)
{
    size_t mark = pgwire_start(out, PGWIRE_B_READY_FOR_QUERY);

    buffer_add_u8(out, status);
    pgwire_finish(out, mark);
}

void pgwire_add_query(struct buffer *out, const char *sql)
{
    size_t mark = pgwire_start(out, PGWIRE_F_QUERY);

    buffer_add_cstr(out, sql);
    pgwire_finish(out, mark);
}

void pgwire_add_parse(struct buffer *out, const char *name, const char *sql)
{
    size_t mark = pgwire_start(out, PGWIRE_F_PARSE);

    buffer_add_cstr(out, name);
    buffer_add_cstr(out, sql);
    buffer_add_be16(out, 0);
    pgwire_finish(out, mark);
}

void pgwire_add_describe(struct buffer *out, uint8_t kind, struct bytes name)
{
    size_t mark = pgwire_start(out, PGWIRE_F_DESCRIBE);

    buffer_add_u8(out, kind);
    buffer_add(out, name);
    buffer_add_u8(out, 0);
    pgwire_finish(out, mark);
}

void pgwire_add_parameter_status(struct buffer *out, struct bytes name, struct bytes value)
{
    size_t mark = pgwire_start(out, PGWIRE_B_PARAMETER_STATUS);

    buffer_add(out, name);
    buffer_add_u8(out, 0);
    buffer_add(out, value);
    buffer_add_u8(out, 0);
    pgwire_finish(out, mark);
}
