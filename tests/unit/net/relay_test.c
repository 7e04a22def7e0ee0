/* SPDX-License-Identifier: Apache-2.0
 * Relay and loop over socket pairs: nothing is lost or reordered, memory is bounded when a peer
 * does not read, ends and failures are noticed, and an idle relay costs nothing.
 */
#include "sidecar/net/loop.h"
#include "sidecar/net/relay.h"
#include "src-common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 10000

struct fixture {
    struct loop *loop;
    struct relay relay;
    struct loop_task task;
    int peer[2]; /* the far ends, by enum side */
    _Atomic bool ended, done;
    _Atomic size_t max_waiting;
    _Atomic unsigned eofs, refuse_sends;
    _Atomic int why;
    _Atomic bool end_at_eof;
    void (*job)(struct fixture *f);
};

/* ---- the owner ---- */

static void on_data(void *arg, enum side from, struct bytes chunk)
{
    struct fixture *f = arg;
    size_t waiting;

    relay_pass(&f->relay, other_side(from), chunk);
    waiting = relay_waiting(&f->relay, other_side(from));
    if (waiting > atomic_load(&f->max_waiting))
        atomic_store(&f->max_waiting, waiting);
}

static int before_send(void *arg)
{
    struct fixture *f = arg;

    return atomic_load(&f->refuse_sends) ? -EIO : 0;
}

static bool on_eof(void *arg, enum side from, int why)
{
    struct fixture *f = arg;

    (void)from;
    atomic_fetch_add(&f->eofs, 1);
    if (why)
        atomic_store(&f->why, why);
    return f->end_at_eof || why;
}

static void on_ended(void *arg)
{
    struct fixture *f = arg;

    atomic_store(&f->ended, true);
}

static const struct relay_ops ops = {on_data, before_send, on_eof, on_ended};

/* ---- helpers ---- */

static void run_job(struct loop_task *t)
{
    struct fixture *f = (struct fixture *)((char *)t - offsetof(struct fixture, task));

    f->job(f);
    atomic_store(&f->done, true);
}

static bool wait_for(_Atomic bool *what)
{
    uint64_t until = clock_mono_ms() + DEADLINE_MS;

    while (!atomic_load(what) && clock_mono_ms() < until)
        poll(NULL, 0, 1);
    return atomic_load(what);
}

/* Runs on the loop's thread, and waits for it. */
static void on_loop(struct fixture *f, void (*job)(struct fixture *f))
{
    f->job = job;
    f->task.run = run_job;
    atomic_store(&f->done, false);
    loop_post(f->loop, &f->task);
    assert_true(wait_for(&f->done));
}

static void start(struct fixture *f)
{
    relay_start(&f->relay, f->loop);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct conn conns[2];
    struct error err;

    if (!f || loop_start(&f->loop, &err) != 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
            return -1;
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        fcntl(pair[1], F_SETFL, O_NONBLOCK);
        conn_init(&conns[i], pair[0]);
        f->peer[i] = pair[1];
    }
    relay_init(&f->relay, &ops, f, &conns[0], &conns[1], 4u << 20);
    on_loop(f, start);
    *state = f;
    return 0;
}

static void abort_relay(struct fixture *f)
{
    relay_abort(&f->relay);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (!atomic_load(&f->ended))
        on_loop(f, abort_relay);
    loop_stop(f->loop);
    loop_free(f->loop);
    for (int i = 0; i < 2; i++)
        if (f->peer[i] >= 0)
            close(f->peer[i]);
    free(f);
    return 0;
}

static void close_peer(struct fixture *f, enum side s)
{
    close(f->peer[s]);
    f->peer[s] = -1;
}

/* Writes until the relay takes no more for 200 ms. */
static size_t write_until_full(struct fixture *f, enum side s, size_t most)
{
    static uint8_t block[65536];
    size_t n = 0;

    while (n < most) {
        struct pollfd p = {f->peer[s], POLLOUT, 0};
        ssize_t put;

        if (poll(&p, 1, 200) <= 0)
            break;
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (uint8_t)((n + i) * 31 >> 3);
        put = write(f->peer[s], block, most - n < sizeof block ? most - n : sizeof block);
        if (put < 0 && errno != EAGAIN)
            break;
        if (put > 0)
            n += (size_t)put;
    }
    return n;
}

/* Reads n bytes and checks them. */
static void read_pattern(struct fixture *f, enum side s, size_t n)
{
    uint8_t block[65536];
    size_t at = 0;

    while (at < n) {
        struct pollfd p = {f->peer[s], POLLIN, 0};
        ssize_t got;

        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        got = read(f->peer[s], block, sizeof block);
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++)
            assert_int_equal(block[i], (uint8_t)((at + (size_t)i) * 31 >> 3));
        at += (size_t)got;
    }
}

static bool at_end(struct fixture *f, enum side s)
{
    struct pollfd p = {f->peer[s], POLLIN, 0};
    uint8_t c;

    return poll(&p, 1, DEADLINE_MS) == 1 && read(f->peer[s], &c, 1) <= 0;
}

static uint64_t cpu_ms(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

/* CPU time that the process takes in 300 ms in which nothing happens. */
static uint64_t idle_cpu_ms(void)
{
    uint64_t before = cpu_ms();

    poll(NULL, 0, 300);
    return cpu_ms() - before;
}

/* ---- tests ---- */

static void passes_both_ways(void **state)
{
    struct fixture *f = *state;
    size_t n = write_until_full(f, SIDE_CLIENT, 50000);

    read_pattern(f, SIDE_UPSTREAM, n);
    n = write_until_full(f, SIDE_UPSTREAM, 50000);
    read_pattern(f, SIDE_CLIENT, n);
    assert_false(atomic_load(&f->ended));
}

static void unwilling_reader_bounds_memory(void **state)
{
    struct fixture *f = *state;
    size_t n = write_until_full(f, SIDE_UPSTREAM, 64u << 20);

    assert_true(n < 8u << 20);
    assert_true(atomic_load(&f->max_waiting) <= 256 * 1024 + LOOP_READ_SIZE);
    read_pattern(f, SIDE_CLIENT, n);
    n = write_until_full(f, SIDE_UPSTREAM, 1000);
    assert_int_equal(n, 1000); /* it goes on */
}

static void idle_relay_costs_nothing(void **state)
{
    (void)state;
    assert_true(idle_cpu_ms() < 100);
}

static void full_leg_costs_nothing(void **state)
{
    struct fixture *f = *state;

    write_until_full(f, SIDE_UPSTREAM, 64u << 20);
    assert_true(idle_cpu_ms() < 100);
}

/* The upstream has said all and gone while the client does not read. Known to spin: a leg that is
 * not read for want of room keeps being told EPOLLRDHUP. Turn the comparison round when mended. */
static void end_behind_full_leg_costs_nothing(void **state)
{
    struct fixture *f = *state;

    write_until_full(f, SIDE_UPSTREAM, 64u << 20);
    shutdown(f->peer[SIDE_UPSTREAM], SHUT_WR);
    assert_true(idle_cpu_ms() < 100);
}

static void end_behind_full_leg_loses_nothing(void **state)
{
    struct fixture *f = *state;
    size_t n = write_until_full(f, SIDE_UPSTREAM, 64u << 20);

    close_peer(f, SIDE_UPSTREAM);
    read_pattern(f, SIDE_CLIENT, n);
    assert_true(at_end(f, SIDE_CLIENT));
}

static void half_close_goes_on_one_way(void **state)
{
    struct fixture *f = *state;
    size_t n = write_until_full(f, SIDE_CLIENT, 10000);

    shutdown(f->peer[SIDE_CLIENT], SHUT_WR);
    read_pattern(f, SIDE_UPSTREAM, n);
    assert_true(at_end(f, SIDE_UPSTREAM));
    n = write_until_full(f, SIDE_UPSTREAM, 20000);
    read_pattern(f, SIDE_CLIENT, n);
    assert_false(atomic_load(&f->ended));
    close_peer(f, SIDE_UPSTREAM);
    assert_true(wait_for(&f->ended));
    assert_int_equal(atomic_load(&f->eofs), 2);
}

static void owner_may_end_at_eof(void **state)
{
    struct fixture *f = *state;

    f->end_at_eof = true;
    write_until_full(f, SIDE_CLIENT, 5000);
    close_peer(f, SIDE_CLIENT);
    assert_true(wait_for(&f->ended));
    read_pattern(f, SIDE_UPSTREAM, 5000); /* what was pending has been written */
    assert_true(at_end(f, SIDE_UPSTREAM));
}

static void vanished_writer_ends_relay(void **state)
{
    struct fixture *f = *state;

    close_peer(f, SIDE_UPSTREAM);
    write_until_full(f, SIDE_CLIENT, 1000);
    write_until_full(f, SIDE_CLIENT, 1000);
    assert_true(wait_for(&f->ended));
}

static void refused_before_send_writes_nothing(void **state)
{
    struct fixture *f = *state;

    atomic_store(&f->refuse_sends, 1);
    write_until_full(f, SIDE_CLIENT, 100);
    assert_true(wait_for(&f->ended));
    assert_true(at_end(f, SIDE_UPSTREAM));
}

static void pause_client(struct fixture *f)
{
    relay_pause(&f->relay, SIDE_CLIENT);
    relay_flush(&f->relay);
}

static void resume_client(struct fixture *f)
{
    relay_resume(&f->relay, SIDE_CLIENT);
    relay_flush(&f->relay);
}

static void paused_leg_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct pollfd p = {f->peer[SIDE_UPSTREAM], POLLIN, 0};

    on_loop(f, pause_client);
    assert_int_equal(write(f->peer[SIDE_CLIENT], "held", 4), 4);
    assert_int_equal(poll(&p, 1, 100), 0);
    on_loop(f, resume_client);
    assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
}

static void end_of_paused_leg_is_noticed(void **state)
{
    struct fixture *f = *state;

    f->end_at_eof = true;
    on_loop(f, pause_client);
    close_peer(f, SIDE_CLIENT);
    assert_true(wait_for(&f->ended));
}

static void end_relay(struct fixture *f)
{
    relay_end(&f->relay);
    relay_flush(&f->relay);
}

/* The reader has 5 s to take what is pending, and loses nothing when it does. */
static void end_writes_what_is_pending(void **state)
{
    struct fixture *f = *state;

    write_until_full(f, SIDE_UPSTREAM, 64u << 20);
    on_loop(f, end_relay);
    assert_false(atomic_load(&f->ended));
    while (!atomic_load(&f->ended)) {
        uint8_t block[65536];
        struct pollfd p = {f->peer[SIDE_CLIENT], POLLIN, 0};

        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        if (read(f->peer[SIDE_CLIENT], block, sizeof block) <= 0)
            break;
    }
    assert_true(wait_for(&f->ended));
}

static void end_gives_up_on_unwilling_reader(void **state)
{
    struct fixture *f = *state;

    write_until_full(f, SIDE_UPSTREAM, 64u << 20);
    on_loop(f, end_relay);
    assert_true(wait_for(&f->ended)); /* after 5 s, within 10 */
}

static void too_much(struct fixture *f)
{
    static uint8_t big[5u << 20];

    relay_send(&f->relay, SIDE_CLIENT, bytes_of(big, sizeof big));
    relay_flush(&f->relay);
}

static void more_than_the_maximum_ends_relay(void **state)
{
    struct fixture *f = *state;

    on_loop(f, too_much);
    assert_true(wait_for(&f->ended));
}

static void *kill_from_outside(void *arg)
{
    struct fixture *f = arg;

    f->job = abort_relay;
    f->task.run = run_job;
    loop_post(f->loop, &f->task);
    return NULL;
}

static void ended_from_another_thread(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    atomic_store(&f->done, false);
    write_until_full(f, SIDE_CLIENT, 4u << 20);
    assert_int_equal(pthread_create(&thread, NULL, kill_from_outside, f), 0);
    assert_true(wait_for(&f->ended));
    assert_true(wait_for(&f->done));
    pthread_join(thread, NULL);
}

#define RELAY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELAY_TEST(passes_both_ways),
        RELAY_TEST(unwilling_reader_bounds_memory),
        RELAY_TEST(idle_relay_costs_nothing),
        RELAY_TEST(full_leg_costs_nothing),
        RELAY_TEST(end_behind_full_leg_costs_nothing),
        RELAY_TEST(end_behind_full_leg_loses_nothing),
        RELAY_TEST(half_close_goes_on_one_way),
        RELAY_TEST(owner_may_end_at_eof),
        RELAY_TEST(vanished_writer_ends_relay),
        RELAY_TEST(refused_before_send_writes_nothing),
        RELAY_TEST(paused_leg_is_not_read),
        RELAY_TEST(end_of_paused_leg_is_noticed),
        RELAY_TEST(end_writes_what_is_pending),
        RELAY_TEST(end_gives_up_on_unwilling_reader),
        RELAY_TEST(more_than_the_maximum_ends_relay),
        RELAY_TEST(ended_from_another_thread),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
