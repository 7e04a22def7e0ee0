/* SPDX-License-Identifier: Apache-2.0
 * The text of the first element of a name, in the short answers of stores and token services. Not
 * decoded: what has entities in it is for messages only. Pure.
 */
#pragma once

#include "src-common/bytes.h"

#include <stdio.h>

/* False, and an empty string: there is none, or no room for it (then what fits is there). */
static inline bool xmltext(struct bytes xml, const char *name, char *to, size_t size)
{
    char open[40];
    int n = snprintf(open, sizeof open, "<%s>", name);
    const uint8_t *p = memmem(xml.p, xml.len, open, (size_t)n), *end;
    size_t left, len;

    to[0] = '\0';
    if (!p)
        return false;
    p += n;
    left = xml.len - (size_t)(p - xml.p);
    end = memchr(p, '<', left);
    len = end ? (size_t)(end - p) : left;
    snprintf(to, size, "%.*s", (int)min_size(len, size - 1), (const char *)p);
    return end && len && len < size;
}
