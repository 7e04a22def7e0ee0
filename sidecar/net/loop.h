/* SPDX-License-Identifier: Apache-2.0
 * A worker thread around epoll. What runs on it never blocks. Other threads reach it only
 * through loop_post.
 */
#pragma once

#include "src-common/error.h"

#include <sys/epoll.h>

struct loop;

/* A descriptor that the loop watches; embedded in its owner, which outlives its registration. */
struct loop_source {
    int fd;
    uint32_t events; /* as registered; 0 when not */
    void (*ready)(struct loop_source *s, uint32_t events);
};

/* A message to the loop's thread; embedded in its owner or allocated, run once. */
struct loop_task {
    void (*run)(struct loop_task *t);
    struct loop_task *next;
};

/* Starts the thread. */
int loop_start(struct loop **ret, struct error *err) MUST_CHECK;
/* Asks the thread to end after the tasks that are queued, and waits for it. What is posted after
 * that is never run. */
void loop_stop(struct loop *l);
/* Of a stopped loop, when nobody can post to it any more. */
void loop_free(struct loop *l);

/* Any thread. */
void loop_post(struct loop *l, struct loop_task *t);

/* The rest: on the loop's thread only. */
int loop_watch(struct loop *l, struct loop_source *s,
               uint32_t events) MUST_CHECK; /* add or change */
void loop_unwatch(struct loop *l, struct loop_source *s);
/* Runs the task after the events at hand, before waiting again: for a source that has more to
 * do than is fair to the others. */
void loop_again(struct loop *l, struct loop_task *t);

/* A timer that runs once; to repeat, add it again. Precision 50 ms. Embedded in its owner. */
struct loop_timer {
    uint64_t due_ms; /* 0: not armed */
    void (*run)(struct loop_timer *t);
    struct loop_timer *prev, *next;
};
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t after_ms);
void loop_timer_clear(struct loop *l, struct loop_timer *t);

/* Read buffer that everything on this thread shares: valid until the next read. */
#define LOOP_READ_SIZE (64 * 1024)
uint8_t *loop_read_buffer(struct loop *l);
