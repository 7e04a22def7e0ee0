/* SPDX-License-Identifier: Apache-2.0
 * Framing of both directions, and every parser of a body: nothing is read outside the message, what
 * is returned lies inside it, and what is built can be framed again.
 */
#include "sidecar/proto/postgres/wire.h"

#include <stdlib.h>

static struct bytes whole;

static void inside(struct bytes b)
{
    if (b.len && (b.p < whole.p || b.p + b.len > whole.p + whole.len))
        abort();
}

static int column(const struct pgwire_column *c, unsigned i, void *arg)
{
    unsigned *n = arg;

    if (i != (*n)++)
        abort();
    inside(c->name);
    return 0;
}

static void bind(struct bytes body)
{
    struct pgwire_bind b;
    struct cursor c;

    if (pgwire_parse_bind(body, &b) != 0)
        return;
    inside(b.portal);
    inside(b.statement);
    c = cursor_over(b.params);
    for (unsigned i = 0; i < b.n_params; i++) {
        inside(pgwire_next_value(&c));
        pgwire_format(b.param_formats, b.n_param_formats, (uint16_t)i);
        pgwire_format(b.result_formats, b.n_result_formats, (uint16_t)i);
    }
    if (!cursor_at_end(&c))
        abort();
}

static void bodies(struct bytes body)
{
    static const char fields[] = "SVCMDHPpqWFLRstcdn";
    struct pgwire_parse p;
    struct pgwire_named d;
    struct pgwire_execute x;
    struct bytes text;
    uint16_t count = 0;
    unsigned n = 0;

    if (pgwire_parse_parse(body, &p) == 0) {
        inside(p.name);
        inside(p.query);
        inside(p.types);
    }
    bind(body);
    if (pgwire_parse_named(body, &d) == 0)
        inside(d.name);
    if (pgwire_parse_execute(body, &x) == 0)
        inside(x.portal);
    if (pgwire_parse_string(body, &text) == 0)
        inside(text);
    if (pgwire_parse_row_description(body, column, &n, &count) == 0 && n != count)
        abort();
    for (const char *f = fields; *f; f++)
        inside(pgwire_error_field(body, *f));
}

static void frames(enum pgwire_sender sender, struct bytes in)
{
    while (in.len) {
        struct pgwire_msg m;
        enum frame f = pgwire_frame(sender, in, &m);

        if (f == FRAME_BAD || f == FRAME_MORE)
            return;
        inside(m.raw);
        inside(m.body);
        if (m.raw.len == 0 || (f == FRAME_OK && m.raw.len != m.full_len) ||
            (f == FRAME_PART && m.raw.len >= m.full_len))
            abort();
        bodies(m.body);
        in = bytes_of(in.p + m.raw.len, in.len - m.raw.len);
    }
}

static void rebuilt(struct bytes text)
{
    struct pgwire_msg m;
    struct buffer out;

    buffer_init(&out, 1 << 20);
    pgwire_add_parameter_status(&out, BYTES("name"), text);
    pgwire_add_describe(&out, 'P', text);
    if (!out.failed && (pgwire_frame(PGWIRE_FROM_BACKEND, buffer_bytes(&out), &m) != FRAME_OK ||
                        m.type != PGWIRE_B_PARAMETER_STATUS))
        abort();
    buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    whole = bytes_of(data, size);
    frames(PGWIRE_FROM_FRONTEND, whole);
    frames(PGWIRE_FROM_BACKEND, whole);
    bodies(whole);
    if (size < 1 << 16)
        rebuilt(whole);
    return 0;
}
