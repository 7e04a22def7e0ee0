/* SPDX-License-Identifier: Apache-2.0
 * The SQL parser with its real helper process: trees, refusals, every bomb that is known, and
 * that a helper's death costs one statement at most.
 */
#include "sidecar/sql/parser.h"

#include "sidecar/sql/parser_private.h"
#include "src-common/buffer.h"
#include "src-common/clock.h"

#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct sql_parser *parser;

static int setup(void **state)
{
    struct error err = {0};

    (void)state;
    if (sql_parser_start(&parser, &err) == 0)
        return 0;
    print_error("%s\n", err.text);
    return -1;
}

static int teardown(void **state)
{
    (void)state;
    sql_parser_stop(parser);
    parser = NULL;
    return 0;
}

static int parse(struct bytes sql, struct error *err)
{
    struct json_object *tree = NULL;
    int r = sql_parser_parse(parser, sql, &tree, err);

    assert_true((r == 0) == (tree != NULL));
    if (r == 0)
        assert_true(json_object_object_get_ex(tree, "stmts", NULL) ||
                    json_object_object_get_ex(tree, "version", NULL));
    json_object_put(tree);
    return r;
}

static void assert_alive(void)
{
    struct error err = {0};
    uint64_t start_ms = clock_mono_ms();

    if (parse(BYTES("SELECT 1"), &err) != 0)
        fail_msg("a benign statement is refused: %s", err.text);
    assert_true(clock_mono_ms() - start_ms < 2000);
}

/* Refused with these words, and both ways of parsing agree. */
static void assert_refused(struct bytes sql, int code, const char *words)
{
    struct json_object *tree = NULL;
    struct error err = {0};
    int r = parse(sql, &err);

    if (r != code || !strstr(err.text, words))
        fail_msg("%.60s…: %d %s, not %d %s", (const char *)sql.p, r, err.text, code, words);
    err.text[0] = '\0';
    r = sql_parse_here(sql, &tree, &err);
    if (r != code || !strstr(err.text, words) || tree)
        fail_msg("here %.60s…: %d %s, not %d %s", (const char *)sql.p, r, err.text, code, words);
    assert_alive();
}

static pid_t live_helper(void)
{
    pid_t pid = parser_helper_pid(parser);

    if (pid == 0) {
        assert_alive();
        pid = parser_helper_pid(parser);
    }
    assert_true(pid > 1); /* tests send it signals */
    return pid;
}

static struct bytes repeat(const char *head, const char *part, size_t n, const char *tail)
{
    size_t part_len = strlen(part);
    char *text = malloc(strlen(head) + part_len * n + strlen(tail) + 1);
    char *p = stpcpy(text, head);

    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, part);
    p = stpcpy(p, tail);
    return bytes_of(text, (size_t)(p - text));
}

static void refused_repeated(const char *head, const char *part, size_t n, const char *tail)
{
    struct bytes sql = repeat(head, part, n, tail);
    pid_t before = live_helper();

    assert_refused(sql, -E2BIG, " too ");
    assert_int_equal(parser_helper_pid(parser), before);
    free((void *)sql.p);
}

static void parsed_repeated(const char *head, const char *part, size_t n, const char *tail)
{
    struct bytes sql = repeat(head, part, n, tail);
    struct error err = {0};

    if (parse(sql, &err) != 0)
        fail_msg("%s %zu times %s: %s", head, n, part, err.text);
    free((void *)sql.p);
}

static void test_tree(void **state)
{
    struct json_object *tree = NULL, *here = NULL, *stmts = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(sql_parser_parse(parser, BYTES("select \"a\\b\" || 'x\n\"\xc3\xa4'; select 2"),
                                      &tree, &err),
                     0);
    assert_int_equal(
        sql_parse_here(BYTES("select \"a\\b\" || 'x\n\"\xc3\xa4'; select 2"), &here, &err), 0);
    assert_true(json_object_equal(tree, here));
    assert_true(json_object_object_get_ex(tree, "stmts", &stmts));
    assert_int_equal(json_object_array_length(stmts), 2);
    assert_non_null(strstr(json_object_to_json_string(tree), "x\\n\\\"\xc3\xa4"));
    json_object_put(tree);
    json_object_put(here);
    assert_int_equal(strncmp(sql_parser_version(), "15", 2), 0);
}

static void test_empty_text_is_a_tree(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(parse(BYTES(""), &err), 0);
    assert_int_equal(parse(BYTES(" -- nothing"), &err), 0);
    assert_int_equal(parse((struct bytes){0}, &err), 0);
}

static void test_syntax_errors(void **state)
{
    char name[300];

    (void)state;
    assert_refused(BYTES("selec 1"), -EBADMSG, "syntax error at or near \"selec\" at character 1");
    assert_refused(BYTES("select 'a"), -EBADMSG, "unterminated quoted string");
    assert_refused(BYTES("select 1; select from where"), -EBADMSG, "syntax error");
    assert_refused(BYTES("select 1 \x01"), -EBADMSG, "syntax error");
    assert_refused(BYTES("select 1_000"), -EBADMSG, "trailing junk");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_refused(bytes_str(name), -EBADMSG, "at character 1");
}

/* A long token in the message must not cut a character in two. */
static void test_messages_are_utf8(void **state)
{
    static const char *const heads[] = {"select 'a' '", "select 'a' 'x"};
    struct error err = {0};
    size_t n;

    (void)state;
    for (size_t h = 0; h < ARRAY_LEN(heads); h++) {
        struct bytes sql = repeat(heads[h], "\xc3\xa4", 2000, "'");

        assert_int_equal(parse(sql, &err), -EBADMSG);
        free((void *)sql.p);
        n = strlen(err.text);
        assert_in_range(n, 300, sizeof err.text - 1);
        assert_non_null(strstr(err.text, " at character 12"));
        for (size_t i = 0; i < n; i++) {
            if ((uint8_t)err.text[i] == 0xc3)
                assert_int_equal((uint8_t)err.text[i + 1], 0xa4);
        }
    }
}

static void test_bytes_the_parser_would_not_notice(void **state)
{
    (void)state;
    assert_refused(bytes_of("select 1\0; drop table t", 23), -EBADMSG, "NUL");
    assert_refused(bytes_of("\0", 1), -EBADMSG, "NUL");
    assert_refused(BYTES("select '\xff'"), -EBADMSG, "UTF8");
    assert_refused(BYTES("select E'\x83\x5c'; SELECT ssn FROM p --'"), -EBADMSG, "UTF8");
    assert_refused(BYTES("select '\xed\xa0\x80'"), -EBADMSG, "UTF8");
    /* PostgreSQL: two statements; libpg_query: one. */
    assert_refused(BYTES("do E'a' --c\n'b\\''; SELECT ssn FROM p; --'"), -EBADMSG, "continued");
}

static void test_bombs_are_refused(void **state)
{
    (void)state;
    refused_repeated("select 1", "+1", 64000, "");
    refused_repeated("select 1", "+1", 49000, "");
    refused_repeated("select ", "(", 100000, "1");
    refused_repeated("select ", "(", 501, "1");
    refused_repeated("select 1 where true", " and true", 100000, "");
    refused_repeated("select 1 where true", " or a=1", 100000, "");
    refused_repeated("select 1 where 1 in (1", ",1", 200000, ")");
    refused_repeated("select ", "/*", 400000, "");
    refused_repeated("select ", "/*", 400000, "1");
    refused_repeated("select '", "a", (size_t)1 << 20, "'");
    refused_repeated("", ";", 200000, "");
    refused_repeated("select ", "case when ", 1000, "1");
    refused_repeated("select a", "::int", 20000, "");
    refused_repeated("select a", " collate \"C\"", 30000, "");
    refused_repeated("select a", "[1]::int[]", 5000, "");
    refused_repeated("select 1", " union select 1", 20000, "");
    refused_repeated("select * from a", " natural join a", 20000, "");
    refused_repeated("select 'a'", "||'a'", 30000, "");
    refused_repeated("select ", "not ", 5000, "true");
    refused_repeated("select (select 1", " from (select 1", 501, "");
}

/* Right recursion ends in the grammar's own stack limit. */
static void test_grammar_exhaustion_is_refused(void **state)
{
    (void)state;
    refused_repeated("select ", "not ", 50000, "true");
    refused_repeated("select ", "+ ", 50000, "1");
    refused_repeated("select ", "- ", 50000, "1");
}

static void test_ordinary_size_is_parsed(void **state)
{
    (void)state;
    parsed_repeated("select 1", "+1", 300, "");
    parsed_repeated("select 'a'", "||'a'", 300, "");
    parsed_repeated("select 1 where true", " and a = 1", 300, "");
    parsed_repeated("select 1 where true", " or (a = 1 and b = 2)", 300, "");
    parsed_repeated("select 1 where a in (1", ",1", 30000, ")");
    parsed_repeated("insert into t values (1,'a')", ",(1,'a')", 10000, "");
    parsed_repeated("select * from a", " join a using (b)", 300, "");
    parsed_repeated("select 1", " union all select 1", 300, "");
}

static void test_nested_size_is_parsed(void **state)
{
    static const struct {
        const char *open, *close;
        size_t n;
    } nested[] = {{"(", ")", 450},
                  {"f(", ")", 300},
                  {"(select ", ")", 150},
                  {"case when a then ", " end", 200},
                  {"array[", "]", 300}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(nested); i++) {
        struct bytes inner = repeat("select ", nested[i].open, nested[i].n, "1");

        parsed_repeated((const char *)inner.p, nested[i].close, nested[i].n, "");
        free((void *)inner.p);
    }
}

/* As nested as the lexer permits, and too deep a tree for it. */
static void test_nested_trees_are_refused(void **state)
{
    struct bytes selects = repeat("select ", "(select ", 490, "1");
    struct bytes cases = repeat("select ", "case when a then ", 490, "1");

    (void)state;
    refused_repeated((const char *)selects.p, ")", 490, "");
    refused_repeated((const char *)cases.p, " end", 490, "");
    free((void *)selects.p);
    free((void *)cases.p);
}

/* The deepest tree that passes can be freed on a thread's stack with much to spare. */
static void *free_tree(void *tree)
{
    json_object_put(tree);
    return NULL;
}

static void test_deepest_tree_is_small_on_the_stack(void **state)
{
    size_t good = 100, bad = 5000;
    struct json_object *tree = NULL;
    pthread_attr_t attr;
    pthread_t thread;

    (void)state;
    while (bad - good > 1) {
        size_t mid = (good + bad) / 2;
        struct bytes sql = repeat("select 1", "+1", mid, "");

        if (parse(sql, NULL) == 0)
            good = mid;
        else
            bad = mid;
        free((void *)sql.p);
    }
    assert_in_range(good, 700, PARSER_MAX_DEPTH);
    struct bytes sql = repeat("select 1", "+1", good, "");
    assert_int_equal(sql_parser_parse(parser, sql, &tree, NULL), 0);
    free((void *)sql.p);
    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)1 << 20), 0);
    assert_int_equal(pthread_create(&thread, &attr, free_tree, tree), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
}

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

/* Stopped: the statement runs out of time, the next is served by another helper. */
static void test_silent_helper_is_replaced(void **state)
{
    pid_t before = live_helper();
    struct error err = {0};
    uint64_t start_ms;

    (void)state;
    assert_int_equal(kill(before, SIGSTOP), 0);
    start_ms = clock_mono_ms();
    assert_int_equal(parse(BYTES("select 1"), &err), -E2BIG);
    assert_in_range(clock_mono_ms() - start_ms, PARSER_DEADLINE_MS - 100,
                    PARSER_DEADLINE_MS + 2000);
    assert_non_null(strstr(err.text, "ran out of time"));
    assert_alive();
    assert_true(parser_helper_pid(parser) != before);
}

static void *kill_later(void *pid)
{
    poll_pause();
    kill(*(pid_t *)pid, SIGKILL);
    return NULL;
}

/* Dies in the middle of a statement: that statement is refused. */
static void test_crash_costs_one_statement(void **state)
{
    pid_t before = live_helper();
    struct error err = {0};
    pthread_t thread;

    (void)state;
    assert_int_equal(kill(before, SIGSTOP), 0);
    assert_int_equal(pthread_create(&thread, NULL, kill_later, &before), 0);
    assert_int_equal(parse(BYTES("select 1"), &err), -E2BIG);
    pthread_join(thread, NULL);
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
    parsed_repeated("insert into t values (1,'a')", ",(1,'a')", 15000, "");
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

/* What a helper that was taken over could send. */
static void test_replies_are_not_trusted(void **state)
{
    static const struct {
        enum parser_status status;
        const char *body;
        int want;
    } replies[] = {
        {PARSER_TREE, "", -E2BIG},
        {PARSER_TREE, "[]", -E2BIG},
        {PARSER_TREE, "null", -E2BIG},
        {PARSER_TREE, "{\"version\":1", -E2BIG},
        {PARSER_TREE, "{\"version\":1} {}", -E2BIG},
        {PARSER_TOO_COMPLEX, "{\"version\":1}", -E2BIG},
        {(enum parser_status)7, "{\"version\":1}", -E2BIG},
        {PARSER_SYNTAX, "", -EBADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct json_object *tree = NULL;

        assert_int_equal(parser_finish(replies[i].status, bytes_str(replies[i].body), &tree, NULL),
                         replies[i].want);
        assert_null(tree);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_empty_text_is_a_tree),
        cmocka_unit_test(test_syntax_errors),
        cmocka_unit_test(test_messages_are_utf8),
        cmocka_unit_test(test_bytes_the_parser_would_not_notice),
        cmocka_unit_test(test_bombs_are_refused),
        cmocka_unit_test(test_grammar_exhaustion_is_refused),
        cmocka_unit_test(test_ordinary_size_is_parsed),
        cmocka_unit_test(test_nested_size_is_parsed),
        cmocka_unit_test(test_nested_trees_are_refused),
        cmocka_unit_test(test_deepest_tree_is_small_on_the_stack),
        cmocka_unit_test(test_helper_is_confined),
        cmocka_unit_test(test_helper_gives_memory_back),
        cmocka_unit_test(test_dead_helper_is_replaced),
        cmocka_unit_test(test_silent_helper_is_replaced),
        cmocka_unit_test(test_crash_costs_one_statement),
        cmocka_unit_test(test_many_deaths),
        cmocka_unit_test(test_stop_ends_the_helper),
        cmocka_unit_test(test_threads_queue),
        cmocka_unit_test(test_helper_outlives_the_thread_that_started_it),
        cmocka_unit_test(test_helper_ends_with_the_guard),
        cmocka_unit_test(test_helper_refuses_to_be_run_by_hand),
        cmocka_unit_test(test_helper_has_no_helper),
        cmocka_unit_test(test_replies_are_not_trusted),
    };

    if (argc == 2 && strcmp(argv[1], PARSER_ARGUMENT) == 0)
        return sql_parser_child_main();
    return cmocka_run_group_tests(tests, setup, teardown);
}
