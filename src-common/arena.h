/* SPDX-License-Identifier: Apache-2.0
 * Memory that is released all at once. One thread at a time.
 */
#pragma once

#include "bytes.h"

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t used, max; /* bytes handed out, and the limit on them */
};

void arena_init(struct arena *a, size_t max);
/* Releases everything. The arena may be used again. */
void arena_done(struct arena *a);

/* Zeroed, aligned for any type. NULL past the maximum or out of memory. */
void *arena_alloc(struct arena *a, size_t n);
/* A NUL-terminated copy. NULL as above. */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const void *p, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
