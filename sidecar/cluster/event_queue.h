/* SPDX-License-Identifier: Apache-2.0
 * What is to be told, what has been told, and how much may be told now. No I/O and no lock of its
 * own: the owner has one.
 */
#pragma once

#include "events.h"

#define EVENT_NOTE_MAX  1000 /* bytes; the API server's limit is 1024 */
#define EVENT_PER_KIND  32   /* waiting; the newest win */
#define EVENT_KEPT      128  /* sent, for series */
#define EVENT_BURST     30
#define EVENT_RESERVED  10 /* of them not for sessions and updates of series */
#define EVENT_REFILL_MS 10000
#define EVENT_SERIES_MS 30000 /* between two updates of one series */

struct event {
    enum event_kind kind;
    char note[EVENT_NOTE_MAX + 1];
    uint64_t first_us, last_us; /* wall clock */
    uint32_t count;
    char name[64]; /* behind the pod's name; once sent */
    /* of one that was sent */
    uint32_t told_count;
    uint64_t told_ms; /* monotonic */
};

struct event_queue {
    struct event waiting[EVENT_N_KINDS][EVENT_PER_KIND]; /* oldest first */
    size_t n_waiting[EVENT_N_KINDS];
    struct event sent[EVENT_KEPT];
    size_t n_sent, next_sent;
    unsigned tokens;
    uint64_t refilled_ms;
    uint64_t dropped;
};

void event_queue_init(struct event_queue *q, uint64_t now_ms);
/* One more of that kind and text; the text is cleaned of control characters and cut. */
void event_queue_add(struct event_queue *q, enum event_kind kind, const char *note,
                     uint64_t now_us);
/* What is to be sent now: a copy in *ret. EVENT_POST: a new one, taken out; EVENT_PATCH: a series
 * that grew, by its name. Takes a token. Else *wait_ms says when to ask again. */
enum event_todo { EVENT_NOTHING = 0, EVENT_POST, EVENT_PATCH };
enum event_todo event_queue_next(struct event_queue *q, uint64_t now_ms, struct event *ret,
                                 uint64_t *wait_ms);
/* It was sent (name is set): equal ones make it a series. */
void event_queue_sent(struct event_queue *q, const struct event *e, uint64_t now_ms);
/* It could not be sent and waits again, unless newer ones have taken its place. */
void event_queue_back(struct event_queue *q, const struct event *e);
/* The update of a series was not taken: it is told again, later. */
void event_queue_untold(struct event_queue *q, const struct event *e);
/* The API server does not know it any more. */
void event_queue_forget(struct event_queue *q, const struct event *e);
