/* SPDX-License-Identifier: Apache-2.0
 * Pieces of JSON.
 */
#include "cut.h"

#include <errno.h>

#define MAX_DEPTH 200

/* What a list has beside its elements: nothing of an object's content. */
static const char *const around[] = {
    "kind",    "apiVersion", "metadata",          "items", "rows", "code", "status",
    "message", "details",    "columnDefinitions", "reason"};

void kubecut_init(struct kubecut *c, enum kubecut_mode mode)
{
    *c = (struct kubecut){.mode = mode};
    buffer_init(&c->piece, KUBECUT_PIECE_MAX);
}

void kubecut_done(struct kubecut *c)
{
    buffer_wipe(&c->piece);
}

bool kubecut_complete(const struct kubecut *c)
{
    return c->depth == 0 && !c->in_piece && !c->in_string;
}

/* Depth at which pieces begin. */
static unsigned level(const struct kubecut *c)
{
    return c->mode == KUBECUT_LIST ? 2 : 0;
}

static bool is_blank(uint8_t b)
{
    return b == ' ' || b == '\n' || b == '\r' || b == '\t';
}

static int key_read(struct kubecut *c)
{
    c->key[c->key_len] = '\0';
    c->reading_key = false;
    c->expects_key = false;
    for (size_t i = 0; i < ARRAY_LEN(around); i++) {
        if (strcmp(around[i], c->key) == 0)
            return 0;
    }
    return -EBADMSG;
}

static int in_string(struct kubecut *c, uint8_t b)
{
    if (c->escaped) {
        c->escaped = false;
    } else if (b == '\\') {
        c->escaped = true;
    } else if (b == '"') {
        c->in_string = false;
        return c->reading_key ? key_read(c) : 0;
    }
    if (!c->reading_key)
        return 0;
    if (b == '\\' || c->key_len + 1 >= sizeof c->key)
        return -EBADMSG;
    c->key[c->key_len++] = (char)b;
    return 0;
}

static bool holds_elements(const struct kubecut *c)
{
    return strcmp(c->key, "items") == 0 || strcmp(c->key, "rows") == 0;
}

static int opens(struct kubecut *c, uint8_t b)
{
    if (c->mode == KUBECUT_LIST && c->depth == 0) {
        if (b != '{' || c->over)
            return -EBADMSG;
        c->expects_key = true;
    }
    if (c->mode == KUBECUT_LIST && c->depth == 1 && !c->in_piece) {
        if (holds_elements(c) && b != '[')
            return -EBADMSG;
        c->in_elements = holds_elements(c);
    }
    return ++c->depth > MAX_DEPTH ? -EBADMSG : 0;
}

static int closes(struct kubecut *c)
{
    if (c->depth == 0)
        return -EBADMSG;
    c->depth--;
    if (c->mode == KUBECUT_LIST && c->depth < 2)
        c->in_elements = false;
    c->over |= c->mode == KUBECUT_LIST && c->depth == 0;
    return 0;
}

static int outside(struct kubecut *c, uint8_t b)
{
    bool outermost = c->mode == KUBECUT_LIST && c->depth == 1;

    switch (b) {
    case '"':
        c->in_string = true;
        if (c->mode == KUBECUT_LIST && c->depth == 0)
            return -EBADMSG;
        c->reading_key = outermost && c->expects_key;
        c->key_len = c->reading_key ? 0 : c->key_len;
        return outermost && !c->reading_key && holds_elements(c) ? -EBADMSG : 0;
    case '{':
    case '[':
        return opens(c, b);
    case '}':
    case ']':
        return closes(c);
    case ',':
        c->expects_key |= outermost;
        return 0;
    default:
        return b < 0x20 && !is_blank(b) ? -EBADMSG : 0;
    }
}

/* A piece begins with a brace at its level. Anything else there would pass unseen. */
static int begin(struct kubecut *c, uint8_t b)
{
    bool there = c->depth == level(c) && (c->mode == KUBECUT_VALUES || c->in_elements);

    if (!there || c->in_piece || c->in_string)
        return 0;
    if (b == '{')
        c->in_piece = true;
    else if (!is_blank(b) && !(c->mode == KUBECUT_LIST && (b == ',' || b == ']')))
        return -EBADMSG;
    return 0;
}

static int step(struct kubecut *c, uint8_t b)
{
    return c->in_string ? in_string(c, b) : outside(c, b);
}

/* How many bytes change nothing: the inside of a string whose text does not matter. */
static size_t dull(const struct kubecut *c, struct bytes in)
{
    const uint8_t *end, *escape;

    if (!c->in_string || c->reading_key || c->escaped)
        return 0;
    end = memchr(in.p, '"', in.len);
    in.len = end ? (size_t)(end - in.p) : in.len;
    escape = memchr(in.p, '\\', in.len);
    return escape ? (size_t)(escape - in.p) : in.len;
}

/* The run from `at` to where something changes between piece and surroundings. */
static int run(struct kubecut *c, struct bytes *in, bool *ret_ended)
{
    bool started_in = c->in_piece;

    *ret_ended = false;
    while (in->len) {
        size_t skip = dull(c, *in);
        int rc;

        in->p += skip;
        in->len -= skip;
        if (in->len == 0)
            return 0;
        rc = begin(c, in->p[0]);
        if (rc || c->in_piece != started_in)
            return rc;
        rc = step(c, in->p[0]);
        if (rc)
            return rc;
        in->p++;
        in->len--;
        if (c->in_piece && !c->in_string && c->depth == level(c)) {
            *ret_ended = true;
            return 0;
        }
    }
    return 0;
}

int kubecut_feed(struct kubecut *c, struct bytes in,
                 int (*mask)(struct bytes piece, struct buffer *out, void *arg), void *arg,
                 struct buffer *out)
{
    while (in.len) {
        bool was_in = c->in_piece, ended;
        const uint8_t *from = in.p;
        int rc = run(c, &in, &ended);

        if (rc)
            return rc;
        if (buffer_append(was_in ? &c->piece : out, from, (size_t)(in.p - from)) != 0)
            return was_in ? -EMSGSIZE : -ENOMEM;
        if (!ended)
            continue;
        c->in_piece = false;
        rc = mask(buffer_bytes(&c->piece), out, arg);
        buffer_reset(&c->piece, (size_t)256 << 10);
        if (rc)
            return rc;
    }
    return 0;
}
