/* SPDX-License-Identifier: Apache-2.0
 * International bank account numbers (ISO 13616): country, two check digits, as many characters
 * as the country's register entry says; in one piece or in fours.
 */
#include "scan.h"

#define IBAN_MAX 34

/* The SWIFT register, and the countries that use the form without being in it. */
static const struct {
    char country[3];
    uint8_t len;
} countries[] = {
    {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22},
    {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22}, {"CY", 28}, {"CZ", 24},
    {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18},
    {"FK", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27},
    {"GT", 28}, {"HN", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26},
    {"IT", 27}, {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20},
    {"LU", 20}, {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MN", 20},
    {"MR", 27}, {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23}, {"PK", 24},
    {"PL", 28}, {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22}, {"RU", 33}, {"SA", 24},
    {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"SO", 23}, {"ST", 25},
    {"SV", 28}, {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20},
    {"YE", 30},
};

static uint8_t upper(uint8_t c)
{
    return char_is(c, CH_LOWER) ? (uint8_t)(c - 32) : c;
}

static unsigned code_of(uint8_t first, uint8_t second)
{
    return (unsigned)first << 8 | second;
}

/* Two letters at `at`: how long an IBAN of that country is, 0 for no such country. */
static size_t country_len(struct bytes t, size_t at)
{
    unsigned code = code_of(upper(t.p[at]), upper(t.p[at + 1]));
    size_t low = 0, high = ARRAY_LEN(countries);

    while (low < high) {
        size_t mid = (low + high) / 2;
        unsigned at_mid =
            code_of((uint8_t)countries[mid].country[0], (uint8_t)countries[mid].country[1]);

        if (at_mid == code)
            return countries[mid].len;
        if (at_mid < code)
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

bool iban_is_country(struct bytes t, size_t at)
{
    return t.len - at >= 2 && country_len(t, at) != 0;
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

/* ISO 7064, mod 97-10, over the account first, then country and check digits. */
static bool mod97(const uint8_t *iban, size_t n)
{
    unsigned rest = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t c = iban[(i + 4) % n];

        if (char_is(c, CH_DIGIT))
            rest = (rest * 10 + (unsigned)(c - '0')) % 97;
        else
            rest = (rest * 100 + (unsigned)(c - 'A') + 10) % 97;
    }
    return rest == 1;
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
