/* SPDX-License-Identifier: Apache-2.0
 * CSV (RFC 4180): one row for each statement, with what came of it.
 */
#include "export_formats.h"

#include "object.h"
#include "text.h"

#include <json-c/json.h>

#define CELL_MAX ((size_t)256 << 20)

/* A statement waits for what comes of it: with pipelining, results follow many statements later. */
struct pending {
    struct json_object *statement, *decision, *approval, *result, *error;
};

#define WINDOW 256
struct window {
    struct pending at[WINDOW]; /* a ring */
    size_t first, n;
    struct json_object *session; /* borrowed */
};

static void forget(struct pending *p)
{
    json_object_put(p->statement);
    json_object_put(p->decision);
    json_object_put(p->approval);
    json_object_put(p->result);
    json_object_put(p->error);
    memset(p, 0, sizeof *p);
}

/* Quoted always. A cell that a spreadsheet would take for a formula gets an apostrophe in front. */
static void cell(FILE *to, struct bytes text, bool last)
{
    struct buffer b;

    buffer_init(&b, CELL_MAX);
    text_clean(text, TEXT_BLOCK, &b);
    fputc('"', to);
    if (text.len && strchr("=+-@|%", text.p[0]))
        fputc('\'', to);
    for (size_t i = 0; i < buffer_len(&b); i++) {
        if (b.p[i] == '"')
            fputc('"', to);
        fputc(b.p[i], to);
    }
    fputs(last ? "\"\r\n" : "\",", to);
    buffer_done(&b);
}

static void text_cell(FILE *to, struct json_object *o, const char *key)
{
    cell(to, object_bytes(o, key), false);
}

static void any_cell(FILE *to, struct json_object *o, const char *key)
{
    struct json_object *v = object_get(o, key);

    cell(to, bytes_str(v ? json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN) : ""), false);
}

static void row(FILE *to, struct pending *p, struct json_object *session)
{
    struct json_object *s = p->statement;
    struct json_object *verdict =
        p->decision && object_text(p->decision, "verdict") ? p->decision : s;

    if (!s)
        return;
    any_cell(to, s, "n");
    text_cell(to, s, "time");
    text_cell(to, s, "kind");
    text_cell(to, verdict, "verdict");
    text_cell(to, s, "policy");
    text_cell(to, s, "rule");
    text_cell(to, verdict, "reason");
    text_cell(to, s, "text");
    any_cell(to, s, "parameters");
    text_cell(to, p->approval, "phase");
    text_cell(to, p->approval, "by");
    text_cell(to, p->result, "tag");
    any_cell(to, p->result, "rowCount");
    any_cell(to, p->result, "bytes");
    any_cell(to, p->result, "durationUs");
    text_cell(to, p->error, "message");
    text_cell(to, session, "session");
    text_cell(to, session, "namespace");
    text_cell(to, session, "pod");
    text_cell(to, session, "user");
    text_cell(to, session, "identity");
    cell(to, object_bytes(session, "target"), true);
}

static void keep(struct json_object **slot, struct json_object *line)
{
    json_object_put(*slot);
    *slot = json_object_get(line);
}

static void emit_first(FILE *to, struct window *w)
{
    row(to, &w->at[w->first], w->session);
    forget(&w->at[w->first]);
    w->first = (w->first + 1) % WINDOW;
    w->n--;
}

/* The youngest statement with that number. */
static struct pending *find(struct window *w, int64_t n)
{
    for (size_t i = w->n; n >= 0 && i-- > 0;) {
        struct pending *p = &w->at[(w->first + i) % WINDOW];

        if (object_number(p->statement, "n", -1) == n)
            return p;
    }
    return NULL;
}

static void take_line(FILE *to, struct window *w, struct json_object *line)
{
    const char *type = object_text(line, "type");
    struct pending *p;

    if (!type)
        return;
    if (strcmp(type, "statement") == 0) {
        if (w->n == WINDOW)
            emit_first(to, w);
        keep(&w->at[(w->first + w->n++) % WINDOW].statement, line);
        return;
    }
    p = find(w, object_number(line, "n", -1));
    if (!p)
        return;
    if (strcmp(type, "decision") == 0)
        keep(&p->decision, line);
    else if (strcmp(type, "approval") == 0)
        keep(&p->approval, line);
    else if (strcmp(type, "result") == 0)
        keep(&p->result, line);
    else if (strcmp(type, "error") == 0)
        keep(&p->error, line);
}

enum exit_code export_csv(struct recordfile *f, const struct export_about *about, FILE *to)
{
    struct window w = {.session = about->session};
    struct json_object *line;
    struct bytes text;

    if (about->n == 0)
        fputs("n,time,kind,verdict,policy,rule,reason,statement,parameters,approval,by,tag,rows,"
              "bytes,durationUs,error,session,namespace,pod,user,identity,target\r\n",
              to);
    while (recordfile_next(f, &text, &line)) {
        take_line(to, &w, line);
        json_object_put(line);
    }
    while (w.n)
        emit_first(to, &w);
    return EXIT_DONE;
}
