/* SPDX-License-Identifier: Apache-2.0
 * Work that may block, taken off the loops: parsing, reading catalogues, building contexts. One
 * thread, first come first served; a job tells its session through the session's inbox.
 */
#pragma once

#include "src-common/error.h"

struct jobs;
struct job { /* embedded in its owner */
    void (*run)(struct job *j);
    struct job *next;
};

int jobs_start(struct jobs **ret, struct error *err) MUST_CHECK;
/* Runs what is queued, then ends. Accepts NULL. */
void jobs_stop(struct jobs *j);
/* Any thread. */
void jobs_post(struct jobs *j, struct job *job);
