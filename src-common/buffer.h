/* SPDX-License-Identifier: Apache-2.0
 * A growing byte queue with a hard maximum. Bytes are appended at the end and consumed from
 * the front. Appending past the maximum, or out of memory, fails with -ENOBUFS or -ENOMEM
 * and sets `failed`, which sticks: a writer may append many fields and ask once.
 */
#pragma once

#include "bytes.h"

struct buffer {
    uint8_t *p;
    size_t start, end; /* the live bytes are p[start..end) */
    size_t cap, max;
    bool failed;
};

/* Nothing is allocated before the first append. */
void buffer_init(struct buffer *b, size_t max);
/* Frees the memory; the buffer may be used again. */
void buffer_done(struct buffer *b);
/* As buffer_done, and wipes the memory first: for what held credentials. */
void buffer_wipe(struct buffer *b);

static inline size_t buffer_len(const struct buffer *b)
{
    return b->end - b->start;
}

/* Valid until the next call that changes the buffer. */
static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return (struct bytes){b->p + b->start, b->end - b->start};
}

/* Room for n more bytes behind the end; NULL on failure. The caller writes there and then
 * calls buffer_commit with what it wrote. */
uint8_t *buffer_reserve(struct buffer *b, size_t n);
static inline void buffer_commit(struct buffer *b, size_t n)
{
    b->end += n;
}

/* What buffer_append does when there is no room at hand. */
int buffer_append_slowly(struct buffer *b, const void *p, size_t n);
static inline int buffer_append(struct buffer *b, const void *p, size_t n)
{
    if (n == 0 || b->failed || n > b->cap - b->end)
        return buffer_append_slowly(b, p, n);
    memcpy(b->p + b->end, p, n);
    b->end += n;
    return 0;
}
static inline int buffer_add(struct buffer *b, struct bytes s)
{
    return buffer_append(b, s.p, s.len);
}
static inline int buffer_add_u8(struct buffer *b, uint8_t v)
{
    return buffer_append(b, &v, 1);
}
int buffer_add_be16(struct buffer *b, uint16_t v);
int buffer_add_be32(struct buffer *b, uint32_t v);
/* The string and its NUL. */
int buffer_add_cstr(struct buffer *b, const char *s);
int buffer_printf(struct buffer *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Drops n bytes (at most what is there) from the front. */
void buffer_consume(struct buffer *b, size_t n);
/* Forgets the content and the failure, keeps the memory (at most keep bytes of it). */
void buffer_reset(struct buffer *b, size_t keep);
