/* SPDX-License-Identifier: Apache-2.0
 * A reflector: lists a resource, then watches it from there, for as long as the program runs. It
 * has a thread of its own, on which all callbacks run, one at a time; they may take locks but
 * must not block for long, and must not call watch_stop. Objects are borrowed for the call (take
 * a reference with json_object_get). Failures are retried with backoff, expired versions lead to
 * a new list; the callbacks see the resulting story without gaps: whatever changed while the
 * watch was away is in the next `replaced`.
 */
#pragma once

#include "event.h"
#include "kube.h"

struct watch_state {
    bool up;
    /* Monotonic. Up: since when. Down: the last time the server gave a sign of life on this watch,
     * 0 when it never did: what is known is as old as that. */
    uint64_t since_ms;
    const char *why; /* down: for people; valid during the call */
};

struct watch_ops {
    /* All objects, as a JSON array: after every list. What was known before and is not among them
     * is gone. Items of built-in types have no kind and apiVersion. */
    void (*replaced)(struct json_object *items, void *arg);
    /* WATCH_ADDED, _MODIFIED or _DELETED. */
    void (*changed)(enum watch_type type, struct json_object *object, void *arg);
    /* On every change, and when the reason for being down changes. May be NULL. */
    void (*state)(const struct watch_state *s, void *arg);
};

struct watch_config {
    struct kube *kube;          /* borrowed; outlives the watch */
    struct kube_place place;    /* strings are copied; no name: a collection */
    const char *label_selector; /* NULL: all */
    const char *field_selector; /* NULL: all */
    size_t max_object;          /* bytes of one event; 0: 4 MiB, more than a server stores */
    size_t max_list;            /* bytes of a whole list; 0: 64 MiB */
    unsigned backoff_cap_ms;    /* 0: 10 s */
    const struct watch_ops *ops;
    void *arg;
};

struct watch;
/* Does not wait for the server. -EINVAL: the place or a selector makes no path. */
int watch_start(const struct watch_config *c, struct watch **ret, struct error *err) MUST_CHECK;
/* Returns when the thread has ended: at once, whatever the network does. After it no callback is
 * called. Accepts NULL. */
void watch_stop(struct watch *w);
