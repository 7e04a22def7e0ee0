/* SPDX-License-Identifier: Apache-2.0
 * Classes of bytes, and the few characters beyond ASCII that people and programs put into
 * numbers: wide digits, no-break and thin blanks, typographic dashes. Every function looks at a
 * bounded number of bytes and never outside the text. Private to mask/.
 */
#pragma once

#include "src-common/bytes.h"

enum {
    CH_DIGIT = 1,
    CH_UPPER = 2,
    CH_LOWER = 4,
    CH_HEX = 8,     /* a-f and A-F; digits are CH_DIGIT */
    CH_DASH = 16,   /* - and _, which base64url has besides letters and digits */
    CH_LOCAL = 32,  /* what else may stand inside the local part of a mail address */
    CH_HIGH = 64,   /* a byte of a UTF-8 sequence */
    CH_BASE64 = 128 /* + and / */
};
#define CH_ALPHA     (CH_UPPER | CH_LOWER)
#define CH_ALNUM     (CH_ALPHA | CH_DIGIT)
#define CH_XDIGIT    (CH_HEX | CH_DIGIT)
#define CH_BASE64URL (CH_ALNUM | CH_DASH)

extern const uint8_t chars_table[256];

static inline bool char_is(uint8_t c, unsigned classes)
{
    return chars_table[c] & classes;
}

/* False outside the text. `at` may have wrapped below zero. */
static inline bool char_at_is(struct bytes t, size_t at, unsigned classes)
{
    return at < t.len && char_is(t.p[at], classes);
}

static inline bool char_at(struct bytes t, size_t at, char c)
{
    return at < t.len && t.p[at] == (uint8_t)c;
}

/* Length of the decimal digit at `at` (1, or 3 for U+FF10 to U+FF19), 0 for none. */
static inline size_t digit_at(struct bytes t, size_t at, unsigned *value)
{
    if (at >= t.len)
        return 0;
    if (char_is(t.p[at], CH_DIGIT)) {
        *value = (unsigned)(t.p[at] - '0');
        return 1;
    }
    if (t.p[at] == 0xef && t.len - at >= 3 && t.p[at + 1] == 0xbc &&
        (uint8_t)(t.p[at + 2] - 0x90) < 10) {
        *value = (unsigned)(t.p[at + 2] - 0x90);
        return 3;
    }
    return 0;
}

static inline bool is_digit_at(struct bytes t, size_t at)
{
    unsigned value;

    return digit_at(t, at, &value) != 0;
}

static inline bool is_digit_before(struct bytes t, size_t at)
{
    unsigned value;

    return (at >= 1 && char_is(t.p[at - 1], CH_DIGIT)) ||
           (at >= 3 && digit_at(t, at - 3, &value) == 3);
}

enum separator { SEP_NONE = 0, SEP_BLANK, SEP_DASH, SEP_DOT };

/* The single separator at `at`; *len gets its bytes (0 for none). */
static inline enum separator separator_at(struct bytes t, size_t at, size_t *len)
{
    *len = 0;
    if (at >= t.len)
        return SEP_NONE;
    *len = 1;
    if (t.p[at] == ' ')
        return SEP_BLANK;
    if (t.p[at] == '-')
        return SEP_DASH;
    if (t.p[at] == '.')
        return SEP_DOT;
    *len = 2;
    if (t.p[at] == 0xc2 && t.len - at >= 2 && t.p[at + 1] == 0xa0)
        return SEP_BLANK; /* U+00A0 */
    *len = 3;
    if (t.p[at] == 0xe2 && t.len - at >= 3 && t.p[at + 1] == 0x80) {
        if (t.p[at + 2] == 0x89 || t.p[at + 2] == 0xaf)
            return SEP_BLANK; /* U+2009, U+202F */
        if (t.p[at + 2] >= 0x90 && t.p[at + 2] <= 0x95)
            return SEP_DASH; /* U+2010 to U+2015 */
    }
    *len = 0;
    return SEP_NONE;
}

/* The single separator that ends just before `at`. */
static inline enum separator separator_before(struct bytes t, size_t at, size_t *len)
{
    for (size_t n = 1; n <= 3 && n <= at; n++) {
        enum separator s = separator_at(t, at - n, len);

        if (s != SEP_NONE && *len == n)
            return s;
    }
    *len = 0;
    return SEP_NONE;
}

/* True when what precedes `at` cannot be part of the same word: not one of `classes`, or the
 * tail of an escape as JSON, COPY text and URLs have them ("\n", "\u003d", "%20"). */
bool char_starts_word(struct bytes t, size_t at, unsigned classes);
/* When `at` is the letter of such an escape ("\n" in front of a word made of the same letters), the
 * offset behind the escape; else `at`. */
size_t char_skip_escape(struct bytes t, size_t at);

size_t utf8_long_len_at(struct bytes t, size_t at);
/* Length of the well-formed UTF-8 sequence at `at`, 0 when there is none. */
static inline size_t utf8_len_at(struct bytes t, size_t at)
{
    if (at < t.len && t.p[at] < 0x80)
        return 1;
    return utf8_long_len_at(t, at);
}
/* ASCII letters only. */
static inline uint8_t char_lower(uint8_t c)
{
    return char_is(c, CH_UPPER) ? (uint8_t)(c + 32) : c;
}
/* True when the text has `word` (lower case ASCII) at `at`, whatever the case. */
bool word_at(struct bytes t, size_t at, const char *word);
/* The same, exactly as written. */
bool literal_at(struct bytes t, size_t at, const char *word);
