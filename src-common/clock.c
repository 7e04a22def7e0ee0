/* SPDX-License-Identifier: Apache-2.0
 * Time.
 */
#include "clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t clock_mono_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* a tick is precise enough, and cheaper */
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void clock_rfc3339(uint64_t wall_us, char out[static CLOCK_RFC3339_LEN + 1])
{
    /* gmtime_r is the dear part, and a busy session asks many times a second. */
    static _Thread_local time_t cached_second = -1;
    static _Thread_local char cached[21];
    time_t second = (time_t)(wall_us / 1000000);
    uint64_t us = wall_us % 1000000;

    if (second != cached_second) {
        struct tm tm;

        gmtime_r(&second, &tm);
        strftime(cached, sizeof cached, "%Y-%m-%dT%H:%M:%S.", &tm);
        cached_second = second;
    }
    memcpy(out, cached, 20);
    for (int i = 25; i >= 20; i--) {
        out[i] = (char)('0' + us % 10);
        us /= 10;
    }
    out[26] = 'Z';
    out[27] = '\0';
}
