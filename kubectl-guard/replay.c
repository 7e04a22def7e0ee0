/* SPDX-License-Identifier: Apache-2.0
 * replay: recorded sessions as a person wants to read them.
 */
#include "commands.h"
#include "object.h"
#include "pace.h"
#include "records.h"
#include "transcript.h"

#include <json-c/json.h>
#include <stdio.h>

const struct option_spec replay_options[] = {
    {"speed", 0, "N", "0 at once (the default), 1 as it was, 10 ten times as fast"},
    {"idle", 0, "SECONDS", "wait at most so long between two lines, in the session's time"},
    {"terminal", 0, NULL, "what the agent's terminal showed, without times and verdicts"},
    RECORDS_OPTIONS,
    FILTER_OPTIONS,
    {0},
};

struct showing {
    const struct cli *cli;
    struct pace pace;
    size_t n;
};

static bool parse_number(const char *text, double *ret)
{
    char *end = NULL;

    *ret = text ? strtod(text, &end) : 0;
    return !text || (*text && *end == '\0' && *ret >= 0 && *ret <= 1000000);
}

static void print_line(struct transcript *t, struct bytes text, struct json_object *line)
{
    struct buffer out;

    buffer_init(&out, TRANSCRIPT_MAX);
    if (line)
        transcript_line(t, line, &out);
    if (!line || out.failed)
        printf("(a line of %zu bytes that cannot be shown)\n", text.len);
    else
        fwrite(out.p, 1, buffer_len(&out), stdout);
    buffer_done(&out);
}

static enum exit_code show(struct recordfile *f, struct json_object *about, void *arg)
{
    struct showing *s = arg;
    bool terminal = cli_option(s->cli, "terminal"), json = s->cli->output >= OUTPUT_JSON;
    struct transcript t = {.style = terminal ? TRANSCRIPT_PSQL : TRANSCRIPT_REPLAY,
                           .color = s->cli->color};
    enum exit_code integrity = recordfile_warn(f);
    struct json_object *line;
    struct bytes text;

    (void)about;
    if (s->n++ && !json)
        putchar('\n');
    s->pace.last_us = 0;
    while (!s->pace.ended && recordfile_next(f, &text, &line)) {
        if (pace_wait(&s->pace, object_time_us(object_text(line, "time"))) && json)
            object_print_line(text);
        else if (!s->pace.ended)
            print_line(&t, text, line);
        json_object_put(line);
    }
    if (terminal && s->cli->color)
        fputs("\x1b[m\x1b[?25h", stdout); /* what the session left switched on */
    if (!json)
        printf("integrity: %s, %llu lines%s\n", recordfile_verdict(&f->check),
               (unsigned long long)f->check.lines, f->only ? ", of which a part is shown" : "");
    return integrity;
}

enum exit_code cmd_replay(const struct cli *cli)
{
    struct showing s = {.cli = cli};
    struct filter filter;
    enum exit_code code;
    double idle;

    if (!parse_number(cli_option(cli, "speed"), &s.pace.speed) ||
        !parse_number(cli_option(cli, "idle"), &idle))
        return cli_usage(cli, "--speed takes a number: 0 at once, 1 as it was, 10 ten times as "
                              "fast; --idle one of seconds");
    if (!records_from(cli) && cli->n_args == 0)
        return cli_usage(cli, "which record? RECORD, or --from PLACE for all there are");
    code = filter_read(cli, &filter);
    if (code != EXIT_DONE)
        return code;
    s.pace.idle_us = (uint64_t)(idle * 1e6);
    pace_start(&s.pace);
    code = records_each(cli, &filter, show, &s);
    pace_done(&s.pace);
    if (code == EXIT_DONE && s.n == 0)
        cli_fail(EXIT_DONE, "no record in %s matches", records_from(cli));
    return code;
}
