/* SPDX-License-Identifier: Apache-2.0
 * Several programs at the same time, on one thread: what each says is collected or handed on as it
 * comes. When a signal asks this process to end, the programs are ended first.
 */
#pragma once

#include "src-common/process.h"

struct job {
    const char *name;        /* in errors; the caller's */
    const char *const *argv; /* ended by NULL; the first is looked for in PATH */
    size_t max;              /* bytes of output that are kept */
    uint64_t deadline_ms;    /* from its start; 0: none */
    bool interactive;        /* may ask the person at the terminal (a login plugin) */
    /* Filled while it runs. */
    struct buffer out, errors;
    struct process process;
    uint64_t started_ms;
    size_t shown; /* of errors, on the terminal already */
    bool stop;    /* set by a callback: end it, nothing more is wanted */
    bool stopped; /* it was ended because of that */
    bool running;
    /* Once it has ended. */
    int status; /* its exit status, or -errno and err says why */
    struct error err;
};

/* There is new output in job->out; what the callback consumes is gone. */
typedef void job_data_fn(struct job *job, void *arg);

/* Runs all, at most `at_once` at a time, until all have ended. `data` is NULL to collect. */
void jobs_run(struct job *jobs, size_t n, size_t at_once, job_data_fn *data, void *arg);
/* Frees what a run left. */
void job_done(struct job *job);
