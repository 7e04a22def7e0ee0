/* SPDX-License-Identifier: Apache-2.0
 * Records to segments.
 */
#include "cutter.h"

#include "checker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)256 << 10)
#define PAGE  4096u
#define CLOSE "\"type\":\"session.close\""

static int open_record(int dir_fd, const char *session)
{
    char name[SEGMENT_NAME_MAX];
    int fd;

    snprintf(name, sizeof name, "%.63s.jsonl", session);
    fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The type stands near the front of a line, and text inside of lines has its quotes escaped. */
static bool close_in_sight(int fd, uint64_t from, uint64_t size)
{
    uint8_t tail[PAGE];
    uint64_t at = size - from > sizeof tail ? size - sizeof tail : from;
    ssize_t n = pread(fd, tail, sizeof tail, (off_t)at);

    return n > 0 && memmem(tail, (size_t)n, CLOSE, sizeof CLOSE - 1);
}

int cutter_look(const struct cutter *c, const char *session, const struct checkpoint *at,
                struct cutter_view *ret)
{
    int fd = open_record(c->dir_fd, session);
    struct stat st;
    char first;

    if (fd < 0)
        return fd;
    *ret = (struct cutter_view){0};
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > at->offset) {
        ret->bytes = (uint64_t)st.st_size - at->offset;
        ret->any = pread(fd, &first, 1, (off_t)at->offset) == 1 && first == '{';
        ret->ended = ret->any && close_in_sight(fd, at->offset, (uint64_t)st.st_size);
    }
    close(fd);
    return 0;
}

/* Reads and checks whole lines until there are enough of them: *ret bytes at the front of b. Where
 * a line is blank or not whole yet the record ends for now. */
static int collect(const struct cutter *c, int fd, uint64_t offset, struct checker *v,
                   struct buffer *b, size_t *ret)
{
    size_t done = 0, seen = 0;

    while (done < c->segment_bytes && !v->check->sealed) {
        const uint8_t *p = b->p + b->start, *nl;
        size_t len = buffer_len(b);

        nl = len > seen ? memchr(p + seen, '\n', len - seen) : NULL;
        if (nl == p + done && nl)
            break;
        if (nl) {
            int rc = checker_line(v, bytes_of(p + done, (size_t)(nl - p) - done));

            if (rc)
                return rc;
            done = seen = (size_t)(nl - p) + 1;
            continue;
        }
        seen = len;
        if (len - done > RECORD_LINE_MAX)
            return checker_broken(v, "the line is too long");
        uint8_t *to = buffer_reserve(b, CHUNK);
        ssize_t n = to ? pread(fd, to, CHUNK, (off_t)(offset + len)) : -1;

        if (!to)
            return -ENOMEM;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        buffer_commit(b, (size_t)n);
    }
    *ret = done;
    return 0;
}

/* The segment is on the disk under another name, the checkpoint says that it counts, then it gets
 * its name. Recovery finishes what was interrupted. */
static int keep(const struct cutter *c, struct seal *seal, struct checkpoint *next,
                struct bytes lines, struct error *err)
{
    char name[SEGMENT_NAME_MAX], temp[SEGMENT_NAME_MAX + 8];
    int rc;

    segment_name(seal->session, seal->segment, name);
    snprintf(temp, sizeof temp, "%s.tmp", name);
    rc = segment_write(c->dir_fd, temp, seal, c->signer, lines, err);
    if (rc)
        return rc;
    memcpy(next->before, seal->digest, sizeof next->before);
    rc = checkpoint_write(c->dir_fd, seal->session, next);
    if (rc == 0 && renameat(c->dir_fd, temp, c->dir_fd, name) != 0)
        rc = -errno;
    if (rc)
        return error_set(err, rc, "cannot keep %s: %s", name, strerror(-rc));
    if (c->ledger && strcmp(seal->session, ledger_name(c->ledger)) != 0)
        (void)!ledger_segment(c->ledger, seal); /* without memory: verify misses one promise */
    return 0;
}

static int seal_lines(const struct cutter *c, const char *session, struct checkpoint *at,
                      const struct checker *v, struct bytes lines, struct error *err)
{
    struct seal seal = {
        .segment = at->segment, .first = at->seq, .last = v->expect - 1, .final = v->check->sealed};
    struct checkpoint next = *at;
    int rc;

    if (at->segment > SEGMENT_MAX)
        return error_set(err, -E2BIG, "the record has too many segments");
    snprintf(seal.session, sizeof seal.session, "%s", session);
    memcpy(seal.prev, at->prev, sizeof seal.prev);
    memcpy(seal.head, v->check->head, sizeof seal.head);
    memcpy(seal.before, at->before, sizeof seal.before);
    next.offset += lines.len;
    next.seq = v->expect;
    memcpy(next.prev, v->check->head, sizeof next.prev);
    next.segment++;
    next.sealed = seal.final;
    rc = keep(c, &seal, &next, lines, err);
    if (rc == 0)
        *at = next;
    return rc;
}

/* One segment. 1: there was one, -EAGAIN: there is not enough for one. */
static int cut_one(const struct cutter *c, int fd, const char *session, struct checkpoint *at,
                   bool rest, struct error *err)
{
    struct record_check check;
    struct checker v;
    struct buffer b;
    size_t n = 0;
    int rc;

    checker_init(&v, &check);
    checker_resume(&v, session, at->seq, at->prev);
    buffer_init(&b, c->segment_bytes + 2 * RECORD_LINE_MAX);
    rc = collect(c, fd, at->offset, &v, &b, &n);
    if (rc == -EBADMSG)
        error_set(err, rc, "at line %llu: %s", (unsigned long long)check.bad_seq, check.reason);
    else if (rc == 0 && (n == 0 || (n < c->segment_bytes && !rest && !check.sealed)))
        rc = -EAGAIN;
    else if (rc == 0)
        rc = seal_lines(c, session, at, &v, bytes_of(b.p + b.start, n), err);
    else
        error_set(err, rc, "cannot read it: %s", strerror(-rc));
    buffer_done(&b);
    checker_done(&v);
    return rc ? rc : 1;
}

/* Whole pages in front of the last byte that was cut: the newline stays, so that a reader finds
 * where the next line begins. */
static void give_back(int fd, const struct checkpoint *at)
{
    uint64_t end = at->offset ? (at->offset - 1) & ~(uint64_t)(PAGE - 1) : 0;

    if (end) /* a file system that cannot do that keeps them */
        (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)end);
}

int cutter_cut(const struct cutter *c, const char *session, struct checkpoint *at, bool rest,
               struct error *err)
{
    char name[SEGMENT_NAME_MAX];
    int fd = open_record(c->dir_fd, session), rc = at->sealed ? -EAGAIN : 1;
    unsigned before = at->segment;

    if (fd < 0)
        return error_set(err, fd, "cannot open it: %s", strerror(-fd));
    while (rc == 1 && !at->sealed)
        rc = cut_one(c, fd, session, at, rest, err);
    if (at->segment != before && !at->sealed)
        give_back(fd, at);
    close(fd);
    if (at->sealed) {
        snprintf(name, sizeof name, "%.63s.jsonl", session);
        if (unlinkat(c->dir_fd, name, 0) != 0)
            return error_set(err, -errno, "cannot remove %s: %m", name);
        checkpoint_remove(c->dir_fd, session);
        return 1;
    }
    return rc == -EAGAIN ? 0 : rc;
}
