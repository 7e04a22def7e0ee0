/* SPDX-License-Identifier: Apache-2.0
 * Knows masked data when it sees it again: an agent that reads masked values and writes them back
 * would destroy the real ones.
 */
#include "mask.h"
#include "scan.h"
#include "token.h"

#define STARS    (sizeof(MASK_REDACTED) - 1)
#define TAIL_MAX 4

static bool is_word(struct bytes t, size_t at)
{
    return char_at_is(t, at, CH_ALNUM | CH_HIGH) || char_at(t, at, '_');
}

static bool is_quote(struct bytes t, size_t at)
{
    return char_at(t, at, '"') || char_at(t, at, '\'');
}

/* The end of at most TAIL_MAX characters from `at` that `stop` does not hold up. */
static size_t tail_end(struct bytes t, size_t at, bool words_only)
{
    for (unsigned n = 0; n < TAIL_MAX && at < t.len; n++) {
        size_t len = utf8_len_at(t, at);

        if (words_only ? !is_word(t, at) : is_quote(t, at))
            break;
        at += len ? len : 1;
    }
    return at;
}

/* "@example.com" behind the stars. */
static size_t domain_end(struct bytes t, size_t at)
{
    struct bytes address = {t.p + at - 1, t.len - at + 1};
    uint8_t copy[256];
    size_t start, end;

    if (!char_at(t, at, '@'))
        return at;
    /* email_bounds() wants a local part, which the mask took away */
    address.len = min_size(address.len, sizeof copy);
    memcpy(copy, address.p, address.len);
    copy[0] = 'x';
    address.p = copy;
    return email_bounds(address, 1, &start, &end) ? at - 1 + end : at;
}

/* The four stars at `at`: what Partial and Redact write as a whole value, as a quoted one (in JSON,
 * in a literal), or, with something kept, as a word of a longer text. */
static bool is_partial(struct bytes t, size_t at)
{
    size_t behind = at + STARS, end;
    bool whole = at == 0 || is_quote(t, at - 1);

    if (char_at(t, at - 1, '*') || is_word(t, at - 1))
        return false;
    end = domain_end(t, behind);
    if (end > behind)
        return true;
    if (whole) {
        end = tail_end(t, behind, false);
        return end == t.len || is_quote(t, end);
    }
    end = tail_end(t, behind, true);
    return end > behind && !is_word(t, end) && !char_at(t, end, '*');
}

/* "[name]", "[name ****…", "[name:tok_…". */
static bool is_named(struct bytes t, size_t at)
{
    for (unsigned d = 0; d < DETECTOR_COUNT; d++) {
        const char *name = detector_rows[d].name;
        size_t end = at + 1 + strlen(name);

        if (!literal_at(t, at + 1, name))
            continue;
        return char_at(t, end, ']') || literal_at(t, end, " ****") ||
               (char_at(t, end, ':') && token_at(t, end + 1));
    }
    return false;
}

static struct bytes trimmed(struct bytes t)
{
    while (t.len && (t.p[0] <= ' ' || t.p[t.len - 1] <= ' ')) {
        if (t.p[0] <= ' ')
            t.p++;
        t.len--;
    }
    return t;
}

/* A value that is nothing but stars: a stream masks with as many as there were bytes. */
static bool is_all_stars(struct bytes t)
{
    for (size_t i = 0; i < t.len; i++) {
        if (t.p[i] != '*')
            return false;
    }
    return t.len >= STARS;
}

bool mask_recognise(struct bytes value)
{
    struct bytes t = trimmed(value);

    if (is_all_stars(t))
        return true;
    for (size_t at = 0; at < t.len; at++) {
        switch (t.p[at]) {
        case 't':
        case 'T':
            if (token_at(t, at))
                return true;
            break;
        case '[':
            if (is_named(t, at))
                return true;
            break;
        case '*':
            if (literal_at(t, at, MASK_REDACTED) && is_partial(t, at))
                return true;
            while (char_at(t, at + 1, '*'))
                at++;
            break;
        default:
            break;
        }
    }
    return false;
}
