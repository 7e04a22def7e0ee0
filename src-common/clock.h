/* SPDX-License-Identifier: Apache-2.0
 * Time. Deadlines use the monotonic clock; records carry the wall clock.
 */
#pragma once

#include "base.h"

/* As precise as the kernel's tick: 1 to 10 ms. */
uint64_t clock_mono_ms(void);
/* Microseconds since 1970. */
uint64_t clock_wall_us(void);

#define CLOCK_RFC3339_LEN 27
/* "2026-11-23T21:08:00.123456Z" and a NUL. */
void clock_rfc3339(uint64_t wall_us, char out[static CLOCK_RFC3339_LEN + 1]);
