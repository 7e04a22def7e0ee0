/* SPDX-License-Identifier: Apache-2.0
 * Recovery of a spool.
 */
#include "recover.h"

#include "checker.h"
#include "checkpoint.h"
#include "ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)64 << 10)

/* ---- one record ---- */

struct found {
    uint64_t end; /* of the last whole line */
    uint64_t
        dropped; /* bytes behind it that are not blank: they describe nothing that was forwarded */
    bool blank;  /* behind a blank line nothing counts */
};

/* One line, or what is left at the end of the file. */
static int take_line(struct checker *v, struct bytes line, bool whole, struct found *f)
{
    if (!f->blank && whole && line.len) {
        f->end += line.len + 1;
        return checker_line(v, line);
    }
    f->dropped += line.len;
    if (!f->blank && !whole)
        return 0; /* a write that was cut short */
    f->blank = true;
    return checker_blank(v, line);
}

static int take_lines(struct checker *v, struct buffer *b, bool at_end, struct found *f)
{
    for (;;) {
        struct bytes all = buffer_bytes(b);
        const uint8_t *nl = all.len ? memchr(all.p, '\n', all.len) : NULL;
        size_t n = nl ? (size_t)(nl - all.p) : all.len;
        int rc;

        if (!nl && (!at_end || all.len == 0))
            return all.len > RECORD_LINE_MAX ? checker_broken(v, "the line is too long") : 0;
        rc = take_line(v, bytes_of(all.p, n), nl != NULL, f);
        if (rc)
            return rc;
        buffer_consume(b, nl ? n + 1 : n);
    }
}

/* Reads from the checkpoint on. -EBADMSG: the chain does not hold. */
static int scan(int fd, uint64_t offset, struct checker *v, struct found *f)
{
    struct buffer b;
    ssize_t n;
    int rc = 0;

    buffer_init(&b, 2 * RECORD_LINE_MAX);
    f->end = offset;
    do {
        uint8_t *to = buffer_reserve(&b, CHUNK);

        n = to ? pread(fd, to, CHUNK, (off_t)offset) : -1;
        if (n < 0) {
            rc = to ? -errno : -ENOMEM;
            break;
        }
        buffer_commit(&b, (size_t)n);
        offset += (uint64_t)n;
        rc = take_lines(v, &b, n == 0, f);
    } while (rc == 0 && n > 0);
    buffer_done(&b);
    return rc;
}

static int end_record(struct record_spool *spool, const struct checker *v, uint64_t dropped,
                      const char *key)
{
    struct record *r;
    struct buffer *b;
    int rc = record_resume(spool, v->check->session, v->expect, v->prev, &r);

    if (rc)
        return rc;
    b = record_begin(r, "gap");
    jsonw_kstr(b, "reason", BYTES("the guard died before it ended this record; its successor did"));
    jsonw_ku64(b, "dropped", dropped);
    jsonw_kstr(b, "key", bytes_str(key));
    rc = record_end(r);
    if (rc == 0) {
        b = record_begin(r, "session.close");
        jsonw_kstr(b, "reason", BYTES("the guard died"));
        rc = record_end(r);
    }
    if (rc == 0)
        rc = record_flush(r);
    if (rc == 0 && strncmp(v->check->session, LEDGER_PREFIX, sizeof LEDGER_PREFIX - 1) == 0)
        ledger_remember(record_spool_dir(spool), v->check->session, record_head(r));
    record_close(r);
    return rc;
}

static int set_aside(int dir_fd, const char *file, const char *session)
{
    char to[SEGMENT_NAME_MAX];

    snprintf(to, sizeof to, "%.63s.damaged", session);
    checkpoint_remove(dir_fd, session);
    return renameat(dir_fd, file, dir_fd, to) == 0 ? 0 : -errno;
}

/* A segment that the checkpoint counts has been written, and lacks its name; one that it does not
 * count was being written. */
static int finish_segment(int dir_fd, const char *session, const struct checkpoint *at)
{
    char name[SEGMENT_NAME_MAX], temp[SEGMENT_NAME_MAX + 8];

    if (at->segment > 0) {
        segment_name(session, at->segment - 1, name);
        snprintf(temp, sizeof temp, "%s.tmp", name);
        if (renameat(dir_fd, temp, dir_fd, name) != 0 && errno != ENOENT)
            return -errno;
    }
    segment_name(session, at->segment, name);
    snprintf(temp, sizeof temp, "%s.tmp", name);
    (void)!unlinkat(dir_fd, temp, 0);
    return 0;
}

static int recover_one(struct record_spool *spool, const char *file, const char *session,
                       const char *key, struct recovery *ret)
{
    int dir_fd = record_spool_dir(spool), fd, rc;
    struct record_check check;
    struct checkpoint at;
    struct checker v;
    struct found f = {0};

    rc = checkpoint_read(dir_fd, session, &at);
    if (rc == 0)
        rc = finish_segment(dir_fd, session, &at);
    if (rc && rc != -ENOENT && rc != -EBADMSG)
        return rc;
    fd = openat(dir_fd, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    checker_init(&v, &check);
    checker_resume(&v, session, at.seq, at.prev);
    if (rc != -EBADMSG && !at.sealed)
        rc = scan(fd, at.offset, &v, &f);
    if (rc == -EBADMSG) {
        ret->damaged++;
        rc = set_aside(dir_fd, file, session);
    } else if (rc == 0 && !at.sealed && !check.sealed) {
        ret->sealed++;
        rc = ftruncate(fd, (off_t)f.end) == 0 ? end_record(spool, &v, f.dropped, key) : -errno;
    }
    close(fd);
    checker_done(&v);
    return rc;
}

/* ---- the spool ---- */

/* SESSION of SESSION.jsonl. */
static bool session_of(const char *file, char ret[static RECORD_SESSION_MAX + 1])
{
    size_t n = strlen(file), tail = sizeof ".jsonl" - 1;

    if (n <= tail || n - tail > RECORD_SESSION_MAX || strcmp(file + n - tail, ".jsonl") != 0 ||
        !chain_session_ok(bytes_of(file, n - tail)))
        return false;
    memcpy(ret, file, n - tail);
    ret[n - tail] = '\0';
    return true;
}

int recover_spool(struct record_spool *spool, const char *key, struct recovery *ret,
                  struct error *err)
{
    int fd = openat(record_spool_dir(spool), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    char session[RECORD_SESSION_MAX + 1];
    struct dirent *e;

    *ret = (struct recovery){0};
    if (!d)
        return error_set(err, -errno, "the spool cannot be read: %m");
    while (rc == 0 && (e = readdir(d)) != NULL) {
        if (!session_of(e->d_name, session))
            continue;
        rc = recover_one(spool, e->d_name, session, key, ret);
        if (rc)
            error_set(err, rc, "%s cannot be recovered: %s", e->d_name, strerror(-rc));
    }
    closedir(d);
    return rc;
}
