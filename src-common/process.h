/* SPDX-License-Identifier: Apache-2.0
 * Other programs, run without a shell: arguments as an array, output over pipes with a maximum,
 * and a deadline. Any thread; no state is shared.
 */
#pragma once

#include "buffer.h"
#include "error.h"

#include <sys/types.h>

enum process_stdin {
    PROCESS_STDIN_NOTHING = 0, /* /dev/null */
    PROCESS_STDIN_INPUT,       /* the `input` of the spec */
    PROCESS_STDIN_OURS,        /* inherited: for what may have to ask a person */
};

struct process_spec {
    char *const *argv; /* argv[0] is a path, or a name that is looked for in PATH when `search` */
    char *const *env;  /* NULL: ours */
    bool search;
    enum process_stdin stdin_from;
    struct bytes input; /* kept in memory: a child that does not read it cannot block us */
};

struct process {
    pid_t pid;    /* 0: none */
    int out, err; /* where its standard output and error are read from; -1 once closed */
};

/* Starts it. 0, or -errno with err (-ENOENT, -EACCES: no such program); *ret is untouched then. */
int process_start(const struct process_spec *spec, struct process *ret,
                  struct error *err) MUST_CHECK;
/* Reads once from *fd (-1: nothing) into b; more than b holds is dropped and b->failed set. At the
 * end of the stream, *fd is closed and becomes -1. Blocks unless poll() said that there is
 * something. */
void process_drain(int *fd, struct buffer *b);
/* Closes the pipes, kills it first when `end_it`, and waits. The exit status (0 to 255), or -EIO
 * with err when a signal ended it. */
int process_finish(struct process *p, bool end_it, const char *name, struct error *err);

/* All of it: starts, collects what it says until both streams end, waits. `out` and `errors` are
 * initialised by the caller. deadline_ms is from now. The exit status, or -errno with err when it
 * could not be started, died of a signal or missed the deadline (-ETIMEDOUT; it is killed). */
int process_run(const struct process_spec *spec, uint64_t deadline_ms, struct buffer *out,
                struct buffer *errors, struct error *err) MUST_CHECK;
