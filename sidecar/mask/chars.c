/* SPDX-License-Identifier: Apache-2.0
 * Classes of bytes and the boundaries of words.
 */
#include "chars.h"

/* clang-format off */
const uint8_t chars_table[256] = {
    ['0' ... '9'] = CH_DIGIT,
    ['A' ... 'F'] = CH_UPPER | CH_HEX,
    ['G' ... 'Z'] = CH_UPPER,
    ['a' ... 'f'] = CH_LOWER | CH_HEX,
    ['g' ... 'z'] = CH_LOWER,
    ['-'] = CH_DASH | CH_LOCAL,
    ['_'] = CH_DASH | CH_LOCAL,
    ['+'] = CH_BASE64 | CH_LOCAL,
    ['/'] = CH_BASE64,
    ['.'] = CH_LOCAL, ['%'] = CH_LOCAL, ['~'] = CH_LOCAL, ['#'] = CH_LOCAL, ['!'] = CH_LOCAL,
    ['$'] = CH_LOCAL, ['&'] = CH_LOCAL, ['*'] = CH_LOCAL, ['^'] = CH_LOCAL, ['\''] = CH_LOCAL,
    [0x80 ... 0xff] = CH_HIGH,
};
/* clang-format on */

static bool is_escape_letter(uint8_t c)
{
    return c == 'n' || c == 't' || c == 'r' || c == 'b' || c == 'f' || c == 'v';
}

bool char_starts_word(struct bytes t, size_t at, unsigned classes)
{
    if (at == 0 || !char_is(t.p[at - 1], classes))
        return true;
    if (at >= 2 && t.p[at - 2] == '\\' && is_escape_letter(t.p[at - 1]))
        return true;
    if (at >= 3 && t.p[at - 3] == '%' && char_is(t.p[at - 2], CH_XDIGIT) &&
        char_is(t.p[at - 1], CH_XDIGIT))
        return true;
    return at >= 6 && t.p[at - 6] == '\\' && t.p[at - 5] == 'u' &&
           char_is(t.p[at - 4], CH_XDIGIT) && char_is(t.p[at - 3], CH_XDIGIT) &&
           char_is(t.p[at - 2], CH_XDIGIT) && char_is(t.p[at - 1], CH_XDIGIT);
}

size_t char_skip_escape(struct bytes t, size_t at)
{
    if (at == 0 || at >= t.len || t.p[at - 1] != '\\')
        return at;
    if (is_escape_letter(t.p[at]))
        return at + 1;
    if (t.p[at] != 'u' || t.len - at < 5)
        return at;
    for (size_t i = 1; i <= 4; i++) {
        if (!char_is(t.p[at + i], CH_XDIGIT))
            return at;
    }
    return at + 5;
}

size_t utf8_long_len_at(struct bytes t, size_t at)
{
    /* Lead byte ranges with the range of the byte behind it: RFC 3629, section 4. */
    static const struct {
        uint8_t first, last, low, high, len;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    const uint8_t *p = t.p + at;
    size_t left = at < t.len ? t.len - at : 0;

    for (size_t i = 0; left && i < ARRAY_LEN(forms); i++) {
        if (p[0] < forms[i].first || p[0] > forms[i].last)
            continue;
        if (forms[i].len > left)
            return 0;
        if (p[1] < forms[i].low || p[1] > forms[i].high)
            return 0;
        for (size_t k = 2; k < forms[i].len; k++) {
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        }
        return forms[i].len;
    }
    return 0;
}

bool word_at(struct bytes t, size_t at, const char *word)
{
    for (; *word; word++, at++) {
        if (at >= t.len || char_lower(t.p[at]) != (uint8_t)*word)
            return false;
    }
    return true;
}

bool literal_at(struct bytes t, size_t at, const char *word)
{
    for (; *word; word++, at++) {
        if (!char_at(t, at, *word))
            return false;
    }
    return true;
}
