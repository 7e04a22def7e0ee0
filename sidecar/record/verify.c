/* SPDX-License-Identifier: Apache-2.0
 * Checks a record: the chain over the bytes of its lines, without trust in their content.
 */
#include "record.h"

#include "chain.h"
#include "file.h"
#include "src-common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define READ_CHUNK ((size_t)256 << 10)

struct verifier {
    struct record_check *check;
    uint64_t expect;     /* sequence number of the next line */
    int64_t last_denied; /* number of the statement last counted as denied */
    char prev[CHAIN_HEX];
    bool blank;     /* behind the lines: what a busy guard had set aside (file.h) */
    size_t skipped; /* bytes there that are no blank lines */
};

struct line { /* the fixed parts of a line, pointing into it */
    uint64_t seq;
    struct bytes type, session, prev, hash, hashed;
};

static int broken(struct verifier *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int broken(struct verifier *v, const char *fmt, ...)
{
    va_list ap;

    v->check->ok = false;
    v->check->sealed = false;
    v->check->bad_seq = v->expect;
    va_start(ap, fmt);
    vsnprintf(v->check->reason, sizeof v->check->reason, fmt, ap);
    va_end(ap);
    return -EBADMSG;
}

static bool take_literal(struct bytes *s, const char *literal)
{
    size_t n = strlen(literal);

    if (s->len < n || memcmp(s->p, literal, n) != 0)
        return false;
    *s = bytes_of(s->p + n, s->len - n);
    return true;
}

/* A decimal number as the writer prints it: no sign, no leading zero. */
static bool take_number(struct bytes *s, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;

    while (i < s->len && i < 19 && s->p[i] >= '0' && s->p[i] <= '9')
        v = v * 10 + (uint64_t)(s->p[i++] - '0');
    if (i == 0 || (i > 1 && s->p[0] == '0'))
        return false;
    *s = bytes_of(s->p + i, s->len - i);
    *ret = v;
    return true;
}

/* Up to the next quote; refuses what the writer would have had to escape. */
static bool take_word(struct bytes *s, size_t max, struct bytes *ret)
{
    size_t i = 0;

    while (i < s->len && s->p[i] != '"') {
        if (s->p[i] <= 0x20 || s->p[i] >= 0x7f || s->p[i] == '\\')
            return false;
        i++;
    }
    if (i == 0 || i > max || i == s->len)
        return false;
    *ret = bytes_of(s->p, i);
    *s = bytes_of(s->p + i, s->len - i);
    return true;
}

static bool split_tail(struct bytes *s, struct line *ret)
{
    struct bytes tail;

    if (s->len < CHAIN_TAIL_LEN)
        return false;
    tail = bytes_of(s->p + s->len - CHAIN_TAIL_LEN, CHAIN_TAIL_LEN);
    ret->hashed = bytes_of(s->p, s->len - CHAIN_HASHED_OFF);
    s->len -= CHAIN_TAIL_LEN;
    if (!take_literal(&tail, CHAIN_PREV))
        return false;
    ret->prev = bytes_of(tail.p, CHAIN_HEX);
    tail = bytes_of(tail.p + CHAIN_HEX, tail.len - CHAIN_HEX);
    if (!take_literal(&tail, CHAIN_HASH))
        return false;
    ret->hash = bytes_of(tail.p, CHAIN_HEX);
    tail = bytes_of(tail.p + CHAIN_HEX, tail.len - CHAIN_HEX);
    return bytes_eq_str(tail, CHAIN_END);
}

static bool split_line(struct bytes s, struct line *ret)
{
    struct bytes time;

    return split_tail(&s, ret) && take_literal(&s, "{\"seq\":") && take_number(&s, &ret->seq) &&
           take_literal(&s, ",\"time\":\"") && take_word(&s, CLOCK_RFC3339_LEN, &time) &&
           take_literal(&s, "\",\"type\":\"") && take_word(&s, 32, &ret->type) &&
           take_literal(&s, "\",\"session\":\"") &&
           take_word(&s, RECORD_SESSION_MAX, &ret->session) && take_literal(&s, "\"") &&
           (s.len == 0 || s.p[0] == ',');
}

static const char *field(struct json_object *o, const char *key)
{
    struct json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : NULL;
}

/* A refused statement shows in its own line, in its decision, or in both. */
static void count_denied(struct verifier *v, struct json_object *o)
{
    struct json_object *n;
    int64_t number = json_object_object_get_ex(o, "n", &n) ? json_object_get_int64(n) : -1;
    const char *verdict = field(o, "verdict");

    if (!verdict || strcmp(verdict, "Deny") != 0 || (number >= 0 && number == v->last_denied))
        return;
    v->last_denied = number;
    v->check->denied++;
}

static void count_line(struct verifier *v, const struct line *l, struct bytes text)
{
    struct json_tokener *tok;
    struct json_object *o;
    const char *phase;
    bool approval = bytes_eq_str(l->type, "approval");
    bool statement = bytes_eq_str(l->type, "statement");

    v->check->lines++;
    v->check->statements += statement;
    if (bytes_eq_str(l->type, "session.close"))
        v->check->sealed = true;
    /* Most lines say nothing that is counted, and parsing is the dear part. */
    if (!approval && ((!statement && !bytes_eq_str(l->type, "decision")) ||
                      !memmem(text.p, text.len, "\"Deny\"", 6)))
        return;
    tok = json_tokener_new();
    o = tok ? json_tokener_parse_ex(tok, (const char *)text.p, (int)text.len) : NULL;
    if (o && approval) {
        phase = field(o, "phase");
        v->check->approvals += phase && strcmp(phase, "Approved") == 0;
    } else if (o) {
        count_denied(v, o);
    }
    json_object_put(o);
    if (tok)
        json_tokener_free(tok);
}

static int check_line(struct verifier *v, struct bytes text)
{
    struct record_check *c = v->check;
    char hash[CHAIN_HEX];
    struct line l;

    if (!split_line(text, &l))
        return broken(v, "this is not a line of a record");
    if (c->sealed)
        return broken(v, "the session was closed before this line");
    if (l.seq != v->expect)
        return broken(v, "expected line %llu, found line %llu", (unsigned long long)v->expect,
                      (unsigned long long)l.seq);
    if (!chain_session_ok(l.session))
        return broken(v, "the session's name is not one that a guard gives");
    if (v->expect == 0)
        memcpy(c->session, l.session.p, l.session.len);
    else if (!bytes_eq_str(l.session, c->session))
        return broken(v, "this line belongs to session %.*s", (int)l.session.len,
                      (const char *)l.session.p);
    chain_hash(l.hashed, BYTES("}"), hash);
    if (memcmp(hash, l.hash.p, CHAIN_HEX) != 0)
        return broken(v, "the line was changed: its hash is not that of its content");
    if (memcmp(l.prev.p, v->prev, CHAIN_HEX) != 0)
        return broken(v, "the line before was changed: its hash is not the one named here");
    memcpy(v->prev, hash, CHAIN_HEX);
    memcpy(c->head, hash, CHAIN_HEX);
    v->expect++;
    count_line(v, &l, text);
    return 0;
}

/* Behind the first blank line nothing is part of the record. What may stand there is blank lines,
 * and a batch whose first byte a killed guard did not come to store. That batch is short, has not
 * got the next line's beginning, and never ends a session; anything else is somebody's work. */
static int check_blank(struct verifier *v, struct bytes text)
{
    struct line l;

    v->blank = true;
    if (text.len == 0)
        return 0;
    v->skipped += text.len + 1;
    if (v->skipped > RECORD_WINDOW)
        return broken(v, "there are blank lines before it");
    if (split_line(text, &l) && (l.seq == v->expect || bytes_eq_str(l.type, "session.close")))
        return broken(v, "there are blank lines before line %llu", (unsigned long long)l.seq);
    return 0;
}

/* Checks the complete lines at the front of the buffer. `seen` bytes are known to hold no newline.
 */
static int check_lines(struct verifier *v, struct buffer *b, size_t *seen)
{
    int r;

    for (;;) {
        struct bytes all = buffer_bytes(b);
        const uint8_t *nl = all.len > *seen ? memchr(all.p + *seen, '\n', all.len - *seen) : NULL;

        if (!nl) {
            *seen = all.len;
            return all.len > RECORD_LINE_MAX ? broken(v, "the line is too long") : 0;
        }
        if (v->blank || (nl == all.p && v->expect && !v->check->sealed))
            r = check_blank(v, bytes_of(all.p, (size_t)(nl - all.p)));
        else
            r = check_line(v, bytes_of(all.p, (size_t)(nl - all.p)));
        if (r != 0)
            return r;
        buffer_consume(b, (size_t)(nl - all.p) + 1);
        *seen = 0;
    }
}

static int check_file(struct verifier *v, int fd, struct buffer *b)
{
    size_t seen = 0;
    int r;

    for (;;) {
        uint8_t *to = buffer_reserve(b, READ_CHUNK);
        ssize_t n = to ? read(fd, to, READ_CHUNK) : -1;

        if (!to)
            return -ENOMEM;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        buffer_commit(b, (size_t)n);
        r = check_lines(v, b, &seen);
        if (r != 0)
            return r;
    }
    if (buffer_len(b))
        return broken(v, "the line is cut off: the file ends inside it");
    return 0;
}

int record_verify_file(const char *path, struct record_check *ret, struct error *err)
{
    struct verifier v = {.check = ret, .last_denied = -1};
    struct buffer b;
    int fd, r;

    memset(ret, 0, sizeof *ret);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(err, -errno, "cannot read %s: %m", path);
    buffer_init(&b, 2 * RECORD_LINE_MAX);
    memset(v.prev, '0', sizeof v.prev);
    ret->ok = true;
    r = check_file(&v, fd, &b);
    buffer_done(&b);
    close(fd);
    if (r == 0 || !ret->ok)
        return 0;
    ret->ok = ret->sealed = false;
    errno = -r;
    return error_set(err, r, "cannot read %s: %m", path);
}
