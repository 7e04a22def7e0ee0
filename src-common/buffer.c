/* SPDX-License-Identifier: Apache-2.0
 * Growing byte queue with a hard maximum.
 */
#include "buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void buffer_init(struct buffer *b, size_t max)
{
    *b = (struct buffer){.max = max};
}

void buffer_done(struct buffer *b)
{
    free(b->p);
    buffer_init(b, b->max);
}

void buffer_wipe(struct buffer *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buffer_done(b);
}

/* Moves the live bytes to the front, or grows. Growth wipes nothing: buffers that hold
 * credentials are reserved at full size by their owner. */
static int make_room(struct buffer *b, size_t n)
{
    size_t len = buffer_len(b);
    size_t want;
    uint8_t *p;

    if (n > b->max || len > b->max - n)
        return -ENOBUFS;
    if (b->start && len + n <= b->cap) {
        memmove(b->p, b->p + b->start, len);
        b->start = 0;
        b->end = len;
        return 0;
    }
    want = b->cap ? b->cap : min_size(256, b->max);
    while (want < len + n) /* which is no more than the maximum: nothing overflows */
        want = want > b->max / 2 ? b->max : want * 2;
    p = malloc(want ? want : 1);
    if (!p)
        return -ENOMEM;
    if (len)
        memcpy(p, b->p + b->start, len);
    free(b->p);
    b->p = p;
    b->cap = want;
    b->start = 0;
    b->end = len;
    return 0;
}

uint8_t *buffer_reserve(struct buffer *b, size_t n)
{
    if (b->failed)
        return NULL;
    if ((!b->p || n > b->cap - b->end) && make_room(b, n) != 0) {
        b->failed = true;
        return NULL;
    }
    return b->p + b->end;
}

int buffer_append_slowly(struct buffer *b, const void *p, size_t n)
{
    uint8_t *to;

    if (n == 0)
        return b->failed ? -ENOBUFS : 0;
    to = buffer_reserve(b, n);
    if (!to)
        return -ENOBUFS;
    memcpy(to, p, n);
    b->end += n;
    return 0;
}

int buffer_add_be16(struct buffer *b, uint16_t v)
{
    uint8_t raw[2];

    put_be16(raw, v);
    return buffer_append(b, raw, sizeof raw);
}

int buffer_add_be32(struct buffer *b, uint32_t v)
{
    uint8_t raw[4];

    put_be32(raw, v);
    return buffer_append(b, raw, sizeof raw);
}

int buffer_add_cstr(struct buffer *b, const char *s)
{
    return buffer_append(b, s, strlen(s) + 1);
}

int buffer_printf(struct buffer *b, const char *fmt, ...)
{
    va_list ap, again;
    uint8_t *to;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    to = n < 0 ? NULL : buffer_reserve(b, (size_t)n + 1);
    if (to) {
        vsnprintf((char *)to, (size_t)n + 1, fmt, again);
        b->end += (size_t)n;
    }
    va_end(again);
    return to ? 0 : -ENOBUFS;
}

void buffer_consume(struct buffer *b, size_t n)
{
    b->start += min_size(n, buffer_len(b));
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buffer_reset(struct buffer *b, size_t keep)
{
    if (b->cap > keep)
        buffer_done(b);
    b->start = b->end = 0;
    b->failed = false;
}
