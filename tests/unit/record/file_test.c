/* SPDX-License-Identifier: Apache-2.0
 * A busy record is copied into its file: what readers find meanwhile, after a kill, on a full disk.
 */
#include "record_fixture.h"
#include "sidecar/record/file.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* A record with `lines` lines that has become a busy one. */
static struct record *busy_record(struct record_spool *s, unsigned lines)
{
    struct record *r = NULL;

    assert_int_equal(record_open(s, SESSION, &r), 0);
    line(r, "session.open", NULL, NULL);
    for (unsigned i = 1; i < lines; i++) {
        line(r, "statement", "text", "SELECT 1");
        assert_int_equal(record_flush(r), 0);
    }
    assert_int_equal(record_tick(r), 0);
    return r;
}

static off_t file_size(void)
{
    char path[256];
    struct stat st;

    path_of(path, sizeof path, SESSION);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void say(struct record *r, const char *text)
{
    line(r, "statement", "text", text);
    assert_int_equal(record_flush(r), 0);
    assert_int_equal(record_pending(r), 0);
}

static void lines_are_in_the_file_when_flush_returns(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = busy_record(s, 20);
    off_t before;

    (void)state;
    assert_true(record_busy(r));
    for (unsigned i = 0; i < 2000; i++) { /* over several windows */
        say(r, "SELECT * FROM a_table WHERE id = 4711 /* some length, some length, some length */");
        if (i % 97 == 0)
            assert_int_equal(check(SESSION).lines, 21 + i);
    }
    assert_true(record_busy(r) && check(SESSION).ok && !check(SESSION).sealed);
    before = file_size();
    line(r, "session.close", NULL, NULL);
    record_close(r);
    record_spool_close(s);
    assert_true(check(SESSION).ok && check(SESSION).sealed);
    assert_int_equal(check(SESSION).lines, 2021);
    assert_true(file_size() < before); /* the blank lines are gone */
}

static void only_blank_lines_stand_behind(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = busy_record(s, 20);
    _cleanup_(free_charp) char *text = NULL;
    size_t n, end;

    (void)state;
    say(r, "SELECT 2");
    text = slurp(SESSION, &n);
    for (end = n; text[end - 1] == '\n'; end--)
        ;
    assert_true(n - end > 4096);
    assert_int_equal(text[end - 1], '}');
    record_close(r);
    record_spool_close(s);
    assert_int_equal(file_size(), end + 1);
}

static void a_quiet_record_is_exact(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = busy_record(s, 10);
    uint64_t written = record_spool_bytes(s);

    (void)state;
    assert_false(record_busy(r)); /* ten were too few */
    assert_int_equal(file_size(), written);
    for (int i = 0; i < 20; i++)
        say(r, "SELECT 2");
    assert_int_equal(record_tick(r), 0);
    assert_true(record_busy(r));
    say(r, "SELECT 3");
    assert_true(file_size() > (off_t)record_spool_bytes(s));
    assert_int_equal(record_tick(r), 0); /* nothing more came */
    assert_false(record_busy(r));
    assert_int_equal(file_size(), record_spool_bytes(s));
    say(r, "SELECT 4");
    assert_int_equal(file_size(), record_spool_bytes(s));
    record_close(r);
    record_spool_close(s);
    assert_true(check(SESSION).ok);
    assert_int_equal(check(SESSION).lines, 32);
}

static void a_batch_longer_than_the_window_is_written(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = busy_record(s, 20);
    char *big = calloc(1, 2 * RECORD_WINDOW);

    (void)state;
    assert_non_null(big);
    say(r, "SELECT 2");
    memset(big, 'x', 2 * RECORD_WINDOW - 1);
    say(r, big);
    say(r, "SELECT 3");
    free(big);
    line(r, "session.close", NULL, NULL);
    record_close(r);
    record_spool_close(s);
    assert_true(check(SESSION).ok && check(SESSION).sealed);
    assert_int_equal(check(SESSION).lines, 24);
}

/* ---- a guard that is killed ---- */

/* Writes until it is killed; says after each flush how many statements are safe. */
static void write_for_ever(int report)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = busy_record(s, 20);

    for (uint32_t n = 20;; n++) {
        line(r, "result", "tag", "SELECT 1");
        line(r, "statement", "text", "SELECT abalance FROM pgbench_accounts WHERE aid = 1");
        if (record_flush(r) != 0 || write(report, &n, sizeof n) != sizeof n)
            _exit(1);
    }
}

static void kill_loses_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        uint32_t n = 0, got, enough = 500 + 997 * (uint32_t)round;
        struct record_check c;
        int report[2], status;
        pid_t pid;

        assert_int_equal(pipe(report), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_for_ever(report[1]);
        close(report[1]);
        while (n < enough && read(report[0], &got, sizeof got) == sizeof got)
            n = got;
        assert_true(n >= enough);
        kill(pid, SIGKILL);
        while (read(report[0], &got, sizeof got) == sizeof got)
            n = got;
        close(report[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        c = check(SESSION);
        assert_true(c.ok && !c.sealed);
        assert_true(c.statements >= n);
        remove_in_dir(SESSION ".jsonl");
    }
}

/* ---- what may stand behind the lines ---- */

/* The record's text with its last `tail` bytes changed by `change`. */
static struct record_check check_changed(void (*change)(char *text, size_t last, size_t n))
{
    _cleanup_(free_charp) char *text = NULL;
    size_t n, last;

    text = slurp(SESSION, &n);
    last = n - 1;
    while (text[last - 1] != '\n')
        last--;
    change(text, last, n);
    return check_bytes(text, n);
}

static void uncommitted(char *text, size_t last, size_t n)
{
    (void)n;
    text[last] = '\n';
}

static void half_copied(char *text, size_t last, size_t n)
{
    memset(text + last, '\n', 40);
    memset(text + n - 60, '\n', 60);
}

static void all_blank(char *text, size_t last, size_t n)
{
    memset(text + last, '\n', n - last);
}

static void blank_first_line(char *text, size_t last, size_t n)
{
    (void)last;
    (void)n;
    text[0] = '\n';
}

static void a_batch_that_was_not_committed_is_no_part(void **state)
{
    void (*const changes[])(char *, size_t, size_t) = {uncommitted, half_copied, all_blank};

    (void)state;
    write_session(SESSION, false);
    assert_int_equal(check(SESSION).lines, 5);
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct record_check c = check_changed(changes[i]);

        assert_true(c.ok && !c.sealed);
        assert_int_equal(c.lines, 4);
    }
    assert_false(check_changed(blank_first_line).ok);
}

/* `text` with a blank line, or a blank in place of a byte, at each line's beginning. */
static void blank_lines_hide_nothing(void **state)
{
    _cleanup_(free_charp) char *text = NULL, *with = calloc(1, 1 << 17);
    size_t n;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    assert_non_null(with);
    for (size_t at = 0; at < n; at++) {
        if (at && text[at - 1] != '\n')
            continue;
        memcpy(with, text, at);
        with[at] = '\n';
        memcpy(with + at + 1, text + at, n - at);
        assert_false(check_bytes(with, n + 1).ok);
        memcpy(with + at, text + at, n - at);
        with[at] = '\n';
        if (memmem(with + at, n - at, "\"session.close\"", 15) &&
            memchr(with + at + 1, '\n', n - at - 2))
            assert_false(check_bytes(with, n).ok);
    }
    /* behind the end of a session */
    memcpy(with, text, n);
    memset(with + n, '\n', 10);
    assert_false(check_bytes(with, n + 10).ok);
}

static void much_behind_a_blank_shows(void **state)
{
    _cleanup_(free_charp) char *text = NULL, *with = calloc(1, 1 << 19);
    size_t n;

    (void)state;
    write_session(SESSION, false);
    text = slurp(SESSION, &n);
    assert_non_null(with);
    memcpy(with, text, n);
    with[n] = '\n';
    memset(with + n + 1, 'x', RECORD_WINDOW);
    with[n + 1 + RECORD_WINDOW] = '\n';
    assert_false(check_bytes(with, n + 2 + RECORD_WINDOW).ok);
    memset(with + n, '\n', RECORD_WINDOW + 2); /* blank lines may be as many as they like */
    assert_true(check_bytes(with, n + 2 + RECORD_WINDOW).ok);
}

/* ---- a full disk ---- */

/* In a child process: 0, 77 where mounting is not permitted, or the step that went wrong. */
static int on_a_full_disk(void)
{
    char mnt[160], path[256], block[4096] = {0};
    struct record_spool *s;
    struct record_check c;
    struct record *r;
    int fd, refused = 0, lines = 20;

    snprintf(mnt, sizeof mnt, "%s/mnt", dir);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", mnt, "tmpfs", 0, "size=1m") != 0)
        return 77;
    s = spool_at(mnt);
    strcpy(dir, mnt);
    r = busy_record(s, 20);
    snprintf(path, sizeof path, "%s/filler", mnt);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 200; i++)
        if (write(fd, block, sizeof block) < 0)
            return 1;
    for (; !refused && lines < 5000; lines++) {
        line(r, "statement", "text", "SELECT abalance FROM pgbench_accounts WHERE aid = 1");
        refused = record_flush(r);
    }
    if (refused != -ENOSPC || record_spool_healthy(s) || record_pending(r) == 0)
        return 2;
    if (record_flush(r) != -ENOSPC || record_tick(r) != -ENOSPC)
        return 3;
    close(fd);
    unlink(path);
    if (record_flush(r) != 0 || record_pending(r) || !record_spool_healthy(s))
        return 4;
    line(r, "session.close", NULL, NULL);
    record_close(r);
    record_spool_close(s);
    c = check(SESSION);
    return c.ok && c.sealed && c.lines == (uint64_t)lines + 1 ? 0 : 5;
}

static void a_full_disk_loses_nothing(void **state)
{
    char mnt[80];
    int status = 0;
    pid_t pid;

    (void)state;
    snprintf(mnt, sizeof mnt, "%s/mnt", dir);
    assert_int_equal(mkdir(mnt, 0700), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(on_a_full_disk());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    rmdir(mnt);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(lines_are_in_the_file_when_flush_returns),
        T(only_blank_lines_stand_behind),
        T(a_quiet_record_is_exact),
        T(a_batch_longer_than_the_window_is_written),
        T(kill_loses_nothing),
        T(a_batch_that_was_not_committed_is_no_part),
        T(blank_lines_hide_nothing),
        T(much_behind_a_blank_shows),
        T(a_full_disk_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
