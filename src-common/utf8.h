/* SPDX-License-Identifier: Apache-2.0
 * Is it UTF-8? Shortest forms only, no surrogates, nothing above U+10FFFF.
 */
#pragma once

#include "bytes.h"

/* Length of the valid UTF-8 sequence at p (1 to 4), or 0 (Unicode 15, table 3-7). */
static inline size_t utf8_len(const uint8_t *p, size_t left)
{
    uint8_t lo = 0x80, hi = 0xbf;
    size_t n;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (left < n)
        return 0;
    if (p[0] == 0xe0)
        lo = 0xa0;
    else if (p[0] == 0xed)
        hi = 0x9f;
    else if (p[0] == 0xf0)
        lo = 0x90;
    else if (p[0] == 0xf4)
        hi = 0x8f;
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* All of it; so is nothing at all. */
static inline bool utf8_valid(struct bytes s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_len(s.p + i, s.len - i);

        if (!n)
            return false;
        i += n;
    }
    return true;
}
