/* SPDX-License-Identifier: Apache-2.0
 * watch: requests as they come and are decided.
 */
#include "approvalrequest.h"
#include "commands.h"
#include "guardsocket.h"
#include "object.h"
#include "text.h"

#include <json-c/json.h>
#include <stdio.h>
#include <time.h>

#define LINE_MAX_ ((size_t)1 << 20)

static void add_column(struct buffer *b, const char *text, size_t columns)
{
    size_t at = buffer_len(b), w;

    text_clean_cut(bytes_str(text && text[0] ? text : "-"), columns, b);
    w = text_columns(bytes_of(b->p + b->start + at, buffer_len(b) - at));
    while (w++ < columns + 2)
        buffer_add_u8(b, ' ');
}

static void print_change(const struct cli *cli, struct json_object *a)
{
    size_t last = object_count(a, "decisions");
    const char *phase = object_text(a, "phase");
    struct json_object *d = last ? object_at(a, "decisions", last - 1) : NULL;
    struct buffer b;
    char now[16];
    time_t t = time(NULL);
    struct tm tm;

    buffer_init(&b, LINE_MAX_);
    strftime(now, sizeof now, "%H:%M:%S", localtime_r(&t, &tm));
    add_column(&b, now, 8);
    if (cli_option(cli, "all-namespaces"))
        add_column(&b, object_text(a, "namespace"), 16);
    add_column(&b, object_text(a, "id"), 12);
    if (cli->color)
        buffer_printf(&b, "\x1b[%sm", phase && strcmp(phase, "Pending") == 0 ? "33" : "32");
    add_column(&b, phase, 9);
    if (cli->color)
        buffer_printf(&b, "\x1b[0m");
    add_column(&b, object_text(a, "target"), 16);
    add_column(&b, object_text(a, "rule"), 16);
    if (d) {
        add_column(&b, object_text(d, "by"), 20);
        text_clean_cut(object_bytes(d, "reason"), 60, &b);
    } else {
        text_clean_cut(object_bytes(a, "statement"), 80, &b);
    }
    printf("%.*s\n", (int)buffer_len(&b), (const char *)(b.p + b.start));
    fflush(stdout);
    buffer_done(&b);
}

/* In the shape of the control socket's lines. */
static void print_request(const struct cli *cli, struct json_object *view)
{
    struct json_object *o;
    const char *text;

    if (cli->output < OUTPUT_JSON) {
        print_change(cli, view);
        return;
    }
    o = json_object_new_object();
    json_object_object_add(o, "approval", json_object_get(view));
    text =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    object_print_line(bytes_str(text));
    json_object_put(o);
}

static enum exit_code follow(const struct cli *cli, struct guardsocket *s)
{
    for (;;) {
        struct bytes line;
        struct json_object *o;

        if (guardsocket_line(s, &line) != EXIT_DONE)
            return cli_fail(EXIT_UNREACHABLE, "the guard closed the connection");
        o = object_parse(line);
        if (object_text(o, "error")) {
            cli_fail(EXIT_NO, "%s", object_text(o, "error"));
            json_object_put(o);
            return EXIT_NO;
        }
        if (cli->output >= OUTPUT_JSON)
            object_print_line(line);
        else if (o)
            print_change(cli, object_get(o, "approval"));
        json_object_put(o);
    }
}

enum exit_code cmd_watch(const struct cli *cli)
{
    struct guardsocket s;
    enum exit_code code;

    if (cli->cluster)
        return approvalrequest_watch(cli, print_request);
    code = guardsocket_open(cli, &s);

    if (code == EXIT_DONE)
        code = guardsocket_send(&s, "watch", NULL);
    if (code == EXIT_DONE)
        code = follow(cli, &s);
    guardsocket_close(&s);
    return code;
}
