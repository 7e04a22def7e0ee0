/* SPDX-License-Identifier: Apache-2.0
 * Forces files to the disk, for sessions that wait for it: a few threads, so that no loop is held
 * up. One fdatasync(2) is for all that was written to its file before it began; files that are
 * forced at the same time share the file system's journal commit.
 */
#pragma once

#include "src-common/error.h"

struct syncer; /* one per spool; any thread */
int syncer_new(struct syncer **ret) MUST_CHECK;
void syncer_free(struct syncer *s); /* all files have been dropped. Accepts NULL */

struct syncer_figures {
    uint64_t syncs, busy_us, waiting; /* calls, the time they took, files that wait for one */
    bool failing;                     /* the last one failed */
    int error;                        /* -errno, when failing */
};
void syncer_figures(struct syncer *s, struct syncer_figures *ret);

struct syncfile; /* one file's; its owner is one thread */
/* Keeps descriptors of its own. The directory is forced first: a file has to have its name, too. */
int syncfile_new(struct syncer *s, int fd, int dir_fd, struct syncfile **ret) MUST_CHECK;
/* Never blocks: a call under way ends by itself. `done` is not called any more. Accepts NULL. */
void syncfile_drop(struct syncfile *f);

typedef void syncfile_done_fn(void *arg);
/* 0: the file's first `upto` bytes are on the disk. -EINPROGRESS: they will be; then done(arg) is
 * called, once, on another thread and under a lock: it must be quick. Else what went wrong, now or
 * before: the kernel tells of a failure once, and what is lost then stays lost. */
int syncfile_ask(struct syncfile *f, uint64_t upto, syncfile_done_fn *done, void *arg) MUST_CHECK;
/* The same for a thread that may wait. 0 or -errno. */
int syncfile_wait(struct syncfile *f, uint64_t upto) MUST_CHECK;
