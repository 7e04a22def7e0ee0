/* SPDX-License-Identifier: Apache-2.0
 * A parser with its real helper process, and statements made of repetitions. The helper is the
 * test program itself, so its main has to be PARSER_TEST_MAIN.
 */
#pragma once

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

static inline int setup(void **state)
{
    struct error err = {0};

    (void)state;
    if (sql_parser_start(&parser, &err) == 0)
        return 0;
    print_error("%s\n", err.text);
    return -1;
}

static inline int teardown(void **state)
{
    (void)state;
    sql_parser_stop(parser);
    parser = NULL;
    return 0;
}

static inline int parse(struct bytes sql, struct error *err)
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

static inline void assert_alive(void)
{
    struct error err = {0};
    uint64_t start_ms = clock_mono_ms();

    if (parse(BYTES("SELECT 1"), &err) != 0)
        fail_msg("a benign statement is refused: %s", err.text);
    assert_true(clock_mono_ms() - start_ms < 2000);
}

/* Refused with these words, and both ways of parsing agree. */
static inline void assert_refused(struct bytes sql, int code, const char *words)
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

static inline pid_t live_helper(void)
{
    pid_t pid = parser_helper_pid(parser);

    if (pid == 0) {
        assert_alive();
        pid = parser_helper_pid(parser);
    }
    assert_true(pid > 1); /* tests send it signals */
    return pid;
}

static inline struct bytes repeat(const char *head, const char *part, size_t n, const char *tail)
{
    size_t part_len = strlen(part);
    char *text = malloc(strlen(head) + part_len * n + strlen(tail) + 1);
    char *p = stpcpy(text, head);

    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, part);
    p = stpcpy(p, tail);
    return bytes_of(text, (size_t)(p - text));
}

static inline void refused_repeated(const char *head, const char *part, size_t n, const char *tail)
{
    struct bytes sql = repeat(head, part, n, tail);
    pid_t before = live_helper();

    assert_refused(sql, -E2BIG, " too ");
    assert_int_equal(parser_helper_pid(parser), before);
    free((void *)sql.p);
}

static inline void parsed_repeated(const char *head, const char *part, size_t n, const char *tail)
{
    struct bytes sql = repeat(head, part, n, tail);
    struct error err = {0};

    if (parse(sql, &err) != 0)
        fail_msg("%s %zu times %s: %s", head, n, part, err.text);
    free((void *)sql.p);
}

/* A variable `tests` has to be in scope. */
#define PARSER_TEST_MAIN(argc, argv)                                                               \
    ((argc) == 2 && strcmp((argv)[1], PARSER_ARGUMENT) == 0                                        \
         ? sql_parser_child_main()                                                                 \
         : cmocka_run_group_tests(tests, setup, teardown))
