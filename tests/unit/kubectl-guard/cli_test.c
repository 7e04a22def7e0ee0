/* SPDX-License-Identifier: Apache-2.0
 * The built program: its command line, exit codes, and what it says to a guard's control socket.
 */
#include "run_program.h"

/* ---- the command line ---- */

static void usage_errors_are_2(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run(f, NULL), 2);
    COMPLAINS("--help");
    assert_int_equal(run(f, "frobnicate", NULL), 2);
    COMPLAINS("frobnicate");
    assert_int_equal(run(f, "list", "extra", NULL), 2);
    assert_int_equal(run(f, "show", NULL), 2);
    assert_int_equal(run(f, "approve", "--reason", NULL), 2);
    assert_int_equal(run(f, "approve", "x", "--uses", "0", NULL), 2);
    assert_int_equal(run(f, "approve", "x", "--uses", "-5", NULL), 2);
    assert_int_equal(run(f, "approve", "x", "--for", "15 minutes", NULL), 2);
    assert_int_equal(run(f, "approve", "x", "--for", "8d", NULL), 2);
    assert_int_equal(run(f, "approve", "x", "--for", "1m", "--uses", "3", NULL), 2);
    assert_int_equal(run(f, "list", "--uses", "3", NULL), 2);
    assert_int_equal(run(f, "list", "-o", "xml", NULL), 2);
    assert_int_equal(run(f, "list", "--json=yes", NULL), 2);
    assert_int_equal(run(f, "list", "--socket", "a", "--socket", "b", NULL), 2);
    assert_int_equal(run(f, "verify", NULL), 2);
    assert_int_equal(run(f, "export", "x", NULL), 2);
    assert_int_equal(run(f, "replay", "x", "--speed", "fast", NULL), 2);
    assert_int_equal(run(f, "explain", "--sql", "select 1", "--socket", "/x", NULL), 2);
    assert_int_equal(run(f, "explain", "--policies", "/x", NULL), 2);
    assert_int_equal(run(f, "completion", "tcsh", NULL), 2);
    assert_int_equal(run(f, "explain", "--policies", "/nonexistent", "--sql", "select 1", NULL), 2);
    assert_int_equal(run(f, "test", "/nonexistent", NULL), 2);
    assert_string_equal(f->out, "");
}

static void help_is_there_for_all(void **state)
{
    static const char *const names[] = {"list",     "show",    "approve", "deny",   "watch",
                                        "sessions", "tail",    "kill",    "replay", "verify",
                                        "export",   "explain", "test",    "status"};
    struct fixture *f = *state;
    char usage[64];

    assert_int_equal(run(f, "--help", NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        SAYS(names[i]);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(run(f, names[i], "--help", NULL), 0);
        snprintf(usage, sizeof usage, "usage: kubectl-guard %s", names[i]);
        SAYS(usage);
    }
    assert_int_equal(run(f, "-h", NULL), 0);
    assert_int_equal(run(f, "help", "list", NULL), 0);
    SAYS("usage: kubectl-guard list");
    assert_int_equal(run(f, "--version", NULL), 0);
    assert_int_equal(strncmp(f->out, "kubectl-guard ", 14), 0);
}

static void no_guard_is_3(void **state)
{
    static const char *const commands[] = {"list", "watch", "sessions", "status"};
    struct fixture *f = *state;
    char path[128];

    snprintf(path, sizeof path, "%s/nobody", f->dir);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        assert_int_equal(run(f, commands[i], "--socket", path, NULL), 3);
        COMPLAINS(path);
        COMPLAINS("--socket");
        assert_string_equal(f->out, "");
    }
    assert_int_equal(run(f, "approve", "x", "--socket", path, NULL), 3);
    assert_int_equal(run(f, "tail", "all", "--socket", path, NULL), 3);
    assert_int_equal(run(f, "verify", "/nonexistent", NULL), 3);
    assert_int_equal(run(f, "replay", "/nonexistent", NULL), 3);
    assert_int_equal(run(f, "sessions", "--spool", "/nonexistent", NULL), 3);
}

static void options_stand_anywhere(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run(f, "--socket", f->path, "status", NULL), 0);
    assert_int_equal(run(f, "status", "--socket", f->path, NULL), 0);
    SAYS("1.2.3");
    assert_int_equal(run(f, "--json", "status", "--socket", f->path, NULL), 0);
    SAYS("\"version\": \"1.2.3\"");
    assert_int_equal(run(f, "-o", "yaml", "--socket", f->path, "status", NULL), 0);
    SAYS("version: \"1.2.3\"");
    assert_int_equal(run(f, "-ojson", "status", "--socket", f->path, NULL), 0);
    assert_int_equal(setenv("CHAPERONE_SOCKET", f->path, 1), 0);
    assert_int_equal(run(f, "status", NULL), 0);
    assert_int_equal(run(f, "status", "--socket", "/nonexistent", NULL), 3);
    unsetenv("CHAPERONE_SOCKET");
}

/* ---- approvals ---- */

static void list_is_a_table(void **state)
{
    struct fixture *f = *state;
    char first[APPROVAL_ID_LEN + 1];

    assert_int_equal(run(f, "list", "--socket", f->path, NULL), 0);
    assert_string_equal(f->out, "");
    ask(f, BYTES("UPDATE orders SET a = 1"));
    memcpy(first, f->id, sizeof first);
    ask(f, BYTES("DELETE FROM orders\nWHERE \x1b[2Ja = 1"));
    assert_int_equal(run(f, "deny", f->id, "--socket", f->path, NULL), 0);
    assert_int_equal(run(f, "list", "--socket", f->path, NULL), 0);
    assert_int_equal(strncmp(f->out, "ID ", 3), 0);
    assert_int_equal(strncmp(strchr(f->out, '\n') + 1, first, APPROVAL_ID_LEN), 0);
    SAYS("Denied");
    SAYS("DELETE FROM orders\\nWHERE \\x1b[2Ja = 1");
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(run(f, "list", "--pending", "--socket", f->path, NULL), 0);
    assert_null(strstr(f->out, "Denied"));
    assert_int_equal(run(f, "list", "--json", "--socket", f->path, NULL), 0);
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(run(f, "list", "-o", "wide", "--socket", f->path, NULL), 0);
    SAYS("IDENTITY");
}

static void show_is_whole_and_harmless(void **state)
{
    struct fixture *f = *state;

    ask(f, BYTES("UPDATE t SET a = 1 -- \xe2\x80\xae 1=1\n\tWHERE \x9b"
                 "2J id = 5"));
    assert_int_equal(run(f, "show", f->id, "--socket", f->path, NULL), 0);
    SAYS(f->id);
    SAYS("    UPDATE t SET a = 1 -- <U+202E> 1=1\n        WHERE ");
    SAYS("$1 = \"x\\u001b[1m\"");
    SAYS("$2 = NULL");
    assert_null(strchr(f->out, '\x1b'));
    assert_null(strstr(f->out, "\xe2\x80\xae"));
    assert_int_equal(run(f, "show", f->id, "--json", "--socket", f->path, NULL), 0);
    SAYS("\\u202e");
    assert_int_equal(run(f, "show", "aaaaaaaaaaaa", "--socket", f->path, NULL), 1);
    COMPLAINS("no request");
}

static void approve_and_deny(void **state)
{
    struct fixture *f = *state;
    struct approval_info i;

    ask(f, BYTES("UPDATE 1"));
    assert_int_equal(run(f, "approve", f->id, "--reason", "fine by me", "--uses", "3", "--socket",
                         f->path, NULL),
                     0);
    SAYS("approved");
    i = get(f);
    assert_int_equal(i.phase, APPROVAL_APPROVED);
    assert_int_equal(i.uses_left, 3);
    assert_string_equal(i.decisions[0].reason, "fine by me");
    approval_info_done(&i);
    assert_int_equal(run(f, "approve", f->id, "--socket", f->path, NULL), 1);
    COMPLAINS("not pending");
    assert_int_equal(run(f, "deny", f->id, "--socket", f->path, NULL), 1);
    ask(f, BYTES("UPDATE 2"));
    assert_int_equal(run(f, "--socket", f->path, "deny", f->id, "--reason=no", NULL), 0);
    SAYS("denied");
    ask(f, BYTES("UPDATE 3"));
    assert_int_equal(run(f, "approve", f->id, "--for", "15m", "--socket", f->path, NULL), 0);
    i = get(f);
    assert_int_equal(i.uses_left, UINT32_MAX);
    approval_info_done(&i);
    assert_int_equal(run(f, "approve", "aaaaaaaaaaaa", "--socket", f->path, NULL), 1);
    COMPLAINS("aaaaaaaaaaaa");
}

static void refused_with_the_words(void **state)
{
    struct fixture *f = *state;

    f->settings.require_reason = true;
    f->settings.count = 2;
    ask(f, BYTES("UPDATE 1"));
    assert_int_equal(run(f, "approve", f->id, "--socket", f->path, NULL), 1);
    COMPLAINS("--reason");
    assert_int_equal(run(f, "approve", f->id, "--reason", "r", "--socket", f->path, NULL), 0);
    SAYS("1 of 2");
    assert_int_equal(run(f, "approve", f->id, "--reason", "r", "--socket", f->path, NULL), 1);
    COMPLAINS("already");
}

static void sessions_and_kill(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run(f, "sessions", "--socket", f->path, NULL), 0);
    SAYS("SESSION");
    SAYS(SESSION);
    SAYS("app\\x1b[31m");
    assert_int_equal(run(f, "kill", SESSION, "--socket", f->path, NULL), 0);
    assert_int_equal(run(f, "kill", "nobody", "--socket", f->path, NULL), 1);
    COMPLAINS("nobody");
}

/* ---- streams ---- */

/* Reads until the text shows up, five seconds at most. */
static void wait_for(int fd, char *to, const char *text)
{
    uint64_t deadline = clock_mono_ms() + 5000;
    size_t n = 0;

    to[0] = '\0';
    while (!strstr(to, text)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t r;

        if (clock_mono_ms() > deadline)
            fail_msg("no \"%s\" within five seconds, but:\n%s", text, to);
        if (poll(&p, 1, 100) <= 0)
            continue;
        r = read(fd, to + n, OUT_MAX - 1 - n);
        if (r <= 0)
            fail_msg("ended before \"%s\":\n%s", text, to);
        n += (size_t)r;
        to[n] = '\0';
    }
}

static void finish(struct child c, bool kill_it)
{
    int st;

    if (kill_it)
        kill(c.pid, SIGTERM);
    close(c.out);
    close(c.err);
    assert_int_equal(waitpid(c.pid, &st, 0), c.pid);
    assert_true(kill_it || (WIFEXITED(st) && WEXITSTATUS(st) == 0));
}

static void watch_follows(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {program, "watch", "--socket", f->path, NULL};
    struct child c;

    ask(f, BYTES("UPDATE \x1b[2J 1"));
    c = spawn(argv);
    wait_for(c.out, f->out, "UPDATE \\x1b[2J 1");
    assert_int_equal(run(f, "deny", f->id, "--reason", "because", "--socket", f->path, NULL), 0);
    wait_for(c.out, f->out, "because");
    SAYS("Denied");
    finish(c, true);
}

static void tail_follows_to_the_end(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {program, "tail", SESSION, "--socket", f->path, NULL};
    struct record *r = NULL;
    struct child c = spawn(argv);
    uint64_t deadline = clock_mono_ms() + 5000;
    char seen[OUT_MAX / 64] = "";
    int st = 0;

    assert_int_equal(record_open(f->spool, SESSION, &r), 0);
    /* Lines are written until the first shows up: from then on it follows. */
    while (!seen[0] && clock_mono_ms() < deadline) {
        struct pollfd p = {.fd = c.out, .events = POLLIN};
        struct buffer *b = record_begin(r, "statement");

        jsonw_kstr(b, "text", BYTES("SELECT \x1b[31m"));
        end(r);
        assert_int_equal(record_flush(r), 0);
        if (poll(&p, 1, 50) > 0)
            assert_true(read(c.out, seen, sizeof seen - 1) > 0);
    }
    assert_non_null(strstr(seen, "SELECT"));
    record_begin(r, "session.close");
    end(r);
    record_close(r);
    drain(c.out, f->out);
    drain(c.err, f->err);
    assert_int_equal(waitpid(c.pid, &st, 0), c.pid);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
    SAYS("session ended");
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(run(f, "tail", "nobody", "--socket", f->path, NULL), 1);
    COMPLAINS("nobody");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(usage_errors_are_2),     T(help_is_there_for_all),   T(no_guard_is_3),
        T(options_stand_anywhere), T(list_is_a_table),         T(show_is_whole_and_harmless),
        T(approve_and_deny),       T(refused_with_the_words),  T(sessions_and_kill),
        T(watch_follows),          T(tail_follows_to_the_end),
    };

    return run_group("tests", tests, ARRAY_LEN(tests));
}
