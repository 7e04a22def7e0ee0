/* SPDX-License-Identifier: Apache-2.0
 * Matches in a whole text: overlapping ones made one, then listed or replaced.
 */
#include "mask.h"
#include "scan.h"
#include "set.h"

#include <errno.h>

struct matches {
    struct scan scan;     /* first: report() finds the rest through it */
    struct span *pending; /* PENDING_MAX, ascending, not overlapping */
    size_t n;
    bool (*settled)(const struct span *m, void *arg); /* false: stop */
    void *arg;
};

static void settle_oldest(struct matches *m, size_t n)
{
    for (size_t i = 0; i < n && !m->scan.stop; i++)
        m->scan.stop = !m->settled(&m->pending[i], m->arg);
    memmove(m->pending, m->pending + n, (m->n - n) * sizeof *m->pending);
    m->n -= n;
}

/* Settles what no match that starts at `start` or is found later can overlap. */
static void settle_before(struct matches *m, size_t start)
{
    size_t limit = min_size(m->scan.at - min_size(m->scan.at, SCAN_BEHIND), start), n = 0;

    while (n < m->n && m->pending[n].end <= limit)
        n++;
    if (n)
        settle_oldest(m, n);
}

/* Inserts in order; whatever overlaps becomes one span, named by the longest of them. */
static void add_match(struct scan *s, size_t start, size_t end, enum detector d)
{
    struct matches *m = (struct matches *)s;
    struct span one = {start, end, d};
    size_t longest = end - start, first, last;

    if (m->n >= PENDING_MAX / 2)
        settle_before(m, start);
    if (m->n == PENDING_MAX) { /* cannot be: see PENDING_MAX. Then rather all as one */
        m->pending[0].end = m->pending[m->n - 1].end;
        m->n = 1;
    }
    for (last = m->n; last > 0 && m->pending[last - 1].start >= one.end; last--)
        ;
    for (first = last; first > 0 && m->pending[first - 1].end > one.start; first--) {
        const struct span *p = &m->pending[first - 1];

        if (p->end - p->start >= longest) {
            longest = p->end - p->start;
            one.detector = p->detector;
        }
        one.start = min_size(one.start, p->start);
        one.end = p->end > one.end ? p->end : one.end;
    }
    memmove(m->pending + first + 1, m->pending + last, (m->n - last) * sizeof one);
    m->pending[first] = one;
    m->n = m->n - (last - first) + 1;
}

static void find_matches(struct matches *m, const struct detector_set *s, struct bytes text)
{
    m->scan.text = text;
    m->scan.triggers = s->triggers;
    m->scan.report = add_match;
    scan_run(&m->scan, text.len);
    settle_oldest(m, m->scan.stop ? 0 : m->n);
}

struct list {
    struct span *spans;
    size_t n, max;
    bool overflow;
};

static bool list_match(const struct span *m, void *arg)
{
    struct list *l = arg;

    l->overflow = l->n == l->max;
    if (!l->overflow)
        l->spans[l->n++] = *m;
    return !l->overflow;
}

int detect_exact(const struct detector_set *s, struct detect_scratch *scratch, struct bytes text,
                 struct span *spans, size_t max)
{
    struct list list = {.spans = spans, .max = max};
    struct matches m = {.pending = scratch->pending, .settled = list_match, .arg = &list};

    find_matches(&m, s, text);
    return list.overflow || list.n > INT32_MAX ? -ENOBUFS : (int)list.n;
}

struct rewrite {
    const struct masker *masker;
    const enum mask_method *method;
    struct bytes text;
    struct buffer *out;
    size_t done; /* bytes of the text that are in `out`, as they were or masked */
    int rc;
};

static bool replace_match(const struct span *m, void *arg)
{
    struct rewrite *r = arg;

    r->rc = buffer_append(r->out, r->text.p + r->done, m->start - r->done);
    if (r->rc == 0)
        r->rc = mask_match(r->masker, r->method[m->detector], detector_name(m->detector),
                           bytes_of(r->text.p + m->start, m->end - m->start), r->out);
    r->done = m->end;
    return r->rc == 0;
}

int detect_mask_text(const struct detector_set *s, struct detect_scratch *scratch,
                     const struct masker *m, const enum mask_method method[DETECTOR_COUNT],
                     struct bytes text, struct buffer *out, bool *ret_changed)
{
    struct rewrite r = {.masker = m, .method = method, .text = text, .out = out};
    size_t before = buffer_len(out);
    struct matches matches = {.pending = scratch->pending, .settled = replace_match, .arg = &r};

    find_matches(&matches, s, text);
    if (r.rc == 0 && r.done)
        r.rc = buffer_append(out, text.p + r.done, text.len - r.done);
    if (r.rc != 0) {
        out->end = out->start + before; /* nothing half-masked stays */
        return -ENOMEM;
    }
    *ret_changed = r.done != 0;
    return 0;
}
