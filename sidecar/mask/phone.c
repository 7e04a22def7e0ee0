/* SPDX-License-Identifier: Apache-2.0
 * Telephone numbers: international ones (ITU-T E.164) behind a plus sign, and the North American
 * forms (AAA) BBB-CCCC, AAA-BBB-CCCC, AAA.BBB.CCCC, with or without a leading 1.
 */
#include "scan.h"

#define DIGITS_MIN 8
#define DIGITS_MAX 15

/* What has been read of an international number. */
struct number {
    size_t pos, found;
    unsigned digits, groups;
    unsigned dots, others; /* separators */
};

static unsigned count_digits(struct bytes t, size_t at, unsigned max)
{
    unsigned n = 0;

    while (n <= max && char_at_is(t, at + n, CH_DIGIT))
        n++;
    return n;
}

/* Skips what may stand between two groups: one separator, a parenthesis, both. */
static size_t skip_between(struct bytes t, size_t at, struct number *n)
{
    enum separator sep;
    size_t len;

    if (char_at(t, at, ')'))
        at++;
    sep = separator_at(t, at, &len);
    at += len;
    if (char_at(t, at, '(')) {
        at++;
        n->others++;
    }
    n->dots += sep == SEP_DOT;
    n->others += sep == SEP_BLANK || sep == SEP_DASH;
    return at;
}

/* "+2024-01-02": a date with its sign. */
static bool is_date(struct bytes t, size_t at)
{
    return count_digits(t, at, 4) == 4 && char_at(t, at + 4, '-') &&
           count_digits(t, at + 5, 2) == 2 && t.p[at + 5] <= '1' && char_at(t, at + 7, '-') &&
           count_digits(t, at + 8, 2) == 2 && t.p[at + 8] <= '3';
}

static void international(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    struct number n = {.pos = at + 1};

    if (!char_starts_word(t, at, CH_ALNUM) || char_at(t, at - 1, '+') ||
        !char_at_is(t, n.pos, CH_DIGIT) || t.p[n.pos] == '0' || is_date(t, n.pos))
        return;
    while (n.groups < DIGITS_MAX) {
        unsigned size = count_digits(t, n.pos, DIGITS_MAX);
        bool single = char_at(t, n.pos - 1, '(') && char_at(t, n.pos + 1, ')'); /* +49 (0) 30 … */
        size_t next;

        if (size == 0 || n.digits + size > DIGITS_MAX || (n.groups && size < 2 && !single))
            break;
        n.groups++;
        n.digits += size;
        n.pos += size;
        if (n.digits >= DIGITS_MIN && (n.dots != 1 || n.others)) /* not a decimal */
            n.found = n.pos;
        if (n.found && t.p[at + 1] == '1' && n.digits == 11)
            break; /* North America: exactly so many */
        next = skip_between(t, n.pos, &n);
        if (next == n.pos)
            break;
        n.pos = next;
    }
    if (n.found)
        scan_report(s, at, n.found, DETECT_PHONE);
}

/* Three digits that may begin an area code or an exchange, at *pos. */
static bool take_code(struct bytes t, size_t *pos)
{
    if (!char_at_is(t, *pos, CH_DIGIT) || t.p[*pos] < '2' || count_digits(t, *pos, 3) != 3)
        return false;
    *pos += 3;
    return true;
}

/* [(]AAA[)]sBBBsCCCC at `at`: its end, 0 when there is none. */
static size_t national_end(struct bytes t, size_t at)
{
    bool open = char_at(t, at, '(');
    enum separator first, second;
    size_t pos = at + open, len;

    if (!take_code(t, &pos) || (open && !char_at(t, pos, ')')))
        return 0;
    pos += open;
    first = separator_at(t, pos, &len);
    pos += len;
    if ((first == SEP_NONE && !open) || !take_code(t, &pos))
        return 0;
    second = separator_at(t, pos, &len);
    pos += len;
    if (second == SEP_NONE || ((first == SEP_DOT) != (second == SEP_DOT) && first != SEP_NONE))
        return 0;
    if (count_digits(t, pos, 4) != 4)
        return 0;
    pos += 4;
    if ((char_at(t, pos, '-') || char_at(t, pos, '.')) && is_digit_at(t, pos + 1))
        return 0;
    return pos;
}

static void national(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    size_t pos = at, end, len;

    if (is_digit_before(t, at))
        return;
    if (separator_before(t, at, &len) > SEP_BLANK && is_digit_before(t, at - len))
        return; /* inside a longer number, a date, a version */
    if (char_at(t, at, '1') && !char_at_is(t, at + 1, CH_DIGIT)) {
        separator_at(t, at + 1, &len);
        pos = at + 1 + len;
        if (len == 0 && !char_at(t, pos, '('))
            return;
    }
    end = national_end(t, pos);
    if (end)
        scan_report(s, at, end, DETECT_PHONE);
}

void phone_check(struct scan *s, size_t at)
{
    if (char_at(s->text, at, '+'))
        international(s, at);
    else
        national(s, at);
}
