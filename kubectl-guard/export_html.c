/* SPDX-License-Identifier: Apache-2.0
 * A session as one HTML file that needs nothing else: no other file, no network, and without
 * JavaScript all but the terminal works. Its Content-Security-Policy names the two pieces that are
 * ours, by hash: whatever else should get into the page does not run.
 */
#include "export_formats.h"

#include "object.h"
#include "report.h"
#include "report_assets.h"
#include "src-common/clock.h"

#include <json-c/json.h>

#define CAST_MAX ((size_t)32 << 20) /* of the terminal's output; a browser has to hold it */

struct page {
    FILE *to;
    struct buffer b;
    size_t cast;
    bool cut, lost;
};

static void flush(struct page *p)
{
    p->lost = p->lost || p->b.failed;
    if (!p->b.failed)
        fwrite(p->b.p + p->b.start, 1, buffer_len(&p->b), p->to);
    buffer_reset(&p->b, (size_t)1 << 20);
}

static void add(struct page *p, const char *html)
{
    buffer_append(&p->b, html, strlen(html));
}

static void head(struct page *p, const char *session)
{
    add(p, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
           "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; script-src '");
    html_csp_hash(&p->b, report_js());
    add(p, "'; style-src '");
    html_csp_hash(&p->b, report_css());
    add(p,
        "'; base-uri 'none'; form-action 'none'\">\n"
        "<meta name=referrer content=no-referrer>\n"
        "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=generator content=\"kubectl-guard " CHAPERONE_VERSION "\">\n<title>Session ");
    html_text(&p->b, bytes_str(session));
    add(p, "</title>\n<style>");
    buffer_add(&p->b, report_css());
    add(p, "</style></head>\n<body>\n");
}

static void fact(struct page *p, const char *title, struct json_object *o, const char *key)
{
    char before[160];

    snprintf(before, sizeof before, "<div><dt>%s</dt><dd>", title);
    html_field(&p->b, before, o, key, "</dd></div>\n");
}

static void fact_count(struct page *p, const char *title, uint64_t n)
{
    buffer_printf(&p->b, "<div><dt>%s</dt><dd>%llu</dd></div>\n", title, (unsigned long long)n);
}

static void integrity(struct page *p, const struct recordfile *f)
{
    const struct record_check *c = &f->check;
    bool good = c->ok && c->sealed;

    buffer_printf(&p->b, "<div class=seal><span class=\"badge %s\" id=integrity>%s</span><span>",
                  good    ? "ok"
                  : c->ok ? "wait"
                          : "no",
                  recordfile_verdict(c));
    if (!c->ok) {
        buffer_printf(&p->b, "at line %llu: ", (unsigned long long)c->bad_seq);
        html_text(&p->b, bytes_str(c->reason));
    } else if (!c->sealed) {
        add(p, "the end is missing: the session was still open, the guard died, or lines were cut "
               "off");
    } else {
        buffer_printf(&p->b, "the chain holds over all %llu lines", (unsigned long long)c->lines);
    }
    if (c->key[0])
        buffer_printf(&p->b, "; signed by <code>%s</code>", c->key);
    add(p, f->only ? ". <b>A part of it is shown here.</b></span></div>\n" : "</span></div>\n");
}

static void overview(struct page *p, const struct recordfile *f, struct json_object *s)
{
    add(p, "<header><h1>Session ");
    html_text(&p->b, bytes_str(f->check.session));
    add(p, "</h1><p>");
    html_field(&p->b, "", s, "namespace", "/");
    html_field(&p->b, "", s, "pod", "");
    html_field(&p->b, " → ", s, "target", "");
    html_field(&p->b, ", ", s, "started", "");
    add(p, "</p></header>\n");
    integrity(p, f);
    add(p, "<section class=card><dl class=facts>\n");
    fact(p, "Namespace", s, "namespace");
    fact(p, "Pod", s, "pod");
    fact(p, "Service account", s, "serviceAccount");
    fact(p, "Identity", s, "identity");
    fact(p, "User", s, "user");
    fact(p, "Target", s, "target");
    fact(p, "Database", s, "database");
    fact(p, "Protocol", s, "protocol");
    fact(p, "Client", s, "client");
    fact(p, "Began", s, "started");
    fact(p, "Last line", s, "ended");
    fact_count(p, "Statements", f->check.statements);
    fact_count(p, "Denied", f->check.denied);
    fact_count(p, "Approvals", f->check.approvals);
    if (f->check.gaps)
        fact_count(p, "Gaps", f->check.gaps);
    add(p, "</dl></section>\n");
}

static void player(struct page *p)
{
    add(p,
        "<section id=player hidden><h2>Terminal</h2><div class=\"card player\">"
        "<pre class=screen id=screen tabindex=0></pre><div class=controls>"
        "<button id=play type=button>Play</button>"
        "<input id=seek type=range min=0 max=1000 value=0 aria-label=\"Position\">"
        "<span id=clock></span><select id=speed aria-label=\"Speed\"><option value=0.5>½×</option>"
        "<option value=1 selected>1×</option><option value=2>2×</option><option value=5>5×</option>"
        "<option value=20>20×</option></select></div></div></section>\n"
        "<noscript><p class=why>The terminal needs JavaScript; all that it shows stands "
        "below.</p></noscript>\n"
        "<h2>What happened</h2>\n<div class=choose role=radiogroup aria-label=\"Show\">"
        "<input type=radio name=only id=only-all checked><label for=only-all>Everything</label>"
        "<input type=radio name=only id=only-no><label for=only-no>Refused</label>"
        "<input type=radio name=only id=only-wait><label for=only-wait>Approvals</label></div>\n");
}

static void cast_event(uint64_t us, struct bytes text, void *arg)
{
    struct page *p = arg;

    p->cut = p->cut || p->cast + text.len > CAST_MAX;
    if (p->cut)
        return;
    buffer_printf(&p->b, "%s[%llu.%06llu,", p->cast ? ",\n" : "\n",
                  (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000));
    html_json_string(&p->b, text);
    add(p, "]");
    p->cast += text.len;
    flush(p);
}

static void foot(struct page *p, struct recordfile *f)
{
    char now[CLOCK_RFC3339_LEN + 1];

    buffer_printf(
        &p->b, "<script type=\"application/json\" id=cast>{\"columns\":%d,\"rows\":%d,\"events\":[",
        CAST_COLUMNS, CAST_ROWS);
    if (recordfile_rewind(f))
        (void)export_cast(f, cast_event, p);
    add(p, "\n]}</script>\n<footer>");
    if (p->cut)
        add(p, "The terminal ends before the session does: there was too much output. ");
    if (p->lost)
        add(p, "<b class=err>A line was too long to be shown.</b> ");
    clock_rfc3339(clock_wall_us(), now);
    buffer_printf(&p->b,
                  "Made by kubectl-guard " CHAPERONE_VERSION " at %s. Head of the chain: "
                  "<code>%s</code>. This page is a view; the record and its signatures are the "
                  "evidence.</footer>\n<script>",
                  now, f->check.head);
    buffer_add(&p->b, report_js());
    add(p, "</script>\n</body></html>\n");
    flush(p);
}

enum exit_code export_html(struct recordfile *f, const struct export_about *about, FILE *to)
{
    struct page p = {.to = to};
    struct report r = {.open = -1};
    struct json_object *line;
    struct bytes text;

    buffer_init(&p.b, (size_t)1 << 30);
    head(&p, f->check.session);
    overview(&p, f, about->session);
    player(&p);
    for (; recordfile_next(f, &text, &line); json_object_put(line)) {
        report_line(&r, line, &p.b);
        flush(&p);
    }
    report_end(&r, &p.b);
    foot(&p, f);
    buffer_done(&p.b);
    return EXIT_DONE;
}
