/* SPDX-License-Identifier: Apache-2.0
 * A value in pieces: a window moves over it, with as much behind and ahead of every trigger as
 * any detector looks at. Where the pieces were cut changes nothing, because a trigger is asked
 * about only once, and only when everything that the answer depends on is in the window.
 */
#include "scan.h"
#include "set.h"

#include <errno.h>

/* Large pieces are gone through in larger steps than what is held back between calls. */
#define WINDOW (3 * (size_t)DETECT_STREAM_HOLD)

_Static_assert(SCAN_AHEAD + SCAN_BEHIND < DETECT_STREAM_HOLD, "the window has to move");

struct detect_stream {
    struct scan scan; /* first: star() finds the rest through it. Its text is raw[0..len) */
    struct detector_set *set;
    size_t sent; /* bytes of the window that have been appended to the output */
    uint8_t raw[WINDOW];
    uint8_t masked[WINDOW];
};

static void star(struct scan *s, size_t start, size_t end, enum detector d)
{
    struct detect_stream *st = (struct detect_stream *)s;

    (void)d;
    memset(st->masked + start, '*', end - start);
}

static void start_value(struct detect_stream *d)
{
    d->scan = (struct scan){.text = {d->raw, 0}, .triggers = d->set->triggers, .report = star};
    d->sent = 0;
}

int detect_stream_new(struct detector_set *s, struct detect_stream **ret)
{
    struct detect_stream *d = malloc(sizeof *d);

    if (!d)
        return -ENOMEM;
    d->set = detector_set_ref(s);
    start_value(d);
    *ret = d;
    return 0;
}

void detect_stream_free(struct detect_stream *d)
{
    if (!d)
        return;
    detector_set_unref(d->set);
    explicit_bzero(d->raw, sizeof d->raw);
    free(d);
}

static int send_before(struct detect_stream *d, size_t to, struct buffer *out)
{
    if (to <= d->sent)
        return 0;
    if (buffer_append(out, d->masked + d->sent, to - d->sent) != 0)
        return -ENOMEM;
    d->sent = to;
    return 0;
}

/* Forgets what no check looks back at any more. */
static void move_window(struct detect_stream *d)
{
    struct scan *s = &d->scan;
    size_t at = min_size(s->at, s->text.len);
    size_t n = min_size(d->sent, at > SCAN_BEHIND ? at - SCAN_BEHIND : 0);

    memmove(d->raw, d->raw + n, s->text.len - n);
    memmove(d->masked, d->masked + n, s->text.len - n);
    s->text.len -= n;
    s->at -= n;
    d->sent -= n;
    s->key_start -= s->key_open ? n : 0;
    s->card_end -= min_size(s->card_end, n);
}

/* Asks about all that can be answered, appends all that no later answer changes. */
static int settle(struct detect_stream *d, struct buffer *out)
{
    struct scan *s = &d->scan;
    size_t to = s->text.len - SCAN_AHEAD, sure;

    scan_run(s, to);
    sure = min_size(s->at, to);
    return send_before(
        d, s->key_open ? min_size(sure, s->key_start) : sure - min_size(sure, SCAN_BEHIND), out);
}

int detect_stream_feed(struct detect_stream *d, struct detect_scratch *scratch, struct bytes piece,
                       bool last, struct buffer *out)
{
    struct scan *s = &d->scan;
    int rc = 0;

    (void)scratch;
    s->more = true;
    while (piece.len > 0 && rc == 0) {
        size_t old = s->text.len, n = min_size(piece.len, WINDOW - old);

        memcpy(d->raw + old, piece.p, n);
        memcpy(d->masked + old, piece.p, n);
        piece = bytes_of(piece.p + n, piece.len - n);
        s->text.len += n;
        scan_grown(s, old);
        if (s->text.len < WINDOW && s->text.len - d->sent <= DETECT_STREAM_HOLD)
            break;
        rc = settle(d, out);
        move_window(d);
    }
    if (last && rc == 0) {
        s->more = false;
        scan_run(s, s->text.len);
        rc = send_before(d, s->text.len, out);
        start_value(d);
    }
    return rc;
}
