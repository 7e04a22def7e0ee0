/* SPDX-License-Identifier: Apache-2.0
 * tail: a session's record as it is written.
 */
#include "commands.h"
#include "guardsocket.h"
#include "object.h"
#include "records.h"
#include "tail_pods.h"

#include <json-c/json.h>
#include <stdio.h>

void tail_print(const struct cli *cli, struct transcript *t, const char *pod, struct bytes text,
                struct json_object *line)
{
    struct buffer out;

    if (cli->output >= OUTPUT_JSON) {
        object_print_line(text);
        return;
    }
    buffer_init(&out, TRANSCRIPT_MAX);
    transcript_line(t, line, &out);
    for (struct bytes rest = buffer_bytes(&out); pod && rest.len;) {
        const uint8_t *nl = memchr(rest.p, '\n', rest.len);
        size_t n = nl ? (size_t)(nl - rest.p) + 1 : rest.len;

        printf("%s: %.*s", pod, (int)n, (const char *)rest.p);
        rest = bytes_of(rest.p + n, rest.len - n);
    }
    if (!pod)
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
            tail_print(cli, &t, NULL, text, line);
        ended = !all && type && strcmp(type, "session.close") == 0;
        json_object_put(line);
    }
    return EXIT_DONE;
}

enum exit_code cmd_tail(const struct cli *cli)
{
    struct json_object *fields;
    struct guardsocket s;
    enum exit_code code;

    if (records_from(cli))
        return tail_place(cli);
    if (cli->cluster)
        return tail_pods(cli);
    code = guardsocket_open(cli, &s);
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
