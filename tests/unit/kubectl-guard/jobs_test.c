/* SPDX-License-Identifier: Apache-2.0
 * Programs side by side: limits, deadlines, and what happens to them when we are ended.
 */
#include "kubectl-guard/jobs.c"
#include "kubectl-guard/text.c"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SCRIPT(text)                                                                               \
    (const char *const[])                                                                          \
    {                                                                                              \
        "sh", "-c", (text), NULL                                                                   \
    }

static struct job job_of(const char *const *argv, size_t max, uint64_t deadline_ms)
{
    return (struct job){.name = "sh", .argv = argv, .max = max, .deadline_ms = deadline_ms};
}

static void says(const struct buffer *b, const char *text)
{
    assert_true(bytes_eq_str(buffer_bytes(b), text));
}

static void output_errors_and_status_are_each_jobs_own(void **state)
{
    struct job jobs[5];
    const char *argv[5][4] = {{NULL}};
    char texts[5][80];

    (void)state;
    for (int i = 0; i < 5; i++) {
        snprintf(texts[i], sizeof texts[i], "echo out %d; echo err %d >&2; exit %d", i, i, i);
        argv[i][0] = "sh";
        argv[i][1] = "-c";
        argv[i][2] = texts[i];
        jobs[i] = job_of(argv[i], 100, 5000);
    }
    jobs_run(jobs, 5, 2, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        snprintf(texts[i], sizeof texts[i], "out %d\n", i);
        says(&jobs[i].out, texts[i]);
        snprintf(texts[i], sizeof texts[i], "err %d\n", i);
        says(&jobs[i].errors, texts[i]);
        assert_int_equal(jobs[i].status, i);
        job_done(&jobs[i]);
    }
}

static void no_more_than_allowed_run_at_once(void **state)
{
    static const char *const argv[] = {"sh", "-c", "sleep 0.2", NULL};
    struct job jobs[6];
    uint64_t start = clock_mono_ms();

    (void)state;
    for (int i = 0; i < 6; i++)
        jobs[i] = job_of(argv, 100, 5000);
    jobs_run(jobs, 6, 2, NULL, NULL);
    assert_true(clock_mono_ms() - start >= 600);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(jobs[i].status, 0);
        job_done(&jobs[i]);
    }
}

static void a_deadline_ends_one_and_not_the_other(void **state)
{
    struct job jobs[] = {job_of(SCRIPT("exec sleep 60"), 100, 300),
                         job_of(SCRIPT("sleep 0.6; echo done"), 100, 5000)};
    uint64_t start = clock_mono_ms();

    (void)state;
    jobs_run(jobs, 2, 2, NULL, NULL);
    assert_int_equal(jobs[0].status, -ETIMEDOUT);
    assert_non_null(strstr(jobs[0].err.text, "no answer"));
    assert_int_equal(jobs[1].status, 0);
    says(&jobs[1].out, "done\n");
    assert_true(clock_mono_ms() - start < 5000);
    job_done(&jobs[0]);
    job_done(&jobs[1]);
}

static void output_past_the_maximum_is_known(void **state)
{
    struct job j = job_of(SCRIPT("head -c 100000 /dev/zero; exit 0"), 1000, 5000);

    (void)state;
    jobs_run(&j, 1, 1, NULL, NULL);
    assert_true(j.out.failed);
    assert_int_equal(j.status, 0);
    job_done(&j);
}

static void what_cannot_start_does_not_hinder_the_rest(void **state)
{
    struct job jobs[] = {
        job_of((const char *const[]){"/nonexistent/program", NULL}, 100, 1000),
        job_of(SCRIPT("echo here"), 100, 5000),
    };

    (void)state;
    jobs_run(jobs, 2, 1, NULL, NULL);
    assert_int_equal(jobs[0].status, -ENOENT);
    assert_non_null(strstr(jobs[0].err.text, "/nonexistent/program"));
    assert_int_equal(jobs[1].status, 0);
    job_done(&jobs[0]);
    job_done(&jobs[1]);
}

static void on_line(struct job *j, void *arg)
{
    size_t *lines = arg;

    (*lines)++;
    buffer_consume(&j->out, buffer_len(&j->out));
    j->stop = *lines == 3;
}

static void a_callback_can_end_it(void **state)
{
    struct job j = job_of(SCRIPT("while :; do echo x; sleep 0.05; done"), 100, 0);
    size_t lines = 0;

    (void)state;
    jobs_run(&j, 1, 1, on_line, &lines);
    assert_int_equal(lines, 3);
    assert_true(j.stopped);
    job_done(&j);
}

/* A child of ours that outlived us would hold a stream in a pod open. */
static void children_end_with_us(void **state)
{
    int fd[2];
    char text[32] = "";
    pid_t us, child;
    uint64_t deadline;
    int st = 0;

    (void)state;
    assert_int_equal(pipe(fd), 0);
    us = fork();
    assert_true(us >= 0);
    if (us == 0) {
        struct job j = job_of(SCRIPT("echo $$ >&9; exec sleep 60"), 100, 0);

        dup2(fd[1], 9);
        jobs_run(&j, 1, 1, NULL, NULL);
        _exit(0);
    }
    assert_true(read(fd[0], text, sizeof text - 1) > 0);
    child = (pid_t)atoi(text);
    assert_true(child > 0 && kill(child, 0) == 0);
    kill(us, SIGTERM);
    assert_int_equal(waitpid(us, &st, 0), us);
    assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
    for (deadline = clock_mono_ms() + 5000; kill(child, 0) == 0 && clock_mono_ms() < deadline;)
        poll(NULL, 0, 10);
    assert_int_equal(kill(child, 0), -1);
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_errors_and_status_are_each_jobs_own),
        cmocka_unit_test(no_more_than_allowed_run_at_once),
        cmocka_unit_test(a_deadline_ends_one_and_not_the_other),
        cmocka_unit_test(output_past_the_maximum_is_known),
        cmocka_unit_test(what_cannot_start_does_not_hinder_the_rest),
        cmocka_unit_test(a_callback_can_end_it),
        cmocka_unit_test(children_end_with_us),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
