/* SPDX-License-Identifier: Apache-2.0
 * The little XML that object stores speak: elements without attributes that matter, text with the
 * five entities and numbers. What is not understood is not found.
 */
#include "bucket.h"

#include <stdio.h>

static const struct entity {
    const char *name;
    char c;
} entities[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};

/* One character of the text, from the front; 0 when it is none that a name here may have. */
static char take_character(struct bytes *s)
{
    unsigned code = 0;
    int n = 0;

    for (size_t i = 0; i < ARRAY_LEN(entities); i++) {
        size_t len = strlen(entities[i].name);

        if (s->len >= len && memcmp(s->p, entities[i].name, len) == 0) {
            *s = bytes_of(s->p + len, s->len - len);
            return entities[i].c;
        }
    }
    if (s->p[0] != '&') {
        char c = (char)s->p[0];

        *s = bytes_of(s->p + 1, s->len - 1);
        return c;
    }
    char number[12] = "";

    snprintf(number, sizeof number, "%.*s", (int)min_size(s->len, sizeof number - 1),
             (const char *)s->p);
    if (sscanf(number, "&#%3u;%n", &code, &n) != 1 || n == 0)
        n = 0;
    if (n == 0 && (sscanf(number, "&#x%2x;%n", &code, &n) != 1 || n == 0))
        return 0;
    *s = bytes_of(s->p + n, s->len - (size_t)n);
    return code < 0x80 ? (char)code : 0;
}

static bool decode(struct bytes s, char *to, size_t size)
{
    size_t n = 0;

    while (s.len) {
        char c = take_character(&s);

        if (c == 0 || n + 1 >= size)
            return false;
        to[n++] = c;
    }
    to[n] = '\0';
    return true;
}

bool bucket_xml_next(struct bytes *at, const char *name, char *to, size_t size)
{
    char open[80], close[80];
    const uint8_t *from, *end;
    struct bytes text;

    to[0] = '\0';
    snprintf(open, sizeof open, "<%s>", name);
    snprintf(close, sizeof close, "</%s>", name);
    from = memmem(at->p, at->len, open, strlen(open));
    if (!from)
        return false;
    from += strlen(open);
    end = memmem(from, (size_t)(at->p + at->len - from), close, strlen(close));
    if (!end)
        return false;
    text = bytes_of(from, (size_t)(end - from));
    end += strlen(close);
    *at = bytes_of(end, (size_t)(at->p + at->len - end));
    return decode(text, to, size);
}
