/* SPDX-License-Identifier: Apache-2.0
 * Decorrelated jitter.
 */
#include "backoff.h"

#include <sys/random.h>

unsigned backoff_draw_ms(struct backoff *b, uint32_t random)
{
    uint64_t last = b->last_ms > b->base_ms ? b->last_ms : b->base_ms;
    uint64_t span = last * 3 - b->base_ms + 1;
    uint64_t wait = b->base_ms + (uint64_t)random * span / ((uint64_t)UINT32_MAX + 1);

    b->last_ms = (unsigned)(wait < b->cap_ms ? wait : b->cap_ms);
    return b->last_ms;
}

unsigned backoff_next_ms(struct backoff *b)
{
    uint32_t random;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = UINT32_MAX / 2;
    return backoff_draw_ms(b, random);
}

void backoff_reset(struct backoff *b)
{
    b->last_ms = 0;
}
