/* SPDX-License-Identifier: Apache-2.0
 * Replays every transcript of tests/wire/postgres.
 */
#include "transcript.h"

#include "src-common/log.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

/* What is known to fail may do so by crashing: it runs in a child. */
static bool fails_as_known(struct transcript *t)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0)
        _exit(transcript_run_all_ways(t) ? 0 : 1);
    return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

static void replay(void **state)
{
    struct transcript t;
    bool ok;

    transcript_read(&t, *state);
    if (t.bug[0]) {
        ok = fails_as_known(&t);
        print_message("%s:%s\n", ok ? "known bug" : "PASSES, take the line \"bug:\" out", t.bug);
    } else {
        ok = transcript_run_all_ways(&t);
        if (!ok)
            print_error("%s\n", t.failure);
    }
    transcript_free(&t);
    assert_true(ok);
}

int main(int argc, char **argv)
{
    struct CMUnitTest *tests;
    glob_t files = {0};
    int rc;

    if (argc == 2 && strcmp(argv[1], "sql-parser") == 0)
        return sql_parser_child_main();
    log_set_level(LOG_LEVEL_ERROR);
    if (argc > 1) {
        for (int i = 1; i < argc; i++)
            glob(argv[i], i > 1 ? GLOB_APPEND : 0, NULL, &files);
    } else {
        glob("tests/wire/postgres/*.txt", 0, NULL, &files);
    }
    if (files.gl_pathc == 0)
        return 1;
    bench_start();
    tests = calloc(files.gl_pathc, sizeof *tests);
    for (size_t i = 0; tests && i < files.gl_pathc; i++)
        tests[i] = (struct CMUnitTest){
            .name = files.gl_pathv[i], .test_func = replay, .initial_state = files.gl_pathv[i]};
    rc = _cmocka_run_group_tests("flow", tests, files.gl_pathc, NULL, NULL);
    free(tests);
    globfree(&files);
    bench_stop();
    return rc;
}
