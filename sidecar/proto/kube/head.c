/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 heads and bodies (RFC 9112), strictly.
 */
#include "head.h"

#include <errno.h>
#include <strings.h>
#include <sys/types.h>

/* ---- characters ---- */

/* RFC 9110, 5.6.2: tchar */
static bool is_token(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');

        if (!alnum && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return b.len > 0;
}

/* Printable ASCII only; blanks and tabs where `blanks`. What is obsolete text to one reader is
 * UTF-8 to another. */
static bool is_plain(struct bytes b, bool blanks)
{
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.p[i];

        if (c >= 0x7f || c < 0x20 ? !(blanks && c == '\t') : c == ' ' && !blanks)
            return false;
    }
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct bytes trim(struct bytes b)
{
    while (b.len && is_blank(b.p[0]))
        b.p++, b.len--;
    while (b.len && is_blank(b.p[b.len - 1]))
        b.len--;
    return b;
}

bool http_is(struct bytes text, const char *word)
{
    return text.len == strlen(word) && strncasecmp((const char *)text.p, word, text.len) == 0;
}

/* ---- finding the end ---- */

ssize_t http_head_find(struct bytes in)
{
    size_t n = min_size(in.len, HTTP_HEAD_MAX), start = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t c = in.p[i];

        if (c == 0 || (c == '\n' && (i == 0 || in.p[i - 1] != '\r')))
            return -EBADMSG;
        if (i > 0 && in.p[i - 1] == '\r' && c != '\n')
            return -EBADMSG;
        if (c != '\n')
            continue;
        if (i == start + 1) /* an empty line; before the first it is none of ours */
            return start ? (ssize_t)(i + 1) : -EBADMSG;
        start = i + 1;
    }
    return in.len >= HTTP_HEAD_MAX ? -E2BIG : 0;
}

/* ---- lines ---- */

/* Cuts off the next line, without its end. */
static struct bytes next_line(struct bytes *in)
{
    const uint8_t *end = memchr(in->p, '\n', in->len);
    struct bytes line = {in->p, end && end > in->p ? (size_t)(end - in->p) - 1 : 0};

    if (end) {
        in->len -= (size_t)(end + 1 - in->p);
        in->p = end + 1;
    } else {
        in->len = 0;
    }
    return line;
}

static int parse_header(struct bytes line, struct http_head *h, struct error *err)
{
    const uint8_t *colon = memchr(line.p, ':', line.len);
    struct http_header *to;

    if (h->n == HTTP_MAX_HEADERS)
        return error_set(err, -EBADMSG, "more than %d headers", HTTP_MAX_HEADERS);
    to = &h->headers[h->n];
    if (!colon)
        return error_set(err, -EBADMSG, "a header line without a colon");
    to->name = bytes_of(line.p, (size_t)(colon - line.p));
    to->value = trim(bytes_of(colon + 1, line.len - to->name.len - 1));
    if (!is_token(to->name))
        return error_set(err, -EBADMSG, "a header's name is no token, or the line is folded");
    if (!is_plain(to->value, true))
        return error_set(err, -EBADMSG, "the header '%.*s' has control or non-ASCII characters",
                         (int)min_size(to->name.len, 60), (const char *)to->name.p);
    h->n++;
    return 0;
}

static int parse_headers(struct bytes in, struct http_head *h, struct error *err)
{
    for (;;) {
        struct bytes line = next_line(&in);
        int rc;

        if (line.len == 0)
            return in.len ? error_set(err, -EBADMSG, "bytes after the head") : 0;
        rc = parse_header(line, h, err);
        if (rc)
            return rc;
    }
}

struct bytes http_header(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++) {
        if (http_is(h->headers[i].name, name))
            return h->headers[i].value.p ? h->headers[i].value : BYTES("");
    }
    return (struct bytes){0};
}

bool http_list(struct bytes value, bool (*visit)(struct bytes element, void *arg), void *arg)
{
    while (value.len) {
        const uint8_t *comma = memchr(value.p, ',', value.len);
        size_t n = comma ? (size_t)(comma - value.p) : value.len;
        struct bytes element = trim(bytes_of(value.p, n));

        if (element.len && !visit(element, arg))
            return false;
        n += comma != NULL;
        value.p += n;
        value.len -= n;
    }
    return true;
}

/* ---- framing ---- */

/* Headers that must not be there twice: two readers would choose differently. */
static const char *const only_once[] = {
    "host",
    "content-length",
    "transfer-encoding",
    "authorization",
    "content-type",
    "content-encoding",
    "connection",
    "upgrade",
    "expect",
    "accept",
    "sec-websocket-protocol",
    "sec-websocket-key",
    "trailer",
    "te",
    "sec-websocket-accept",
    "user-agent",
};

static int check_once(const struct http_head *h, struct error *err)
{
    for (size_t k = 0; k < ARRAY_LEN(only_once); k++) {
        unsigned count = 0;

        for (size_t i = 0; i < h->n; i++)
            count += http_is(h->headers[i].name, only_once[k]);
        if (count > 1)
            return error_set(err, -EBADMSG, "the header '%s' is there %u times", only_once[k],
                             count);
    }
    return 0;
}

static int parse_length(struct bytes v, uint64_t *ret)
{
    uint64_t n = 0;

    if (v.len == 0 || v.len > 15 || (v.len > 1 && v.p[0] == '0'))
        return -EBADMSG;
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return -EBADMSG;
        n = n * 10 + (v.p[i] - '0');
    }
    *ret = n;
    return 0;
}

static int parse_framing(struct http_head *h, struct error *err)
{
    struct bytes length = http_header(h, "content-length");
    struct bytes encoding = http_header(h, "transfer-encoding");

    if (length.p && encoding.p)
        return error_set(err, -EBADMSG, "Content-Length and Transfer-Encoding");
    if (encoding.p) {
        if (!http_is(encoding, "chunked"))
            return error_set(err, -EBADMSG, "a Transfer-Encoding other than chunked");
        h->framing = HTTP_CHUNKED;
    } else if (length.p) {
        if (parse_length(length, &h->length) != 0)
            return error_set(err, -EBADMSG, "a Content-Length that is no number");
        h->framing = h->length ? HTTP_LENGTH : HTTP_NO_BODY;
    }
    return 0;
}

static bool visit_connection(struct bytes e, void *arg)
{
    struct http_head *h = arg;

    if (http_is(e, "close"))
        h->close = true;
    else if (http_is(e, "upgrade"))
        h->upgrade = true;
    else
        return http_is(e, "keep-alive") || http_is(e, "te");
    return true;
}

static int finish(struct http_head *h, bool request, struct error *err)
{
    bool named = http_list(http_header(h, "connection"), visit_connection, h);
    int rc = check_once(h, err);

    if (rc == 0)
        rc = parse_framing(h, err);
    if (rc)
        return rc;
    /* A header that Connection names would be dropped by the next hop: ours to see, its not. */
    if (!named && request)
        return error_set(err, -EBADMSG, "Connection names a header");
    h->upgrade = h->upgrade && http_header(h, "upgrade").len;
    return 0;
}

/* ---- first lines ---- */

int http_parse_request(struct bytes head, struct http_head *ret, struct error *err)
{
    struct bytes rest = head, line = next_line(&rest), expect;
    const uint8_t *first = memchr(line.p, ' ', line.len);
    static const char version[] = " HTTP/1.1";
    size_t tail = sizeof version - 1;
    int rc;

    *ret = (struct http_head){0};
    if (!first || line.len <= tail || memcmp(line.p + line.len - tail, version, tail) != 0 ||
        first >= line.p + line.len - tail)
        return error_set(err, -EBADMSG, "no request line of HTTP/1.1");
    ret->method = bytes_of(line.p, (size_t)(first - line.p));
    ret->target = bytes_of(first + 1, line.len - tail - ret->method.len - 1);
    if (!is_token(ret->method) || !ret->target.len || !is_plain(ret->target, false))
        return error_set(err, -EBADMSG, "a request line with characters that it cannot have");
    rc = parse_headers(rest, ret, err);
    if (rc || (rc = finish(ret, true, err)))
        return rc;
    if (!http_header(ret, "host").len)
        return error_set(err, -EBADMSG, "no Host");
    expect = http_header(ret, "expect");
    if (expect.p && !http_is(expect, "100-continue"))
        return error_set(err, -EBADMSG, "an Expect other than 100-continue");
    ret->expects_continue = expect.p && ret->framing != HTTP_NO_BODY;
    if (http_header(ret, "trailer").p)
        return error_set(err, -EBADMSG, "trailers are not taken");
    return 0;
}

int http_parse_response(struct bytes head, bool answers_head, struct http_head *ret,
                        struct error *err)
{
    struct bytes rest = head, line = next_line(&rest);
    int rc;

    *ret = (struct http_head){0};
    if (line.len < 12 || memcmp(line.p, "HTTP/1.1 ", 9) != 0 ||
        (line.len > 12 && line.p[12] != ' '))
        return error_set(err, -EBADMSG, "no status line of HTTP/1.1");
    for (int i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return error_set(err, -EBADMSG, "a status that is no number");
        ret->status = ret->status * 10 + (line.p[i] - '0');
    }
    rc = parse_headers(rest, ret, err);
    if (rc || (rc = finish(ret, false, err)))
        return rc;
    if (answers_head || ret->status < 200 || ret->status == 204 || ret->status == 304)
        ret->framing = HTTP_NO_BODY;
    else if (ret->framing == HTTP_NO_BODY && !http_header(ret, "content-length").p)
        ret->framing = HTTP_TO_CLOSE;
    return 0;
}

/* ---- bodies ---- */

void http_body_init(struct http_body *b, const struct http_head *h)
{
    *b = (struct http_body){.framing = h->framing, .left = h->length};
    if (h->framing == HTTP_NO_BODY)
        b->state = BODY_END;
    else if (h->framing == HTTP_CHUNKED)
        b->state = BODY_SIZE;
}

/* "1A2B": the size alone. Extensions mean nothing to us, and something else to somebody else. */
static int parse_size(const uint8_t *p, unsigned n, uint64_t *ret)
{
    uint64_t size = 0;

    if (n == 0 || n > 12)
        return -EBADMSG;
    for (unsigned i = 0; i < n; i++) {
        uint8_t c = p[i], low = c | 32;

        if (c >= '0' && c <= '9')
            size = size << 4 | (c - '0');
        else if (low >= 'a' && low <= 'f')
            size = size << 4 | (low - 'a' + 10);
        else
            return -EBADMSG;
    }
    *ret = size;
    return 0;
}

static int line_done(struct http_body *b)
{
    unsigned n = b->line_len - 2;
    int rc = 0;

    b->line_len = 0;
    if (b->state == BODY_SIZE) {
        rc = parse_size(b->line, n, &b->left);
        b->state = b->left ? BODY_DATA : BODY_TRAILER;
    } else if (n) {
        rc = -EBADMSG; /* bytes after a chunk, or trailers */
    } else {
        b->state = b->state == BODY_TRAILER ? BODY_END : BODY_SIZE;
    }
    return rc;
}

/* One byte of a line of framing. */
static int take_line(struct http_body *b, uint8_t c)
{
    bool after_cr = b->line_len && b->line[b->line_len - 1] == '\r';

    if (b->line_len == sizeof b->line || after_cr != (c == '\n'))
        return -EBADMSG;
    b->line[b->line_len++] = c;
    return c == '\n' ? line_done(b) : 0;
}

int http_body_next(struct http_body *b, struct bytes *in, struct bytes *ret)
{
    size_t n;

    *ret = (struct bytes){0};
    while (in->len && b->state != BODY_DATA && b->state != BODY_END) {
        int rc = take_line(b, in->p[0]);

        if (rc)
            return rc;
        in->p++;
        in->len--;
    }
    if (!in->len || b->state == BODY_END)
        return 0;
    n = b->framing == HTTP_TO_CLOSE || b->left > in->len ? in->len : (size_t)b->left;
    *ret = bytes_of(in->p, n);
    in->p += n;
    in->len -= n;
    if (b->framing == HTTP_TO_CLOSE)
        return 0;
    b->left -= n;
    if (b->left == 0)
        b->state = b->framing == HTTP_CHUNKED ? BODY_AFTER_CHUNK : BODY_END;
    return 0;
}
