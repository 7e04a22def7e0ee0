/* SPDX-License-Identifier: Apache-2.0
 * Reads finished records.
 */
#include "recordfile.h"

#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static char *find_path(const struct cli *cli, const char *name)
{
    const char *spool = cli_option(cli, "spool");
    char *path = NULL;

    if (!spool || strchr(name, '/') || access(name, F_OK) == 0)
        return strdup(name);
    return asprintf(&path, "%s/%s%s", spool, name, strstr(name, ".jsonl") ? "" : ".jsonl") < 0
               ? NULL
               : path;
}

enum exit_code recordfile_open(const struct cli *cli, const char *name, struct recordfile *ret)
{
    struct error err = {0};

    memset(ret, 0, sizeof *ret);
    lines_init(&ret->lines, -1);
    ret->path = find_path(cli, name);
    if (!ret->path)
        return cli_fail(EXIT_UNREACHABLE, "out of memory");
    if (record_verify_file(ret->path, &ret->check, &err) != 0)
        return cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    ret->lines.fd = open(ret->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (ret->lines.fd < 0)
        return cli_fail(EXIT_UNREACHABLE, "cannot read %s: %m", ret->path);
    return EXIT_DONE;
}

void recordfile_close(struct recordfile *f)
{
    lines_done(&f->lines);
    free(f->path);
}

bool recordfile_next(struct recordfile *f, struct bytes *ret_text, struct json_object **ret_object)
{
    int r;

    /* Blank lines end a record that a guard is writing, or was writing when it was killed. */
    do
        r = lines_next(&f->lines, ret_text);
    while (r > 0 && ret_text->len == 0 && !f->check.ok);
    *ret_object = NULL;
    if (r < 0) {
        errno = -r;
        cli_fail(EXIT_NO, "%s: %m", f->path);
        return false;
    }
    if (ret_text->len == 0)
        return false;
    *ret_object = object_parse(*ret_text);
    return true;
}

const char *recordfile_verdict(const struct record_check *c)
{
    return !c->ok ? "TAMPERED" : c->sealed ? "OK" : "UNSEALED";
}

enum exit_code recordfile_warn(const struct recordfile *f)
{
    const struct record_check *c = &f->check;

    if (!c->ok)
        return cli_fail(EXIT_NO, "%s: TAMPERED at seq %llu: %s", f->path,
                        (unsigned long long)c->bad_seq, c->reason);
    if (!c->sealed)
        cli_fail(
            EXIT_DONE,
            "%s: UNSEALED: it does not end with the session's end (still open, cut off, or the "
            "guard died)",
            f->path);
    return EXIT_DONE;
}
