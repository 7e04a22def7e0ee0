/* SPDX-License-Identifier: Apache-2.0
 * IPv4 and IPv6 addresses. What looks like one by chance is left alone: longer dotted numbers,
 * "v1.2.3.4", times, C++ names.
 */
#include "scan.h"

#include <arpa/inet.h>

#define IPV6_TEXT_MAX 45

/* Four decimal parts at `at`: the end, 0 when there are none. */
static size_t quad_end(struct bytes t, size_t at)
{
    size_t pos = at;

    for (unsigned part = 0; part < 4; part++) {
        unsigned value = 0, digits = 0;

        if (part && !char_at(t, pos++, '.'))
            return 0;
        for (; digits < 4 && char_at_is(t, pos, CH_DIGIT); digits++)
            value = value * 10 + (unsigned)(t.p[pos++] - '0');
        if (digits == 0 || digits > 3 || value > 255)
            return 0;
    }
    return pos;
}

void ipv4_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    size_t end = quad_end(t, at);

    if (!end || (char_at(t, end, '.') && is_digit_at(t, end + 1)) || is_digit_at(t, end))
        return;
    if (is_digit_before(t, at) || (char_at(t, at - 1, '.') && is_digit_before(t, at - 1)))
        return;
    if ((char_at(t, at - 1, 'v') || char_at(t, at - 1, 'V')) && !char_at(t, at - 2, '\\') &&
        char_starts_word(t, at - 1, CH_ALNUM))
        return; /* a version */
    scan_report(s, at, end, DETECT_IPV4);
}

/* The part of the text that may be an address around the first colon. False when a letter, digit or
 * colon stands around it, or when it is too long. */
static bool token_around(struct bytes t, size_t colon, size_t *ret_start, size_t *ret_end)
{
    size_t start = colon, end = colon;

    while (start > 0 && colon - start < 6 && char_is(t.p[start - 1], CH_XDIGIT))
        start--;
    start = min_size(char_skip_escape(t, start), colon);
    if (colon - start > 4 || !char_starts_word(t, start, CH_ALNUM) || char_at(t, start - 1, ':') ||
        char_at(t, start - 1, '_'))
        return false;
    while (end - start <= IPV6_TEXT_MAX && (char_at(t, end, ':') || char_at_is(t, end, CH_XDIGIT)))
        end++;
    *ret_start = start;
    *ret_end = end;
    return end - start <= IPV6_TEXT_MAX;
}

/* RFC 4291, 2.2. */
static bool is_ipv6(struct bytes t, size_t start, size_t end)
{
    char text[IPV6_TEXT_MAX + 1];
    struct in6_addr addr;

    if (end - start < 3 || end - start > IPV6_TEXT_MAX)
        return false;
    memcpy(text, t.p + start, end - start);
    text[end - start] = 0;
    return inet_pton(AF_INET6, text, &addr) == 1;
}

/* An address in form, but hardly one in fact: "a::b", "1::2", "face::bed"; eight bytes in
 * hexadecimal with colons between. */
static bool is_improbable(struct bytes t, size_t start, size_t end)
{
    unsigned groups = 0, pairs = 0, digits = 0;
    bool compressed = false;
    size_t first = 0;

    for (size_t at = start; at < end;) {
        size_t len = 0;

        for (; at + len < end && t.p[at + len] != ':'; len++)
            digits += char_is(t.p[at + len], CH_DIGIT);
        compressed |= len == 0 && at > start;
        if (len && at == start)
            first = len;
        groups += len != 0;
        pairs += len == 2;
        at += len + 1;
    }
    compressed |= t.p[end - 1] == ':';
    if (!compressed)
        return groups == 8 && pairs == 8;
    return groups < 3 && (digits == 0 || (first != 0 && first < 3));
}

static bool ends_word(struct bytes t, size_t at)
{
    return !char_at_is(t, at, CH_ALNUM) && !char_at(t, at, ':') && !char_at(t, at, '_');
}

void ipv6_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    size_t start, end, quad, last;

    if (!token_around(t, at, &start, &end))
        return;
    for (last = end; last > start && t.p[last - 1] != ':'; last--)
        ;
    quad = char_at(t, end, '.') ? quad_end(t, last) : 0;
    if (quad && ends_word(t, quad) && is_ipv6(t, start, quad)) {
        scan_report(s, start, quad, DETECT_IPV6);
        return;
    }
    if (!ends_word(t, end))
        return;
    if (end - start > 2 && t.p[end - 1] == ':' && t.p[end - 2] != ':')
        end--; /* punctuation */
    if (is_ipv6(t, start, end) && !is_improbable(t, start, end))
        scan_report(s, start, end, DETECT_IPV6);
}
