/* SPDX-License-Identifier: Apache-2.0
 * export: a record in other programs' formats.
 */
#include "commands.h"
#include "export_formats.h"
#include "records.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

const struct option_spec export_options[] = {
    {"html", 0, "F", "one file to open in a browser: statements, verdicts, results, a terminal"},
    {"asciicast", 0, "F", "asciicast v2, for asciinema: the session as psql would have shown it"},
    {"json", 0, "F", "one JSON document: the verification and all lines"},
    {"csv", 0, "F", "a row for each statement"},
    {"format", 0, "FORMAT", "html, asciicast, json or csv, to standard output"},
    RECORDS_OPTIONS,
    FILTER_OPTIONS,
    {0},
};

static const struct format {
    const char *option;
    export_fn *write;
    bool many; /* sessions, in one file */
} formats[] = {
    {"html", export_html},
    {"asciicast", export_asciicast},
    {"json", export_json, true},
    {"csv", export_csv, true},
};

/* Records hold what agents saw: what is made of them is its owner's alone, too. */
static FILE *open_output(const char *path)
{
    int fd;

    if (strcmp(path, "-") == 0)
        return stdout;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? NULL : fdopen(fd, "w");
}

struct exporting {
    const struct cli *cli;
    const struct format *format;
    FILE *to;
    size_t n;
};

static enum exit_code write_one(struct recordfile *f, struct json_object *about, void *arg)
{
    struct exporting *e = arg;
    enum exit_code code, integrity;

    if (e->n && !e->format->many)
        return cli_fail(EXIT_USAGE,
                        "--%s is about one session, but more than one matches: name it, or choose "
                        "with --since, --pod and the others",
                        e->format->option);
    integrity = recordfile_warn(f);
    code = e->format->write(f, &(struct export_about){about, e->n++}, e->to);
    return code > integrity ? code : integrity;
}

static enum exit_code write_all(struct exporting *e, const struct filter *filter, const char *path)
{
    enum exit_code code;

    e->n = 0;
    e->to = open_output(path);
    if (!e->to)
        return cli_fail(EXIT_UNREACHABLE, "cannot write %s: %m", path);
    code = records_each(e->cli, filter, write_one, e);
    if (fflush(e->to) != 0 || ferror(e->to) || (e->to != stdout && fclose(e->to) != 0))
        code = cli_fail(EXIT_UNREACHABLE, "cannot write %s: %m", path);
    return code;
}

/* --format NAME writes to standard output. */
static const char *output_of(const struct cli *cli, const struct format *format)
{
    const char *named = cli_option(cli, "format");

    return named && strcmp(named, format->option) == 0 ? "-" : cli_option(cli, format->option);
}

enum exit_code cmd_export(const struct cli *cli)
{
    struct exporting e = {.cli = cli};
    struct filter filter;
    enum exit_code code = filter_read(cli, &filter);
    size_t given = 0;

    if (code == EXIT_DONE && !records_from(cli) && cli->n_args == 0)
        code = cli_usage(cli, "which record? RECORD, or --from PLACE for all there are");
    for (size_t i = 0; i < ARRAY_LEN(formats) && code != EXIT_USAGE; i++) {
        const char *path = output_of(cli, &formats[i]);
        enum exit_code one;

        if (!path)
            continue;
        given++;
        e.format = &formats[i];
        one = write_all(&e, &filter, path);
        code = one > code ? one : code;
    }
    if (given == 0 && code == EXIT_DONE)
        return cli_usage(cli, "which format? --html F, --asciicast F, --json F or --csv F");
    return code;
}
