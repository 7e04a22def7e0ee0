/* SPDX-License-Identifier: Apache-2.0
 * Lines of a record as articles of a page.
 */
#include "report.h"

#include "object.h"
#include "transcript_ssh.h"

#include <json-c/json.h>
#include <stdio.h>

#define CONTENT_MAX ((size_t)256 << 20)

typedef void render_fn(struct report *r, struct json_object *line, struct buffer *out);

static void add(struct buffer *out, const char *html)
{
    buffer_append(out, html, strlen(html));
}

/* ---- articles ---- */

static void add_time(struct report *r, struct json_object *line, struct buffer *out)
{
    uint64_t us = object_time_us(object_text(line, "time"));
    uint64_t ms = us > r->start_us ? (us - r->start_us) / 1000 : 0;

    add(out, "<time class=at title=\"");
    html_text(out, object_bytes(line, "time"));
    buffer_printf(out, "\">+%u:%02u:%02u.%03u</time>", (unsigned)(ms / 3600000),
                  (unsigned)(ms / 60000 % 60), (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000));
}

void report_end(struct report *r, struct buffer *out)
{
    if (r->open != -1)
        add(out, "</article>\n");
    r->open = -1;
}

/* An article of its own, or with n >= 0 one that lines of statement n may go on with. */
static void begin(struct report *r, const char *title, int64_t n, struct buffer *out)
{
    report_end(r, out);
    r->open = n >= 0 ? n : -2;
    add(out, "<article");
    if (n >= 0 && strcmp(title, "statement") == 0)
        buffer_printf(out, " id=\"s%lld\"", (long long)n);
    add(out, "><div class=top>");
    if (n >= 0)
        buffer_printf(out, "<a class=mono href=\"#s%lld\">#%lld</a>", (long long)n, (long long)n);
    add(out, "<strong>");
    html_text(out, bytes_str(title));
    add(out, "</strong>");
}

static void head_done(struct report *r, struct json_object *line, struct buffer *out)
{
    add_time(r, line, out);
    add(out, "</div>");
}

/* What belongs to a statement stands in its article, or says to which one it belongs. */
static void join(struct report *r, struct json_object *line, const char *title, struct buffer *out)
{
    int64_t n = object_number(line, "n", -1);

    if (n >= 0 && n == r->open)
        return;
    begin(r, title, n, out);
    head_done(r, line, out);
}

static const char *verdict_class(const char *verdict)
{
    if (verdict && (strcmp(verdict, "Allow") == 0 || strcmp(verdict, "Approved") == 0 ||
                    strcmp(verdict, "approve") == 0))
        return "ok";
    if (verdict && (strcmp(verdict, "RequireApproval") == 0 || strcmp(verdict, "Requested") == 0))
        return "wait";
    return "no";
}

static void badge(struct json_object *o, const char *key, struct buffer *out)
{
    const char *text = object_text(o, key);

    if (!text)
        return;
    buffer_printf(out, " <span class=\"badge %s\">", verdict_class(text));
    html_text(out, bytes_str(text));
    add(out, "</span>");
}

static void add_rule(struct json_object *line, struct buffer *out)
{
    if (!object_text(line, "rule") && !object_text(line, "reason"))
        return;
    add(out, "<p class=why>");
    html_field(out, "rule <b>", line, "rule", "</b>");
    html_field(out, " of policy ", line, "policy", "");
    html_field(out, object_text(line, "rule") ? ": " : "", line, "reason", "");
    add(out, "</p>");
}

static void add_json(struct json_object *v, struct buffer *out)
{
    html_text(out, bytes_str(v ? json_object_to_json_string_ext(
                                     v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                               : "null"));
}

/* ---- one function per type ---- */

static void render_open(struct report *r, struct json_object *line, struct buffer *out)
{
    struct json_object *labels = object_get(object_get(line, "agent"), "labels");

    begin(r, "session begins", -1, out);
    head_done(r, line, out);
    add(out, "<p class=why>");
    html_field(out, "policies ", line, "policyDigest", "");
    html_number(out, ", generation ", line, "policyGeneration", "");
    html_field(out, " · server ", line, "address", "");
    if (labels && json_object_is_type(labels, json_type_object) &&
        json_object_object_length(labels)) {
        add(out, " · labels ");
        add_json(labels, out);
    }
    add(out, "</p>");
}

static void render_auth(struct report *r, struct json_object *line, struct buffer *out)
{
    bool ok = object_true(line, "ok");

    begin(r, "login", -1, out);
    buffer_printf(out, "<span class=\"badge %s\">%s</span>", ok ? "" : "no", ok ? "ok" : "refused");
    head_done(r, line, out);
    add(out, "<p class=why>");
    html_field(out, "user <b>", line, "user", "</b>");
    html_field(out, " as ", line, "upstreamUser", "");
    html_field(out, ", database ", line, "database", "");
    html_field(out, ", by ", line, "method", "");
    html_field(out, ", identity <b>", line, "identity", "</b>");
    html_field(out, ": ", line, "reason", "");
    add(out, "</p>");
}

static void render_statement(struct report *r, struct json_object *line, struct buffer *out)
{
    begin(r, "statement", object_number(line, "n", -1), out);
    html_field(out, "<span class=what>", line, "kind", "</span>");
    badge(line, "verdict", out);
    if (object_true(line, "wouldDeny"))
        add(out, "<span class=\"badge wait\">Audit: Enforce would have denied it</span>");
    head_done(r, line, out);
    html_field(out, "<pre class=statement>", line, "text", "</pre>");
    for (size_t i = 0; i < object_count(line, "parameters"); i++) {
        buffer_printf(out, "<div class=mono>$%zu = ", i + 1);
        add_json(object_at(line, "parameters", i), out);
        add(out, "</div>");
    }
    add_rule(line, out);
    snprintf(r->reason, sizeof r->reason, "%s",
             object_text(line, "reason") ? object_text(line, "reason") : "");
}

static void render_decision(struct report *r, struct json_object *line, struct buffer *out)
{
    join(r, line, "decision", out);
    add(out, "<p class=what>decision");
    badge(line, "verdict", out);
    html_field(out, " ", line, "sqlstate", "");
    html_field(out, " · request ", line, "requestId", "");
    add(out, "</p>");
    if (!r->reason[0] || strncmp(object_text(line, "reason") ? object_text(line, "reason") : "",
                                 r->reason, sizeof r->reason - 1) != 0)
        add_rule(line, out);
}

static void add_vote(struct json_object *o, const char *key, struct buffer *out)
{
    badge(o, key, out);
    html_field(out, " by <b>", o, "by", "</b>");
    html_field(out, " at ", o, "at", "");
    html_field(out, ": ", o, "reason", "");
}

static void render_approval(struct report *r, struct json_object *line, struct buffer *out)
{
    join(r, line, "approval", out);
    add(out, "<p class=\"what approval\">approval");
    html_field(out, " <span class=mono>", line, "id", "</span>");
    if (object_count(line, "decisions") == 0)
        add_vote(line, "phase", out);
    else
        badge(line, "phase", out);
    for (size_t i = 0; i < object_count(line, "decisions"); i++) {
        add(out, "<br>");
        add_vote(object_at(line, "decisions", i), "decision", out);
    }
    add(out, "</p>");
}

static bool masked_at(struct json_object *line, size_t column)
{
    return object_true(object_at(line, "columns", column), "masked");
}

static void add_cell(struct json_object *line, size_t column, struct json_object *v,
                     struct buffer *out)
{
    struct json_object *raw = object_get(v, "base64");

    if (!v) {
        add(out, "<td class=null>NULL");
        return;
    }
    buffer_printf(out, "<td%s>", masked_at(line, column) ? " class=masked" : "");
    if (raw || json_object_is_type(v, json_type_string)) {
        raw = raw ? raw : v;
        html_text(out,
                  bytes_of(json_object_get_string(raw), (size_t)json_object_get_string_len(raw)));
    } else {
        add_json(v, out);
    }
}

static void add_table(struct json_object *line, struct buffer *out)
{
    size_t columns = object_count(line, "columns");

    if (columns == 0)
        return;
    add(out, "<div class=scroll><table><tr>");
    for (size_t c = 0; c < columns; c++) {
        buffer_printf(out, "<th%s>", masked_at(line, c) ? " class=masked" : "");
        html_text(out, object_bytes(object_at(line, "columns", c), "name"));
    }
    for (size_t i = 0; i < object_count(line, "rows"); i++) {
        struct json_object *row = object_at(line, "rows", i);

        add(out, "\n<tr>");
        for (size_t c = 0; json_object_is_type(row, json_type_array) && c < columns &&
                           c < json_object_array_length(row);
             c++)
            add_cell(line, c, json_object_array_get_idx(row, c), out);
    }
    add(out, "</table></div>");
}

static void render_result(struct report *r, struct json_object *line, struct buffer *out)
{
    int64_t us = object_number(line, "durationUs", -1);

    join(r, line, "result", out);
    add_table(line, out);
    add(out, "<p class=what>result");
    html_field(out, " <b>", line, "tag", "</b>");
    html_number(out, " · status ", line, "status", "");
    html_number(out, " · exit status ", line, "exitStatus", "");
    html_field(out, " · ended by signal ", line, "exitSignal", "");
    html_number(out, " · ", line, "rowCount", " rows");
    html_number(out, " · ", line, "bytes", " bytes");
    html_number(out, " · ", line, "bytesIn", " bytes in");
    html_number(out, " · ", line, "masked", " values masked");
    if (us >= 0)
        buffer_printf(out, " · %.3f ms", (double)us / 1000);
    html_field(out, " · <span class=err>", line, "error", "</span>");
    add(out, object_true(line, "truncated") ? " · cut in the record</p>" : "</p>");
}

static void render_data(struct report *r, struct json_object *line, struct buffer *out)
{
    struct terminal plain = {0};
    struct buffer content, shown;

    join(r, line, "data", out);
    add(out, "<p class=what>");
    html_field(out, "", line, "stream", " ");
    html_field(out, "", line, "direction", "");
    html_number(out, " · ", line, "bytes", " bytes");
    add(out, "</p>");
    buffer_init(&content, CONTENT_MAX);
    buffer_init(&shown, CONTENT_MAX);
    if (transcript_content(line, &content) == 0 && buffer_len(&content)) {
        terminal_plain(&plain, buffer_bytes(&content), &shown);
        add(out, "<pre class=data>");
        html_text(out, buffer_bytes(&shown));
        add(out, "</pre>");
    }
    out->failed = out->failed || content.failed || shown.failed;
    buffer_done(&content);
    buffer_done(&shown);
}

static void render_message(struct report *r, struct json_object *line, struct buffer *out)
{
    const char *type = object_text(line, "type");
    bool error = strcmp(type, "error") == 0;

    join(r, line, type, out);
    buffer_printf(out, "<p%s>", error ? " class=err" : "");
    html_text(out, bytes_str(type));
    html_field(out, " ", line, "severity", "");
    html_field(out, " ", line, "sqlstate", "");
    html_field(out, " from the ", line, "from", "");
    html_field(out, ": ", line, "message", "");
    add(out, "</p>");
}

static void render_gap(struct report *r, struct json_object *line, struct buffer *out)
{
    begin(r, "gap", -1, out);
    add(out, "<span class=\"badge no\">not recorded</span>");
    head_done(r, line, out);
    add(out, "<p class=why>");
    html_number(out, "", line, "dropped", " dropped: ");
    html_field(out, "", line, "reason", "");
    add(out, "</p>");
}

static void render_close(struct report *r, struct json_object *line, struct buffer *out)
{
    begin(r, "session ends", -1, out);
    head_done(r, line, out);
    add(out, "<p class=why>");
    html_field(out, "", line, "reason", "");
    html_number(out, " · ", line, "bytesToClient", " bytes to the client");
    html_number(out, " · ", line, "bytesToUpstream", " to the server");
    add(out, "</p>");
}

static void render_unknown(struct report *r, struct json_object *line, struct buffer *out)
{
    const char *type = object_text(line, "type");

    begin(r, type ? type : "a line that cannot be read", -1, out);
    head_done(r, line, out);
    add(out, "<pre>");
    add_json(line, out);
    add(out, "</pre>");
}

static const struct renderer {
    const char *type;
    render_fn *render;
} renderers[] = {
    {"session.open", render_open}, {"auth", render_auth},           {"statement", render_statement},
    {"decision", render_decision}, {"approval", render_approval},   {"result", render_result},
    {"data", render_data},         {"notice", render_message},      {"error", render_message},
    {"gap", render_gap},           {"session.close", render_close},
};

void report_line(struct report *r, struct json_object *line, struct buffer *out)
{
    const char *type = object_text(line, "type");
    render_fn *render = render_unknown;

    if (r->start_us == 0)
        r->start_us = object_time_us(object_text(line, "time"));
    for (size_t i = 0; type && i < ARRAY_LEN(renderers); i++)
        if (strcmp(type, renderers[i].type) == 0)
            render = renderers[i].render;
    render(r, line, out);
}
