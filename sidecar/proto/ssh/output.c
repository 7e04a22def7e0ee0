/* SPDX-License-Identifier: Apache-2.0
 * Directions of channels.
 */
#include "output.h"

#include <errno.h>

void sshflow_init(struct sshflow *f, const char *name, size_t max)
{
    *f = (struct sshflow){.name = name};
    f->soft_max = max;
    buffer_init(&f->raw, SSHFLOW_WINDOW + max);
    buffer_init(&f->ready, max + 2 * DETECT_STREAM_HOLD);
}

void sshflow_done(struct sshflow *f)
{
    buffer_done(&f->raw);
    buffer_done(&f->ready);
    detect_stream_free(f->mask);
    f->mask = NULL;
}

int sshflow_mask(struct sshflow *f, uint32_t detectors)
{
    struct detector_set *set = NULL;
    int rc = detector_set_get(detectors, &set, NULL);

    if (rc == 0)
        rc = detect_stream_new(set, &f->mask);
    detector_set_unref(set);
    return rc;
}

size_t sshflow_take(struct sshflow *f, struct bytes data, uint64_t now_ms)
{
    size_t old = buffer_len(&f->raw), room = old < f->soft_max && !f->more ? f->soft_max - old : 0;
    size_t n = data.len < room ? data.len : room;

    f->more |= n < data.len;
    if (n == 0 || buffer_append(&f->raw, data.p, n) != 0)
        return 0;
    f->last_ms = now_ms;
    f->bytes += n;
    return n;
}

int sshflow_settle(struct sshflow *f, struct detect_scratch *scratch, bool last)
{
    size_t before = buffer_len(&f->ready);
    size_t room = f->ready.max - before;
    size_t n = buffer_len(&f->raw);
    int rc;

    if (f->mask)
        room = room > f->held + DETECT_STREAM_HOLD ? room - f->held - DETECT_STREAM_HOLD : 0;
    if (n > room) {
        n = room;
        last = false;
    }
    if (n == 0 && !(last && f->held))
        return 0;
    if (!f->mask) {
        rc = buffer_append(&f->ready, f->raw.p + f->raw.start, n);
        buffer_consume(&f->raw, n);
        return rc;
    }
    rc =
        detect_stream_feed(f->mask, scratch, bytes_of(f->raw.p + f->raw.start, n), last, &f->ready);
    buffer_consume(&f->raw, n);
    f->held = f->held + n - (buffer_len(&f->ready) - before);
    return rc;
}

void sshflow_drop(struct sshflow *f)
{
    detect_stream_free(f->mask);
    f->mask = NULL;
    f->held = 0;
    f->more = false;
    buffer_reset(&f->raw, SIZE_MAX);
    buffer_reset(&f->ready, SIZE_MAX);
}

bool sshflow_empty(const struct sshflow *f)
{
    return !buffer_len(&f->raw) && !buffer_len(&f->ready) && !f->held && !f->more;
}
