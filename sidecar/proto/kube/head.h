/* SPDX-License-Identifier: Apache-2.0
 * Heads of HTTP/1.1 messages and the framing of what follows, read strictly: whatever two readers
 * could understand differently is no message. Pure; used for both legs, so that the guard and what
 * it forwards never disagree.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"

#define HTTP_HEAD_MAX    ((size_t)64 << 10) /* with the empty line */
#define HTTP_MAX_HEADERS 100

enum http_framing { HTTP_NO_BODY = 0, HTTP_LENGTH, HTTP_CHUNKED, HTTP_TO_CLOSE };

struct http_header {
    struct bytes name, value;
};

struct http_head {
    struct bytes method, target; /* of a request */
    unsigned status;             /* of a response */
    struct http_header headers[HTTP_MAX_HEADERS];
    size_t n;
    enum http_framing framing;
    uint64_t length; /* HTTP_LENGTH */
    bool close;      /* Connection: close */
    bool upgrade;    /* Connection: upgrade, and an Upgrade */
    bool expects_continue;
};

/* Length of the head at the start of `in`, with its empty line; 0: more is needed; -EBADMSG: a line
 * that does not end with CR LF, a NUL; -E2BIG. */
ssize_t http_head_find(struct bytes in) MUST_CHECK;
/* Both parse exactly one head; what they return points into it. -EBADMSG with the reason. */
int http_parse_request(struct bytes head, struct http_head *ret, struct error *err) MUST_CHECK;
/* answers_head: the request was a HEAD. */
int http_parse_response(struct bytes head, bool answers_head, struct http_head *ret,
                        struct error *err) MUST_CHECK;
/* The value of the header, or an empty run with p NULL. */
struct bytes http_header(const struct http_head *h, const char *name);
bool http_is(struct bytes text, const char *word); /* whatever the case */
/* Calls visit for each element of a comma-separated list, without blanks around it, until it says
 * false; returns whether all were visited. */
bool http_list(struct bytes value, bool (*visit)(struct bytes element, void *arg), void *arg);

/* ---- bodies ---- */

enum body_state { BODY_DATA = 0, BODY_SIZE, BODY_AFTER_CHUNK, BODY_TRAILER, BODY_END };

struct http_body {
    enum http_framing framing;
    enum body_state state;
    uint64_t left; /* of the length or of the chunk */
    uint8_t line[18];
    unsigned line_len;
};

void http_body_init(struct http_body *b, const struct http_head *h);
/* Takes framing and payload from `in` (which is moved on) and gives the next run of payload, which
 * points into it; an empty run: more is needed, or the end (http_body_ended). -EBADMSG: chunk
 * extensions, trailers, sizes that are none. */
int http_body_next(struct http_body *b, struct bytes *in, struct bytes *ret) MUST_CHECK;
static inline bool http_body_ended(const struct http_body *b)
{
    return b->state == BODY_END;
}
