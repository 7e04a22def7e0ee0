/* SPDX-License-Identifier: Apache-2.0
 * Sets of detectors, compiled once per process and kept: policies come and go with few
 * different ones. Releasing never waits for a compilation, so that loops may do it.
 */
#include "set.h"
#include "scan.h"

#include <errno.h>
#include <pthread.h>

#define ALL_DETECTORS ((1u << DETECTOR_COUNT) - 1)
#define KEPT_MAX      16 /* beyond so many, unused sets are freed */
#define PATTERNS_MAX  64

static struct {
    pthread_mutex_t compiling; /* taken first */
    pthread_mutex_t list;      /* held for a moment only */
    struct detector_set *head;
    size_t n;
} cache = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, NULL, 0};

static void set_free(struct detector_set *s)
{
    if (!s)
        return;
    engine_free(s->anchors);
    free(s);
}
DEFINE_CLEANUP(struct detector_set *, set_free)

static int set_new(uint32_t detectors, struct detector_set **ret, struct error *err)
{
    _cleanup_(set_free) struct detector_set *s = calloc(1, sizeof *s);
    const char *patterns[PATTERNS_MAX];
    size_t n = 0;
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->detectors = detectors;
    scan_triggers(detectors, s->triggers);
    for (unsigned d = 0; d < DETECTOR_COUNT; d++) {
        if (!(detectors >> d & 1))
            continue;
        for (const char *const *a = detector_rows[d].anchors; *a && n < PATTERNS_MAX; a++)
            patterns[n++] = *a;
    }
    rc = engine_new(patterns, n, &s->anchors, err);
    if (rc == 0)
        *ret = take(&s);
    return rc;
}

/* One reference for the caller, or NULL. References leave zero only under the list's lock. */
static struct detector_set *cache_find(uint32_t detectors)
{
    struct detector_set *s;

    pthread_mutex_lock(&cache.list);
    for (s = cache.head; s && s->detectors != detectors; s = s->next)
        ;
    if (s)
        atomic_fetch_add(&s->refs, 1);
    pthread_mutex_unlock(&cache.list);
    return s;
}

static void cache_add(struct detector_set *s)
{
    struct detector_set *unused = NULL;

    pthread_mutex_lock(&cache.list);
    s->next = cache.head;
    cache.head = s;
    cache.n++;
    for (struct detector_set **p = &s->next; *p && cache.n > KEPT_MAX;) {
        struct detector_set *old = *p;

        if (atomic_load(&old->refs) != 0) {
            p = &old->next;
            continue;
        }
        *p = old->next;
        old->next = unused;
        unused = old;
        cache.n--;
    }
    pthread_mutex_unlock(&cache.list);
    while (unused) {
        struct detector_set *next = unused->next;

        set_free(unused);
        unused = next;
    }
}

int detector_set_get(uint32_t detectors, struct detector_set **ret, struct error *err)
{
    struct detector_set *s;
    int rc = 0;

    if (detectors == 0 || (detectors & ~ALL_DETECTORS))
        return error_set(err, -EINVAL, "no such set of detectors: 0x%x", detectors);
    s = cache_find(detectors);
    if (s) {
        *ret = s;
        return 0;
    }
    pthread_mutex_lock(&cache.compiling);
    s = cache_find(detectors); /* another thread may have been first */
    if (!s) {
        rc = set_new(detectors, &s, err);
        if (rc == 0) {
            atomic_store(&s->refs, 1);
            cache_add(s);
        }
    }
    pthread_mutex_unlock(&cache.compiling);
    if (rc == 0)
        *ret = s;
    return rc;
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
    int rc;

    if (!s)
        return -ENOMEM;
    rc = engine_scratch_new(&s->anchors);
    if (rc != 0) {
        free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void detect_scratch_free(struct detect_scratch *s)
{
    if (!s)
        return;
    engine_scratch_free(s->anchors);
    free(s);
}

int detect_anchors(const struct detector_set *s, struct detect_scratch *scratch, struct bytes run,
                   bool (*hit)(size_t offset, void *arg), void *arg)
{
    return engine_scan(s->anchors, scratch->anchors, run, hit, arg);
}
