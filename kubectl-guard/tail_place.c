/* SPDX-License-Identifier: Apache-2.0
 * tail --from: a session's record as its segments reach the bucket. Each is verified before the
 * next is waited for.
 */
#include "commands.h"
#include "object.h"
#include "place.h"
#include "records.h"
#include "sidecar/record/checker.h"
#include "tail_pods.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY_S 2

const struct option_spec tail_options[] = {
    RECORDS_OPTIONS,
    {0},
};

struct following {
    const struct cli *cli;
    const char *path;
    struct transcript transcript;
    struct record_check check;
    struct checker checker;
    struct buffer rest; /* of a line that is not whole yet */
};

static void print_lines(struct following *f)
{
    for (;;) {
        struct bytes all = buffer_bytes(&f->rest);
        const uint8_t *nl = all.len ? memchr(all.p, '\n', all.len) : NULL;
        struct json_object *line;
        struct bytes text;

        if (!nl)
            return;
        text = bytes_of(all.p, (size_t)(nl - all.p));
        line = object_parse(text);
        if (line)
            tail_print(f->cli, &f->transcript, NULL, text, line);
        json_object_put(line);
        buffer_consume(&f->rest, text.len + 1);
    }
}

static int take_bytes(struct bytes some, void *arg)
{
    struct following *f = arg;
    int rc = checker_feed(&f->checker, some);

    if (rc)
        return rc;
    if (buffer_add(&f->rest, some) != 0)
        return -ENOMEM;
    print_lines(f);
    return 0;
}

/* 1: it ends the session; 0: more will come; -ENOENT: it is not there yet. */
static int follow_segment(struct following *f, const char *dir, const char *session, unsigned n,
                          char before[static CHAIN_HEX + 1])
{
    char name[SEGMENT_NAME_MAX], path[PATH_MAX];
    struct error err = {0};
    struct seal seal = {0};
    int fd, rc;

    segment_name(session, n, name);
    snprintf(path, sizeof path, "%.3900s/%s", dir, name);
    fd = place_open(path, &err);
    if (fd == -ENOENT)
        return fd;
    if (fd < 0) {
        cli_fail(EXIT_UNREACHABLE, "%s", err.text);
        return fd;
    }
    rc = segment_read(fd, take_bytes, f, &seal, &err);
    close(fd);
    if (rc == 0 && (strcmp(seal.session, session) != 0 || seal.segment != n ||
                    strcmp(seal.before, before) != 0))
        rc = error_set(&err, -EBADMSG, "it does not follow the segment before it");
    if (rc) {
        cli_fail(EXIT_NO, "%s: TAMPERED: %s", path, f->check.ok ? err.text : f->check.reason);
        return -EBADMSG;
    }
    memcpy(before, seal.digest, sizeof seal.digest);
    return seal.final;
}

static int follow(struct following *f, const char *dir, const char *session)
{
    char before[CHAIN_HEX + 1] = "";
    unsigned n = 0;
    int rc;

    memset(before, '0', CHAIN_HEX);
    do {
        rc = follow_segment(f, dir, session, n, before);
        if (rc == 0)
            n++;
        else if (rc == -ENOENT)
            nanosleep(&(struct timespec){.tv_sec = LOOK_EVERY_S}, NULL);
    } while (rc == 0 || rc == -ENOENT);
    return rc;
}

enum exit_code tail_place(const struct cli *cli)
{
    struct following f = {.cli = cli, .transcript = {.color = cli->color}};
    char dir[PATH_MAX], session[RECORD_SESSION_MAX + 1];
    struct error err = {0};
    char *path = records_find(cli, cli->args[0], &err);
    int rc;

    if (!path)
        return cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    if (!recordfile_segments(path, dir, session)) {
        free(path);
        return cli_usage(cli, "tail --from follows the segments of one session: name it");
    }
    checker_init(&f.checker, &f.check);
    buffer_init(&f.rest, 2 * RECORD_LINE_MAX);
    rc = follow(&f, dir, session);
    checker_done(&f.checker);
    buffer_done(&f.rest);
    free(path);
    return rc > 0 ? EXIT_DONE : rc == -EBADMSG ? EXIT_NO : EXIT_UNREACHABLE;
}
