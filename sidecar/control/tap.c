/* SPDX-License-Identifier: Apache-2.0
 * Live tail: record lines from the sessions' threads to bounded queues. A session never waits
 * for whoever watches it: what does not fit marks the queue, and its client is dropped.
 */
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>

#define LINE_MAX_ (CONTROL_BACKLOG_MAX / 2) /* a longer line is named, not shown */

int tap_init(struct tap *t, int wake_fd)
{
    atomic_init(&t->n_tails, 0);
    t->wake_fd = wake_fd;
    for (size_t i = 0; i < ARRAY_LEN(t->tails); i++)
        buffer_init(&t->tails[i].queue, CONTROL_BACKLOG_MAX);
    return -pthread_mutex_init(&t->lock, NULL);
}

void tap_done(struct tap *t)
{
    for (size_t i = 0; i < ARRAY_LEN(t->tails); i++)
        buffer_done(&t->tails[i].queue);
    pthread_mutex_destroy(&t->lock);
}

/* True when the queue was empty: the service thread has to be woken. */
static bool queue_line(struct tail *tail, const char *session, struct bytes line)
{
    bool was_empty = buffer_len(&tail->queue) == 0;
    struct buffer *q = &tail->queue;

    if (line.len > LINE_MAX_)
        buffer_printf(q,
                      "{\"type\":\"notice\",\"session\":\"%s\",\"message\":"
                      "\"a line of %zu bytes is not shown here; it is in the record\"}\n",
                      session, line.len);
    else if (buffer_reserve(q, line.len + 1)) {
        buffer_add(q, line);
        buffer_add_u8(q, '\n');
    }
    tail->overflow = tail->overflow || q->failed;
    return was_empty || q->failed;
}

void tap_line(const char *session_id, struct bytes line, void *arg)
{
    struct tap *t = arg;
    bool wake = false;

    if (atomic_load_explicit(&t->n_tails, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < ARRAY_LEN(t->tails); i++) {
        struct tail *tail = &t->tails[i];

        if (tail->use && !tail->overflow &&
            (!tail->session[0] || strcmp(tail->session, session_id) == 0))
            wake = queue_line(tail, session_id, line) || wake;
    }
    pthread_mutex_unlock(&t->lock);
    if (wake)
        eventfd_write(t->wake_fd, 1);
}

struct tail *tap_follow(struct tap *t, const char *session)
{
    struct tail *found = NULL;

    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < ARRAY_LEN(t->tails) && !found; i++)
        if (!t->tails[i].use)
            found = &t->tails[i];
    if (found) {
        found->use = true;
        found->overflow = false;
        snprintf(found->session, sizeof found->session, "%s", session ? session : "");
        atomic_fetch_add(&t->n_tails, 1);
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

void tap_unfollow(struct tap *t, struct tail *tail)
{
    if (!tail)
        return;
    pthread_mutex_lock(&t->lock);
    tail->use = false;
    buffer_done(&tail->queue);
    buffer_reset(&tail->queue, 0);
    atomic_fetch_sub(&t->n_tails, 1);
    pthread_mutex_unlock(&t->lock);
}

bool tap_drain(struct tap *t, struct tail *tail, struct buffer *out)
{
    struct buffer full;
    bool ok;

    pthread_mutex_lock(&t->lock);
    /* Exchanged, not copied: sessions wait for this lock. A client that has not taken what it has
     * gets no more: its queue fills, and then overflows. */
    if (buffer_len(out) == 0 && buffer_len(&tail->queue)) {
        full = tail->queue;
        tail->queue = *out;
        tail->queue.max = full.max;
        full.max = out->max;
        *out = full;
    }
    ok = !tail->overflow;
    pthread_mutex_unlock(&t->lock);
    return ok;
}
