/* SPDX-License-Identifier: Apache-2.0
 * Reads finished records.
 */
#include "recordfile.h"

#include "bucket.h"
#include "object.h"
#include "place.h"
#include "records.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

/* Appends to a file that has no name. */
static int keep_bytes(struct bytes some, void *arg)
{
    return fwrite(some.p, 1, some.len, arg) == some.len ? 0 : -EIO;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && strcmp(name + n - m, end) == 0;
}

/* In a bucket whatever has a session's name is one; what is not there will show. */
static bool names_session(const char *path, const char *name)
{
    char first[PATH_MAX];

    if (bucket_is(path))
        return chain_session_ok(bytes_str(name)) && !ends_with(name, ".jsonl") &&
               !ends_with(name, ".damaged");
    snprintf(first, sizeof first, "%.4000s.000000" SEGMENT_SUFFIX, path);
    return !place_has(path) && place_has(first);
}

bool recordfile_segments(const char *path, char dir[static PATH_MAX],
                         char session[static RECORD_SESSION_MAX + 1])
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    unsigned n;

    snprintf(dir, PATH_MAX, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (slash == path)
        snprintf(dir, PATH_MAX, "/");
    if (segment_name_parse(name, session, &n))
        return true;
    if (strlen(name) > RECORD_SESSION_MAX)
        return false;
    strcpy(session, name);
    return names_session(path, name);
}

/* The lines of all segments, in a file that goes when it is closed. */
static enum exit_code unpack(struct recordfile *f, const char *dir, const char *session)
{
    struct error err = {0};
    int fd = place_scratch(&err), rc;
    FILE *to = fd < 0 ? NULL : fdopen(fd, "w+");
    struct segments_reader how = {.sink = keep_bytes, .sink_arg = to, .place = &place_segments};

    if (!to)
        return cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    rc = segments_read(dir, session, &how, &f->check, &err);
    if (rc == 0 && (fflush(to) != 0 || (f->lines.fd = fcntl(fileno(to), F_DUPFD_CLOEXEC, 3)) < 0 ||
                    lseek(f->lines.fd, 0, SEEK_SET) != 0))
        rc = error_set(&err, -EIO, "the record's lines cannot be read: %m");
    fclose(to);
    return rc ? cli_fail(EXIT_UNREACHABLE, "%s", err.text) : EXIT_DONE;
}

int recordfile_check(const char *path, int *ret_fd, struct record_check *ret, struct error *err)
{
    int fd = place_open(path, err), rc;

    *ret_fd = -1;
    if (fd < 0)
        return fd;
    rc = record_verify_fd(fd, path, ret, err);
    if (rc == 0 && lseek(fd, 0, SEEK_SET) != 0)
        rc = error_set(err, -errno, "cannot read %s: %m", path);
    if (rc == 0)
        *ret_fd = fd;
    else
        close(fd);
    return rc;
}

/* Past the hole in the front of a record whose first lines were uploaded (docs/records.md). */
static void skip_hole(struct recordfile *f)
{
    struct bytes rest;
    off_t at = lseek(f->lines.fd, 0, SEEK_DATA);
    char first;

    if (at > 0 && pread(f->lines.fd, &first, 1, at) == 1 && first != '\0')
        (void)!lines_next(&f->lines, &rest);
}

enum exit_code recordfile_open(const struct cli *cli, const char *name, struct recordfile *ret)
{
    char dir[PATH_MAX], session[RECORD_SESSION_MAX + 1];
    struct error err = {0};

    memset(ret, 0, sizeof *ret);
    lines_init(&ret->lines, -1);
    ret->path = records_find(cli, name, &err);
    if (!ret->path)
        return cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    if (recordfile_segments(ret->path, dir, session))
        return unpack(ret, dir, session);
    if (recordfile_check(ret->path, &ret->lines.fd, &ret->check, &err) != 0)
        return cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    if (ret->check.first > 0)
        skip_hole(ret);
    return EXIT_DONE;
}

void recordfile_close(struct recordfile *f)
{
    lines_done(&f->lines);
    free(f->path);
    free(f->only);
}

bool recordfile_rewind(struct recordfile *f)
{
    int fd = f->lines.fd;

    if (lseek(fd, 0, SEEK_SET) != 0)
        return false;
    f->lines.fd = -1;
    lines_done(&f->lines);
    lines_init(&f->lines, fd);
    if (f->check.first > 0 && f->check.segments == 0)
        skip_hole(f);
    return true;
}

/* Lines of statements that were not asked for are passed over. */
static bool wanted(const struct recordfile *f, struct json_object *line)
{
    int64_t n = f->only ? object_number(line, "n", -1) : -1;

    return n < 0 || ((size_t)n < f->n_only && (f->only[n / 8] >> n % 8 & 1));
}

static bool next_line(struct recordfile *f, struct bytes *ret_text, struct json_object **ret_object)
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

bool recordfile_next(struct recordfile *f, struct bytes *ret_text, struct json_object **ret_object)
{
    while (next_line(f, ret_text, ret_object)) {
        if (wanted(f, *ret_object))
            return true;
        json_object_put(*ret_object);
    }
    return false;
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
