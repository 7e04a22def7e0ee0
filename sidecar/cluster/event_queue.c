/* SPDX-License-Identifier: Apache-2.0
 * Queues, series and the token bucket of Events.
 */
#include "event_queue.h"

#include <stdio.h>

void event_queue_init(struct event_queue *q, uint64_t now_ms)
{
    memset(q, 0, sizeof *q);
    q->tokens = EVENT_BURST;
    q->refilled_ms = now_ms;
}

static void clean(const char *note, char out[static EVENT_NOTE_MAX + 1])
{
    size_t n = 0;

    for (; note[n] && n < EVENT_NOTE_MAX; n++)
        out[n] = (uint8_t)note[n] < 0x20 || note[n] == 0x7f ? ' ' : note[n];
    if (note[n]) /* not inside a character */
        while (n && ((uint8_t)note[n] & 0xc0) == 0x80)
            n--;
    out[n] = '\0';
}

static bool same(const struct event *e, enum event_kind kind, const char *note)
{
    return e->kind == kind && strcmp(e->note, note) == 0;
}

/* The one that it makes into a series, sent or waiting. */
static struct event *find(struct event_queue *q, enum event_kind kind, const char *note)
{
    for (size_t i = 0; i < q->n_sent; i++)
        if (same(&q->sent[i], kind, note))
            return &q->sent[i];
    for (size_t i = 0; i < q->n_waiting[kind]; i++)
        if (same(&q->waiting[kind][i], kind, note))
            return &q->waiting[kind][i];
    return NULL;
}

static void take_out(struct event_queue *q, enum event_kind kind, size_t at)
{
    struct event *w = q->waiting[kind];

    q->n_waiting[kind]--;
    memmove(w + at, w + at + 1, (q->n_waiting[kind] - at) * sizeof *w);
}

void event_queue_add(struct event_queue *q, enum event_kind kind, const char *note, uint64_t now_us)
{
    char text[EVENT_NOTE_MAX + 1];
    struct event *e;

    clean(note, text);
    e = find(q, kind, text);
    if (e) {
        e->count++;
        e->last_us = now_us;
        return;
    }
    if (q->n_waiting[kind] == EVENT_PER_KIND) {
        take_out(q, kind, 0);
        q->dropped++;
    }
    e = &q->waiting[kind][q->n_waiting[kind]++];
    *e = (struct event){.kind = kind, .first_us = now_us, .last_us = now_us, .count = 1};
    memcpy(e->note, text, sizeof text);
}

static void refill(struct event_queue *q, uint64_t now_ms)
{
    uint64_t n = (now_ms - q->refilled_ms) / EVENT_REFILL_MS;

    q->refilled_ms += n * EVENT_REFILL_MS;
    q->tokens = (unsigned)(q->tokens + n < EVENT_BURST ? q->tokens + n : EVENT_BURST);
}

/* A series that grew and was not told of for a while. */
static struct event *grown(struct event_queue *q, uint64_t now_ms, uint64_t *wait_ms)
{
    for (size_t i = 0; i < q->n_sent; i++) {
        struct event *e = &q->sent[i];
        uint64_t due = e->told_ms + EVENT_SERIES_MS;

        if (e->count == e->told_count)
            continue;
        if (now_ms >= due)
            return e;
        if (due - now_ms < *wait_ms)
            *wait_ms = due - now_ms;
    }
    return NULL;
}

enum event_todo event_queue_next(struct event_queue *q, uint64_t now_ms, struct event *ret,
                                 uint64_t *wait_ms)
{
    struct event *series;
    size_t kind = 0;

    *wait_ms = 3600000;
    refill(q, now_ms);
    while (kind < EVENT_N_KINDS && !q->n_waiting[kind])
        kind++;
    series = kind < EVENT_N_KINDS ? NULL : grown(q, now_ms, wait_ms);
    if (kind == EVENT_N_KINDS && !series)
        return EVENT_NOTHING;
    /* kubectl makes sessions by the dozen: they do not keep people from being asked at once. */
    if (q->tokens <= (kind >= EVENT_SESSION_ENDED ? EVENT_RESERVED : 0)) {
        *wait_ms = q->refilled_ms + EVENT_REFILL_MS - now_ms;
        return EVENT_NOTHING;
    }
    q->tokens--;
    if (series) {
        series->told_ms = now_ms;
        series->told_count = series->count;
        *ret = *series;
        return EVENT_PATCH;
    }
    *ret = q->waiting[kind][0];
    take_out(q, (enum event_kind)kind, 0);
    return EVENT_POST;
}

void event_queue_sent(struct event_queue *q, const struct event *e, uint64_t now_ms)
{
    struct event *slot =
        q->n_sent < EVENT_KEPT ? &q->sent[q->n_sent++] : &q->sent[q->next_sent++ % EVENT_KEPT];

    *slot = *e;
    slot->told_count = e->count > 1 ? 0 : 1; /* a series is an update of what was made */
    slot->told_ms = e->count > 1 ? now_ms - EVENT_SERIES_MS : now_ms;
}

void event_queue_back(struct event_queue *q, const struct event *e)
{
    struct event *w = q->waiting[e->kind], *newer = find(q, e->kind, e->note);

    if (newer) {
        newer->count += e->count;
        newer->first_us = e->first_us;
        return;
    }
    if (q->n_waiting[e->kind] == EVENT_PER_KIND) {
        q->dropped++;
        return;
    }
    memmove(w + 1, w, q->n_waiting[e->kind]++ * sizeof *w);
    w[0] = *e;
}

void event_queue_untold(struct event_queue *q, const struct event *e)
{
    for (size_t i = 0; i < q->n_sent; i++)
        if (strcmp(q->sent[i].name, e->name) == 0)
            q->sent[i].told_count = 0;
}

void event_queue_forget(struct event_queue *q, const struct event *e)
{
    for (size_t i = 0; i < q->n_sent; i++) {
        if (strcmp(q->sent[i].name, e->name) == 0) {
            q->sent[i] = q->sent[--q->n_sent];
            return;
        }
    }
}
