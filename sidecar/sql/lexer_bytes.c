/* SPDX-License-Identifier: Apache-2.0
 * The lexer's table of bytes, and UTF-8.
 */
#include "lexer.h"

#include "lexer_private.h"

const uint8_t lexer_classes[256] = {
    [' '] = B_SPACE,
    ['\t'] = B_SPACE,
    ['\n'] = B_SPACE,
    ['\r'] = B_SPACE,
    ['\f'] = B_SPACE, /* the vertical tab is none before PostgreSQL 16 */
    ['A'] = LETTER,
    ['C' ... 'D'] = LETTER,
    ['F' ... 'T'] = LETTER,
    ['V' ... 'W'] = LETTER,
    ['Y' ... 'Z'] = LETTER,
    ['a'] = LETTER,
    ['c' ... 'd'] = LETTER,
    ['f' ... 't'] = LETTER,
    ['v' ... 'w'] = LETTER,
    ['y' ... 'z'] = LETTER,
    ['_'] = LETTER,
    [0x80 ... 0xff] = LETTER,
    ['b'] = PREFIX,
    ['B'] = PREFIX,
    ['e'] = PREFIX,
    ['E'] = PREFIX,
    ['u'] = PREFIX,
    ['U'] = PREFIX,
    ['x'] = PREFIX,
    ['X'] = PREFIX,
    ['0' ... '9'] = B_DIGIT | IN_WORD | IN_TAG,
    ['.'] = B_DOT,
    ['$'] = B_DOLLAR | IN_WORD,
    ['\''] = B_QUOTE,
    ['"'] = B_NAME,
    ['~'] = B_OPERATOR,
    ['!'] = B_OPERATOR,
    ['@'] = B_OPERATOR,
    ['#'] = B_OPERATOR,
    ['^'] = B_OPERATOR,
    ['&'] = B_OPERATOR,
    ['|'] = B_OPERATOR,
    ['`'] = B_OPERATOR,
    ['?'] = B_OPERATOR,
    ['+'] = B_OPERATOR,
    ['-'] = B_OPERATOR,
    ['*'] = B_OPERATOR,
    ['/'] = B_OPERATOR,
    ['%'] = B_OPERATOR,
    ['<'] = B_OPERATOR,
    ['>'] = B_OPERATOR,
    ['='] = B_OPERATOR,
    [','] = B_SELF,
    [':'] = B_SELF,
    ['('] = B_OPEN,
    ['['] = B_OPEN,
    [')'] = B_CLOSE,
    [']'] = B_CLOSE,
    [';'] = B_END,
};

/* Length of the UTF-8 character at p (legal as PostgreSQL has it: shortest form, no surrogates, up
 * to U+10FFFF), 0 when there is none. */
static size_t character_length(const uint8_t *p, const uint8_t *end)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (n == 0 || p[0] > 0xf4 || n > (size_t)(end - p))
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

bool lexer_is_utf8(struct bytes text)
{
    const uint8_t *p = text.p, *end = text.p + text.len;
    uint64_t word;

    while (p < end) {
        size_t n;

        while ((size_t)(end - p) >= sizeof word) {
            memcpy(&word, p, sizeof word);
            if (word & 0x8080808080808080u)
                break;
            p += sizeof word;
        }
        if (p == end)
            break;
        n = character_length(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}
