/* SPDX-License-Identifier: Apache-2.0
 * The list of live sessions.
 */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t emptied = PTHREAD_COND_INITIALIZER;
static struct session *first;
static unsigned count;

void registry_add(struct session *s)
{
    pthread_mutex_lock(&lock);
    s->prev = NULL;
    s->next = first;
    if (first)
        first->prev = s;
    first = s;
    s->registered = true;
    count++;
    pthread_mutex_unlock(&lock);
}

void registry_remove(struct session *s)
{
    pthread_mutex_lock(&lock);
    if (s->registered) {
        if (s->prev)
            s->prev->next = s->next;
        else
            first = s->next;
        if (s->next)
            s->next->prev = s->prev;
        s->registered = false;
        if (--count == 0)
            pthread_cond_broadcast(&emptied);
    }
    pthread_mutex_unlock(&lock);
}

unsigned registry_count(void)
{
    unsigned n;

    pthread_mutex_lock(&lock);
    n = count;
    pthread_mutex_unlock(&lock);
    return n;
}

static void describe(struct session *s, struct session_info *i)
{
    memcpy(i->id, s->id, sizeof i->id);
    pthread_mutex_lock(&s->lock);
    snprintf(i->target, sizeof i->target, "%s", s->target_name);
    pthread_mutex_unlock(&s->lock);
    snprintf(i->client, sizeof i->client, "%s", s->peer);
    i->started_us = s->started_us;
    i->statements = atomic_load(&s->statements);
    i->denied = atomic_load(&s->denied);
    i->bytes_to_client = atomic_load(&s->bytes_to_client);
    i->bytes_to_upstream = atomic_load(&s->bytes_to_upstream);
    pthread_mutex_lock(&s->lock);
    memcpy(i->user, s->user, sizeof i->user);
    memcpy(i->database, s->database, sizeof i->database);
    memcpy(i->state, s->state, sizeof i->state);
    pthread_mutex_unlock(&s->lock);
}

int registry_list(struct session_info **ret, size_t *ret_n)
{
    struct session_info *list;
    size_t n = 0;

    pthread_mutex_lock(&lock);
    list = calloc(count + 1, sizeof *list);
    for (struct session *s = first; list && s; s = s->next)
        describe(s, &list[n++]);
    pthread_mutex_unlock(&lock);
    if (!list)
        return -ENOMEM;
    *ret = list;
    *ret_n = n;
    return 0;
}

int registry_kill(const char *id, const char *why)
{
    struct session *found = NULL;

    pthread_mutex_lock(&lock);
    for (struct session *s = first; s && !found; s = s->next)
        if (strcmp(s->id, id) == 0)
            found = session_ref(s);
    pthread_mutex_unlock(&lock);
    if (!found)
        return -ENOENT;
    pthread_mutex_lock(&found->lock);
    snprintf(found->kill_reason, sizeof found->kill_reason, "%s", why);
    pthread_mutex_unlock(&found->lock);
    session_post(found, INBOX_KILL);
    session_unref(found);
    return 0;
}

void registry_post_all(enum inbox what)
{
    pthread_mutex_lock(&lock);
    for (struct session *s = first; s; s = s->next)
        session_post(s, what);
    pthread_mutex_unlock(&lock);
}

bool registry_wait_empty(unsigned timeout_ms)
{
    struct timespec until;
    bool empty;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&lock);
    while (count && pthread_cond_timedwait(&emptied, &lock, &until) == 0)
        ;
    empty = count == 0;
    pthread_mutex_unlock(&lock);
    return empty;
}
