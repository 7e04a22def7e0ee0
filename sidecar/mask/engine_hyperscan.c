/* SPDX-License-Identifier: Apache-2.0
 * The search for anchors with hyperscan (or vectorscan, which has the same interface).
 */
#include "engine.h"

#ifndef CHAPERONE_ENGINE_PCRE2

#include <errno.h>
#include <hs/hs.h>
#include <stdatomic.h>

/* hs_scan counts in unsigned int. Longer runs are searched in pieces that overlap by more than the
 * longest anchor. */
#define PIECE_MAX ((size_t)1 << 30)
#define OVERLAP   ((size_t)256)

struct engine {
    hs_database_t *db;
    uint64_t id; /* never used twice, unlike an address */
};

struct engine_scratch {
    hs_scratch_t *hs;
    uint64_t grown_for; /* the engine that hs was last made large enough for */
};

static _Atomic uint64_t last_id;

int engine_new(const char *const *patterns, size_t n, struct engine **ret, struct error *err)
{
    _cleanup_(engine_free) struct engine *e = calloc(1, sizeof *e);
    hs_compile_error_t *why = NULL;
    unsigned flags[64];
    int rc;

    if (!e)
        return error_set(err, -ENOMEM, "out of memory");
    if (n == 0 || n > ARRAY_LEN(flags))
        return error_set(err, -EINVAL, "%zu patterns", n);
    for (size_t i = 0; i < n; i++)
        flags[i] = HS_FLAG_DOTALL;
    if (hs_compile_multi(patterns, flags, NULL, (unsigned)n, HS_MODE_BLOCK, NULL, &e->db, &why) !=
        HS_SUCCESS) {
        rc = error_set(err, -EINVAL, "cannot compile the detectors: %s",
                       why ? why->message : "unknown reason");
        hs_free_compile_error(why);
        return rc;
    }
    e->id = atomic_fetch_add(&last_id, 1) + 1;
    *ret = take(&e);
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    hs_free_database(e->db);
    free(e);
}

int engine_scratch_new(struct engine_scratch **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : -ENOMEM;
}

void engine_scratch_free(struct engine_scratch *s)
{
    if (!s)
        return;
    hs_free_scratch(s->hs);
    free(s);
}

struct hits {
    bool (*hit)(size_t offset, void *arg);
    void *arg;
    size_t base, next; /* offset of the piece in the run; the first offset not yet reported */
    bool disorder;
};

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                    void *arg)
{
    struct hits *h = arg;
    size_t offset = h->base + (size_t)to - 1;

    (void)id, (void)from, (void)flags;
    if (offset + 1 == h->next)
        return 0; /* another pattern, or another start, with the same end */
    if (offset < h->next) {
        /* hyperscan does not promise an order among patterns, though it keeps one. Without it a caller that
         * walks its cells along would miss one. In the overlap of pieces it is no news. */
        h->disorder = h->base == 0 || to > OVERLAP;
        return h->disorder;
    }
    h->next = offset + 1;
    return h->hit(offset, h->arg);
}

int engine_scan(const struct engine *e, struct engine_scratch *s, struct bytes run,
                bool (*hit)(size_t offset, void *arg), void *arg)
{
    struct hits h = {.hit = hit, .arg = arg};

    if (s->grown_for != e->id) {
        if (hs_alloc_scratch(e->db, &s->hs) != HS_SUCCESS)
            return -EIO;
        s->grown_for = e->id;
    }
    for (size_t from = 0; from < run.len; from += PIECE_MAX - OVERLAP) {
        size_t len = min_size(run.len - from, PIECE_MAX);
        hs_error_t rc;

        h.base = from;
        rc = hs_scan(e->db, (const char *)run.p + from, (unsigned)len, 0, s->hs, on_match, &h);
        if (h.disorder || (rc != HS_SUCCESS && rc != HS_SCAN_TERMINATED))
            return -EIO;
        if (rc == HS_SCAN_TERMINATED || len == run.len - from)
            return 0;
    }
    return 0;
}

#endif
