/* SPDX-License-Identifier: Apache-2.0
 * Block-chained arena.
 */
#include "arena.h"

#include <stdarg.h>
#include <stdio.h>

#define BLOCK_SIZE 4096

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(max_align_t) uint8_t data[];
};

void arena_init(struct arena *a, size_t max)
{
    *a = (struct arena){.max = max};
}

void arena_done(struct arena *a)
{
    struct arena_block *b = a->blocks;

    while (b) {
        struct arena_block *next = b->next;

        free(b);
        b = next;
    }
    arena_init(a, a->max);
}

void *arena_alloc(struct arena *a, size_t n)
{
    struct arena_block *b = a->blocks;
    void *p;

    if (n > a->max || a->used > a->max - n)
        return NULL;
    n = (n + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (!b || n > b->cap - b->used) {
        size_t cap = n > BLOCK_SIZE ? n : BLOCK_SIZE;

        b = malloc(sizeof *b + cap);
        if (!b)
            return NULL;
        *b = (struct arena_block){.next = a->blocks, .cap = cap};
        a->blocks = b;
    }
    p = b->data + b->used;
    b->used += n;
    a->used += n;
    return memset(p, 0, n);
}

char *arena_strndup(struct arena *a, const void *p, size_t n)
{
    char *s = n == SIZE_MAX ? NULL : arena_alloc(a, n + 1);

    if (s && n)
        memcpy(s, p, n);
    return s;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *s;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    s = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (s)
        vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}
