/* SPDX-License-Identifier: Apache-2.0
 * Sets of detectors, made once per process and kept: there are few different ones, policies come
 * and go with the same.
 */
#include "set.h"
#include "scan.h"

#include <errno.h>
#include <pthread.h>

#define ALL_DETECTORS ((1u << DETECTOR_COUNT) - 1)
#define KEPT_MAX      16 /* beyond so many, unused sets are freed */

static struct {
    pthread_mutex_t lock;
    struct detector_set *head;
    size_t n;
} cache = {PTHREAD_MUTEX_INITIALIZER, NULL, 0};

/* The next two run under the lock. Only there does a count leave zero. */
static struct detector_set *cache_find(uint32_t detectors)
{
    struct detector_set *s = cache.head;

    while (s && s->detectors != detectors)
        s = s->next;
    return s;
}

static void cache_trim(void)
{
    for (struct detector_set **p = &cache.head; *p && cache.n > KEPT_MAX;) {
        struct detector_set *s = *p;

        if (atomic_load(&s->refs) != 0) {
            p = &s->next;
            continue;
        }
        *p = s->next;
        cache.n--;
        free(s);
    }
}

static struct detector_set *cache_add(uint32_t detectors)
{
    struct detector_set *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->detectors = detectors;
    scan_triggers(detectors, s->triggers);
    cache_trim();
    s->next = cache.head;
    cache.head = s;
    cache.n++;
    return s;
}

int detector_set_get(uint32_t detectors, struct detector_set **ret, struct error *err)
{
    struct detector_set *s;

    if (detectors == 0 || (detectors & ~ALL_DETECTORS))
        return error_set(err, -EINVAL, "no such set of detectors: 0x%x", detectors);
    pthread_mutex_lock(&cache.lock);
    s = cache_find(detectors);
    if (!s)
        s = cache_add(detectors);
    if (s)
        detector_set_ref(s);
    pthread_mutex_unlock(&cache.lock);
    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    *ret = s;
    return 0;
}

struct detector_set *detector_set_ref(struct detector_set *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void detector_set_unref(struct detector_set *s)
{
    if (s)
        atomic_fetch_sub(&s->refs, 1);
}

int detect_scratch_new(struct detect_scratch **ret)
{
    struct detect_scratch *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    *ret = s;
    return 0;
}

void detect_scratch_free(struct detect_scratch *s)
{
    free(s);
}
