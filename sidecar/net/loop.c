/* SPDX-License-Identifier: Apache-2.0
 * epoll worker thread.
 */
#include "loop.h"

#include "src-common/clock.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_EVENTS 128

struct loop {
    int epoll, wake;
    pthread_t thread;
    pthread_mutex_t lock;
    struct loop_task *posted, **posted_end; /* under lock */
    bool woken;                             /* under lock: an eventfd write is on its way */
    bool stopping;                          /* under lock */
    struct loop_task *again, **again_end;
    struct loop_timer *timers; /* unsorted; looked at only when next_due has come */
    uint64_t next_due;
    struct epoll_event events[MAX_EVENTS]; /* of this round; a source that goes is blanked in it */
    int n_events;
    uint8_t read_buffer[LOOP_READ_SIZE];
};

static void list_push(struct loop_task ***end, struct loop_task *t)
{
    t->next = NULL;
    **end = t;
    *end = &t->next;
}

static void run_list(struct loop_task *t)
{
    while (t) {
        struct loop_task *next = t->next;

        t->run(t);
        t = next;
    }
}

static bool run_posted(struct loop *l)
{
    struct loop_task *list;
    uint64_t count;
    bool stopping;

    pthread_mutex_lock(&l->lock);
    list = l->posted;
    l->posted = NULL;
    l->posted_end = &l->posted;
    if (l->woken && read(l->wake, &count, sizeof count) < 0)
        count = 0; /* only drained here, so it cannot be empty; nothing depends on it */
    l->woken = false;
    stopping = l->stopping;
    pthread_mutex_unlock(&l->lock);
    run_list(list);
    return !stopping;
}

static void run_again(struct loop *l)
{
    struct loop_task *list = l->again;

    l->again = NULL;
    l->again_end = &l->again;
    run_list(list);
}

/* Runs what is due; returns how long to wait for the next, in ms. */
static int run_timers(struct loop *l)
{
    uint64_t now = clock_mono_ms(), next = now + 1000;
    struct loop_timer *t = l->timers;

    if (now < l->next_due)
        return (int)min_size(l->next_due - now, 1000);
    while (t) {
        if (t->due_ms <= now) {
            void (*run)(struct loop_timer *) = t->run;

            loop_timer_clear(l, t);
            run(t);
            t = l->timers; /* the list may have changed under us; due ones shrink it */
            continue;
        }
        if (t->due_ms < next)
            next = t->due_ms;
        t = t->next;
    }
    l->next_due = next;
    return (int)(next - now);
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    bool going = true;

    while (going || l->again) {
        int timeout = l->timers ? run_timers(l) : 1000;

        l->n_events = epoll_wait(l->epoll, l->events, MAX_EVENTS, l->again ? 0 : timeout);
        for (int i = 0; i < l->n_events; i++) {
            struct loop_source *s = l->events[i].data.ptr;

            if (s)
                s->ready(s, l->events[i].events);
        }
        l->n_events = 0;
        run_again(l);
        going = run_posted(l);
    }
    return NULL;
}

int loop_start(struct loop **ret, struct error *err)
{
    struct loop *l = calloc(1, sizeof *l);
    struct epoll_event ev = {.events = EPOLLIN};
    int rc;

    if (!l)
        return error_set(err, -ENOMEM, "out of memory");
    l->posted_end = &l->posted;
    l->again_end = &l->again;
    pthread_mutex_init(&l->lock, NULL);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll < 0 || l->wake < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &ev) < 0)
        rc = errno;
    else
        rc = pthread_create(&l->thread, NULL, loop_main, l);
    if (rc) {
        if (l->epoll >= 0)
            close(l->epoll);
        if (l->wake >= 0)
            close(l->wake);
        free(l);
        return error_set(err, -rc, "cannot start a worker loop: %s", strerror(rc));
    }
    *ret = l;
    return 0;
}

void loop_stop(struct loop *l)
{
    uint64_t one = 1;

    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    l->woken = true;
    if (write(l->wake, &one, sizeof one) < 0)
        l->stopping = true; /* the counter is full: it is awake already */
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
}

void loop_free(struct loop *l)
{
    close(l->epoll);
    close(l->wake);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void loop_post(struct loop *l, struct loop_task *t)
{
    uint64_t one = 1;

    pthread_mutex_lock(&l->lock);
    list_push(&l->posted_end, t);
    if (!l->woken) {
        l->woken = true;
        if (write(l->wake, &one, sizeof one) < 0)
            l->woken = true;
    }
    pthread_mutex_unlock(&l->lock);
}

int loop_watch(struct loop *l, struct loop_source *s, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = s};

    if (events == s->events)
        return 0;
    if (epoll_ctl(l->epoll, s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &ev) < 0)
        return -errno;
    s->events = events;
    return 0;
}

void loop_unwatch(struct loop *l, struct loop_source *s)
{
    if (!s->events)
        return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    s->events = 0;
    for (int i = 0; i < l->n_events; i++)
        if (l->events[i].data.ptr == s)
            l->events[i].data.ptr = NULL;
}

void loop_again(struct loop *l, struct loop_task *t)
{
    list_push(&l->again_end, t);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t after_ms)
{
    loop_timer_clear(l, t);
    t->due_ms = clock_mono_ms() + after_ms;
    t->prev = NULL;
    t->next = l->timers;
    if (t->next)
        t->next->prev = t;
    l->timers = t;
    if (t->due_ms < l->next_due)
        l->next_due = t->due_ms;
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
    if (!t->due_ms)
        return;
    if (t->prev)
        t->prev->next = t->next;
    else
        l->timers = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->due_ms = 0;
}

uint8_t *loop_read_buffer(struct loop *l)
{
    return l->read_buffer;
}
