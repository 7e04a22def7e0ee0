/* SPDX-License-Identifier: Apache-2.0
 * International bank account numbers (ISO 13616): country, two check digits, as many characters
 * as the country's register entry says; in one piece or in fours.
 */
#include "scan.h"

#define IBAN_MAX 34

#define PLACE(first, second) (((first) - 'A') * 26 + (second) - 'A')
#define C(first, second, n)  [PLACE(first, second)] = n

/* The SWIFT register, and the countries that use the form without being in it. */
static const uint8_t len_of_country[26 * 26] = {
    C('A', 'D', 24), C('A', 'E', 23), C('A', 'L', 28), C('A', 'T', 20), C('A', 'Z', 28),
    C('B', 'A', 20), C('B', 'E', 16), C('B', 'G', 22), C('B', 'H', 22), C('B', 'I', 27),
    C('B', 'R', 29), C('B', 'Y', 28), C('C', 'H', 21), C('C', 'R', 22), C('C', 'Y', 28),
    C('C', 'Z', 24), C('D', 'E', 22), C('D', 'J', 27), C('D', 'K', 18), C('D', 'O', 28),
    C('E', 'E', 20), C('E', 'G', 29), C('E', 'S', 24), C('F', 'I', 18), C('F', 'K', 18),
    C('F', 'O', 18), C('F', 'R', 27), C('G', 'B', 22), C('G', 'E', 22), C('G', 'I', 23),
    C('G', 'L', 18), C('G', 'R', 27), C('G', 'T', 28), C('H', 'N', 28), C('H', 'R', 21),
    C('H', 'U', 28), C('I', 'E', 22), C('I', 'L', 23), C('I', 'Q', 23), C('I', 'S', 26),
    C('I', 'T', 27), C('J', 'O', 30), C('K', 'W', 30), C('K', 'Z', 20), C('L', 'B', 28),
    C('L', 'C', 32), C('L', 'I', 21), C('L', 'T', 20), C('L', 'U', 20), C('L', 'V', 21),
    C('L', 'Y', 25), C('M', 'C', 27), C('M', 'D', 24), C('M', 'E', 22), C('M', 'K', 19),
    C('M', 'N', 20), C('M', 'R', 27), C('M', 'T', 31), C('M', 'U', 30), C('N', 'I', 28),
    C('N', 'L', 18), C('N', 'O', 15), C('O', 'M', 23), C('P', 'K', 24), C('P', 'L', 28),
    C('P', 'S', 29), C('P', 'T', 25), C('Q', 'A', 29), C('R', 'O', 24), C('R', 'S', 22),
    C('R', 'U', 33), C('S', 'A', 24), C('S', 'C', 31), C('S', 'D', 18), C('S', 'E', 24),
    C('S', 'I', 19), C('S', 'K', 24), C('S', 'M', 27), C('S', 'O', 23), C('S', 'T', 25),
    C('S', 'V', 28), C('T', 'L', 23), C('T', 'N', 24), C('T', 'R', 26), C('U', 'A', 29),
    C('V', 'A', 22), C('V', 'G', 24), C('X', 'K', 20), C('Y', 'E', 30),
};

static uint8_t upper(uint8_t c)
{
    return char_is(c, CH_LOWER) ? (uint8_t)(c - 32) : c;
}

/* Two characters at `at`: how long an IBAN of that country is, 0 for no such country. */
static size_t country_len(struct bytes t, size_t at)
{
    unsigned first = upper(t.p[at]), second = upper(t.p[at + 1]);

    if (first < 'A' || first > 'Z' || second < 'A' || second > 'Z')
        return 0;
    return len_of_country[PLACE(first, second)];
}

/* Reads n characters at `at`; when a separator follows the first four, one follows each four.
 * Returns the end, 0 when there are fewer. */
static size_t gather(struct bytes t, size_t at, size_t n, uint8_t *out)
{
    size_t pos = at, len;
    bool spaced = false;

    for (size_t i = 0; i < n; i++) {
        if (i == 4)
            spaced = !char_at_is(t, pos, CH_ALNUM);
        if (i > 0 && i % 4 == 0 && spaced) {
            enum separator sep = separator_at(t, pos, &len);

            if (sep != SEP_BLANK && sep != SEP_DASH)
                return 0;
            pos += len;
        }
        if (!char_at_is(t, pos, CH_ALNUM))
            return 0;
        out[i] = upper(t.p[pos++]);
    }
    return pos;
}

static uint64_t digits_of(const uint8_t *iban, size_t n, uint64_t rest)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t c = iban[i];

        rest = char_is(c, CH_DIGIT) ? rest * 10 + (unsigned)(c - '0')
                                    : rest * 100 + (unsigned)(c - 'A') + 10;
        if (rest > UINT64_MAX / 1000)
            rest %= 97;
    }
    return rest;
}

/* ISO 7064, mod 97-10, over the account first, then country and check digits. */
static bool mod97(const uint8_t *iban, size_t n)
{
    return digits_of(iban, 4, digits_of(iban + 4, n - 4, 0)) % 97 == 1;
}

/* What an IBAN has inside, whatever stands around it. Where the run ends too early there is no
 * telling. */
bool iban_may_begin(struct bytes t, size_t at)
{
    uint8_t iban[IBAN_MAX];
    size_t n = t.len - at >= 2 ? country_len(t, at) : 0;

    if (n == 0)
        return false;
    /* each separator has at most 3 bytes */
    return t.len - at < n + n / 4 * 3 || (gather(t, at, n, iban) && mod97(iban, n));
}

void iban_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    uint8_t iban[IBAN_MAX];
    size_t n, end;

    if (at < 2 || !char_is(t.p[at - 1], CH_ALPHA) || !char_is(t.p[at - 2], CH_ALPHA) ||
        !char_at_is(t, at + 1, CH_DIGIT))
        return;
    n = country_len(t, at - 2);
    if (n == 0 || !char_starts_word(t, at - 2, CH_ALNUM))
        return;
    end = gather(t, at - 2, n, iban);
    if (end && !char_at_is(t, end, CH_ALNUM) && mod97(iban, n))
        scan_report(s, at - 2, end, DETECT_IBAN);
}
