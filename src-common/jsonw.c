/* SPDX-License-Identifier: Apache-2.0
 * JSON text writer.
 */
#include "jsonw.h"

#include "utf8.h"

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

#define EACH(byte) (0x0101010101010101u * (byte))

/* Whether any of eight bytes may need a closer look: below 0x20, from 0x7f on, a quote, a
 * backslash. */
static bool odd_in(uint64_t x)
{
    uint64_t quote = x ^ EACH('"'), slash = x ^ EACH('\\');
    uint64_t low = (x - EACH(0x20)) | (quote - EACH(1)) | (slash - EACH(1));

    return ((low | x | (x + EACH(1))) & EACH(0x80)) != 0;
}

/* How many bytes from `i` on need no closer look, in steps of eight. */
static size_t plain_run(struct bytes s, size_t i)
{
    size_t from = i;
    uint64_t x;

    for (; s.len - i >= sizeof x; i += sizeof x) {
        memcpy(&x, s.p + i, sizeof x);
        if (odd_in(x))
            break;
    }
    return i - from;
}

void jsonw_str(struct buffer *b, struct bytes s)
{
    size_t run = 0, i = plain_run(s, 0);

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

void jsonw_key_n(struct buffer *b, const char *key, size_t n)
{
    uint8_t last = buffer_len(b) ? b->p[b->end - 1] : '{';
    uint8_t *to = buffer_reserve(b, n + 4), *from = to;

    if (!to)
        return;
    if (last != '{' && last != '[')
        *to++ = ',';
    *to++ = '"';
    memcpy(to, key, n);
    to += n;
    *to++ = '"';
    *to++ = ':';
    buffer_commit(b, (size_t)(to - from));
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
