/* SPDX-License-Identifier: Apache-2.0
 * Two-way pump.
 */
#include "relay.h"

#include "src-common/clock.h"

#include <errno.h>

#define HIGH_WATER        (256 * 1024) /* stop reading the other leg */
#define CLIENT_HIGH_WATER (1024 * 1024)
#define KEEP_OUT          (16 * 1024) /* memory that an idle leg keeps */
#define READS_PER_EVENT   4
#define END_WAIT_MS       5000

static void leg_ready(struct loop_source *s, uint32_t events);
static void leg_read(struct relay *r, enum side side);
static void run_again(struct loop_task *t);
static void end_timeout(struct loop_timer *t);
static void queue_again(struct relay *r);

void relay_init(struct relay *r, const struct relay_ops *ops, void *arg, struct conn *client,
                struct conn *upstream, size_t max_out)
{
    struct conn *conns[2] = {client, upstream};

    *r = (struct relay){.ops = ops, .arg = arg};
    for (int i = 0; i < 2; i++) {
        struct relay_leg *l = &r->leg[i];

        l->relay = r;
        l->conn = *conns[i];
        conn_init(conns[i], -1);
        buffer_init(&l->out, max_out);
        l->source = (struct loop_source){.fd = l->conn.fd, .ready = leg_ready};
    }
    r->again.run = run_again;
    r->end_timer.run = end_timeout;
}

static size_t leg_waiting(const struct relay_leg *l)
{
    return buffer_len(&l->out) + l->direct.len;
}

/* Whether what a side sends may be read. The client's answers count too: one that asks and never
 * listens is not read any further. (Not so the upstream: each might then wait for the other.) */
static bool has_room(const struct relay *r, enum side s)
{
    return leg_waiting(&r->leg[other_side(s)]) < HIGH_WATER &&
           (s == SIDE_UPSTREAM || leg_waiting(&r->leg[s]) < CLIENT_HIGH_WATER);
}

/* What to ask epoll for. EPOLLRDHUP alone still tells that a paused peer has gone; on a leg that is
 * not read for want of room it would be reported over and over, and the end is read later. */
static void leg_update(struct relay *r, enum side s)
{
    struct relay_leg *l = &r->leg[s];
    uint32_t events = l->paused && !l->eof ? EPOLLRDHUP : 0;

    if (r->ended)
        return;
    if (!l->paused && !l->eof && !r->ending && has_room(r, s))
        events |= EPOLLIN;
    if ((leg_waiting(l) && !l->held && !l->dead && !l->conn.want_read_to_write) ||
        l->conn.want_write_to_read)
        events |= EPOLLOUT;
    if (l->conn.want_read_to_write)
        events |= EPOLLIN;
    if (events == 0)
        loop_unwatch(r->loop, &l->source);
    else if (loop_watch(r->loop, &l->source, events) != 0)
        relay_abort(r);
    if ((events & EPOLLIN) && conn_has_buffered(&l->conn))
        queue_again(r); /* epoll does not see what TLS holds */
}

static void update_both(struct relay *r)
{
    leg_update(r, SIDE_CLIENT);
    leg_update(r, SIDE_UPSTREAM);
}

static void finish(struct relay *r)
{
    if (r->ended)
        return;
    r->ended = true;
    loop_timer_clear(r->loop, &r->end_timer);
    for (int i = 0; i < 2; i++) {
        loop_unwatch(r->loop, &r->leg[i].source);
        conn_close(&r->leg[i].conn);
        buffer_done(&r->leg[i].out);
    }
}

/* Code that may end the relay runs between enter and leave: the owner may free it in ended(),
 * which therefore comes last, and not while `again` is still in the loop's list. */
static void enter(struct relay *r)
{
    r->busy++;
}

static void leave(struct relay *r)
{
    if (--r->busy == 0 && r->ended && !r->again_queued)
        r->ops->ended(r->arg);
}

static void end_timeout(struct loop_timer *t)
{
    struct relay *r = (struct relay *)((char *)t - offsetof(struct relay, end_timer));

    enter(r);
    finish(r);
    leave(r);
}

static void queue_again(struct relay *r)
{
    if (!r->again_queued) {
        r->again_queued = true;
        loop_again(r->loop, &r->again);
    }
}

/* Writes as much as the socket takes. Keeps the rest, copying what was borrowed. */
static void leg_write(struct relay *r, enum side s)
{
    struct relay_leg *l = &r->leg[s];

    if (l->out.failed)
        l->dead = true; /* something did not fit: what follows would be out of step */
    while (leg_waiting(l) && !l->held && !l->dead) {
        bool buffered = buffer_len(&l->out) > 0;
        struct bytes b = buffered ? buffer_bytes(&l->out) : l->direct;
        ssize_t n;

        if (buffered && l->direct.len) { /* one write for both */
            if (buffer_add(&l->out, l->direct) != 0)
                l->dead = true;
            l->direct.len = 0;
            continue;
        }
        n = conn_write(&l->conn, b.p, b.len);
        if (n == -EAGAIN)
            break;
        if (n <= 0) {
            l->dead = true;
            break;
        }
        if (buffered)
            buffer_consume(&l->out, (size_t)n);
        else
            l->direct = (struct bytes){b.p + n, b.len - (size_t)n};
    }
    if (l->direct.len && !l->dead && buffer_add(&l->out, l->direct) != 0)
        l->dead = true;
    l->direct.len = 0;
    if (l->dead)
        buffer_reset(&l->out, 0);
    else if (buffer_len(&l->out) == 0)
        buffer_reset(&l->out, KEEP_OUT);
}

static void shut_when_drained(struct relay *r, enum side s)
{
    struct relay_leg *l = &r->leg[s];

    if (r->leg[other_side(s)].eof && !l->shut && leg_waiting(l) == 0) {
        l->shut = true;
        conn_shut(&l->conn);
    }
}

/* After anything happened: write both legs, then decide whether it is over. */
static void settle(struct relay *r)
{
    bool over;

    if (r->ended)
        return;
    if ((leg_waiting(&r->leg[0]) || leg_waiting(&r->leg[1])) && r->ops->before_send(r->arg) != 0) {
        finish(r);
        return;
    }
    leg_write(r, SIDE_CLIENT);
    leg_write(r, SIDE_UPSTREAM);
    if (r->leg[0].dead || r->leg[1].dead)
        r->ending = true;
    over = (r->leg[0].dead || !leg_waiting(&r->leg[0])) &&
           (r->leg[1].dead || !leg_waiting(&r->leg[1]));
    if ((r->ending && over) || (r->leg[0].eof && r->leg[1].eof && over)) {
        finish(r);
        return;
    }
    if (!r->ending) {
        shut_when_drained(r, SIDE_CLIENT);
        shut_when_drained(r, SIDE_UPSTREAM);
    } else if (!r->end_timer.due_ms) {
        loop_timer_set(r->loop, &r->end_timer, END_WAIT_MS);
    }
    update_both(r);
}

static void leg_eof(struct relay *r, enum side s, int why)
{
    struct relay_leg *l = &r->leg[s];

    l->eof = true;
    if (why)
        l->dead = true;
    if (r->ops->eof(r->arg, s, why) || why)
        r->ending = true;
}

static void leg_read(struct relay *r, enum side side)
{
    struct relay_leg *l = &r->leg[side];
    uint8_t *buf = loop_read_buffer(r->loop);

    for (int i = 0; i < READS_PER_EVENT; i++) {
        ssize_t n;

        if (l->paused || l->eof || r->ending || r->ended)
            return;
        n = conn_read(&l->conn, buf, LOOP_READ_SIZE);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            leg_eof(r, side, (int)n);
            settle(r);
            return;
        }
        r->ops->data(r->arg, side, (struct bytes){buf, (size_t)n});
        settle(r); /* also ends the life of what was borrowed from buf */
        if (r->ended || !has_room(r, side))
            return;
        /* A short read has emptied the socket: do not pay for an EAGAIN. */
        if (!l->conn.ssl && (size_t)n < LOOP_READ_SIZE)
            return;
    }
}

static void run_again(struct loop_task *t)
{
    struct relay *r = (struct relay *)((char *)t - offsetof(struct relay, again));

    r->again_queued = false;
    enter(r);
    leg_read(r, SIDE_CLIENT);
    leg_read(r, SIDE_UPSTREAM);
    leave(r);
}

static void leg_ready(struct loop_source *s, uint32_t events)
{
    struct relay_leg *l = (struct relay_leg *)((char *)s - offsetof(struct relay_leg, source));
    struct relay *r = l->relay;
    enum side side = (enum side)(l - r->leg);

    enter(r);
    if (events & EPOLLOUT || l->conn.want_read_to_write)
        settle(r);
    if (!r->ended && (events & (EPOLLIN | EPOLLOUT)))
        leg_read(r, side);
    /* A paused leg is not read, but its end matters: the client of a held statement left. */
    if (!r->ended && !l->eof && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) &&
        (l->paused || (events & EPOLLERR))) {
        leg_eof(r, side, events & EPOLLERR ? -ECONNRESET : 0);
        settle(r);
    }
    update_both(r);
    leave(r);
}

void relay_start(struct relay *r, struct loop *loop)
{
    r->loop = loop;
    enter(r);
    update_both(r);
    leave(r);
}

struct buffer *relay_out(struct relay *r, enum side to)
{
    struct relay_leg *l = &r->leg[to];

    if (l->direct.len) {
        buffer_add(&l->out, l->direct);
        l->direct.len = 0;
    }
    return &l->out;
}

void relay_send(struct relay *r, enum side to, struct bytes b)
{
    if (!r->leg[to].dead && buffer_add(relay_out(r, to), b) != 0)
        relay_end(r);
}

void relay_pass(struct relay *r, enum side to, struct bytes b)
{
    struct relay_leg *l = &r->leg[to];

    if (b.len == 0 || l->dead)
        return;
    if (l->direct.len && l->direct.p + l->direct.len == b.p) {
        l->direct.len += b.len;
        return;
    }
    relay_out(r, to);
    l->direct = b;
}

size_t relay_waiting(const struct relay *r, enum side to)
{
    return leg_waiting(&r->leg[to]);
}

void relay_drop(struct relay *r, enum side to)
{
    r->leg[to].dead = true;
    r->leg[to].direct.len = 0;
    buffer_reset(&r->leg[to].out, 0);
}

void relay_pause(struct relay *r, enum side s)
{
    r->leg[s].paused = true;
}

void relay_resume(struct relay *r, enum side s)
{
    r->leg[s].paused = false; /* takes effect in relay_flush or when data() returns */
}

void relay_hold(struct relay *r, enum side to, bool hold)
{
    r->leg[to].held = hold;
}

void relay_flush(struct relay *r)
{
    enter(r);
    settle(r);
    leave(r);
}

void relay_end(struct relay *r)
{
    r->ending = true;
}

void relay_abort(struct relay *r)
{
    enter(r);
    finish(r);
    leave(r);
}
