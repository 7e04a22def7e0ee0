/* SPDX-License-Identifier: Apache-2.0
 * Transcripts: text files (tests/wire/postgres) that say what the client and the server send and
 * what each of them must get. Every transcript is replayed whole, byte by byte, and with each chunk
 * split at each position; what comes out has to be the same each time, to the byte.
 *
 *   policy: NAME                 first: one of flow_bench.h
 *   bug: words                   the guard is known to fail this; when it no longer does, the
 *                                test fails until the line is taken out
 *   C: MESSAGE  S: MESSAGE       the client, the server sends; lines that follow each other are one
 * chunk U: MESSAGE  A: MESSAGE       what the upstream, the agent must have got since the last
 * chunk (nothing, when no line says so); `same` is the chunk itself verdict: approve | deny |
 * expire | cancel      the person's answer to what waits; `late approve`: the session hears of it
 * at `verdict: heard` policy: NAME                 later: another policy comes into force swap:
 * NAME                   the same, and the flow takes it up at once force: NAME the same, and the
 * session has not heard of it yet waits: judge | approval | catalog | no end: WORDS | no why the
 * session is over; `no` is assumed at the end record: "WORDS"  unrecorded: "WORDS" stands, must not
 * stand in the record
 *
 * A MESSAGE is a name of the protocol and its fields: "text" (with NUL), 'bytes' (without),
 * i8:N i16:N i32:N, x00ff, rep:COUNT:'x'. Short forms: see `short_forms`. Error~ CODE "words"
 * stands for any error with that code whose message has these words (Fatal~, Notice~ alike). The
 * word CANARY must reach neither the agent nor the record, in any transcript.
 */
#pragma once

#include "flow_bench.h"

#include <ctype.h>
#include <errno.h>

enum step_kind {
    STEP_SEND,
    STEP_EXPECT,
    STEP_PERSON,
    STEP_POLICY,
    STEP_SWAP,
    STEP_FORCE,
    STEP_WAITS,
    STEP_END
};

struct step {
    enum step_kind kind;
    enum side side;        /* SEND: who; EXPECT: to whom */
    struct buffer bytes;   /* what is sent, or has to come */
    char pattern, code[6]; /* EXPECT: 'E' or 'N' with any text */
    bool same;
    char word[160];
    unsigned line;
};

struct transcript {
    const char *path;
    char policy[32], bug[200];
    struct step *steps;
    size_t n, cap;
    char *recorded[16], *unrecorded[16];
    size_t n_recorded, n_unrecorded;
    char failure[2048]; /* of the last run */
};

/* ---- reading ---- */

static void transcript_die(const struct transcript *t, unsigned line, const char *why,
                           const char *what)
{
    fprintf(stderr, "%s:%u: %s: %s\n", t->path, line, why, what);
    abort();
}

struct token {
    char kind; /* '"', '\'', or 0: a bare word */
    char text[4096];
    size_t len;
};

static size_t unescape(const char *at, struct token *ret)
{
    char quote = *at;
    size_t i = 1;

    while (at[i] && at[i] != quote && ret->len + 1 < sizeof ret->text) {
        char c = at[i++];

        if (c == '\\' && at[i] == 'x') {
            unsigned v = 0;

            sscanf(at + i + 1, "%2x", &v);
            c = (char)v;
            i += 3;
        } else if (c == '\\') {
            c = at[i] == 'n' ? '\n' : at[i] == 't' ? '\t' : at[i] == '0' ? '\0' : at[i];
            i++;
        }
        ret->text[ret->len++] = c;
    }
    ret->text[ret->len] = '\0';
    return i + 1;
}

/* The next token of *at; false at the end of the line. */
static bool next_token(const char **at, struct token *ret)
{
    const char *p = *at + strspn(*at, " \t");

    *ret = (struct token){0};
    if (!*p || *p == '\n')
        return false;
    if (*p == '"' || *p == '\'') {
        ret->kind = *p;
        *at = p + unescape(p, ret);
        return true;
    }
    while (p[ret->len] && !isspace((unsigned char)p[ret->len])) {
        ret->text[ret->len] = p[ret->len];
        ret->len++;
    }
    *at = p + ret->len;
    return true;
}

static void put_hex(struct buffer *out, const char *hex)
{
    for (; hex[0] && hex[1]; hex += 2) {
        unsigned v = 0;

        sscanf(hex, "%2x", &v);
        buffer_add_u8(out, (uint8_t)v);
    }
}

/* The field that a token stands for by itself. */
static void put_field(struct buffer *out, const struct token *t)
{
    unsigned long n = 0;
    char c = 0;

    if (t->kind == '"')
        buffer_append(out, t->text, t->len + 1);
    else if (t->kind == '\'')
        buffer_append(out, t->text, t->len);
    else if (sscanf(t->text, "i8:%lu", &n) == 1)
        buffer_add_u8(out, (uint8_t)n);
    else if (sscanf(t->text, "i16:%lu", &n) == 1)
        buffer_add_be16(out, (uint16_t)n);
    else if (sscanf(t->text, "i32:%lu", &n) == 1)
        buffer_add_be32(out, (uint32_t)n);
    else if (sscanf(t->text, "rep:%lu:'%c'", &n, &c) == 2)
        while (n--)
            buffer_add_u8(out, (uint8_t)c);
    else if (t->text[0] == 'x')
        put_hex(out, t->text + 1);
    else
        buffer_append(out, t->text, t->len);
}

/* A value with its length; the bare word null is NULL. */
static void put_value(struct buffer *out, const struct token *t)
{
    struct buffer v;

    if (!t->kind && strcmp(t->text, "null") == 0) {
        buffer_add_be32(out, UINT32_MAX);
        return;
    }
    buffer_init(&v, 1u << 20);
    if (t->kind)
        buffer_append(&v, t->text, t->len);
    else
        put_field(&v, t);
    buffer_add_be32(out, (uint32_t)buffer_len(&v));
    buffer_add(out, buffer_bytes(&v));
    buffer_done(&v);
}

static void body_plain(struct buffer *out, const char *at)
{
    struct token t;

    while (next_token(&at, &t))
        put_field(out, &t);
}

static void body_parse(struct buffer *out, const char *at)
{
    struct token t;

    for (int i = 0; i < 2 && next_token(&at, &t); i++)
        put_field(out, &t);
    buffer_add_be16(out, 0);
}

/* Bind PORTAL STATEMENT VALUE… [/ RESULT-FORMAT…] */
static void body_bind(struct buffer *out, const char *at)
{
    struct buffer values;
    struct token t;
    uint16_t n = 0;

    for (int i = 0; i < 2 && next_token(&at, &t); i++)
        put_field(out, &t);
    buffer_init(&values, 1u << 20);
    while (next_token(&at, &t) && strcmp(t.text, "/") != 0) {
        put_value(&values, &t);
        n++;
    }
    buffer_add_be16(out, 0);
    buffer_add_be16(out, n);
    buffer_add(out, buffer_bytes(&values));
    buffer_reset(&values, 1u << 20);
    for (n = 0; next_token(&at, &t); n++)
        buffer_add_be16(&values, (uint16_t)atoi(t.text));
    buffer_add_be16(out, n);
    buffer_add(out, buffer_bytes(&values));
    buffer_done(&values);
}

static void body_execute(struct buffer *out, const char *at)
{
    struct token t;

    if (next_token(&at, &t))
        put_field(out, &t);
    buffer_add_be32(out, next_token(&at, &t) ? (uint32_t)atoi(t.text) : 0);
}

static void body_row(struct buffer *out, const char *at)
{
    struct buffer values;
    struct token t;
    uint16_t n = 0;

    buffer_init(&values, 1u << 20);
    for (; next_token(&at, &t); n++)
        put_value(&values, &t);
    buffer_add_be16(out, n);
    buffer_add(out, buffer_bytes(&values));
    buffer_done(&values);
}

/* NAME:TABLE.COLUMN:TYPE[:FORMAT] … */
static void body_columns(struct buffer *out, const char *at)
{
    const char *count = at;
    struct token t;
    uint16_t n = 0;

    while (next_token(&count, &t))
        n++;
    buffer_add_be16(out, n);
    while (next_token(&at, &t)) {
        unsigned table = 0, column = 0, type = 25, format = 0;
        char *colon = strchr(t.text, ':');

        if (colon) {
            sscanf(colon, ":%u.%u:%u:%u", &table, &column, &type, &format);
            *colon = '\0';
        }
        buffer_add_cstr(out, t.text);
        buffer_add_be32(out, table);
        buffer_add_be16(out, (uint16_t)column);
        buffer_add_be32(out, type);
        buffer_add_be16(out, 0xffff);
        buffer_add_be32(out, UINT32_MAX);
        buffer_add_be16(out, (uint16_t)format);
    }
}

static void put_error(struct buffer *out, const char *severity, const char *at)
{
    struct token t, letter;

    buffer_printf(out, "S%s", severity);
    buffer_add_u8(out, 0);
    buffer_printf(out, "V%s", severity);
    buffer_add_u8(out, 0);
    for (const char *code = "CM"; *code && next_token(&at, &t); code++) {
        buffer_add_u8(out, (uint8_t)*code);
        buffer_append(out, t.text, t.len + 1);
    }
    while (next_token(&at, &letter) && next_token(&at, &t)) {
        buffer_add_u8(out, (uint8_t)letter.text[0]);
        buffer_append(out, t.text, t.len + 1);
    }
    buffer_add_u8(out, 0);
}

/* Error CODE "message" [D "detail" …] */
static void body_error(struct buffer *out, const char *at)
{
    put_error(out, "ERROR", at);
}

static void body_fatal(struct buffer *out, const char *at)
{
    put_error(out, "FATAL", at);
}

static void body_notice(struct buffer *out, const char *at)
{
    put_error(out, "NOTICE", at);
}

static void body_copy(struct buffer *out, const char *at)
{
    (void)at;
    buffer_add_u8(out, 0);
    buffer_add_be16(out, 1);
    buffer_add_be16(out, 0);
}

static const struct short_form {
    const char *name;
    char type;
    void (*body)(struct buffer *out, const char *at);
} short_forms[] = {
    {"Query", 'Q', body_plain},
    {"Parse", 'P', body_parse},
    {"Bind", 'B', body_bind},
    {"Describe", 'D', body_plain},
    {"Execute", 'E', body_execute},
    {"Close", 'C', body_plain},
    {"Sync", 'S', body_plain},
    {"Flush", 'H', body_plain},
    {"FunctionCall", 'F', body_plain},
    {"CopyData", 'd', body_plain},
    {"CopyDone", 'c', body_plain},
    {"CopyFail", 'f', body_plain},
    {"Terminate", 'X', body_plain},
    {"Columns", 'T', body_columns},
    {"Row", 'D', body_row},
    {"Complete", 'C', body_plain},
    {"Ready", 'Z', body_plain},
    {"ParseComplete", '1', body_plain},
    {"BindComplete", '2', body_plain},
    {"CloseComplete", '3', body_plain},
    {"NoData", 'n', body_plain},
    {"ParameterDescription", 't', body_plain},
    {"PortalSuspended", 's', body_plain},
    {"EmptyQuery", 'I', body_plain},
    {"Error", 'E', body_error},
    {"Fatal", 'E', body_fatal},
    {"Notice", 'N', body_notice},
    {"ErrorFields", 'E', body_plain},
    {"Notification", 'A', body_plain},
    {"ParameterStatus", 'S', body_plain},
    {"CopyIn", 'G', body_copy},
    {"CopyOut", 'H', body_copy},
    {"KeyData", 'K', body_plain},
    {"Authentication", 'R', body_plain},
    {"NegotiateVersion", 'v', body_plain},
};

/* Assembles one message. `length:N` after the name overrides the length field. */
static bool assemble(struct buffer *out, const char *at)
{
    struct token name, t;
    const char *rest;
    size_t mark;

    next_token(&at, &name);
    if (strcmp(name.text, "raw") == 0) {
        body_plain(out, at);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(short_forms); i++) {
        unsigned long length = 0;

        if (strcmp(short_forms[i].name, name.text) != 0)
            continue;
        mark = pgwire_start(out, (uint8_t)short_forms[i].type);
        rest = at;
        if (next_token(&rest, &t) && sscanf(t.text, "length:%lu", &length) == 1)
            at = rest;
        short_forms[i].body(out, at);
        pgwire_finish(out, mark);
        if (length)
            put_be32(out->p + out->start + mark + 1, (uint32_t)length);
        return true;
    }
    return false;
}

static struct step *add_step(struct transcript *t, enum step_kind kind, unsigned line)
{
    struct step *s;

    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->steps = realloc(t->steps, t->cap * sizeof *t->steps);
        if (!t->steps)
            abort();
    }
    s = &t->steps[t->n++];
    *s = (struct step){.kind = kind, .line = line};
    buffer_init(&s->bytes, 64u << 20);
    return s;
}

static void read_expectation(struct transcript *t, struct step *s, const char *at)
{
    struct token name, word;

    if (sscanf(at, " catalog %c", &s->code[0]) == 1) {
        buffer_printf(&s->bytes, "#catalog %c#", s->code[0]);
        return;
    }
    next_token(&(const char *){at}, &name);
    if (strcmp(name.text, "same") == 0) {
        s->same = true;
    } else if (name.len && name.text[name.len - 1] == '~') {
        s->pattern = name.text[0] == 'N' ? 'N' : 'E';
        next_token(&at, &name);
        next_token(&at, &word);
        snprintf(s->code, sizeof s->code, "%.5s", word.text);
        if (next_token(&at, &word))
            snprintf(s->word, sizeof s->word, "%.150s", word.text);
    } else if (!assemble(&s->bytes, at)) {
        transcript_die(t, s->line, "no such message", at);
    }
}

static void read_sent(struct transcript *t, enum side side, const char *at, unsigned line)
{
    struct step *s = t->n ? &t->steps[t->n - 1] : NULL;
    char kind = 0;

    if (!s || s->kind != STEP_SEND || s->side != side)
        s = add_step(t, STEP_SEND, line);
    s->side = side;
    if (side == SIDE_UPSTREAM && sscanf(at, " catalog %c", &kind) == 1)
        bench_catalog_answer(&s->bytes, kind == 'T', strstr(at, "grown") != NULL);
    else if (!assemble(&s->bytes, at))
        transcript_die(t, line, "no such message", at);
}

static char *read_word(const char *at)
{
    struct token w;

    next_token(&at, &w);
    return strdup(w.text);
}

static const struct {
    const char *key;
    enum step_kind kind;
} commands[] = {
    {"verdict", STEP_PERSON}, {"policy", STEP_POLICY}, {"swap", STEP_SWAP},
    {"force", STEP_FORCE},    {"waits", STEP_WAITS},   {"end", STEP_END},
};

static bool read_command(struct transcript *t, const char *key, const char *at, unsigned line)
{
    at += strspn(at, " ");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(key, commands[i].key) == 0) {
            struct step *s = add_step(t, commands[i].kind, line);

            snprintf(s->word, sizeof s->word, "%.*s", (int)strcspn(at, "\n"), at);
            return true;
        }
    }
    return false;
}

static void read_line(struct transcript *t, const char *text, unsigned line)
{
    char key[16] = "";
    const char *at = strchr(text, ':');

    if (text[0] == '#' || text[0] == '\n')
        return;
    if (!at || at - text >= (ptrdiff_t)sizeof key)
        transcript_die(t, line, "not KEY: …", text);
    memcpy(key, text, (size_t)(at - text));
    at++;
    if (strcmp(key, "policy") == 0 && !t->policy[0]) {
        sscanf(at, " %31s", t->policy);
    } else if (strcmp(key, "bug") == 0) {
        snprintf(t->bug, sizeof t->bug, "%.*s", (int)strcspn(at, "\n"), at);
    } else if (strcmp(key, "C") == 0 || strcmp(key, "S") == 0) {
        read_sent(t, *key == 'C' ? SIDE_CLIENT : SIDE_UPSTREAM, at, line);
    } else if (strcmp(key, "A") == 0 || strcmp(key, "U") == 0) {
        struct step *s = add_step(t, STEP_EXPECT, line);

        s->side = *key == 'A' ? SIDE_CLIENT : SIDE_UPSTREAM;
        read_expectation(t, s, at);
    } else if (strcmp(key, "record") == 0 && t->n_recorded < ARRAY_LEN(t->recorded)) {
        t->recorded[t->n_recorded++] = read_word(at);
    } else if (strcmp(key, "unrecorded") == 0 && t->n_unrecorded < ARRAY_LEN(t->unrecorded)) {
        t->unrecorded[t->n_unrecorded++] = read_word(at);
    } else if (!read_command(t, key, at, line)) {
        transcript_die(t, line, "unknown key", key);
    }
}

static void transcript_read(struct transcript *t, const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    unsigned n = 0;

    *t = (struct transcript){.path = path};
    if (!f)
        transcript_die(t, 0, "cannot be opened", strerror(errno));
    while (getline(&line, &cap, f) > 0)
        read_line(t, line, ++n);
    free(line);
    fclose(f);
    if (!t->policy[0])
        transcript_die(t, n, "no policy", "");
}

static void transcript_free(struct transcript *t)
{
    for (size_t i = 0; i < t->n; i++)
        buffer_done(&t->steps[i].bytes);
    for (size_t i = 0; i < t->n_recorded; i++)
        free(t->recorded[i]);
    for (size_t i = 0; i < t->n_unrecorded; i++)
        free(t->unrecorded[i]);
    free(t->steps);
}

/* ---- running ---- */

enum split_kind { SPLIT_NONE, SPLIT_BYTES, SPLIT_AT };

struct split {
    enum split_kind kind;
    size_t step, at; /* SPLIT_AT */
};

struct run {
    struct transcript *t;
    struct bench b;
    size_t seen[2];    /* of b.out: what was expected so far */
    struct bytes sent; /* the last chunk */
    bool end_named;
};

static bool run_fail(struct run *r, const struct step *s, const char *why, struct bytes got)
{
    size_t at = (size_t)snprintf(r->t->failure, sizeof r->t->failure, "%s:%u: %s: ", r->t->path,
                                 s ? s->line : 0, why);

    for (size_t i = 0; i < got.len && i < 300 && at + 8 < sizeof r->t->failure; i++)
        at += (size_t)snprintf(r->t->failure + at, sizeof r->t->failure - at,
                               isprint(got.p[i]) ? "%c" : "\\x%02x", got.p[i]);
    return false;
}

static struct bytes run_unseen(const struct run *r, enum side side)
{
    struct bytes all = buffer_bytes(&r->b.out[side]);

    return bytes_of(all.p + r->seen[side], all.len - r->seen[side]);
}

static bool bytes_have(struct bytes all, const char *word)
{
    return !word[0] || (all.len && memmem(all.p, all.len, word, strlen(word)));
}

static bool expect_pattern(struct run *r, const struct step *s, struct bytes got)
{
    struct pgwire_msg m;

    if (pgwire_frame(PGWIRE_FROM_BACKEND, got, &m) != FRAME_OK || m.type != s->pattern ||
        !bytes_eq_str(pgwire_error_field(m.body, 'C'), s->code) ||
        !bytes_have(pgwire_error_field(m.body, 'M'), s->word))
        return run_fail(r, s, "another message is expected than", got);
    r->seen[s->side] += m.full_len;
    return true;
}

static bool run_expect(struct run *r, const struct step *s)
{
    struct bytes got = run_unseen(r, s->side);
    struct bytes want = s->same ? r->sent : buffer_bytes(&s->bytes);

    if (s->pattern)
        return expect_pattern(r, s, got);
    if (got.len < want.len || !bytes_eq(bytes_of(got.p, want.len), want))
        return run_fail(r, s, "other bytes are expected than", got);
    r->seen[s->side] += want.len;
    return true;
}

/* Everything that came was expected. */
static bool run_settled(struct run *r, const struct step *s)
{
    for (int side = 0; side < 2; side++) {
        struct bytes rest = run_unseen(r, (enum side)side);

        if (rest.len)
            return run_fail(r, s,
                            side == SIDE_CLIENT ? "unexpected, to the agent"
                                                : "unexpected, to the upstream",
                            rest);
    }
    return true;
}

static void run_send(struct run *r, size_t i, const struct split *split)
{
    const struct step *s = &r->t->steps[i];
    struct bytes all = buffer_bytes(&s->bytes);

    r->sent = all;
    while (all.len) {
        size_t n = all.len;

        if (split->kind == SPLIT_BYTES)
            n = 1;
        else if (split->kind == SPLIT_AT && split->step == i && all.len == r->sent.len)
            n = split->at;
        bench_feed(&r->b, s->side, bytes_of(all.p, n));
        all = bytes_of(all.p + n, all.len - n);
    }
}

static void run_person(struct run *r, const struct step *s)
{
    struct error err = {""};

    if (strcmp(s->word, "expire") == 0) {
        bench_end_waiting(&r->b, APPROVAL_EXPIRED);
    } else if (strcmp(s->word, "cancel") == 0) {
        bench_end_waiting(&r->b, APPROVAL_WITHDRAWN);
    } else if (strcmp(s->word, "heard") == 0) {
        bench_take_decision(&r->b);
    } else {
        bool late = strncmp(s->word, "late ", 5) == 0;
        const char *word = s->word + (late ? 5 : 0);

        if (approvals_decide(bench_guard.approvals, r->b.flow.approval_id,
                             strcmp(word, "approve") == 0, "uid:0(root)", 0, "because", 0, 0,
                             &err) != 0)
            transcript_die(r->t, s->line, "decide", err.text);
        if (!late)
            bench_take_decision(&r->b);
    }
}

static bool run_waits(struct run *r, const struct step *s)
{
    static const char *const names[] = {"no", "judge", "context", "catalog", "approval", "queue"};

    return strcmp(names[r->b.flow.park], s->word) == 0 ||
           run_fail(r, s, "waits for", bytes_str(names[r->b.flow.park]));
}

static bool run_end(struct run *r, const struct step *s)
{
    const char *why = r->b.flow.end_reason ? r->b.flow.end_reason : "no";

    r->end_named = true;
    return bytes_have(bytes_str(why), s->word) || run_fail(r, s, "ended", bytes_str(why));
}

static bool run_step(struct run *r, size_t i, const struct split *split)
{
    const struct step *s = &r->t->steps[i];

    if (s->kind == STEP_EXPECT)
        return run_expect(r, s);
    if (s->kind == STEP_WAITS)
        return run_waits(r, s);
    if (s->kind == STEP_END)
        return run_end(r, s);
    if (!run_settled(r, s))
        return false;
    switch (s->kind) {
    case STEP_SEND:
        run_send(r, i, split);
        return true;
    case STEP_PERSON:
        run_person(r, s);
        return true;
    case STEP_POLICY:
        bench_change_policy(&r->b, s->word);
        return true;
    case STEP_SWAP:
        bench_change_policy(&r->b, s->word);
        r->b.flow.park = PGPARK_CONTEXT;
        bench_serve(&r->b);
        return true;
    case STEP_FORCE:
        r->b.policy = bench_policy(s->word);
        bench_use_policy(r->b.policy);
        return true;
    case STEP_WAITS:
    case STEP_END:
    case STEP_EXPECT:
        break;
    }
    return false;
}

static bool run_record(struct run *r)
{
    struct bytes record;

    if (record_flush(r->b.session.record) != 0)
        return run_fail(r, NULL, "record", bytes_str("cannot be written"));
    record = buffer_bytes(&bench_record);
    for (size_t i = 0; i < r->t->n_recorded; i++)
        if (!bytes_have(record, r->t->recorded[i]))
            return run_fail(r, NULL, r->t->recorded[i], bytes_str("is not in the record"));
    for (size_t i = 0; i < r->t->n_unrecorded; i++)
        if (bytes_have(record, r->t->unrecorded[i]))
            return run_fail(r, NULL, r->t->unrecorded[i], bytes_str("is in the record"));
    if (bytes_have(record, "CANARY"))
        return run_fail(r, NULL, "the record has the canary", record);
    return true;
}

static bool run_all(struct run *r, const struct split *split)
{
    for (size_t i = 0; i < r->t->n; i++)
        if (!run_step(r, i, split))
            return false;
    if (!run_settled(r, NULL))
        return false;
    if (bytes_have(buffer_bytes(&r->b.out[SIDE_CLIENT]), "CANARY"))
        return run_fail(r, NULL, "the canary got out", buffer_bytes(&r->b.out[SIDE_CLIENT]));
    if (!r->end_named && r->b.flow.end_reason)
        return run_fail(r, NULL, "ended", bytes_str(r->b.flow.end_reason));
    return run_record(r);
}

static bool transcript_run(struct transcript *t, const struct split *split)
{
    struct run *r = calloc(1, sizeof *r);
    bool ok;

    if (!r)
        abort();
    r->t = t;
    bench_open(&r->b, t->policy);
    ok = run_all(r, split);
    bench_close(&r->b);
    free(r);
    return ok;
}

/* Longer chunks are split at the positions near both ends of them, and at some between. */
#define SPLIT_EVERY 512

static bool transcript_run_splits(struct transcript *t)
{
    struct split split = {SPLIT_BYTES, 0, 0};

    if (!transcript_run(t, &split))
        return false;
    split.kind = SPLIT_AT;
    for (split.step = 0; split.step < t->n; split.step++) {
        size_t len = buffer_len(&t->steps[split.step].bytes);

        if (t->steps[split.step].kind != STEP_SEND)
            continue;
        for (split.at = 1; split.at < len; split.at++) {
            if (split.at > SPLIT_EVERY && len - split.at > SPLIT_EVERY && split.at % 997)
                continue;
            if (!transcript_run(t, &split))
                return false;
        }
    }
    return true;
}

/* All ways. On false t->failure tells the first that failed. */
BENCH_USED static bool transcript_run_all_ways(struct transcript *t)
{
    return transcript_run(t, &(struct split){SPLIT_NONE, 0, 0}) && transcript_run_splits(t);
}
