/* SPDX-License-Identifier: Apache-2.0
 * The built program: exit codes, what it prints, and what it says to a guard's control socket.
 */
#include "sidecar/control/control.h"
#include "sidecar/session/registry.h"
#include "src-common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SESSION  "01JCLITEST0000000000000000"
#define OUT_MAX  (1 << 20)
#define MAX_ARGS 24

/* ---- stand-ins for the session registry ---- */

int registry_list(struct session_info **ret, size_t *ret_n)
{
    struct session_info *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    strcpy(s->id, SESSION);
    strcpy(s->target, "orders-db");
    strcpy(s->user, "app\x1b[31m");
    s->statements = 42;
    *ret = s;
    *ret_n = 1;
    return 0;
}

int registry_kill(const char *id, const char *why)
{
    (void)why;
    return strcmp(id, SESSION) == 0 ? 0 : -ENOENT;
}

/* ---- fixture: a guard's control socket, and a directory ---- */

static const char *const no_names[] = {NULL};
static char program[4096];

struct fixture {
    char dir[64], path[80], file[128];
    struct approvals *approvals;
    struct record_spool *spool;
    struct control *control;
    struct approval_settings settings;
    char id[APPROVAL_ID_LEN + 1];
    int code;
    char *out, *err;
};

static void status(struct buffer *out, void *arg)
{
    (void)arg;
    jsonw_kstr(out, "version", BYTES("1.2.3"));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct control_config config = {.status = status};
    struct error err = {0};

    f->out = malloc(OUT_MAX);
    f->err = malloc(OUT_MAX);
    strcpy(f->dir, "/tmp/cli_test.XXXXXX");
    if (!mkdtemp(f->dir) || approvals_new(100, &f->approvals) != 0 ||
        record_spool_open(f->dir, &f->spool, &err) != 0)
        return -1;
    snprintf(f->path, sizeof f->path, "%s/sock", f->dir);
    snprintf(f->file, sizeof f->file, "%s/%s.jsonl", f->dir, SESSION);
    f->settings = (struct approval_settings){
        .groups = no_names, .users = no_names, .timeout_s = 60, .ticket = true};
    config.path = f->path;
    config.approvals = f->approvals;
    config.spool = f->spool;
    *state = f;
    return control_start(&config, &f->control, &err);
}

static void remove_at(const struct fixture *f, const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    unlink(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int r;

    control_stop(f->control);
    approvals_free(f->approvals);
    record_spool_close(f->spool);
    unlink(f->file);
    remove_at(f, "out");
    remove_at(f, "t.yaml");
    remove_at(f, "policies/p.yaml");
    remove_at(f, "policies");
    {
        char path[256];

        snprintf(path, sizeof path, "%s/policies", f->dir);
        rmdir(path);
    }
    r = rmdir(f->dir);
    free(f->out);
    free(f->err);
    free(f);
    return r;
}

/* ---- running it ---- */

struct child {
    pid_t pid;
    int out, err;
};

static struct child spawn(const char **argv)
{
    struct child c;
    int out[2], err[2];

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        dup2(out[1], 1);
        dup2(err[1], 2);
        execv(program, (char **)argv);
        _exit(99);
    }
    close(out[1]);
    close(err[1]);
    c.out = out[0];
    c.err = err[0];
    return c;
}

static void drain(int fd, char *to)
{
    size_t n = 0;
    ssize_t r;

    while (n < OUT_MAX - 1 && (r = read(fd, to + n, OUT_MAX - 1 - n)) > 0)
        n += (size_t)r;
    to[n] = '\0';
    close(fd);
}

/* Runs `kubectl-guard` with the words, ended by NULL. f->out, f->err and f->code say what happened.
 */
static int run(struct fixture *f, ...)
{
    const char *argv[MAX_ARGS + 2] = {program};
    struct child c;
    va_list ap;
    size_t n = 1;
    int st = 0;

    va_start(ap, f);
    while (n <= MAX_ARGS && (argv[n] = va_arg(ap, const char *)))
        n++;
    va_end(ap);
    c = spawn(argv);
    drain(c.out, f->out);
    drain(c.err, f->err);
    assert_int_equal(waitpid(c.pid, &st, 0), c.pid);
    assert_true(WIFEXITED(st));
    f->code = WEXITSTATUS(st);
    return f->code;
}

#define SAYS(text)                                                                                 \
    do {                                                                                           \
        if (!strstr(f->out, (text)))                                                               \
            fail_msg("no \"%s\" in:\n%s%s", (text), f->out, f->err);                               \
    } while (0)
#define COMPLAINS(text)                                                                            \
    do {                                                                                           \
        if (!strstr(f->err, (text)))                                                               \
            fail_msg("no \"%s\" in:\n%s", (text), f->err);                                         \
    } while (0)

static void ask(struct fixture *f, struct bytes text)
{
    static uint8_t n;
    struct approval_ask q = {.session = SESSION,
                             .rule = "writes",
                             .identity = "agent",
                             .target = "orders-db",
                             .statement = text,
                             .parameters = BYTES("[\"x\\u001b[1m\",null]"),
                             .settings = &f->settings};

    q.digest[0] = ++n;
    assert_int_equal(approvals_ask(f->approvals, &q, NULL, NULL, f->id), APPROVAL_ANSWER_TICKET);
}

static struct approval_info get(struct fixture *f)
{
    struct approval_info i;

    assert_int_equal(approvals_get(f->approvals, f->id, &i), 0);
    return i;
}

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
    assert_int_equal(run(f, "explain", "--sql", "select 1", NULL), 2);
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

/* ---- records ---- */

static void end(struct record *r)
{
    assert_int_equal(record_end(r), 0);
}

static void write_session(struct fixture *f, bool seal)
{
    struct record *r = NULL;
    struct buffer *b;

    assert_int_equal(record_open(f->spool, SESSION, &r), 0);
    b = record_begin(r, "session.open");
    buffer_printf(
        b, ",\"version\":\"1\",\"agent\":{\"namespace\":\"agents\",\"pod\":\"coder\","
           "\"serviceAccount\":\"sa\",\"labels\":{\"app\":\"coder\"}},\"target\":\"orders-db\"");
    end(r);
    b = record_begin(r, "auth");
    buffer_printf(b, ",\"user\":\"app\",\"database\":\"orders\",\"method\":\"scram\",\"ok\":true,"
                     "\"tls\":{\"client\":false,\"upstream\":true}");
    end(r);
    b = record_begin(r, "statement");
    buffer_printf(
        b, ",\"n\":1,\"kind\":\"query\",\"verdict\":\"Allow\",\"policy\":\"p\",\"rule\":\"read\"");
    jsonw_kstr(b, "text", BYTES("SELECT \x1b]0;owned\x07 '\xe2\x80\xae'"));
    end(r);
    b = record_begin(r, "result");
    buffer_printf(b, ",\"n\":1,\"columns\":[{\"name\":\"id\",\"masked\":false},{\"name\":\"email\","
                     "\"masked\":true}],\"rows\":[[\"1\",\"a***@x\"],[\"22\",null]],\"rowCount\":2,"
                     "\"bytes\":30,\"tag\":\"SELECT 2\",\"durationUs\":1500");
    end(r);
    b = record_begin(r, "statement");
    buffer_printf(b, ",\"n\":2,\"kind\":\"query\",\"verdict\":\"RequireApproval\",\"policy\":\"p\","
                     "\"rule\":\"writes\",\"text\":\"=cmd()\",\"parameters\":[\"a\",null,{"
                     "\"base64\":\"AAE=\"}]");
    end(r);
    b = record_begin(r, "approval");
    buffer_printf(b, ",\"n\":2,\"id\":\"abc\",\"phase\":\"Denied\",\"by\":\"uid:0(root)\","
                     "\"reason\":\"no \\u001b[1mway\"");
    end(r);
    b = record_begin(r, "error");
    buffer_printf(b, ",\"n\":2,\"sqlstate\":\"42501\",\"message\":\"denied\",\"from\":\"guard\"");
    end(r);
    b = record_begin(r, "telepathy"); /* of a newer guard */
    buffer_printf(b, ",\"n\":[1],\"thought\":{\"deep\":[1,2,{\"x\":null}]}");
    end(r);
    b = record_begin(r, "result"); /* every field of another type than expected */
    buffer_printf(b,
                  ",\"n\":\"x\",\"columns\":{\"a\":1},\"rows\":7,\"tag\":[],\"durationUs\":\"1\"");
    end(r);
    if (seal) {
        b = record_begin(r, "session.close");
        buffer_printf(b, ",\"reason\":\"client left\",\"statements\":2,\"denied\":1");
        end(r);
    }
    record_close(r);
}

static void change_a_byte(struct fixture *f, long at)
{
    FILE *file = fopen(f->file, "r+");

    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    fputc('#', file);
    fclose(file);
}

static void verify_says_ok(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    assert_int_equal(run(f, "verify", f->file, NULL), 0);
    SAYS(": OK 10 lines");
    assert_string_equal(f->err, "");
    assert_int_equal(run(f, "verify", "--json", f->file, NULL), 0);
    SAYS("\"verdict\": \"OK\"");
    assert_int_equal(run(f, "verify", f->file, f->file, NULL), 0);
}

static void verify_says_tampered(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    change_a_byte(f, 300);
    assert_int_equal(run(f, "verify", f->file, NULL), 1);
    SAYS("TAMPERED at seq 0");
    assert_int_equal(run(f, "verify", "--json", f->file, NULL), 1);
    SAYS("\"badSeq\": 0");
    assert_int_equal(run(f, "replay", f->file, NULL), 1);
    COMPLAINS("TAMPERED");
    SAYS("integrity: TAMPERED");
    assert_int_equal(run(f, "export", f->file, "--json", "-", NULL), 1);
    assert_int_equal(run(f, "verify", "/nonexistent", f->file, NULL), 1);
}

static void verify_says_unsealed(void **state)
{
    struct fixture *f = *state;

    write_session(f, false);
    assert_int_equal(run(f, "verify", f->file, NULL), 0);
    SAYS("UNSEALED");
    COMPLAINS("warning");
    assert_int_equal(run(f, "verify", "--strict", f->file, NULL), 1);
    assert_int_equal(run(f, "replay", f->file, NULL), 0);
    COMPLAINS("UNSEALED");
}

static void replay_reads_well_and_is_harmless(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    assert_int_equal(run(f, "replay", f->file, NULL), 0);
    SAYS("agents/coder");
    SAYS("login ok: user app, database orders");
    SAYS("SELECT \\x1b]0;owned\\x07 '<U+202E>'");
    SAYS("=> Allow by rule read of policy p");
    SAYS(" id | email*");
    SAYS(" 1  | a***@x");
    SAYS(" 22 | NULL");
    SAYS("(2 rows)");
    SAYS("1.500 ms");
    SAYS("$1 = \"a\"");
    SAYS("approval abc Denied by uid:0(root): no \\x1b[1mway");
    SAYS("error 42501 from guard: denied");
    SAYS("telepathy thought={\"deep\":[1,2,{\"x\":null}]}");
    SAYS("session ended: client left");
    SAYS("integrity: OK");
    assert_null(strchr(f->out, '\x1b'));
    assert_null(strstr(f->out, "\xe2\x80\xae"));
    assert_int_equal(run(f, "replay", SESSION, "--spool", f->dir, NULL), 0);
    SAYS("login ok");
}

static void replay_json_is_the_record(void **state)
{
    struct fixture *f = *state;
    char *text = calloc(1, OUT_MAX);
    FILE *file;

    write_session(f, true);
    assert_int_equal(run(f, "replay", "--json", f->file, NULL), 0);
    file = fopen(f->file, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, OUT_MAX - 1, file) > 0);
    fclose(file);
    assert_string_equal(f->out, text);
    free(text);
}

static void exports(void **state)
{
    struct fixture *f = *state;
    struct json_object *o;
    char out[128];

    write_session(f, true);
    assert_int_equal(run(f, "export", f->file, "--asciicast", "-", NULL), 0);
    assert_int_equal(strncmp(f->out, "{\"version\":2,", 13), 0);
    SAYS("orders=> SELECT \\\\x1b]0;owned");
    SAYS("(2 rows)\\r\\n");
    for (char *line = strtok(f->out, "\n"); line; line = strtok(NULL, "\n")) {
        o = json_tokener_parse(line);
        assert_non_null(o);
        json_object_put(o);
    }
    assert_int_equal(run(f, "export", f->file, "--csv", "-", NULL), 0);
    SAYS("n,time,kind,verdict");
    SAYS("\"'=cmd()\"");
    SAYS("\"Denied\",\"uid:0(root)\"");
    assert_int_equal(run(f, "export", f->file, "--json", "-", NULL), 0);
    o = json_tokener_parse(f->out);
    assert_non_null(o);
    json_object_put(o);
    snprintf(out, sizeof out, "%s/out", f->dir);
    assert_int_equal(run(f, "export", "--csv", out, f->file, NULL), 0);
    assert_int_equal(access(out, R_OK), 0);
    assert_int_equal(run(f, "export", f->file, "--csv", "/nonexistent/x", NULL), 3);
}

static void spool_lists_records(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    assert_int_equal(run(f, "sessions", "--spool", f->dir, NULL), 0);
    SAYS(SESSION);
    SAYS("orders-db");
    SAYS("OK");
    change_a_byte(f, 400);
    assert_int_equal(run(f, "sessions", "--spool", f->dir, "--json", NULL), 0);
    SAYS("TAMPERED");
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

/* ---- policies ---- */

static void write_file(const struct fixture *f, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char policies[] =
    "apiVersion: chaperone.dev/v1alpha1\n"
    "kind: GuardTarget\n"
    "metadata: {name: db, namespace: agents}\n"
    "spec: {protocol: postgres, hosts: [127.0.0.1], ports: [5432]}\n"
    "---\n"
    "apiVersion: chaperone.dev/v1alpha1\n"
    "kind: GuardPolicy\n"
    "metadata: {name: p, namespace: agents}\n"
    "spec:\n"
    "  rules:\n"
    "  - {name: read, action: Allow, sql: {operations: [Read], relations: [\"public.*\"]}}\n"
    "  - {name: pii, action: Mask, sql: {columns: [\"public.users.email\"]}, mask: {method: "
    "Partial}}\n"
    "  - {name: writes, action: RequireApproval, sql: {operations: [Update]}}\n"
    "  - {name: none, action: Deny, sql: {operations: [Update], where: Absent}}\n";

static void make_policies(struct fixture *f, char dir[static 128])
{
    snprintf(dir, 128, "%s/policies", f->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    write_file(f, "policies/p.yaml", policies);
}

static void explain_explains(void **state)
{
    struct fixture *f = *state;
    char dir[128];

    make_policies(f, dir);
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "select * from users", NULL), 0);
    SAYS("Select public.users");
    SAYS("public.users.email, Partial, rule pii");
    SAYS("Allow by rule read");
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "update a set b = 1 where c = 2", NULL), 0);
    SAYS("RequireApproval by rule writes");
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "update a set b = 1", NULL), 1);
    SAYS("Deny by rule none");
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "select 1; drop table a", NULL),
                     1);
    SAYS("the whole message => Deny");
    assert_int_equal(run(f, "explain", "--policies", dir, "--sql", "selec \x1b[2J", NULL), 1);
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select * from private.t", "--json", NULL),
        1);
    SAYS("\"verdict\": \"Deny\"");
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select 1", "--target", "x", NULL), 2);
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select 1", "--namespace", "other", NULL), 2);
    assert_int_equal(
        run(f, "explain", "--policies", dir, "--sql", "select 1", "--labels", "x", NULL), 2);
}

static void tests_pass_and_fail(void **state)
{
    struct fixture *f = *state;
    char dir[128], file[128];

    make_policies(f, dir);
    snprintf(file, sizeof file, "%s/t.yaml", f->dir);
    write_file(f, "t.yaml",
               "policies: policies\n"
               "cases:\n"
               "- {name: reading, sql: select * from a, expect: Allow, rule: read}\n"
               "- {name: writing, sql: update a set b = 1 where c = 2, expect: RequireApproval}\n");
    assert_int_equal(run(f, "test", file, NULL), 0);
    SAYS("PASS");
    assert_null(strstr(f->out, "FAIL"));
    write_file(f, "t.yaml",
               "policies: policies\n"
               "cases:\n"
               "- {name: reading, sql: select * from a, expect: Deny}\n"
               "- {name: rule, sql: select * from a, expect: Allow, rule: another}\n");
    assert_int_equal(run(f, "test", file, NULL), 1);
    assert_null(strstr(f->out, "PASS"));
}

static void broken_tests_are_no_tests(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "policies: policies\n",
        "policies: policies\ncases: []\n",
        "policies: policies\ncases: [{sql: select 1}]\n",
        "policies: policies\ncases: [{expect: Allow}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Maybe}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, expcet: Deny}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, agent: {ns: x}}]\n",
        "policies: policies\ncases: [{sql: select 1, expect: Allow, target: none}]\n",
        "policies: nowhere\ncases: [{sql: select 1, expect: Allow}]\n",
        "cases: [{sql: select 1, expect: Allow}]\n",
        "policies: policies\ncase: [{sql: select 1, expect: Allow}]\n",
    };
    struct fixture *f = *state;
    char dir[128], file[128];

    make_policies(f, dir);
    snprintf(file, sizeof file, "%s/t.yaml", f->dir);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        write_file(f, "t.yaml", texts[i]);
        if (run(f, "test", file, NULL) != 2)
            fail_msg("exit code %d for:\n%s", f->code, texts[i]);
        COMPLAINS(i == 10 ? "nowhere" : "t.yaml");
    }
}

/* BUILD/tests/unit/kubectl-guard/cli_test -> BUILD/bin/kubectl-guard; or KUBECTL_GUARD. */
static bool find_program(void)
{
    const char *named = getenv("KUBECTL_GUARD");
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 64);
    char *slash;

    program[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 4 && (slash = strrchr(program, '/')); up++)
        *slash = '\0';
    strcat(program, "/bin/kubectl-guard");
    if (named)
        snprintf(program, sizeof program, "%s", named);
    return access(program, X_OK) == 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(usage_errors_are_2),
        T(help_is_there_for_all),
        T(no_guard_is_3),
        T(options_stand_anywhere),
        T(list_is_a_table),
        T(show_is_whole_and_harmless),
        T(approve_and_deny),
        T(refused_with_the_words),
        T(sessions_and_kill),
        T(verify_says_ok),
        T(verify_says_tampered),
        T(verify_says_unsealed),
        T(replay_reads_well_and_is_harmless),
        T(replay_json_is_the_record),
        T(exports),
        T(spool_lists_records),
        T(watch_follows),
        T(tail_follows_to_the_end),
        T(explain_explains),
        T(tests_pass_and_fail),
        T(broken_tests_are_no_tests),
    };

    signal(SIGPIPE, SIG_IGN);
    unsetenv("CHAPERONE_SOCKET");
    if (!find_program()) {
        fprintf(stderr, "%s is not there: build the programs first (make all)\n", program);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
