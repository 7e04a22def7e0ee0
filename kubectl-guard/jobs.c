/* SPDX-License-Identifier: Apache-2.0
 * Runs programs side by side.
 */
#include "jobs.h"

#include "text.h"

#include "src-common/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define ERRORS_MAX  ((size_t)64 << 10)
#define PATIENCE_MS 1500 /* a program that says something and goes on is waiting for somebody */
#define TICK_MS     250

/* ---- signals: our children must not outlive us ---- */

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t asked_to_end;

static void on_signal(int number)
{
    asked_to_end = number;
}

static void catch_signals(struct sigaction before[static ARRAY_LEN(ending)])
{
    struct sigaction action = {.sa_handler = on_signal};

    for (size_t i = 0; i < ARRAY_LEN(ending); i++)
        sigaction(ending[i], &action, &before[i]);
}

static void release_signals(const struct sigaction before[static ARRAY_LEN(ending)])
{
    for (size_t i = 0; i < ARRAY_LEN(ending); i++)
        sigaction(ending[i], &before[i], NULL);
}

/* ---- one job ---- */

static void start(struct job *j)
{
    const struct process_spec spec = {.argv = (char *const *)j->argv,
                                      .search = true,
                                      .stdin_from = j->interactive && isatty(STDIN_FILENO)
                                                        ? PROCESS_STDIN_OURS
                                                        : PROCESS_STDIN_NOTHING};

    buffer_init(&j->out, j->max);
    buffer_init(&j->errors, ERRORS_MAX);
    j->started_ms = clock_mono_ms();
    j->status = process_start(&spec, &j->process, &j->err);
    j->running = j->status == 0;
}

static void finish(struct job *j, bool end_it)
{
    j->running = false;
    j->stopped = end_it;
    j->status = process_finish(&j->process, end_it, j->name, &j->err);
}

static void time_out(struct job *j)
{
    finish(j, true);
    j->status = error_set(&j->err, -ETIMEDOUT, "no answer within %llu s",
                          (unsigned long long)(j->deadline_ms / 1000));
}

/* What a login plugin writes for the person ("open this page …") is shown while it waits. */
static void show_prompt(struct job *j)
{
    size_t n = buffer_len(&j->errors);
    struct buffer b;

    if (!j->interactive || n == j->shown || clock_mono_ms() - j->started_ms < PATIENCE_MS ||
        !isatty(STDERR_FILENO))
        return;
    buffer_init(&b, 8 * ERRORS_MAX);
    text_clean(bytes_of(buffer_bytes(&j->errors).p + j->shown, n - j->shown), TEXT_BLOCK, &b);
    fwrite(b.p, 1, buffer_len(&b), stderr);
    buffer_done(&b);
    j->shown = n;
}

static void look_after(struct job *j, job_data_fn *data, void *arg)
{
    if (data && buffer_len(&j->out))
        data(j, arg);
    show_prompt(j);
    if (j->stop)
        finish(j, true);
    else if (j->process.out < 0 && j->process.err < 0)
        finish(j, false);
    else if (j->deadline_ms && clock_mono_ms() - j->started_ms >= j->deadline_ms)
        time_out(j);
}

void job_done(struct job *j)
{
    buffer_done(&j->out);
    buffer_done(&j->errors);
}

/* ---- all of them ---- */

static void end_all(struct job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (jobs[i].running)
            finish(&jobs[i], true);
}

static void wait_for_output(struct job *jobs, size_t n, struct pollfd *set)
{
    for (size_t i = 0; i < n; i++) {
        bool on = jobs[i].running;

        set[2 * i] = (struct pollfd){.fd = on ? jobs[i].process.out : -1, .events = POLLIN};
        set[2 * i + 1] = (struct pollfd){.fd = on ? jobs[i].process.err : -1, .events = POLLIN};
    }
    if (poll(set, 2 * n, TICK_MS) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (set[2 * i].revents)
            process_drain(&jobs[i].process.out, &jobs[i].out);
        if (set[2 * i + 1].revents)
            process_drain(&jobs[i].process.err, &jobs[i].errors);
    }
}

static void run_all(struct job *jobs, size_t n, size_t at_once, struct pollfd *set,
                    job_data_fn *data, void *arg)
{
    size_t started = 0, running = 0;

    while (!asked_to_end && (started < n || running > 0)) {
        while (started < n && running < at_once) {
            start(&jobs[started]);
            running += jobs[started++].running;
        }
        if (running == 0)
            continue;
        wait_for_output(jobs, started, set);
        for (size_t i = 0; i < started; i++) {
            if (!jobs[i].running)
                continue;
            look_after(&jobs[i], data, arg);
            running -= !jobs[i].running;
        }
    }
}

void jobs_run(struct job *jobs, size_t n, size_t at_once, job_data_fn *data, void *arg)
{
    struct sigaction before[ARRAY_LEN(ending)];
    struct pollfd *set = calloc(2 * n + 1, sizeof *set);

    if (!set) {
        for (size_t i = 0; i < n; i++)
            jobs[i].status = error_set(&jobs[i].err, -ENOMEM, "out of memory");
        return;
    }
    asked_to_end = 0;
    catch_signals(before);
    run_all(jobs, n, at_once, set, data, arg);
    end_all(jobs, n);
    release_signals(before);
    free(set);
    if (asked_to_end)
        raise(asked_to_end);
}
