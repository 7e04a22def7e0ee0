/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a cell, as a run, as a stream. Beyond not crashing: every match has an anchor, spans
 * are sound, the stream agrees with the whole, masked forms are known again.
 */
#include "sidecar/mask/detect.h"
#include "sidecar/mask/mask.h"

#include <stdlib.h>

#define ALL   ((1u << DETECTOR_COUNT) - 1)
#define SPANS 4096
#define REACH                                                                                      \
    137 /* from the anchor in the name of an AWS secret (9 bytes before its end) to the secret */

static struct detector_set *all;
static struct detect_scratch *scratch;
static struct detect_stream *stream;
static struct masker *masker;
static struct buffer out;
static struct span spans[SPANS];

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void start(void)
{
    require(detector_set_get(ALL, &all, NULL) == 0);
    require(detect_scratch_new(&scratch) == 0);
    require(detect_stream_new(all, &stream) == 0);
    require(masker_new((const uint8_t[32]){7}, &masker) == 0);
    buffer_init(&out, 1 << 26);
}

struct search {
    const struct span *at, *end;
    size_t last, n;
};

/* Spans whose anchor has been seen are left behind. */
static bool on_anchor(size_t offset, void *arg)
{
    struct search *s = arg;

    require(s->n++ == 0 || offset > s->last);
    s->last = offset;
    while (s->at < s->end && offset + REACH >= s->at->start && offset < s->at->end)
        s->at++;
    return false;
}

static void check_stream(struct bytes t, int n)
{
    size_t cut = t.len ? t.p[0] * t.len / 256 : 0, at = 0;
    struct bytes got;

    buffer_reset(&out, 1 << 20);
    require(detect_stream_feed(stream, scratch, bytes_of(t.p, cut), false, &out) == 0);
    require(detect_stream_feed(stream, scratch, bytes_of(t.p + cut, t.len - cut), true, &out) == 0);
    got = buffer_bytes(&out);
    require(got.len == t.len);
    for (int i = 0; i < n; i++) {
        require(memcmp(got.p + at, t.p + at, spans[i].start - at) == 0);
        for (at = spans[i].start; at < spans[i].end; at++)
            require(got.p[at] == '*');
    }
    require(t.len == at || memcmp(got.p + at, t.p + at, t.len - at) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum mask_method method[DETECTOR_COUNT];
    struct bytes t = {data, size};
    struct search search = {.at = spans};
    bool changed;
    int n;

    if (!all)
        start();
    for (int d = 0; d < DETECTOR_COUNT; d++)
        method[d] = size ? (enum mask_method)(data[size - 1] % 5) : MASK_REDACT;
    n = detect_exact(all, scratch, t, spans, SPANS);
    require(n >= 0 || size > SPANS);
    if (n < 0)
        return 0;
    for (int i = 0; i < n; i++)
        require(spans[i].start < spans[i].end && spans[i].end <= size &&
                (i == 0 || spans[i - 1].end <= spans[i].start));
    search.end = spans + n;
    require(detect_anchors(all, scratch, t, on_anchor, &search) == 0);
    require(search.at == search.end);
    check_stream(t, n);
    buffer_reset(&out, 1 << 20);
    require(detect_mask_text(all, scratch, masker, method, t, &out, &changed) == 0);
    require(changed == (n > 0));
    if (changed)
        require(mask_recognise(buffer_bytes(&out)));
    buffer_reset(&out, 1 << 20);
    require(mask_text(masker, size ? method[0] : MASK_REDACT, t, &out) == 0);
    if (method[0] == MASK_TOKEN || method[0] == MASK_REDACT)
        require(mask_recognise(buffer_bytes(&out)));
    return 0;
}
