/* SPDX-License-Identifier: Apache-2.0
 * replay: a recorded session as a person wants to read it.
 */
#include "commands.h"
#include "object.h"
#include "recordfile.h"
#include "records.h"
#include "transcript.h"

#include <json-c/json.h>
#include <stdio.h>
#include <time.h>

const struct option_spec replay_options[] = {
    {"speed", 0, "N", "0 at once (the default), 1 as it was, 10 ten times as fast"},
    RECORDS_OPTIONS,
    {0},
};

struct pace {
    double speed; /* 0: do not wait */
    uint64_t last_us;
};

static bool parse_speed(const char *text, double *ret)
{
    char *end = NULL;

    *ret = text ? strtod(text, &end) : 0;
    return !text || (*text && *end == '\0' && *ret >= 0 && *ret <= 1000000);
}

static void wait_for(struct pace *p, struct json_object *line)
{
    uint64_t us = object_time_us(object_text(line, "time"));

    if (p->speed > 0 && p->last_us && us > p->last_us) {
        double s = (double)(us - p->last_us) / 1e6 / p->speed;
        struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

        fflush(stdout);
        nanosleep(&t, NULL);
    }
    p->last_us = us > p->last_us ? us : p->last_us;
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

enum exit_code cmd_replay(const struct cli *cli)
{
    struct transcript t = {.style = TRANSCRIPT_REPLAY, .color = cli->color};
    struct pace pace = {0};
    struct json_object *line;
    struct recordfile f;
    struct bytes text;
    enum exit_code code, integrity;

    if (!parse_speed(cli_option(cli, "speed"), &pace.speed))
        return cli_usage(cli,
                         "--speed takes a number: 0 at once, 1 as it was, 10 ten times as fast");
    code = recordfile_open(cli, cli->args[0], &f);
    if (code != EXIT_DONE) {
        recordfile_close(&f);
        return code;
    }
    integrity = recordfile_warn(&f);
    while (recordfile_next(&f, &text, &line)) {
        wait_for(&pace, line);
        if (cli->output >= OUTPUT_JSON)
            object_print_line(text);
        else
            print_line(&t, text, line);
        json_object_put(line);
    }
    if (cli->output < OUTPUT_JSON)
        printf("integrity: %s, %llu lines\n", recordfile_verdict(&f.check),
               (unsigned long long)f.check.lines);
    recordfile_close(&f);
    return integrity;
}
