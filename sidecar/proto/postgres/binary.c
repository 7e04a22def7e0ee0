/* SPDX-License-Identifier: Apache-2.0
 * Matches inside binary values.
 */
#include "binary.h"

#include "wire.h"

#include <errno.h>
#include <stdio.h>

#define MAX_DEPTH      8
#define TYPE_INT8      20
#define MAX_DIMENSIONS 6
/* A bigint of unknown type may be a double or a timestamp: only lengths that those do not have. */
#define MAX_UNTYPED 100000000000000000u

struct look {
    const struct pgcontext *context;
    struct detect_scratch *scratch;
};

static bool holds(const struct look *l, uint32_t type, struct bytes value, int depth);

static bool text_matches(const struct look *l, struct bytes text)
{
    struct span spans[1];

    return detect_exact(l->context->detectors, l->scratch, text, spans, ARRAY_LEN(spans)) != 0;
}

static bool integer_matches(const struct look *l, uint32_t type, struct bytes value)
{
    char digits[24];
    uint64_t v;
    int n;

    if (value.len != 8 || (type && type != TYPE_INT8))
        return false;
    v = get_be64(value.p);
    if (v >> 63 || (!type && v >= MAX_UNTYPED))
        return false;
    n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)v);
    return text_matches(l, bytes_of(digits, (size_t)n));
}

/* int32 dimensions, int32 has-nulls, int32 element type, (int32 size, int32 lower bound)…,
 * elements. *ret_is: the bytes are an array. */
static bool array_holds(const struct look *l, struct bytes value, int depth, bool *ret_is)
{
    struct cursor c = cursor_over(value);
    uint32_t dimensions = cursor_be32(&c), flags = cursor_be32(&c), type = cursor_be32(&c);
    uint64_t n = dimensions ? 1 : 0;
    bool found = false;

    if (c.bad || dimensions > MAX_DIMENSIONS || flags > 1)
        return false;
    for (uint32_t i = 0; i < dimensions; i++) {
        n *= cursor_be32(&c);
        cursor_be32(&c);
        if (n > value.len)
            return false;
    }
    for (uint64_t i = 0; i < n && !c.bad; i++) {
        struct bytes element = pgwire_next_value(&c);

        found = found || (element.p && holds(l, type, element, depth));
    }
    *ret_is = cursor_at_end(&c);
    return *ret_is && found;
}

/* int32 fields, each an int32 type and a value. */
static bool record_holds(const struct look *l, struct bytes value, int depth, bool *ret_is)
{
    struct cursor c = cursor_over(value);
    uint32_t n = cursor_be32(&c);
    bool found = false;

    for (uint32_t i = 0; i < n && !c.bad; i++) {
        uint32_t type = cursor_be32(&c);
        struct bytes field = pgwire_next_value(&c);

        found = found || (field.p && holds(l, type, field, depth));
    }
    *ret_is = cursor_at_end(&c);
    return *ret_is && found;
}

/* Values behind a head of some bytes: a range's flags, hstore's or a multirange's count. */
static bool list_holds(const struct look *l, size_t head, struct bytes value, int depth,
                       bool *ret_is)
{
    struct cursor c = cursor_over(value);
    bool found = false;

    cursor_take(&c, head);
    while (!c.bad && c.at < c.end) {
        struct bytes element = pgwire_next_value(&c);

        found = found || (element.p && holds(l, 0, element, depth));
    }
    *ret_is = cursor_at_end(&c);
    return *ret_is && found;
}

/* The type of an unknown OID is tried, not known: every way to read the bytes counts. */
static bool holds(const struct look *l, uint32_t type, struct bytes value, int depth)
{
    bool is = false;

    if (text_matches(l, value) || integer_matches(l, type, value))
        return true;
    if (value.len < 8)
        return false;
    if (depth == MAX_DEPTH)
        return true;
    return array_holds(l, value, depth + 1, &is) || record_holds(l, value, depth + 1, &is) ||
           list_holds(l, 1, value, depth + 1, &is) || list_holds(l, 4, value, depth + 1, &is);
}

bool binary_holds_match(const struct pgcontext *c, struct detect_scratch *scratch,
                        uint32_t type_oid, struct bytes value)
{
    struct look l = {c, scratch};

    return holds(&l, type_oid, value, 0);
}

/* ---- COPY ---- */

/* The signature, flags and header extension that stand before the first tuple. */
static int copy_header(struct cursor *c, struct buffer *out)
{
    static const uint8_t signature[] = "PGCOPY\n\377\r\n"; /* with its NUL: 11 bytes */
    const uint8_t *start = c->at;

    if (cursor_left(c) < 19 || memcmp(c->at, signature, 11) != 0)
        return 0;
    cursor_take(c, 15);
    cursor_take(c, cursor_be32(c));
    return c->bad ? -EBADMSG : buffer_append(out, start, (size_t)(c->at - start));
}

static int copy_tuple(const struct look *l, struct cursor *c, struct buffer *out, uint64_t *masked)
{
    uint16_t n = cursor_be16(c);

    buffer_add_be16(out, n);
    if (n == UINT16_MAX)
        return 0; /* trailer */
    for (uint16_t i = 0; i < n; i++) {
        struct bytes field = pgwire_next_value(c);

        if (c->bad)
            return -EBADMSG;
        if (field.p && !holds(l, 0, field, 0)) {
            buffer_add_be32(out, (uint32_t)field.len);
            buffer_add(out, field);
            continue;
        }
        *masked += field.p != NULL;
        buffer_add_be32(out, UINT32_MAX);
    }
    return c->bad ? -EBADMSG : 0;
}

int binary_mask_copy(const struct pgcontext *c, struct detect_scratch *scratch, struct bytes body,
                     struct buffer *out, uint64_t *ret_masked)
{
    struct look l = {c, scratch};
    struct cursor at = cursor_over(body);
    int rc = copy_header(&at, out);

    while (rc == 0 && at.at < at.end)
        rc = copy_tuple(&l, &at, out, ret_masked);
    if (rc)
        return rc;
    return out->failed ? -ENOMEM : cursor_at_end(&at) ? 0 : -EBADMSG;
}
