/* SPDX-License-Identifier: Apache-2.0
 * The loop: tasks in order and from any thread, sources, timers, its end.
 */
#include "sidecar/net/loop.h"
#include "src-common/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 10000

static struct loop *loop;

static int setup(void **state)
{
    struct error err;

    (void)state;
    return loop_start(&loop, &err);
}

static int teardown(void **state)
{
    (void)state;
    if (loop) {
        loop_stop(loop);
        loop_free(loop);
    }
    return 0;
}

/* ---- a job on the loop's thread ---- */

struct job {
    struct loop_task task;
    void (*run)(void *arg);
    void *arg;
    _Atomic bool done;
};

static void run_job(struct loop_task *t)
{
    struct job *j = (struct job *)((char *)t - offsetof(struct job, task));

    j->run(j->arg);
    atomic_store(&j->done, true);
}

static void wait_for(_Atomic bool *what)
{
    uint64_t until = clock_mono_ms() + DEADLINE_MS;

    while (!atomic_load(what) && clock_mono_ms() < until)
        poll(NULL, 0, 1);
    assert_true(atomic_load(what));
}

/* Runs it there, and waits for it. */
static void on_loop(void (*run)(void *arg), void *arg)
{
    struct job j = {.task = {.run = run_job}, .run = run, .arg = arg};

    loop_post(loop, &j.task);
    wait_for(&j.done);
}

/* ---- tasks ---- */

#define POSTERS 4
#define TASKS   1000

struct numbered {
    struct loop_task task;
    unsigned poster, number;
};

static unsigned next_of[POSTERS]; /* the loop's thread only */
static _Atomic unsigned out_of_order, ran;

static void count(struct loop_task *t)
{
    struct numbered *n = (struct numbered *)((char *)t - offsetof(struct numbered, task));

    if (next_of[n->poster]++ != n->number)
        atomic_fetch_add(&out_of_order, 1);
    atomic_fetch_add(&ran, 1);
}

static void *post_many(void *tasks)
{
    struct numbered *n = tasks;

    for (unsigned i = 0; i < TASKS; i++)
        loop_post(loop, &n[i].task);
    return NULL;
}

/* Each runs once, those of one thread in their order; the ones that are queued at the end, too. */
static void test_every_task_runs_in_order(void **state)
{
    struct numbered *tasks = calloc(POSTERS * TASKS, sizeof *tasks);
    pthread_t threads[POSTERS];

    (void)state;
    assert_non_null(tasks);
    for (unsigned i = 0; i < POSTERS * TASKS; i++)
        tasks[i] = (struct numbered){{.run = count}, i / TASKS, i % TASKS};
    for (size_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, tasks + i * TASKS), 0);
    for (size_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    loop_stop(loop);
    assert_int_equal(atomic_load(&ran), POSTERS * TASKS);
    assert_int_equal(atomic_load(&out_of_order), 0);
    loop_free(loop);
    loop = NULL;
    free(tasks);
}

struct again {
    struct loop_task task;
    unsigned left;
    _Atomic bool done;
};

static void once_more(struct loop_task *t)
{
    struct again *a = (struct again *)((char *)t - offsetof(struct again, task));

    if (--a->left > 0)
        loop_again(loop, t);
    else
        atomic_store(&a->done, true);
}

static void begin_again(void *arg)
{
    loop_again(loop, &((struct again *)arg)->task);
}

/* It neither sleeps in between nor keeps others from running. */
static void test_again(void **state)
{
    struct again a = {{.run = once_more}, 10000, false}, b = {{.run = once_more}, 1, false};

    (void)state;
    on_loop(begin_again, &a);
    on_loop(begin_again, &b);
    wait_for(&b.done);
    wait_for(&a.done);
}

/* ---- sources ---- */

struct pair {
    struct loop_source source;
    int peer;
    struct pair *other; /* taken from the loop when this one is ready */
    unsigned calls;     /* the loop's thread only */
    int watched;
    _Atomic bool ready;
};

static void on_ready(struct loop_source *s, uint32_t events)
{
    struct pair *p = (struct pair *)((char *)s - offsetof(struct pair, source));

    p->calls += (events & EPOLLIN) != 0;
    loop_unwatch(loop, s);
    if (p->other)
        loop_unwatch(loop, &p->other->source);
    atomic_store(&p->ready, true);
}

static void pair_init(struct pair *p)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *p = (struct pair){.source = {.fd = fds[0], .ready = on_ready}, .peer = fds[1]};
}

static void pair_done(struct pair *p)
{
    close(p->source.fd);
    close(p->peer);
}

static void watch(void *arg)
{
    struct pair *p = arg;

    p->watched = loop_watch(loop, &p->source, EPOLLIN);
}

static void watch_both(void *arg)
{
    struct pair *p = arg;

    watch(p);
    watch(p->other);
}

static void nothing(void *unused)
{
    (void)unused;
}

static void test_source(void **state)
{
    struct pair p;

    (void)state;
    pair_init(&p);
    on_loop(watch, &p);
    assert_int_equal(p.watched, 0);
    assert_false(atomic_load(&p.ready));
    assert_int_equal(write(p.peer, "x", 1), 1);
    wait_for(&p.ready);
    on_loop(nothing, NULL);
    assert_int_equal(p.calls, 1); /* taken out: the byte that is still there wakes nobody */
    assert_int_equal(p.source.events, 0);
    atomic_store(&p.ready, false);
    on_loop(watch, &p); /* and in again */
    wait_for(&p.ready);
    on_loop(nothing, NULL);
    assert_int_equal(p.calls, 2);
    pair_done(&p);
}

static void test_bad_descriptor(void **state)
{
    struct pair p;
    int fd;

    (void)state;
    pair_init(&p);
    fd = p.source.fd;
    p.source.fd = -1;
    on_loop(watch, &p);
    assert_int_equal(p.watched, -EBADF);
    assert_int_equal(p.source.events, 0);
    p.source.fd = fd;
    pair_done(&p);
}

/* Two are ready in the same round, and the first to run takes the other out: its owner may be gone.
 */
static void test_source_that_left_in_this_round(void **state)
{
    struct pair a, b;

    (void)state;
    for (int round = 0; round < 50; round++) {
        pair_init(&a);
        pair_init(&b);
        a.other = &b;
        b.other = &a;
        assert_int_equal(write(a.peer, "x", 1), 1);
        assert_int_equal(write(b.peer, "x", 1), 1);
        on_loop(watch_both, &a);
        on_loop(nothing, NULL);
        on_loop(nothing, NULL);
        assert_int_equal(a.calls + b.calls, 1);
        pair_done(&a);
        pair_done(&b);
    }
}

/* ---- timers ---- */

struct alarm {
    struct loop_timer timer;
    uint64_t after_ms, set_ms, rang_ms;
    struct alarm *clears;
    unsigned again; /* how often it sets itself again */
    _Atomic bool rang;
};

static void ring(struct loop_timer *t)
{
    struct alarm *a = (struct alarm *)((char *)t - offsetof(struct alarm, timer));

    a->rang_ms = clock_mono_ms();
    if (a->clears)
        loop_timer_clear(loop, &a->clears->timer);
    if (a->again > 0) {
        a->again--;
        loop_timer_set(loop, t, a->after_ms);
        return;
    }
    atomic_store(&a->rang, true);
}

static void set_alarms(void *arg)
{
    struct alarm *a = arg;

    for (; a->timer.run; a++) {
        a->set_ms = clock_mono_ms();
        loop_timer_set(loop, &a->timer, a->after_ms);
    }
}

static void test_timers(void **state)
{
    struct alarm alarms[] = {
        {.timer = {.run = ring}, .after_ms = 60},
        {.timer = {.run = ring}, .after_ms = 0},
        {.timer = {.run = ring}, .after_ms = 20, .again = 4},
        {.timer = {.run = ring}, .after_ms = 1200}, /* longer than the loop ever waits */
        {.after_ms = 0},
    };

    (void)state;
    on_loop(set_alarms, alarms);
    for (struct alarm *a = alarms; a->timer.run; a++) {
        wait_for(&a->rang);
        assert_int_equal(a->timer.due_ms, 0);
        assert_in_range(a->rang_ms - a->set_ms, a->after_ms, DEADLINE_MS);
    }
    assert_in_range(alarms[2].rang_ms - alarms[2].set_ms, 100, DEADLINE_MS);
    assert_true(alarms[1].rang_ms <= alarms[0].rang_ms);
}

/* Set again it rings at the later time; taken out, by another or because its owner goes, never. */
static void test_timer_cleared(void **state)
{
    struct alarm alarms[] = {
        {.timer = {.run = ring}, .after_ms = 40},
        {.timer = {.run = ring}, .after_ms = 1},
        {.timer = {.run = ring}, .after_ms = 80},
        {.after_ms = 0},
    };

    (void)state;
    alarms[1].clears = &alarms[0];
    on_loop(set_alarms, alarms);
    wait_for(&alarms[2].rang);
    on_loop(nothing, NULL); /* what was due with it has run */
    assert_true(atomic_load(&alarms[1].rang));
    assert_false(atomic_load(&alarms[0].rang));
    assert_int_equal(alarms[0].timer.due_ms, 0);
}

static void set_twice(void *arg)
{
    struct alarm *a = arg;

    loop_timer_set(loop, &a->timer, 1);
    a->after_ms = 50;
    set_alarms(a);
}

static void test_timer_set_twice_rings_once(void **state)
{
    struct alarm alarms[] = {{.timer = {.run = ring}}, {.after_ms = 0}};

    (void)state;
    on_loop(set_twice, alarms);
    wait_for(&alarms[0].rang);
    assert_in_range(alarms[0].rang_ms - alarms[0].set_ms, 50, DEADLINE_MS);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_every_task_runs_in_order),
        EACH(test_again),
        EACH(test_source),
        EACH(test_bad_descriptor),
        EACH(test_source_that_left_in_this_round),
        EACH(test_timers),
        EACH(test_timer_cleared),
        EACH(test_timer_set_twice_rings_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
