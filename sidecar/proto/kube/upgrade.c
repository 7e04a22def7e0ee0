/* SPDX-License-Identifier: Apache-2.0
 * After 101: the WebSocket of exec and attach, whose streams are recorded and masked, and that of
 * port-forward, which is relayed as it is. A message's first byte names its channel: 0 stdin, 1
 * stdout, 2 stderr, 3 the end as a metav1.Status, 4 the terminal's size, 255 (v5) the end of a
 * channel.
 */
#include "guard.h"

#include "src-common/clock.h"
#include "websocket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define SETTLE_MS 20
#define LEG_ROOM  (WEBSOCKET_FRAME_MAX + KUBEGUARD_CHUNK)

enum channel { STDIN = 0, STDOUT = 1, STDERR = 2, STATUS = 3, RESIZE = 4, CLOSED = 255 };

struct direction {
    struct kubeleg *from, *to;
    bool from_client, ended;
    int channel; /* of the message whose frames are coming; -1: none */
};

struct tunnel {
    struct kubeguard *g;
    struct kuberequest *r;
    bool opaque; /* not looked into */
    struct kubemask mask;
    struct detect_stream *text[2]; /* of stdout and stderr; NULL: they pass as they are */
    bool held[2];
    struct buffer payload, out;
    struct kubejournal_end end;
};

/* ---- streams ---- */

static const char *name_of(int channel)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};

    return names[channel];
}

static int emit(struct tunnel *t, int channel, struct bytes data)
{
    kubejournal_data(t->g, t->r->n, name_of(channel), data);
    if (!kubejournal_flush(t->g))
        return -EIO;
    t->end.bytes += data.len;
    websocket_write(&t->out, (uint8_t)channel, data);
    return t->out.failed ? -ENOMEM : 0;
}

/* What comes out of the pod, through the mask. `last`: nothing is held back any more. */
static int output(struct tunnel *t, int channel, struct bytes data, bool last)
{
    int i = channel - STDOUT, rc;
    struct buffer masked;

    if (!t->text[i])
        return data.len ? emit(t, channel, data) : 0;
    buffer_init(&masked, WEBSOCKET_FRAME_MAX + 2 * DETECT_STREAM_HOLD);
    rc = detect_stream_feed(t->text[i], t->mask.scratch, data, last, &masked);
    t->held[i] = !last && (t->held[i] || buffer_len(&masked) < data.len);
    if (rc == 0 && buffer_len(&masked))
        rc = emit(t, channel, buffer_bytes(&masked));
    buffer_wipe(&masked);
    return rc;
}

static int settle(struct tunnel *t)
{
    int rc = 0;

    for (int i = 0; i < 2 && rc == 0; i++) {
        if (t->held[i])
            rc = output(t, STDOUT + i, (struct bytes){0}, true);
    }
    return rc;
}

/* "ExitCode" among the causes of the Status; Success is 0. */
static void read_status(struct tunnel *t, struct bytes text)
{
    const char *s = arena_strndup(&t->g->arena, text.p, text.len);
    const char *code = s ? strstr(s, "\"ExitCode\"") : NULL;

    if (s && strstr(s, "\"Success\""))
        t->end.exit_status = 0;
    code = code ? strstr(code, "\"message\":\"") : NULL;
    if (code)
        t->end.exit_status = (int)strtol(code + 11, NULL, 10);
}

/* ---- frames ---- */

static int from_pod(struct tunnel *t, struct direction *d, const struct websocket_frame *f,
                    struct bytes data)
{
    int rc;

    if (d->channel == STDOUT || d->channel == STDERR)
        return output(t, d->channel, data, false);
    rc = settle(t);
    if (d->channel == STATUS)
        read_status(t, data);
    return rc ? rc : buffer_add(&t->out, f->raw);
}

static int from_agent(struct tunnel *t, struct direction *d, const struct websocket_frame *f,
                      struct bytes data)
{
    if (d->channel == STDIN && data.len) {
        kubejournal_data(t->g, t->r->n, "stdin", data);
        t->end.bytes_in += data.len;
        if (!kubejournal_commit(t->g))
            return -EIO;
    }
    return buffer_add(&t->out, f->raw);
}

static int data_frame(struct tunnel *t, struct direction *d, const struct websocket_frame *f)
{
    struct bytes data;
    int rc;

    buffer_reset(&t->payload, WEBSOCKET_FRAME_MAX);
    websocket_payload(f, d->from_client, &t->payload);
    data = buffer_bytes(&t->payload);
    if ((f->opcode == WEBSOCKET_CONTINUATION) != (d->channel >= 0))
        return -EBADMSG;
    if (f->opcode != WEBSOCKET_CONTINUATION) {
        if (!data.len) /* an empty message: some servers begin with one */
            return f->last ? buffer_add(&t->out, f->raw) : -EBADMSG;
        d->channel = data.p[0];
        data.p++;
        data.len--;
    }
    rc = d->from_client ? from_agent(t, d, f, data) : from_pod(t, d, f, data);
    if (f->last)
        d->channel = -1;
    return rc;
}

static int frames(struct tunnel *t, struct direction *d)
{
    for (;;) {
        struct websocket_frame f;
        int rc = websocket_frame(buffer_bytes(&d->from->in), d->from_client, &f);

        if (rc <= 0)
            return rc;
        if (f.opcode < WEBSOCKET_CLOSE) {
            rc = data_frame(t, d, &f);
        } else {
            rc = f.opcode == WEBSOCKET_CLOSE ? settle(t) : 0;
            rc = rc ? rc : buffer_add(&t->out, f.raw);
        }
        if (rc)
            return rc;
        buffer_consume(&d->from->in, f.raw.len);
    }
}

static int opaque(struct tunnel *t, struct direction *d)
{
    struct bytes in = buffer_bytes(&d->from->in);
    int rc = buffer_add(&t->out, in);

    *(d->from_client ? &t->end.bytes_in : &t->end.bytes) += in.len;
    buffer_consume(&d->from->in, in.len);
    return rc;
}

/* ---- the loop ---- */

/* Reads what is there and passes it on. */
static int pump(struct tunnel *t, struct direction *d)
{
    size_t room = d->from->in.max - buffer_len(&d->from->in);
    uint8_t *to = buffer_reserve(&d->from->in, min_size(room, KUBEGUARD_CHUNK));
    ssize_t got = to ? conn_read(d->from->conn, to, min_size(room, KUBEGUARD_CHUNK)) : -ENOBUFS;
    int rc;

    if (got > 0)
        buffer_commit(&d->from->in, (size_t)got);
    d->ended = got <= 0 && got != -EAGAIN;
    rc = t->opaque ? opaque(t, d) : frames(t, d);
    return rc || got > 0 || got == -EAGAIN ? rc : (int)got;
}

static int flush(struct tunnel *t, struct direction *d)
{
    struct bytes out = buffer_bytes(&t->out);
    int rc;

    if (t->out.failed)
        return -ENOMEM;
    if (d->from_client)
        atomic_fetch_add(&t->g->session->bytes_to_upstream, out.len);
    else
        atomic_fetch_add(&t->g->session->bytes_to_client, out.len);
    rc = kubeio_write(t->g, d->to, out);
    buffer_reset(&t->out, LEG_ROOM);
    return rc;
}

static int turn(struct tunnel *t, struct direction *d, bool *ret_over)
{
    int rc = pump(t, d);

    if (rc == 0 && d->ended && !d->from_client)
        rc = settle(t);
    if (rc == 0)
        rc = flush(t, d);
    *ret_over |= d->ended;
    return rc;
}

/* Either end closes: the WebSocket is over for both. */
static int relay(struct tunnel *t, struct direction *up, struct direction *down)
{
    bool over = false, first = true;

    while (!over) {
        int timeout = t->held[0] || t->held[1] ? SETTLE_MS : -1;
        int bits = kubeio_wait(t->g, KUBEIO_AGENT | KUBEIO_UPSTREAM, first ? 0 : timeout);
        int rc = bits < 0 ? bits : 0;

        if (rc == 0 && (bits & KUBEIO_UPSTREAM || first))
            rc = turn(t, down, &over);
        if (rc == 0 && !over && (bits & KUBEIO_AGENT || first))
            rc = turn(t, up, &over);
        if (rc == 0 && bits == 0 && !first && timeout == SETTLE_MS) {
            rc = settle(t);
            rc = rc ? rc : flush(t, down);
        }
        first = false;
        if (rc)
            return rc;
    }
    return 0;
}

static int prepare(struct tunnel *t)
{
    int rc = kubemask_init(&t->mask, t->g->view, &t->r->act, t->g->session->guard->masker);

    t->r->mask = rc ? NULL : &t->mask;
    for (int i = 0; i < 2 && rc == 0 && t->mask.detectors && !t->opaque; i++)
        rc = detect_stream_new(t->mask.detectors, &t->text[i]);
    return rc;
}

/* The leg's buffer has to hold a whole frame; what it has already is kept. */
static int widen(struct kubeleg *l)
{
    struct buffer wide;
    int rc;

    buffer_init(&wide, LEG_ROOM);
    rc = buffer_add(&wide, buffer_bytes(&l->in));
    buffer_done(&l->in);
    l->in = wide;
    return rc;
}

int kubeguard_tunnel(struct kubeguard *g, struct kuberequest *r, struct bytes protocol)
{
    struct tunnel *t = calloc(1, sizeof *t);
    struct direction up = {&g->agent, &g->upstream, true, false, -1};
    struct direction down = {&g->upstream, &g->agent, false, false, -1};
    int rc = t ? widen(&g->agent) : -ENOMEM;

    if (rc == 0)
        rc = widen(&g->upstream);
    if (rc) {
        free(t);
        return rc;
    }
    t->g = g;
    t->r = r;
    t->opaque = strcmp(r->act.subresource, "portforward") == 0;
    t->end = (struct kubejournal_end){.status = 101, .exit_status = -1};
    buffer_init(&t->payload, WEBSOCKET_FRAME_MAX);
    buffer_init(&t->out, 4 * LEG_ROOM);
    g->recorded = 0;
    (void)protocol;
    rc = prepare(t);
    if (rc == 0)
        rc = relay(t, &up, &down);
    t->end.error = rc == -EBADMSG || rc == -EMSGSIZE ? "frames that cannot be read" : NULL;
    kubejournal_result(g, r, &t->end);
    (void)kubejournal_flush(g);
    detect_stream_free(t->text[0]);
    detect_stream_free(t->text[1]);
    r->mask = NULL;
    kubemask_done(&t->mask);
    buffer_wipe(&t->payload);
    buffer_wipe(&t->out);
    free(t);
    return rc ? rc : 1;
}
