/* SPDX-License-Identifier: Apache-2.0
 * Records: what is written, what is refused, and what a full disk does to it.
 */
#include "record_fixture.h"

#include <json-c/json.h>
#include <openssl/evp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void writes_and_verifies(void **state)
{
    struct record_check c;
    struct stat st;
    char path[256];

    (void)state;
    write_session(SESSION, true);
    c = check(SESSION);
    assert_true(c.ok);
    assert_true(c.sealed);
    assert_int_equal(c.lines, 6);
    assert_int_equal(c.statements, 2);
    assert_int_equal(c.denied, 1);
    assert_int_equal(c.approvals, 1);
    assert_string_equal(c.session, SESSION);
    assert_int_equal(strlen(c.head), 64);
    path_of(path, sizeof path, SESSION);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* The format, checked without our own verifier: another program has to be able to. */
static void canonical_form(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    struct json_object *o, *v;
    size_t n;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    for (size_t i = 0; i < 6; i++) {
        char one[2048] = {0};
        const char *from = nth(text, i);

        memcpy(one, from, (size_t)(strchr(from, '\n') - from));
        o = json_tokener_parse(one);
        assert_non_null(o);
        assert_true(json_object_object_get_ex(o, "seq", &v));
        assert_int_equal(json_object_get_int64(v), i);
        assert_true(json_object_object_get_ex(o, "prev", &v));
        assert_int_equal(json_object_get_string_len(v), 64);
        assert_true(json_object_object_get_ex(o, "time", &v));
        assert_int_equal(json_object_get_string_len(v), 27);
        json_object_put(o);
    }
    assert_int_equal(strncmp(text, "{\"seq\":0,\"time\":\"", 17), 0);
    assert_non_null(strstr(nth(text, 2), "\"DROP TABLE \\\"t\\\"\\n\""));
}

/* SHA-256 of a line rebuilt by hand equals its hash, and is the next line's prev. */
static void chain_by_hand(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    char body[2048], hex[65];
    uint8_t md[32];
    unsigned len = 0;
    size_t n;
    char *at;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    at = strstr(text, ",\"hash\":\"");
    assert_non_null(at);
    snprintf(body, sizeof body, "%.*s}", (int)(at - text), text);
    assert_int_equal(EVP_Digest(body, strlen(body), md, &len, EVP_sha256(), NULL), 1);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    assert_memory_equal(at + 9, hex, 64);
    assert_memory_equal(strstr(nth(text, 1), ",\"prev\":\"") + 9, hex, 64);
    assert_non_null(strstr(text, "\"prev\":\"0000000000000000000000000000000000000000"
                                 "000000000000000000000000\""));
}

static void refuses_bad_session_names(void **state)
{
    static const char *const names[] = {
        "",        "..",
        "../x",    "a/b",
        ".hidden", "a\nb",
        "a b",     "0123456789012345678901234567890123456789012345678901234567890123"};
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(record_open(s, names[i], &r), -EINVAL);
    assert_null(r);
    record_spool_close(s);
}

static void refuses_an_existing_file(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL, *again = NULL;
    char path[256];

    (void)state;
    assert_int_equal(record_open(s, SESSION, &r), 0);
    assert_int_equal(record_open(s, SESSION, &again), -EEXIST);
    assert_null(again);
    path_of(path, sizeof path, OTHER);
    assert_int_equal(symlink("/tmp/elsewhere", path), 0);
    assert_int_equal(record_open(s, OTHER, &again), -EEXIST);
    record_close(r);
    record_spool_close(s);
}

static void refuses_an_unusable_spool(void **state)
{
    struct record_spool *s = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(record_spool_open("/proc/nothing/here", &s, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/proc/nothing/here"));
    assert_int_equal(record_spool_open("/dev/null", &s, &err), -ENOTDIR);
    assert_null(s);
}

static void an_unfinished_line_is_dropped(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL;
    struct buffer *b;

    (void)state;
    assert_int_equal(record_open(s, SESSION, &r), 0);
    assert_int_equal(record_end(r), -EINVAL);
    line(r, "session.open", NULL, NULL);
    b = record_begin(r, "statement");
    jsonw_kstr(b, "text", BYTES("half"));
    assert_int_equal(record_flush(r), 0); /* the whole line only */
    assert_int_equal(record_pending(r), 0);
    line(r, "session.close", NULL, NULL);
    record_close(r);
    record_spool_close(s);
    assert_true(check(SESSION).sealed);
    assert_int_equal(check(SESSION).lines, 2);
}

/* A line over the limit is refused as a whole; the chain goes on without it. */
static void refuses_a_line_over_the_limit(void **state)
{
    static const char mib[1 << 20] = {'x'};
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL;
    struct buffer *b;

    (void)state;
    assert_int_equal(record_open(s, SESSION, &r), 0);
    line(r, "session.open", NULL, NULL);
    b = record_begin(r, "data");
    for (int i = 0; i < 64; i++)
        buffer_append(b, mib, sizeof mib);
    assert_int_equal(record_end(r), -E2BIG);
    b = record_begin(r, "data");
    for (int i = 0; i < 200; i++)
        buffer_append(b, mib, sizeof mib);
    assert_int_equal(record_end(r), -ENOMEM);
    b = record_begin(r, "data");
    buffer_append(b, ",\"a\":\"\n\"", 8);
    assert_int_equal(record_end(r), -EBADMSG);
    line(r, "session.close", NULL, NULL);
    record_close(r);
    record_spool_close(s);
    assert_true(check(SESSION).ok && check(SESSION).sealed);
    assert_int_equal(check(SESSION).lines, 2);
}

static void big_lines_verify(void **state)
{
    _cleanup_(free_charp) char *big = malloc(3 << 20);
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL;

    (void)state;
    assert_non_null(big);
    memset(big, 'y', 3 << 20);
    assert_int_equal(record_open(s, SESSION, &r), 0);
    line(r, "session.open", NULL, NULL);
    for (int i = 0; i < 3; i++) {
        struct buffer *b = record_begin(r, "result");

        jsonw_kstr(b, "rows", bytes_of(big, 3 << 20));
        assert_int_equal(record_end(r), 0);
    }
    assert_int_equal(record_flush(r), 0);
    record_close(r);
    assert_true(record_spool_bytes(s) > 9 << 20);
    record_spool_close(s);
    assert_true(check(SESSION).ok);
    assert_int_equal(check(SESSION).lines, 4);
}

/* ---- a disk that fills ---- */

static void statements(struct record *r, int n)
{
    for (int i = 0; i < n; i++)
        line(r, "statement", "text", "SELECT * FROM a_table_with_a_name WHERE id = 4711");
}

/* Writes past the place's end, makes room, and goes on. 0, or the number of the step that went
 * wrong: the caller is a child process. */
static int fill_then_free(struct record_spool *s, int expect, void (*make_room)(void))
{
    struct record *r = NULL;
    size_t pending;

    if (record_open(s, SESSION, &r) != 0)
        return 1;
    line(r, "session.open", NULL, NULL);
    statements(r, 10);
    if (record_flush(r) != 0 || !record_spool_healthy(s))
        return 2;
    statements(r, 1000);
    if (record_flush(r) != -expect)
        return 3;
    pending = record_pending(r);
    if (pending == 0 || record_spool_healthy(s) || record_spool_failures(s) != 1)
        return 4;
    if (record_flush(r) != -expect || record_pending(r) != pending)
        return 5;
    statements(r, 5);
    if (record_pending(r) <= pending)
        return 6;
    make_room();
    if (record_flush(r) != 0 || record_pending(r) != 0 || !record_spool_healthy(s))
        return 7;
    line(r, "session.close", NULL, NULL);
    record_close(r);
    return 0;
}

static void raise_limit(void)
{
    struct rlimit l = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_FSIZE, &l);
}

static int child_file_limit(void)
{
    struct rlimit l;
    struct record_spool *s = spool_at(dir);
    int step;

    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = 100001; /* in the middle of a line */
    setrlimit(RLIMIT_FSIZE, &l);
    signal(SIGXFSZ, SIG_IGN);
    step = fill_then_free(s, EFBIG, raise_limit);
    record_spool_close(s);
    return step;
}

static char filler[256];

static void remove_filler(void)
{
    unlink(filler);
}

/* The kernel counts tmpfs in pages: 64 of them, of which a file takes all but 16. */
static int child_full_disk(void)
{
    char mnt[160], block[4096] = {0};
    struct record_spool *s;
    struct record_check c;
    int fd, step;

    snprintf(mnt, sizeof mnt, "%s/mnt", dir);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", mnt, "tmpfs", 0, "size=1m") != 0)
        return 77;
    snprintf(filler, sizeof filler, "%s/filler", mnt);
    fd = open(filler, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 240; i++)
        if (write(fd, block, sizeof block) < 0)
            return 90;
    close(fd);
    s = spool_at(mnt);
    step = fill_then_free(s, ENOSPC, remove_filler);
    record_spool_close(s);
    snprintf(mnt, sizeof mnt, "%s/mnt/%s.jsonl", dir, SESSION);
    if (step == 0 &&
        (record_verify_file(mnt, &c, NULL) != 0 || !c.ok || !c.sealed || c.lines != 1017))
        return 91;
    return step;
}

static int run_child(int (*fn)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void file_limit_loses_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_child(child_file_limit), 0);
    assert_true(check(SESSION).ok && check(SESSION).sealed);
    assert_int_equal(check(SESSION).lines, 1017);
}

static void full_disk_loses_nothing(void **state)
{
    char mnt[80];
    int step;

    (void)state;
    snprintf(mnt, sizeof mnt, "%s/mnt", dir);
    assert_int_equal(mkdir(mnt, 0700), 0);
    step = run_child(child_full_disk);
    rmdir(mnt);
    if (step == 77)
        skip(); /* may not mount here; the file limit shows the same */
    assert_int_equal(step, 0);
}

/* ---- tap ---- */

struct tapped {
    unsigned lines;
    size_t bytes;
    char last[256];
};

static void on_line(const char *session, struct bytes text, void *arg)
{
    struct tapped *t = arg;

    assert_string_equal(session, SESSION);
    assert_int_equal(text.p[0], '{');
    assert_int_equal(text.p[text.len - 1], '}');
    t->lines++;
    t->bytes += text.len + 1;
    snprintf(t->last, sizeof t->last, "%.*s", (int)text.len, (const char *)text.p);
}

static void tap_sees_flushed_lines_only(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct tapped t = {0};
    struct record *r = NULL;

    (void)state;
    record_spool_set_tap(s, on_line, &t);
    assert_int_equal(record_open(s, SESSION, &r), 0);
    line(r, "session.open", NULL, NULL);
    line(r, "statement", "text", "SELECT 1");
    assert_int_equal(t.lines, 0);
    assert_int_equal(record_flush(r), 0);
    assert_int_equal(t.lines, 2);
    assert_non_null(strstr(t.last, "\"type\":\"statement\""));
    line(r, "session.close", NULL, NULL);
    record_close(r);
    assert_int_equal(t.lines, 3);
    assert_int_equal(t.bytes, record_spool_bytes(s));
    record_spool_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(writes_and_verifies),
        T(canonical_form),
        T(chain_by_hand),
        T(refuses_bad_session_names),
        T(refuses_an_existing_file),
        T(refuses_an_unusable_spool),
        T(an_unfinished_line_is_dropped),
        T(refuses_a_line_over_the_limit),
        T(big_lines_verify),
        T(file_limit_loses_nothing),
        T(full_disk_loses_nothing),
        T(tap_sees_flushed_lines_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
