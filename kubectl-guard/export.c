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
    {"asciicast", 0, "F", "asciicast v2, for asciinema: the session as psql would have shown it"},
    {"json", 0, "F", "one JSON document: the verification and all lines"},
    {"csv", 0, "F", "a row for each statement"},
    RECORDS_OPTIONS,
    {0},
};

static const struct format {
    const char *option;
    export_fn *write;
} formats[] = {
    {"asciicast", export_asciicast},
    {"json", export_json},
    {"csv", export_csv},
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

static enum exit_code write_one(const struct cli *cli, const struct format *format,
                                const char *path)
{
    struct recordfile f;
    enum exit_code code = recordfile_open(cli, cli->args[0], &f), integrity;
    FILE *to;

    if (code != EXIT_DONE) {
        recordfile_close(&f);
        return code;
    }
    integrity = recordfile_warn(&f);
    to = open_output(path);
    if (!to) {
        code = cli_fail(EXIT_UNREACHABLE, "cannot write %s: %m", path);
    } else {
        code = format->write(&f, to);
        if (fflush(to) != 0 || ferror(to) || (to != stdout && fclose(to) != 0))
            code = cli_fail(EXIT_UNREACHABLE, "cannot write %s: %m", path);
    }
    recordfile_close(&f);
    return code == EXIT_DONE ? integrity : code;
}

enum exit_code cmd_export(const struct cli *cli)
{
    enum exit_code code = EXIT_DONE;
    size_t given = 0;

    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        const char *path = cli_option(cli, formats[i].option);
        enum exit_code one;

        if (!path)
            continue;
        given++;
        one = write_one(cli, &formats[i], path);
        code = one > code ? one : code;
    }
    if (given == 0)
        return cli_usage(cli, "which format? --asciicast F, --json F or --csv F");
    return code;
}
