/* SPDX-License-Identifier: Apache-2.0
 * tail: a session's record as it is written.
 */
#include "commands.h"
#include "guardsocket.h"
#include "object.h"
#include "transcript.h"

#include <json-c/json.h>
#include <stdio.h>

static void print_line(const struct cli *cli, struct transcript *t, struct bytes text,
                       struct json_object *line)
{
    struct buffer out;

    if (cli->output >= OUTPUT_JSON) {
        object_print_line(text);
        return;
    }
    buffer_init(&out, TRANSCRIPT_MAX);
    transcript_line(t, line, &out);
    fwrite(out.p, 1, buffer_len(&out), stdout);
    fflush(stdout);
    buffer_done(&out);
}

static enum exit_code follow(const struct cli *cli, struct guardsocket *s)
{
    bool all = strcmp(cli->args[0], "all") == 0, ended = false;
    struct transcript t = {.color = cli->color, .name_session = all};

    while (!ended) {
        struct json_object *line;
        struct bytes text;
        const char *type;

        if (guardsocket_line(s, &text) != EXIT_DONE)
            return cli_fail(EXIT_UNREACHABLE, "the guard closed the connection");
        line = object_parse(text);
        type = object_text(line, "type");
        if (!type && object_text(line, "error")) {
            cli_fail(EXIT_NO, "%s", object_text(line, "error"));
            json_object_put(line);
            return EXIT_NO;
        }
        if (line)
            print_line(cli, &t, text, line);
        ended = !all && type && strcmp(type, "session.close") == 0;
        json_object_put(line);
    }
    return EXIT_DONE;
}

enum exit_code cmd_tail(const struct cli *cli)
{
    struct json_object *fields;
    struct guardsocket s;
    enum exit_code code = guardsocket_open(cli, &s);

    if (code == EXIT_DONE) {
        fields = json_object_new_object();
        json_object_object_add(fields, "session", json_object_new_string(cli->args[0]));
        code = guardsocket_send(&s, "tail", fields);
    }
    if (code == EXIT_DONE)
        code = follow(cli, &s);
    guardsocket_close(&s);
    return code;
}
