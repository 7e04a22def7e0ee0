/* SPDX-License-Identifier: Apache-2.0
 * Runs the built program against a control socket, for the tests of kubectl-guard.
 */
#pragma once

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

static inline void status(struct buffer *out, void *arg)
{
    (void)arg;
    jsonw_kstr(out, "version", BYTES("1.2.3"));
}

static inline int setup(void **state)
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

static inline void remove_at(const struct fixture *f, const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    unlink(path);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    int r;

    control_stop(f->control);
    approvals_free(f->approvals);
    record_spool_close(f->spool);
    unlink(f->file);
    remove_at(f, "out");
    remove_at(f, "t.yaml");
    remove_at(f, "kubectl");
    remove_at(f, "args");
    remove_at(f, "count");
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

static inline struct child spawn(const char **argv)
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

static inline void drain(int fd, char *to)
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
static inline int run(struct fixture *f, ...)
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

static inline void end(struct record *r)
{
    assert_int_equal(record_end(r), 0);
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

static inline void ask(struct fixture *f, struct bytes text)
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

static inline struct approval_info get(struct fixture *f)
{
    struct approval_info i;

    assert_int_equal(approvals_get(f->approvals, f->id, &i), 0);
    return i;
}

/* BUILD/tests/unit/kubectl-guard/cli_test -> BUILD/bin/kubectl-guard; or KUBECTL_GUARD. */
static inline bool find_program(void)
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

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static inline int run_group(const char *group, const struct CMUnitTest *tests, size_t n)
{
    signal(SIGPIPE, SIG_IGN);
    unsetenv("CHAPERONE_SOCKET");
    if (!find_program()) {
        fprintf(stderr, "%s is not there: build the programs first (make all)\n", program);
        return 1;
    }
    return _cmocka_run_group_tests(group, tests, n, NULL, NULL);
}
