/* SPDX-License-Identifier: Apache-2.0
 * A two-way pump on a loop: reads a burst from one leg, lets its owner look at the bytes and say
 * what goes where, and writes. Memory is bounded: a leg whose peer does not read is not read
 * either. Everything here runs on the loop's thread.
 */
#pragma once

#include "conn.h"
#include "loop.h"
#include "src-common/buffer.h"

enum side { SIDE_CLIENT = 0, SIDE_UPSTREAM = 1 };

static inline enum side other_side(enum side s)
{
    return s == SIDE_CLIENT ? SIDE_UPSTREAM : SIDE_CLIENT;
}

struct relay;

struct relay_ops {
    /* Bytes came from a side; valid during the call. The owner consumes all of them (what it
     * cannot decide on yet it copies) and calls relay_send, relay_pass, relay_pause, relay_end. */
    void (*data)(void *arg, enum side from, struct bytes chunk);
    /* Called before anything that was produced since the last time is written. Not 0: nothing is
     * written, and the owner has called relay_end or does so now. */
    int (*before_send)(void *arg);
    /* One side's stream ended, or failed (why != 0: -errno). Return true to end the relay once
     * what is pending has been written; false to go on one way (half-close). */
    bool (*eof)(void *arg, enum side from, int why);
    /* Last call: both connections are closed. The owner may free the relay. */
    void (*ended)(void *arg);
};

struct relay_leg {
    struct loop_source source;
    struct relay *relay;
    struct conn conn;
    struct buffer out;   /* waits to be written to this leg */
    struct bytes direct; /* stands behind `out`; borrowed from the chunk at hand */
    bool paused;         /* by the owner: do not read */
    bool held;           /* by the owner: do not write */
    bool eof, shut;      /* its stream ended; we ended ours */
    bool dead;           /* writing failed */
};

struct relay {
    struct loop *loop;
    struct relay_leg leg[2];
    const struct relay_ops *ops;
    void *arg;
    struct loop_task again;
    bool again_queued, ending, ended;
    unsigned busy;               /* calls under way that still need the relay */
    struct loop_timer end_timer; /* when ending: gives up on an unwilling reader */
};

/* Takes over both connections. max_out bounds what may wait for one leg. */
void relay_init(struct relay *r, const struct relay_ops *ops, void *arg, struct conn *client,
                struct conn *upstream, size_t max_out);
/* Starts reading, on the loop's thread. */
void relay_start(struct relay *r, struct loop *loop);

/* Queues a copy of the bytes for a side. Too much: the relay ends. */
void relay_send(struct relay *r, enum side to, struct bytes b);
/* As relay_send, for bytes that lie in the chunk at hand: written without a copy when that can be.
 */
void relay_pass(struct relay *r, enum side to, struct bytes b);
/* Where a caller may build bytes for a side in place, behind all that was sent so far. */
struct buffer *relay_out(struct relay *r, enum side to);
/* Bytes that wait to be written to a side. */
size_t relay_waiting(const struct relay *r, enum side to);
/* Drops what waits for a side, and writes nothing to it any more. */
void relay_drop(struct relay *r, enum side to);
/* Stops and restarts reading from a side. The end of the peer's stream is noticed all the same. */
void relay_pause(struct relay *r, enum side s);
void relay_resume(struct relay *r, enum side s);
/* Keeps what waits for a side until it may be written. May be called in before_send. */
void relay_hold(struct relay *r, enum side to, bool hold);
/* Writes what was queued outside of data(), e.g. from a task. */
void relay_flush(struct relay *r);
/* Writes what is pending, for at most 5 s, and ends. May be called at any time, repeatedly. */
void relay_end(struct relay *r);
/* Ends without waiting. */
void relay_abort(struct relay *r);
