/* SPDX-License-Identifier: Apache-2.0
 * How long to wait before the next try: decorrelated jitter. Each wait is drawn from base to three
 * times the last one, so that many clients of a server that comes back do not come at once.
 */
#pragma once

#include "src-common/base.h"

struct backoff {
    unsigned base_ms, cap_ms, last_ms;
};

/* The next wait, from base_ms to cap_ms. */
unsigned backoff_next_ms(struct backoff *b);
/* The same for a given random number: for tests. */
unsigned backoff_draw_ms(struct backoff *b, uint32_t random);
/* It worked: the next wait is a short one. */
void backoff_reset(struct backoff *b);
