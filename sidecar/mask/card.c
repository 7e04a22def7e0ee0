/* SPDX-License-Identifier: Apache-2.0
 * Payment card numbers (ISO/IEC 7812) and US social security numbers: digits in groups.
 */
#include "scan.h"

#define CARD_MIN     13
#define CARD_MAX     19
#define GROUP_MIN    4  /* of every group but the last; "4 1 1 1" is not how a number is written */
#define HEX_WORD_MIN 32 /* digits inside such a word belong to a hash, not to a card */

/* Issuer ranges by leading digits, with the lengths each scheme issues, as bits. */
#define LEN(n)       (1u << (n))
#define LEN_16_TO_19 (LEN(16) | LEN(17) | LEN(18) | LEN(19))
#define LEN_13_TO_19 (LEN(13) | LEN(14) | LEN(15) | LEN_16_TO_19)
static const struct card_range {
    unsigned digits, first, last;
    uint32_t lengths;
} ranges[] = {
    {1, 4, 4, LEN(13) | LEN(16) | LEN(19)},        /* Visa */
    {2, 51, 55, LEN(16)},                          /* Mastercard */
    {4, 2221, 2720, LEN(16)},                      /* Mastercard */
    {2, 34, 34, LEN(15)},                          /* American Express */
    {2, 37, 37, LEN(15)},                          /* American Express */
    {3, 300, 305, LEN(14) | LEN_16_TO_19},         /* Diners Club */
    {2, 36, 36, LEN(14) | LEN(15) | LEN_16_TO_19}, /* Diners Club */
    {2, 38, 39, LEN(14) | LEN_16_TO_19},           /* Diners Club */
    {4, 3528, 3589, LEN_16_TO_19},                 /* JCB */
    {2, 60, 60, LEN_16_TO_19},                     /* Discover, RuPay */
    {3, 644, 659, LEN_16_TO_19},                   /* Discover, RuPay */
    {2, 62, 62, LEN_16_TO_19},                     /* UnionPay */
    {4, 8100, 8171, LEN_16_TO_19},                 /* UnionPay */
    {4, 2200, 2205, LEN_16_TO_19},                 /* Mir */
    {2, 50, 50, LEN_13_TO_19},                     /* Maestro, Verve, RuPay */
    {2, 56, 58, LEN_13_TO_19},                     /* Maestro */
    {2, 63, 63, LEN_13_TO_19},                     /* Maestro */
    {2, 67, 67, LEN_13_TO_19},                     /* Maestro */
    {4, 9792, 9792, LEN(16)},                      /* Troy */
};

static bool issued(const uint8_t *digits, unsigned n)
{
    unsigned prefix[5] = {0};

    for (unsigned i = 0; i < 4; i++)
        prefix[i + 1] = prefix[i] * 10 + digits[i];
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        const struct card_range *r = &ranges[i];

        if (prefix[r->digits] >= r->first && prefix[r->digits] <= r->last && (r->lengths >> n & 1))
            return true;
    }
    return false;
}

static bool luhn(const uint8_t *digits, unsigned n)
{
    static const uint8_t doubled[10] = {0, 2, 4, 6, 8, 1, 3, 5, 7, 9};
    unsigned sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += (n - i) % 2 ? digits[i] : doubled[digits[i]];
    return sum % 10 == 0;
}

/* Digits of a hash or an identifier in hexadecimal: one of them in a hundred would pass Luhn. */
static bool inside_hex_word(struct bytes t, size_t start, size_t end)
{
    size_t from = start, to = end;

    if (!char_at_is(t, start - 1, CH_HEX) && !char_at_is(t, end, CH_HEX))
        return false;
    while (from > 0 && start - from < HEX_WORD_MIN && char_is(t.p[from - 1], CH_XDIGIT))
        from--;
    while (to - end < HEX_WORD_MIN && char_at_is(t, to, CH_XDIGIT))
        to++;
    return to - from >= HEX_WORD_MIN;
}

/* Appends the group of digits at *pos. False when it would make too many. */
static bool take_group(struct bytes t, size_t *pos, uint8_t *digits, unsigned *n)
{
    unsigned value;
    size_t len;

    while ((len = digit_at(t, *pos, &value)) != 0) {
        if (*n == CARD_MAX)
            return false;
        digits[(*n)++] = (uint8_t)value;
        *pos += len;
    }
    return true;
}

void card_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    uint8_t digits[CARD_MAX];
    size_t pos = at, found = 0, sep;
    unsigned n = 0;

    if (at < s->card_end || is_digit_before(t, at))
        return;
    if (at >= 2 && t.p[at - 1] == '.' && is_digit_before(t, at - 1))
        return; /* a decimal fraction */
    for (unsigned groups = 1;; groups++) {
        unsigned before = n, group;

        if (!take_group(t, &pos, digits, &n))
            break;
        group = n - before;
        if (n >= CARD_MIN && (groups != 2 || group >= GROUP_MIN || before >= CARD_MIN) &&
            issued(digits, n) && luhn(digits, n))
            found = pos;
        if (group < GROUP_MIN || separator_at(t, pos, &sep) == SEP_NONE || char_at(t, pos, '.') ||
            !is_digit_at(t, pos + sep))
            break;
        pos += sep;
    }
    if (!found || inside_hex_word(t, at, found))
        return;
    s->card_end = found;
    scan_report(s, at, found, DETECT_CREDIT_CARD);
}

/* Exactly n digits at *pos, as a number. */
static bool take_number(struct bytes t, size_t *pos, unsigned n, unsigned *ret)
{
    unsigned value;

    for (*ret = 0; n; n--) {
        size_t len = digit_at(t, *pos, &value);

        if (!len)
            return false;
        *ret = *ret * 10 + value;
        *pos += len;
    }
    return true;
}

void ssn_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    unsigned area, group, serial;
    size_t pos = at, len, before;
    enum separator sep;

    if (is_digit_before(t, at) || !take_number(t, &pos, 3, &area))
        return;
    sep = separator_at(t, pos, &len);
    if (sep != SEP_BLANK && sep != SEP_DASH)
        return;
    pos += len;
    if (!take_number(t, &pos, 2, &group) || separator_at(t, pos, &len) != sep)
        return;
    pos += len;
    if (!take_number(t, &pos, 4, &serial) || is_digit_at(t, pos))
        return;
    if (separator_at(t, pos, &len) == sep && is_digit_at(t, pos + len))
        return; /* goes on in the same way: a longer number */
    if (separator_before(t, at, &before) == sep && is_digit_before(t, at - before))
        return;
    if (area == 0 || area == 666 || area >= 900 || group == 0 || serial == 0)
        return;
    scan_report(s, at, pos, DETECT_US_SSN);
}
