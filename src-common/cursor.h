/* SPDX-License-Identifier: Apache-2.0
 * Reads one complete message body and cannot run past its end. After the first short read
 * every getter gives 0 or empty and `bad` stays set: a parser lists the fields in wire order
 * and asks once, at the end, with cursor_at_end(). What it returns points into the body.
 */
#pragma once

#include "bytes.h"

struct cursor {
    const uint8_t *at, *end;
    bool bad;
};

static inline struct cursor cursor_over(struct bytes b)
{
    return (struct cursor){b.p, b.p + b.len, false};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return c->bad ? 0 : (size_t)(c->end - c->at);
}

static inline struct bytes cursor_take(struct cursor *c, size_t n)
{
    if (c->bad || n > (size_t)(c->end - c->at)) {
        c->bad = true;
        return (struct bytes){0};
    }
    c->at += n;
    return (struct bytes){c->at - n, n};
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    struct bytes b = cursor_take(c, 1);

    return b.p ? b.p[0] : 0;
}

static inline uint16_t cursor_be16(struct cursor *c)
{
    struct bytes b = cursor_take(c, 2);

    return b.p ? get_be16(b.p) : 0;
}

static inline uint32_t cursor_be32(struct cursor *c)
{
    struct bytes b = cursor_take(c, 4);

    return b.p ? get_be32(b.p) : 0;
}

/* A NUL-terminated string; the result leaves the NUL out. */
static inline struct bytes cursor_cstr(struct cursor *c)
{
    const uint8_t *nul;
    struct bytes s;

    if (c->bad || c->at == c->end || !(nul = memchr(c->at, 0, (size_t)(c->end - c->at)))) {
        c->bad = true;
        return (struct bytes){0};
    }
    s = (struct bytes){c->at, (size_t)(nul - c->at)};
    c->at = nul + 1;
    return s;
}

/* Whole body read, nothing short, nothing left over. */
static inline bool cursor_at_end(const struct cursor *c)
{
    return !c->bad && c->at == c->end;
}
