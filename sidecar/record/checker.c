/* SPDX-License-Identifier: Apache-2.0
 * The chain over the bytes of a record's lines, without trust in their content.
 */
#include "checker.h"

#include "file.h"
#include "src-common/clock.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>

void checker_init(struct checker *v, struct record_check *ret)
{
    memset(ret, 0, sizeof *ret);
    *v = (struct checker){.check = ret, .last_denied = -1};
    buffer_init(&v->rest, 2 * RECORD_LINE_MAX);
    memset(v->prev, '0', sizeof v->prev);
    ret->ok = true;
}

void checker_resume(struct checker *v, const char *session, uint64_t seq,
                    const char prev[static CHAIN_HEX])
{
    snprintf(v->check->session, sizeof v->check->session, "%s", session);
    v->expect = v->check->first = seq;
    memcpy(v->prev, prev, CHAIN_HEX);
    memcpy(v->check->head, prev, CHAIN_HEX);
}

void checker_done(struct checker *v)
{
    buffer_done(&v->rest);
}

struct line { /* the fixed parts of a line, pointing into it */
    uint64_t seq;
    struct bytes time, type, session, prev, hash, hashed;
};

int checker_broken(struct checker *v, const char *fmt, ...)
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
    return split_tail(&s, ret) && take_literal(&s, "{\"seq\":") && take_number(&s, &ret->seq) &&
           take_literal(&s, ",\"time\":\"") && take_word(&s, CLOCK_RFC3339_LEN, &ret->time) &&
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
static void count_denied(struct checker *v, struct json_object *o)
{
    struct json_object *n;
    int64_t number = json_object_object_get_ex(o, "n", &n) ? json_object_get_int64(n) : -1;
    const char *verdict = field(o, "verdict");

    if (!verdict || strcmp(verdict, "Deny") != 0 || (number >= 0 && number == v->last_denied))
        return;
    v->last_denied = number;
    v->check->denied++;
}

static void count_line(struct checker *v, const struct line *l, struct bytes text)
{
    struct json_tokener *tok;
    struct json_object *o;
    const char *phase;
    bool approval = bytes_eq_str(l->type, "approval");
    bool statement = bytes_eq_str(l->type, "statement");

    v->check->lines++;
    v->check->statements += statement;
    v->check->gaps += bytes_eq_str(l->type, "gap");
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

/* Times are of one length and sort as text. Clocks may be set: it is said, and no more. */
static void check_clock(struct checker *v, struct bytes time)
{
    if (time.len != sizeof v->time)
        return;
    v->check->clock_back += memcmp(time.p, v->time, sizeof v->time) < 0;
    memcpy(v->time, time.p, sizeof v->time);
    memcpy(v->check->ended, time.p, time.len);
    if (!v->check->started[0])
        memcpy(v->check->started, time.p, time.len);
}

int checker_line(struct checker *v, struct bytes text)
{
    struct record_check *c = v->check;
    char hash[CHAIN_HEX];
    struct line l;

    if (!split_line(text, &l))
        return checker_broken(v, "this is not a line of a record");
    if (c->sealed)
        return checker_broken(v, "the session was closed before this line");
    if (v->late) {
        v->late = false;
        v->expect = c->first = l.seq;
        memcpy(v->prev, l.prev.p, CHAIN_HEX);
    }
    if (l.seq != v->expect)
        return checker_broken(v, "expected line %llu, found line %llu",
                              (unsigned long long)v->expect, (unsigned long long)l.seq);
    if (!chain_session_ok(l.session))
        return checker_broken(v, "the session's name is not one that a guard gives");
    if (!c->session[0])
        memcpy(c->session, l.session.p, l.session.len);
    else if (!bytes_eq_str(l.session, c->session))
        return checker_broken(v, "this line belongs to session %.*s", (int)l.session.len,
                              (const char *)l.session.p);
    chain_hash(l.hashed, BYTES("}"), hash);
    if (memcmp(hash, l.hash.p, CHAIN_HEX) != 0)
        return checker_broken(v, "the line was changed: its hash is not that of its content");
    if (memcmp(l.prev.p, v->prev, CHAIN_HEX) != 0)
        return checker_broken(v, "the line before was changed: its hash is not the one named here");
    if (v->heads && !v->heads->fits(v->heads->arg, c->session, l.seq, hash))
        return checker_broken(v, "an Event names another hash for this line");
    memcpy(v->prev, hash, CHAIN_HEX);
    memcpy(c->head, hash, CHAIN_HEX);
    v->expect++;
    check_clock(v, l.time);
    count_line(v, &l, text);
    return 0;
}

/* Behind the first blank line nothing is part of the record. What may stand there is blank lines,
 * and a batch whose first byte a killed guard did not come to store. That batch is short, has not
 * got the next line's beginning, and never ends a session; anything else is somebody's work. */
int checker_blank(struct checker *v, struct bytes text)
{
    struct line l;

    v->blank = true;
    if (text.len == 0)
        return 0;
    v->skipped += text.len + 1;
    if (v->skipped > RECORD_WINDOW)
        return checker_broken(v, "there are blank lines before it");
    if (split_line(text, &l) && (l.seq == v->expect || bytes_eq_str(l.type, "session.close")))
        return checker_broken(v, "there are blank lines before line %llu",
                              (unsigned long long)l.seq);
    return 0;
}

/* Up to the first newline behind a hole nothing is a whole line. Gives the bytes behind it. */
static bool past_hole(struct checker *v, struct bytes *some)
{
    const uint8_t *nl = memchr(some->p, '\n', some->len);

    if (!nl)
        return false;
    *some = bytes_of(nl + 1, some->len - (size_t)(nl + 1 - some->p));
    v->hole = false;
    v->late = true;
    return true;
}

/* Checks the complete lines at the front of what is left over. */
static int check_lines(struct checker *v)
{
    struct buffer *b = &v->rest;
    int r;

    for (;;) {
        struct bytes all = buffer_bytes(b);
        const uint8_t *nl =
            all.len > v->seen ? memchr(all.p + v->seen, '\n', all.len - v->seen) : NULL;

        if (!nl) {
            v->seen = all.len;
            return all.len > RECORD_LINE_MAX ? checker_broken(v, "the line is too long") : 0;
        }
        if (v->blank || (nl == all.p && v->expect && !v->check->sealed))
            r = checker_blank(v, bytes_of(all.p, (size_t)(nl - all.p)));
        else
            r = checker_line(v, bytes_of(all.p, (size_t)(nl - all.p)));
        if (r != 0)
            return r;
        buffer_consume(b, (size_t)(nl - all.p) + 1);
        v->seen = 0;
    }
}

int checker_feed(struct checker *v, struct bytes some)
{
    if (some.len && some.p[0] == '\0' && v->expect == 0 && buffer_len(&v->rest) == 0)
        v->hole = true;
    if (v->hole && !past_hole(v, &some))
        return 0;
    if (buffer_add(&v->rest, some) != 0)
        return -ENOMEM;
    return check_lines(v);
}

int checker_end(struct checker *v)
{
    if (v->hole)
        return checker_broken(v, "this is not a record");
    return buffer_len(&v->rest) ? checker_broken(v, "the line is cut off: the file ends inside it")
                                : 0;
}
