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
