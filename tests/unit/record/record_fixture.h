/* SPDX-License-Identifier: Apache-2.0
 * A directory with records of a short session, for the tests of records.
 */
#pragma once

#include "sidecar/record/record.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SESSION "01JTESTSESSION000000000000"
#define OTHER   "01JTESTSESSION000000000001"

static char dir[64];

static inline struct record_spool *spool_at(const char *path)
{
    struct record_spool *s = NULL;
    struct error err = {0};

    if (record_spool_open(path, &s, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static inline void path_of(char *out, size_t n, const char *session)
{
    snprintf(out, n, "%s/%s.jsonl", dir, session);
}

static inline int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/record_test.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static inline void remove_in_dir(const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static inline int teardown(void **state)
{
    (void)state;
    remove_in_dir(SESSION ".jsonl");
    remove_in_dir(OTHER ".jsonl");
    remove_in_dir("forged");
    return rmdir(dir);
}

static inline void line(struct record *r, const char *type, const char *key, const char *value)
{
    struct buffer *b = record_begin(r, type);

    if (key)
        jsonw_kstr(b, key, bytes_str(value));
    assert_int_equal(record_end(r), 0);
}

/* A short session: open, two statements of which one is refused, an approval, close. */
static inline void write_session(const char *session, bool seal)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL;
    struct buffer *b;

    assert_int_equal(record_open(s, session, &r), 0);
    line(r, "session.open", "target", "orders-db");
    b = record_begin(r, "statement");
    jsonw_ku64(b, "n", 1);
    jsonw_kstr(b, "text", BYTES("SELECT 1"));
    jsonw_kstr(b, "verdict", BYTES("Allow"));
    assert_int_equal(record_end(r), 0);
    b = record_begin(r, "statement");
    jsonw_ku64(b, "n", 2);
    jsonw_kstr(b, "text", BYTES("DROP TABLE \"t\"\n"));
    jsonw_kstr(b, "verdict", BYTES("Deny"));
    assert_int_equal(record_end(r), 0);
    b = record_begin(r, "decision");
    jsonw_ku64(b, "n", 2);
    jsonw_kstr(b, "verdict", BYTES("Deny"));
    assert_int_equal(record_end(r), 0);
    line(r, "approval", "phase", "Approved");
    if (seal)
        line(r, "session.close", "reason", "client left");
    assert_int_equal(record_flush(r), 0);
    assert_int_equal(record_pending(r), 0);
    record_close(r);
    record_spool_close(s);
}

static inline struct record_check check_path(const char *path)
{
    struct record_check c;
    struct error err = {0};

    if (record_verify_file(path, &c, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

static inline struct record_check check(const char *session)
{
    char path[256];

    path_of(path, sizeof path, session);
    return check_path(path);
}

static inline char *slurp(const char *session, size_t *ret_n)
{
    char path[256], *p = calloc(1, 1 << 16);
    int fd;
    ssize_t n;

    path_of(path, sizeof path, session);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && p);
    n = read(fd, p, (1 << 16) - 1);
    assert_true(n > 0);
    close(fd);
    *ret_n = (size_t)n;
    return p;
}

static inline struct record_check check_bytes(const char *p, size_t n)
{
    char path[256];
    int fd;

    snprintf(path, sizeof path, "%s/forged", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    close(fd);
    return check_path(path);
}

/* Start of line number i of a text, or its end. */
static inline const char *nth(const char *p, size_t i)
{
    while (i-- > 0)
        p = strchr(p, '\n') + 1;
    return p;
}
