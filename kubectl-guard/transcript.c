/* SPDX-License-Identifier: Apache-2.0
 * Lines of a record as text.
 */
#include "transcript.h"

#include "object.h"
#include "text.h"

#include <json-c/json.h>
#include <stdio.h>

typedef void render_fn(struct transcript *t, struct json_object *line, struct buffer *out);

#define INDENT "    "

enum tint { TINT_NONE = 0, TINT_RED = 31, TINT_GREEN = 32, TINT_YELLOW = 33, TINT_DIM = 2 };

static void tint(const struct transcript *t, struct buffer *out, enum tint c)
{
    if (t->color)
        buffer_printf(out, "\x1b[%dm", c);
}

static enum tint verdict_tint(const char *verdict)
{
    if (!verdict || strcmp(verdict, "Deny") == 0)
        return TINT_RED;
    return strcmp(verdict, "Allow") == 0 ? TINT_GREEN : TINT_YELLOW;
}

static bool has(struct json_object *o, const char *key)
{
    return object_bytes(o, key).len > 0;
}

/* "before" + the field's cleaned text + "after", when the field is there. */
static void field(struct buffer *out, const char *before, struct json_object *o, const char *key,
                  const char *after)
{
    if (!has(o, key))
        return;
    buffer_printf(out, "%s", before);
    text_clean(object_bytes(o, key), TEXT_LINE, out);
    buffer_printf(out, "%s", after);
}

static void number_field(struct buffer *out, const char *before, struct json_object *o,
                         const char *key, const char *after)
{
    int64_t v = object_number(o, key, -1);

    if (v >= 0)
        buffer_printf(out, "%s%lld%s", before, (long long)v, after);
}

/* Any value, compact, for what has no better form. */
static void add_value(struct buffer *out, struct json_object *v)
{
    text_clean(bytes_str(v ? json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN |
                                                                   JSON_C_TO_STRING_NOSLASHESCAPE)
                           : "null"),
               TEXT_LINE, out);
}

/* "[0:00:12.345] #3 what" without a newline. */
static void stamp(struct transcript *t, struct json_object *line, const char *what,
                  struct buffer *out)
{
    uint64_t us = object_time_us(object_text(line, "time"));
    uint64_t ms = us > t->start_us ? (us - t->start_us) / 1000 : 0;

    tint(t, out, TINT_DIM);
    buffer_printf(out, "[%u:%02u:%02u.%03u]", (unsigned)(ms / 3600000), (unsigned)(ms / 60000 % 60),
                  (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000));
    if (t->name_session)
        field(out, " ", line, "session", "");
    number_field(out, " #", line, "n", "");
    tint(t, out, TINT_NONE);
    buffer_add_u8(out, ' ');
    text_clean(bytes_str(what), TEXT_LINE, out);
}

/* ---- one function per type ---- */

static void labels(struct json_object *o, struct buffer *out)
{
    const char *sep = " (labels ";

    if (!json_object_is_type(o, json_type_object) || json_object_object_length(o) == 0)
        return;
    json_object_object_foreach(o, key, value)
    {
        buffer_printf(out, "%s", sep);
        text_clean(bytes_str(key), TEXT_LINE, out);
        buffer_add_u8(out, '=');
        text_clean(bytes_str(value ? json_object_get_string(value) : ""), TEXT_LINE, out);
        sep = ", ";
    }
    buffer_add_u8(out, ')');
}

static void render_open(struct transcript *t, struct json_object *line, struct buffer *out)
{
    struct json_object *agent = object_get(line, "agent");

    stamp(t, line, "session", out);
    field(out, " ", line, "session", "");
    field(out, " started ", line, "time", "");
    buffer_add_u8(out, '\n');
    if (agent) {
        buffer_printf(out, INDENT "agent   ");
        field(out, "", agent, "namespace", "/");
        field(out, "", agent, "pod", "");
        field(out, ", service account ", agent, "serviceAccount", "");
        labels(object_get(agent, "labels"), out);
        buffer_add_u8(out, '\n');
    }
    field(out, INDENT "client  ", line, "client", "\n");
    field(out, INDENT "target  ", line, "target", "");
    field(out, has(line, "target") ? " at " : INDENT "target  at ", line, "address", "");
    field(out, ", ", line, "protocol", "");
    buffer_printf(out, has(line, "target") || has(line, "address") ? "\n" : "");
    field(out, INDENT "policy  ", line, "policyDigest", "");
    number_field(out, " generation ", line, "policyGeneration", "");
    buffer_printf(out, has(line, "policyDigest") ? "\n" : "");
    field(out, INDENT "guard   ", line, "version", "\n");
}

static void render_auth(struct transcript *t, struct json_object *line, struct buffer *out)
{
    struct json_object *tls = object_get(line, "tls");
    bool ok = object_true(line, "ok");

    snprintf(t->database, sizeof t->database, "%s",
             object_text(line, "database") ? object_text(line, "database") : "");
    stamp(t, line, "login ", out);
    tint(t, out, ok ? TINT_GREEN : TINT_RED);
    buffer_printf(out, ok ? "ok" : "refused");
    tint(t, out, TINT_NONE);
    field(out, ": user ", line, "user", "");
    field(out, " as ", line, "upstreamUser", "");
    field(out, ", database ", line, "database", "");
    field(out, ", by ", line, "method", "");
    field(out, ", identity ", line, "identity", "");
    if (tls) {
        buffer_printf(out, ", TLS ");
        add_value(out, tls);
    }
    buffer_add_u8(out, '\n');
}

static void add_parameters(struct json_object *line, struct buffer *out)
{
    for (size_t i = 0; i < object_count(line, "parameters"); i++) {
        struct json_object *v = object_at(line, "parameters", i);

        buffer_printf(out, INDENT "$%zu = ", i + 1);
        add_value(out, v);
        buffer_add_u8(out, '\n');
    }
}

static void add_rule(struct json_object *line, struct buffer *out)
{
    field(out, " by rule ", line, "rule", "");
    field(out, " of policy ", line, "policy", "");
    field(out, ": ", line, "reason", "");
}

static void render_statement(struct transcript *t, struct json_object *line, struct buffer *out)
{
    const char *kind = object_text(line, "kind"), *verdict = object_text(line, "verdict");

    stamp(t, line, kind ? kind : "statement", out);
    buffer_add_u8(out, '\n');
    if (has(line, "text"))
        text_clean_indented(object_bytes(line, "text"), INDENT, out);
    add_parameters(line, out);
    if (!verdict)
        return;
    buffer_printf(out, INDENT "=> ");
    tint(t, out, verdict_tint(verdict));
    text_clean(bytes_str(verdict), TEXT_LINE, out);
    tint(t, out, TINT_NONE);
    add_rule(line, out);
    buffer_printf(out, object_true(line, "wouldDeny") ? " (Audit: Enforce would have denied it)\n"
                                                      : "\n");
}

static void render_decision(struct transcript *t, struct json_object *line, struct buffer *out)
{
    const char *verdict = object_text(line, "verdict");

    stamp(t, line, "decision ", out);
    tint(t, out, verdict_tint(verdict));
    text_clean(bytes_str(verdict), TEXT_LINE, out);
    tint(t, out, TINT_NONE);
    field(out, " ", line, "sqlstate", "");
    add_rule(line, out);
    field(out, " (request ", line, "requestId", ")");
    buffer_add_u8(out, '\n');
}

static void render_approval(struct transcript *t, struct json_object *line, struct buffer *out)
{
    const char *phase = object_text(line, "phase");

    stamp(t, line, "approval", out);
    field(out, " ", line, "id", "");
    buffer_add_u8(out, ' ');
    tint(t, out,
         phase && strcmp(phase, "Approved") == 0    ? TINT_GREEN
         : phase && strcmp(phase, "Requested") == 0 ? TINT_YELLOW
                                                    : TINT_RED);
    text_clean(bytes_str(phase), TEXT_LINE, out);
    tint(t, out, TINT_NONE);
    if (object_count(line, "decisions") == 0) {
        field(out, " by ", line, "by", "");
        field(out, ": ", line, "reason", "");
    }
    for (size_t i = 0; i < object_count(line, "decisions"); i++) {
        struct json_object *one = object_at(line, "decisions", i);

        field(out, "\n" INDENT, one, "decision", "");
        field(out, " by ", one, "by", "");
        field(out, " at ", one, "at", "");
        field(out, ": ", one, "reason", "");
    }
    buffer_add_u8(out, '\n');
}

static bool any_masked(struct json_object *line)
{
    for (size_t i = 0; i < object_count(line, "columns"); i++)
        if (object_true(object_at(line, "columns", i), "masked"))
            return true;
    return false;
}

static void render_result(struct transcript *t, struct json_object *line, struct buffer *out)
{
    int64_t us = object_number(line, "durationUs", -1);

    stamp(t, line, "result", out);
    field(out, " ", line, "tag", "");
    number_field(out, ", ", line, "rowCount", " rows");
    number_field(out, ", exit status ", line, "exitStatus", "");
    field(out, ", ended by signal ", line, "exitSignal", "");
    number_field(out, ", ", line, "bytes", " bytes");
    number_field(out, ", ", line, "bytesIn", " bytes in");
    if (us >= 0)
        buffer_printf(out, ", %.3f ms", (double)us / 1000.0);
    buffer_printf(out, object_true(line, "truncated") ? ", cut in the record" : "");
    buffer_printf(out, any_masked(line) ? " (* masked)\n" : "\n");
    transcript_rows(line, INDENT, out);
}

static void render_data(struct transcript *t, struct json_object *line, struct buffer *out)
{
    struct buffer content;

    stamp(t, line, "data", out);
    field(out, " ", line, "direction", "");
    field(out, " ", line, "stream", "");
    number_field(out, " ", line, "bytes", " bytes");
    buffer_add_u8(out, '\n');
    buffer_init(&content, TRANSCRIPT_MAX);
    if (transcript_content(line, &content) == 0 && buffer_len(&content))
        text_clean_indented(buffer_bytes(&content), INDENT, out);
    buffer_done(&content);
}

static void render_message(struct transcript *t, struct json_object *line, struct buffer *out)
{
    const char *type = object_text(line, "type");
    bool error = strcmp(type, "error") == 0;

    stamp(t, line, type, out);
    tint(t, out, error ? TINT_RED : TINT_YELLOW);
    field(out, " ", line, "severity", "");
    field(out, " ", line, "sqlstate", "");
    tint(t, out, TINT_NONE);
    field(out, " from ", line, "from", "");
    field(out, ": ", line, "message", "");
    buffer_add_u8(out, '\n');
}

static void render_gap(struct transcript *t, struct json_object *line, struct buffer *out)
{
    stamp(t, line, "gap: not recorded", out);
    number_field(out, ": ", line, "dropped", " dropped");
    field(out, ": ", line, "reason", "");
    buffer_add_u8(out, '\n');
}

static void render_close(struct transcript *t, struct json_object *line, struct buffer *out)
{
    stamp(t, line, "session ended", out);
    field(out, ": ", line, "reason", "");
    buffer_add_u8(out, '\n');
    number_field(out, INDENT, line, "statements", " statements");
    number_field(out, ", ", line, "denied", " denied");
    number_field(out, ", ", line, "rows", " rows");
    number_field(out, ", ", line, "bytesToClient", " bytes to the client");
    number_field(out, ", ", line, "bytesToUpstream", " to the server");
    buffer_printf(out, object_number(line, "statements", -1) >= 0 ? "\n" : "");
}

static bool is_frame(const char *key)
{
    static const char *const frame[] = {"seq", "time", "type", "session", "prev", "hash", "n"};

    for (size_t i = 0; i < ARRAY_LEN(frame); i++)
        if (strcmp(key, frame[i]) == 0)
            return true;
    return false;
}

static void render_unknown(struct transcript *t, struct json_object *line, struct buffer *out)
{
    stamp(t, line, object_text(line, "type") ? object_text(line, "type") : "(no type)", out);
    json_object_object_foreach(line, key, value)
    {
        if (is_frame(key))
            continue;
        buffer_add_u8(out, ' ');
        text_clean(bytes_str(key), TEXT_LINE, out);
        buffer_add_u8(out, '=');
        add_value(out, value);
    }
    buffer_add_u8(out, '\n');
}

/* ---- as psql would show it ---- */

static void psql_auth(struct transcript *t, struct json_object *line, struct buffer *out)
{
    snprintf(t->database, sizeof t->database, "%s",
             object_text(line, "database") ? object_text(line, "database") : "");
    if (!object_true(line, "ok"))
        buffer_printf(out, t->ssh || t->kube ? "login refused\n" : "psql: error: login refused\n");
}

/* What a terminal would have shown of an SSH session, or of exec in a pod; bodies of answers are
 * not for a terminal. */
static void client_data(struct transcript *t, struct json_object *line, struct buffer *out)
{
    const char *direction = object_text(line, "direction"), *stream = object_text(line, "stream");
    struct buffer content;

    if (!t->ssh && !t->kube) {
        render_data(t, line, out);
        return;
    }
    if (!direction || strcmp(direction, "toClient") != 0)
        return;
    if (t->kube && (!stream || strcmp(stream, "response") == 0))
        return;
    buffer_init(&content, TRANSCRIPT_MAX);
    if (transcript_content(line, &content) == 0)
        terminal_filter(&t->terminal, buffer_bytes(&content), out);
    buffer_done(&content);
}

static void ssh_statement(struct json_object *line, struct buffer *out)
{
    const char *kind = object_text(line, "kind");
    bool exec = kind && strcmp(kind, "exec") == 0;

    buffer_printf(out, exec ? "$ " : "-- ");
    if (!exec)
        field(out, "", line, "kind", " ");
    text_clean(object_bytes(line, "text"), TEXT_LINE, out);
    buffer_add_u8(out, '\n');
}

/* A command line where there is one, else the request. */
static void kube_statement(struct json_object *line, struct buffer *out)
{
    size_t n = object_count(line, "argv");

    buffer_printf(out, n ? "$" : "-- ");
    for (size_t i = 0; i < n; i++) {
        buffer_add_u8(out, ' ');
        text_clean(bytes_str(json_object_get_string(object_at(line, "argv", i))), TEXT_LINE, out);
    }
    if (!n)
        text_clean(object_bytes(line, "text"), TEXT_LINE, out);
    buffer_add_u8(out, '\n');
}

static void psql_statement(struct transcript *t, struct json_object *line, struct buffer *out)
{
    if (t->kube) {
        kube_statement(line, out);
        return;
    }
    if (t->ssh) {
        ssh_statement(line, out);
        return;
    }
    text_clean(bytes_str(t->database), TEXT_LINE, out);
    buffer_printf(out, "=> ");
    text_clean(object_bytes(line, "text"), TEXT_BLOCK, out);
    buffer_add_u8(out, '\n');
    add_parameters(line, out);
}

static void psql_result(struct transcript *t, struct json_object *line, struct buffer *out)
{
    if (t->kube && !object_get(line, "exitStatus")) {
        number_field(out, "-- status ", line, "status", "");
        number_field(out, ", ", line, "bytes", " bytes\n");
        return;
    }
    if (t->ssh || t->kube) {
        number_field(out, "-- exit status ", line, "exitStatus", "\n");
        return;
    }
    if (object_count(line, "columns"))
        transcript_rows(line, "", out);
    else
        field(out, "", line, "tag", "\n");
}

static void psql_error(struct transcript *t, struct json_object *line, struct buffer *out)
{
    tint(t, out, TINT_RED);
    buffer_printf(out, "ERROR:  ");
    tint(t, out, TINT_NONE);
    field(out, "", line, "sqlstate", ": ");
    field(out, "", line, "message", "");
    buffer_add_u8(out, '\n');
}

static void psql_notice(struct transcript *t, struct json_object *line, struct buffer *out)
{
    (void)t;
    field(out, "", line, "severity", ":  ");
    field(out, "", line, "message", "");
    buffer_add_u8(out, '\n');
}

static void psql_approval(struct transcript *t, struct json_object *line, struct buffer *out)
{
    tint(t, out, TINT_YELLOW);
    buffer_printf(out, "-- approval");
    field(out, " ", line, "id", "");
    field(out, " ", line, "phase", "");
    field(out, " by ", line, "by", "");
    field(out, ": ", line, "reason", "");
    tint(t, out, TINT_NONE);
    buffer_add_u8(out, '\n');
}

/* A refusal of SSH came as a line on stderr; psql showed it as an error. */
static void client_decision(struct transcript *t, struct json_object *line, struct buffer *out)
{
    const char *verdict = object_text(line, "verdict");

    if (!t->ssh && !t->kube && verdict && strcmp(verdict, "Deny") == 0) {
        tint(t, out, TINT_RED);
        buffer_printf(out, "ERROR:  ");
        tint(t, out, TINT_NONE);
        field(out, "", line, "sqlstate", ": ");
        field(out, "", line, "reason", "");
        buffer_add_u8(out, '\n');
    }
    if (!t->ssh && !t->kube)
        return;
    tint(t, out, TINT_RED);
    field(out, "chaperone: denied: ", line, "reason", "\n");
    tint(t, out, TINT_NONE);
}

static void psql_silent(struct transcript *t, struct json_object *line, struct buffer *out)
{
    (void)t;
    (void)line;
    (void)out;
}

static const struct renderer {
    const char *type;
    render_fn *styles[2]; /* by enum transcript_style */
} renderers[] = {
    {"session.open", {render_open, psql_silent}},
    {"auth", {render_auth, psql_auth}},
    {"statement", {render_statement, psql_statement}},
    {"decision", {render_decision, client_decision}},
    {"approval", {render_approval, psql_approval}},
    {"result", {render_result, psql_result}},
    {"data", {render_data, client_data}},
    {"notice", {render_message, psql_notice}},
    {"error", {render_message, psql_error}},
    {"gap", {render_gap, render_gap}},
    {"session.close", {render_close, psql_silent}},
};

void transcript_line(struct transcript *t, struct json_object *line, struct buffer *out)
{
    const char *type = object_text(line, "type");
    render_fn *render = render_unknown;

    if (t->start_us == 0)
        t->start_us = object_time_us(object_text(line, "time"));
    if (type && strcmp(type, "session.open") == 0) {
        const char *protocol = object_text(line, "protocol");

        t->ssh = protocol && strcmp(protocol, "ssh") == 0;
        t->kube = protocol && strcmp(protocol, "kubernetes") == 0;
    }
    for (size_t i = 0; type && i < ARRAY_LEN(renderers); i++)
        if (strcmp(type, renderers[i].type) == 0)
            render = renderers[i].styles[t->style];
    render(t, line, out);
}
