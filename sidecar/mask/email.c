/* SPDX-License-Identifier: Apache-2.0
 * Mail addresses. Local part: unquoted atoms (RFC 5321, 4.1.2) and UTF-8 (RFC 6531), without those
 * characters that separate addresses from other text in practice (= / ? { | } `). Domain: a host
 * name whose last label is letters; no address literals. Both walks stop at another '@', so that
 * text made of '@' costs nothing.
 */
#include "scan.h"

#define LOCAL_MAX  254 /* RFC 5321 allows 64; what is longer is masked all the same */
#define DOMAIN_MAX 253
#define LABEL_MAX  63

/* Blanks, quotes and punctuation beyond ASCII end an address: U+0080 to U+00BF, U+2000 to U+203F,
 * U+3000 to U+303F, the wide forms. */
static bool is_punctuation(const uint8_t *p, size_t len)
{
    if (len == 2)
        return p[0] == 0xc2;
    return len == 3 && ((p[0] == 0xe2 && p[1] == 0x80) || (p[0] == 0xe3 && p[1] == 0x80) ||
                        (p[0] == 0xef && p[1] >= 0xbc));
}

/* Length of the character of a local part that ends before `at`, 0 for none. */
static size_t local_before(struct bytes t, size_t at)
{
    if (at == 0)
        return 0;
    if (char_is(t.p[at - 1], CH_ALNUM | CH_LOCAL))
        return 1;
    for (size_t n = 2; n <= 4 && n <= at; n++) {
        if (utf8_len_at(t, at - n) == n)
            return is_punctuation(t.p + at - n, n) ? 0 : n;
    }
    return 0;
}

static size_t local_start(struct bytes t, size_t at)
{
    size_t start = at, n;

    while (at - start < LOCAL_MAX && (n = local_before(t, start)) != 0)
        start -= n;
    start = char_skip_escape(t, start);
    while (start < at && !char_is(t.p[start], CH_ALNUM | CH_HIGH) && t.p[start] != '_')
        start++; /* quotes and the like in front of it, and what masks write */
    return start < at ? start : at;
}

/* The end of the label at `at`. */
static size_t label_end(struct bytes t, size_t at, size_t limit)
{
    size_t end = at;

    while (end < limit) {
        size_t n = 1;

        if (!char_is(t.p[end], CH_ALNUM | CH_DASH)) {
            n = char_is(t.p[end], CH_HIGH) ? utf8_len_at(t, end) : 0;
            if (n < 2 || n > limit - end || is_punctuation(t.p + end, n))
                break;
        }
        end += n;
    }
    return end;
}

/* The end of the top-level name that the label begins with, or its start. Of a label that
 * begins in ASCII only the letters count, because text without blanks may go on behind an address
 * ("org-", "com2"): better one address too many than one that a dash gives away. */
static size_t top_level_end(struct bytes t, size_t start, size_t end)
{
    size_t at = start;

    if (word_at(t, start, "xn--") && end - start > 4)
        return end;
    if (!char_is(t.p[start], CH_ALNUM))
        return end; /* an international one */
    while (at < end && char_is(t.p[at], CH_ALPHA))
        at++;
    return at - start >= 2 && at - start <= LABEL_MAX ? at : start;
}

/* "icon@2x.png": a file for a screen of twice the density, not a person. */
static bool is_image_scale(struct bytes t, size_t at)
{
    static const char *const kinds[] = {"png", "jpg", "jpeg", "gif", "webp", "svg"};

    if (!char_at_is(t, at + 1, CH_DIGIT) || !char_at(t, at + 2, 'x') || !char_at(t, at + 3, '.'))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (word_at(t, at + 4, kinds[i]))
            return true;
    }
    return false;
}

bool email_bounds(struct bytes t, size_t at, size_t *start, size_t *end)
{
    size_t limit = min_size(t.len, at + 1 + DOMAIN_MAX), label = at + 1, found = 0;

    *start = local_start(t, at);
    if (*start == at || is_image_scale(t, at))
        return false;
    for (unsigned labels = 1; label < limit; labels++) {
        size_t stop = label_end(t, label, limit), top;

        if (stop == label)
            break;
        top = labels > 1 ? top_level_end(t, label, stop) : label;
        if (top > label)
            found = top;
        if (!char_at(t, stop, '.'))
            break;
        label = stop + 1;
    }
    *end = found;
    return found != 0;
}

void email_check(struct scan *s, size_t at)
{
    size_t start, end;

    if (email_bounds(s->text, at, &start, &end))
        scan_report(s, start, end, DETECT_EMAIL);
}
