/* SPDX-License-Identifier: Apache-2.0
 * JSON text writer.
 */
#include "jsonw.h"

/* Length of the valid UTF-8 sequence at p (1 to 4), or 0 (Unicode 15, table 3-7). */
static size_t utf8_len(const uint8_t *p, size_t left)
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

static void escape_one(struct buffer *b, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

    switch (c) {
    case '"':
        buffer_append(b, "\\\"", 2);
        return;
    case '\\':
        buffer_append(b, "\\\\", 2);
        return;
    case '\n':
        buffer_append(b, "\\n", 2);
        return;
    case '\t':
        buffer_append(b, "\\t", 2);
        return;
    case '\r':
        buffer_append(b, "\\r", 2);
        return;
    default:
        buffer_append(b, u, sizeof u);
    }
}

void jsonw_str(struct buffer *b, struct bytes s)
{
    size_t run = 0, i = 0;

    buffer_add_u8(b, '"');
    while (i < s.len) {
        uint8_t c = s.p[i];
        size_t n;

        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            i++;
            continue;
        }
        n = c < 0x80 ? 0 : utf8_len(s.p + i, s.len - i);
        if (n) {
            i += n;
            continue;
        }
        buffer_append(b, s.p + run, i - run);
        if (c < 0x80)
            escape_one(b, c);
        else
            buffer_append(b, "\\ufffd", 6);
        run = ++i;
    }
    buffer_append(b, s.p + run, s.len - run);
    buffer_add_u8(b, '"');
}

void jsonw_bytea(struct buffer *b, struct bytes s)
{
    static const char hex[] = "0123456789abcdef";

    buffer_append(b, "\"\\\\x", 4);
    for (size_t i = 0; i < s.len; i++) {
        uint8_t pair[2] = {(uint8_t)hex[s.p[i] >> 4], (uint8_t)hex[s.p[i] & 15]};

        buffer_append(b, pair, 2);
    }
    buffer_add_u8(b, '"');
}

void jsonw_key(struct buffer *b, const char *key)
{
    uint8_t last = buffer_len(b) ? b->p[b->end - 1] : '{';

    if (last != '{' && last != '[')
        buffer_add_u8(b, ',');
    buffer_add_u8(b, '"');
    buffer_append(b, key, strlen(key));
    buffer_append(b, "\":", 2);
}

void jsonw_u64(struct buffer *b, uint64_t v)
{
    char d[20];
    size_t i = sizeof d;

    do
        d[--i] = (char)('0' + v % 10);
    while (v /= 10);
    buffer_append(b, d + i, sizeof d - i);
}
