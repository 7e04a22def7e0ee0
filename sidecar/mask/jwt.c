/* SPDX-License-Identifier: Apache-2.0
 * JSON web tokens (RFC 7519): a header in base64url that is a JSON object with "alg", and two
 * more parts; four more when the header has "enc" (RFC 7516).
 */
#include "scan.h"

#define HEADER_MAX 1536 /* characters of base64url */
#define PARTS_SEEN 4096 /* how far the dots are looked for; what is longer counts as a token */
#define BODY_MIN   8    /* characters behind the header: "eyJ…" in prose is not a token */

/* Value of a base64url character. */
static unsigned base64url_value(uint8_t c)
{
    if (char_is(c, CH_UPPER))
        return (unsigned)(c - 'A');
    if (char_is(c, CH_LOWER))
        return (unsigned)(c - 'a') + 26;
    if (char_is(c, CH_DIGIT))
        return (unsigned)(c - '0') + 52;
    return c == '-' ? 62 : 63;
}

static size_t decode(const uint8_t *in, size_t n, uint8_t *out)
{
    uint32_t bits = 0;
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        bits = bits << 6 | base64url_value(in[i]);
        if (i % 4 != 0)
            out[len++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return len;
}

static bool has_member(struct bytes json, const char *quoted)
{
    size_t n = strlen(quoted);
    const uint8_t *key = memmem(json.p, json.len, quoted, n);
    const uint8_t *end = json.p + json.len;

    for (; key; key = memmem(key + 1, (size_t)(end - key) - 1, quoted, n)) {
        const uint8_t *at = key + n;

        while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
            at++;
        if (at < end && *at == ':')
            return true;
    }
    return false;
}

/* How many dots the token has whose header is [start, end); 0 when it is none. */
static unsigned dots_of(struct bytes t, size_t start, size_t end)
{
    uint8_t json[HEADER_MAX];
    struct bytes header = {json, 0};

    if ((end - start) % 4 == 1)
        return 0;
    header.len = decode(t.p + start, end - start, json);
    if (header.len < 2 || json[0] != '{' || json[header.len - 1] != '}')
        return 0;
    for (size_t i = 0; i < header.len; i++) {
        if (json[i] < ' ' && json[i] != '\t' && json[i] != '\n' && json[i] != '\r')
            return 0;
    }
    if (!has_member(header, "\"alg\""))
        return 0;
    return has_member(header, "\"enc\"") ? 4 : 2;
}

/* Passes over base64url and at most *dots dots. Adds to *body what was not a dot. */
static size_t pass_parts(struct bytes t, size_t at, unsigned *dots, size_t *body)
{
    for (; at < t.len; at++) {
        if (char_is(t.p[at], CH_BASE64URL))
            ++*body;
        else if (t.p[at] == '.' && *dots > 0)
            --*dots;
        else
            break;
    }
    return at;
}

void jwt_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    size_t start = at - 2, header = at, end, body = 0;
    unsigned dots;

    if (at < 2 || !literal_at(t, start, "eyJ") || !char_starts_word(t, start, CH_BASE64URL))
        return;
    while (header - start < HEADER_MAX && char_at_is(t, header, CH_BASE64URL))
        header++;
    if (!char_at(t, header, '.'))
        return;
    dots = dots_of(t, start, header);
    if (!dots)
        return;
    end = pass_parts(t, header, &dots, &body);
    if (end - header <= PARTS_SEEN && (dots > 0 || body < BODY_MIN))
        return;
    scan_report(s, start, end, DETECT_JWT);
    if (end == t.len && s->more) {
        s->jwt_dots = s->jwt_open && s->jwt_dots > dots ? s->jwt_dots : dots;
        s->jwt_open = true;
    }
}

void scan_grown(struct scan *s, size_t old_len)
{
    size_t body = 0, end;

    if (!s->jwt_open)
        return;
    end = pass_parts(s->text, old_len, &s->jwt_dots, &body);
    if (end > old_len)
        scan_report(s, old_len, end, DETECT_JWT);
    s->jwt_open = end == s->text.len;
}
