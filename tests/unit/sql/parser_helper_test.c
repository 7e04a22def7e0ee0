/* SPDX-License-Identifier: Apache-2.0
 * The SQL parser's helper process: confined, replaced when it dies or hangs, gone with the guard.
 */
#include "sidecar/sql/parser.h"

#include "parser_fixture.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void poll_pause(void)
{
    poll(NULL, 0, 5);
}

static bool is_gone(pid_t pid)
{
    char path[64], state = 'R';
    int threads = 2;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    if (!f)
        return true;
    if (fscanf(f,
               "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d",
               &state, &threads) != 2)
        state = 'R';
    fclose(f);
    return state == 'Z' && threads <= 1;
}

/* Gone, or waiting for its parent with all of its threads ended and its descriptors closed. */
static void wait_until_gone(pid_t pid)
{
    uint64_t until_ms = clock_mono_ms() + 5000;

    while (!is_gone(pid)) {
        if (clock_mono_ms() > until_ms)
            fail_msg("process %d is still there", (int)pid);
        poll_pause();
    }
}

/* Killed between statements: nobody notices. */
static void test_dead_helper_is_replaced(void **state)
{
    pid_t before = live_helper();

    (void)state;
    assert_true(before > 0);
    assert_int_equal(kill(before, SIGKILL), 0);
    wait_until_gone(before);
    assert_alive();
    assert_true(parser_helper_pid(parser) > 0);
    assert_true(parser_helper_pid(parser) != before);
}

static bool thread_is_stopped(pid_t pid, const char *thread)
{
    char path[300], state = 'R';
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, thread);
    f = fopen(path, "r");
    if (!f)
        return false;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 'R';
    fclose(f);
    return state == 'T';
}

static bool is_stopped(pid_t pid)
{
    struct dirent *entry;
    char path[64];
    bool all = true;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    dir = opendir(path);
    if (!dir)
        return false;
    while ((entry = readdir(dir)))
        all = all && (entry->d_name[0] == '.' || thread_is_stopped(pid, entry->d_name));
    closedir(dir);
    return all;
}

/* Stops it, and waits until none of its threads could answer any more. */
static void stop_helper(pid_t pid)
{
    uint64_t until_ms = clock_mono_ms() + 5000;

    assert_int_equal(kill(pid, SIGSTOP), 0);
    while (!is_stopped(pid)) {
        if (clock_mono_ms() > until_ms)
            fail_msg("process %d does not stop", (int)pid);
        poll_pause();
    }
}

/* Stopped: the statement runs out of time, the next is served by another helper. */
static void test_silent_helper_is_replaced(void **state)
{
    pid_t before = live_helper();
    struct error err = {0};
    uint64_t start_ms;

    (void)state;
    stop_helper(before);
    start_ms = clock_mono_ms();
    assert_int_equal(parse(BYTES("select 1"), &err), -E2BIG);
    assert_in_range(clock_mono_ms() - start_ms, PARSER_DEADLINE_MS - 100,
                    PARSER_DEADLINE_MS + 2000);
    assert_non_null(strstr(err.text, "ran out of time"));
    assert_alive();
    assert_true(parser_helper_pid(parser) != before);
}

/* Whether the helper's socket, the only one here that anything is written to, holds bytes that
 * nobody has read: a statement is on its way to a helper that does not take it. */
static bool statement_is_sent(void)
{
    for (int fd = 3; fd < 256; fd++) {
        int domain = 0, unread = 0;
        socklen_t len = sizeof domain;

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
            ioctl(fd, SIOCOUTQ, &unread) == 0 && unread > 0)
            return true;
    }
    return false;
}

static pid_t to_be_killed;

static void *kill_when_sent(void *ret_sent)
{
    uint64_t until_ms = clock_mono_ms() + PARSER_DEADLINE_MS;
    bool *sent = ret_sent;

    while (!(*sent = statement_is_sent()) && clock_mono_ms() < until_ms)
        poll_pause();
    kill(to_be_killed, SIGKILL);
    return NULL;
}

/* Dies in the middle of a statement: that statement is refused. */
static void test_crash_costs_one_statement(void **state)
{
    pid_t before = live_helper();
    struct error err = {0};
    struct json_object *tree = NULL;
    bool sent = false;
    pthread_t thread;
    int r;

    (void)state;
    stop_helper(before);
    assert_false(statement_is_sent());
    to_be_killed = before;
    assert_int_equal(pthread_create(&thread, NULL, kill_when_sent, &sent), 0);
    r = sql_parser_parse(parser, BYTES("select 1"), &tree, &err);
    pthread_join(thread, NULL);
    assert_true(sent);
    assert_int_equal(r, -E2BIG);
    assert_null(tree);
    assert_non_null(strstr(err.text, "crashed"));
    assert_alive();
}

/* More deaths than the burst allows slow callers down and refuse none. */
static void test_many_deaths(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        pid_t pid = live_helper();

        kill(pid, SIGKILL);
        wait_until_gone(pid);
        assert_alive();
    }
}

static void test_stop_ends_the_helper(void **state)
{
    struct sql_parser *other = NULL;
    struct error err = {0};
    pid_t pid;

    (void)state;
    assert_int_equal(sql_parser_start(&other, &err), 0);
    pid = parser_helper_pid(other);
    sql_parser_stop(other);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    assert_int_equal(kill(pid, 0), -1);
    sql_parser_stop(NULL);
}

static long status_field(pid_t pid, const char *field)
{
    char path[64], line[256];
    long value = -1;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    f = fopen(path, "r");
    if (!f)
        return -1;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtol(line + strlen(field), NULL, 10);
    }
    fclose(f);
    return value;
}

static void test_helper_is_confined(void **state)
{
    pid_t pid = live_helper();
    struct rlimit limit;
    char path[64];
    int n = 0;
    DIR *dir;

    (void)state;
    assert_int_equal(status_field(pid, "NoNewPrivs:"), 1);
    assert_int_equal(prlimit(pid, RLIMIT_CORE, NULL, &limit), 0);
    assert_int_equal(limit.rlim_max, 0);
    if (PARSER_SANITIZED)
        return;
    assert_int_equal(status_field(pid, "Seccomp:"), 2);
    assert_int_equal(prlimit(pid, RLIMIT_AS, NULL, &limit), 0);
    assert_in_range(limit.rlim_max, 1, (size_t)1 << 30);
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (!dir) /* not dumpable: its files are root's */
        return;
    while (readdir(dir))
        n++;
    closedir(dir);
    assert_int_equal(n, 2 + PARSER_FD + 1);
}

/* It does not keep what a large statement took. */
static void test_helper_gives_memory_back(void **state)
{
    long before, after;

    (void)state;
    if (PARSER_SANITIZED)
        return;
    assert_alive();
    before = status_field(parser_helper_pid(parser), "VmRSS:");
    refused_repeated("select 1", "+1", 49000, "");
    parsed_repeated("insert into t values (1,'a')", ",(1,'a')", 10000, "");
    after = status_field(parser_helper_pid(parser), "VmRSS:");
    assert_true(before > 0 && after > 0);
    assert_true(after < before + 4096);
}

static void *parse_many(void *count)
{
    for (int i = 0; i < 200; i++) {
        struct json_object *tree = NULL;

        if (sql_parser_parse(parser, BYTES("select a from b where c = 1"), &tree, NULL) == 0)
            (*(int *)count)++;
        json_object_put(tree);
    }
    return NULL;
}

static void test_threads_queue(void **state)
{
    pthread_t threads[8];
    int counts[8] = {0};

    (void)state;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, parse_many, &counts[i]), 0);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(counts[i], 200);
    }
}

/* The helper belongs to the process, not to the thread that happened to start it. */
static void *replace_helper(void *unused)
{
    (void)unused;
    assert_alive();
    return NULL;
}

static void test_helper_outlives_the_thread_that_started_it(void **state)
{
    pid_t pid = live_helper();
    pthread_t thread;

    (void)state;
    kill(pid, SIGKILL);
    wait_until_gone(pid);
    assert_int_equal(pthread_create(&thread, NULL, replace_helper, NULL), 0);
    pthread_join(thread, NULL);
    pid = parser_helper_pid(parser);
    assert_alive();
    assert_int_equal(parser_helper_pid(parser), pid);
}

/* When the guard is killed, its helper ends too, even in the middle of something. */
static void test_helper_ends_with_the_guard(void **state)
{
    int pipefd[2];
    pid_t guard, helper = 0;

    (void)state;
    assert_int_equal(pipe(pipefd), 0);
    guard = fork();
    assert_true(guard >= 0);
    if (guard == 0) {
        struct sql_parser *p = NULL;

        if (sql_parser_start(&p, NULL) == 0)
            helper = parser_helper_pid(p);
        if (write(pipefd[1], &helper, sizeof helper) != sizeof helper)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(pipefd[0], &helper, sizeof helper), sizeof helper);
    assert_true(helper > 0);
    kill(guard, SIGKILL);
    waitpid(guard, NULL, 0);
    wait_until_gone(helper);
    close(pipefd[0]);
    close(pipefd[1]);
}

static void test_helper_refuses_to_be_run_by_hand(void **state)
{
    pid_t pid = fork();
    int status = 0;

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        close(PARSER_FD);
        close(2);
        execl("/proc/self/exe", "x", PARSER_ARGUMENT, NULL);
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
}

static void test_helper_has_no_helper(void **state)
{
    struct sql_parser *p = NULL;
    struct error err = {0};

    (void)state;
    setenv(PARSER_MARK, "1", 1);
    assert_int_equal(sql_parser_start(&p, &err), -EPIPE);
    assert_null(p);
    unsetenv(PARSER_MARK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead_helper_is_replaced),
        cmocka_unit_test(test_silent_helper_is_replaced),
        cmocka_unit_test(test_crash_costs_one_statement),
        cmocka_unit_test(test_many_deaths),
        cmocka_unit_test(test_stop_ends_the_helper),
        cmocka_unit_test(test_helper_is_confined),
        cmocka_unit_test(test_helper_gives_memory_back),
        cmocka_unit_test(test_threads_queue),
        cmocka_unit_test(test_helper_outlives_the_thread_that_started_it),
        cmocka_unit_test(test_helper_ends_with_the_guard),
        cmocka_unit_test(test_helper_refuses_to_be_run_by_hand),
        cmocka_unit_test(test_helper_has_no_helper),
    };

    return PARSER_TEST_MAIN(argc, argv);
}
