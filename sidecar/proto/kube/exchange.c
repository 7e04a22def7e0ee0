/* SPDX-License-Identifier: Apache-2.0
 * A permitted request goes to the API server, written anew; its answer comes back, masked. Nothing
 * is buffered but what has to be seen whole: one object.
 */
#include "guard.h"

#include "body.h"
#include "cut.h"
#include "headers.h"
#include "src-common/jsonread.h"
#include "src-common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MS 120000 /* until the head; requests of clients have their own, shorter times */
#define FETCH_MS  5000
#define SETTLE_MS 20 /* how long text is held back that may be the beginning of a match */

/* ---- sending ---- */

static void write_head(struct kubeguard *g, struct kuberequest *r, struct buffer *out,
                       struct bytes accept, struct bytes protocols)
{
    const struct secret *token = g->session->target->credentials_secret ? &g->token : &g->relayed;
    const char *host = session_upstream_host(g->session);

    buffer_add(out, r->head.method);
    buffer_add_u8(out, ' ');
    buffer_add(out, r->head.target);
    buffer_printf(
        out, strchr(host, ':') ? " HTTP/1.1\r\nHost: [%s]\r\n" : " HTTP/1.1\r\nHost: %s\r\n", host);
    if (token->len) {
        buffer_append(out, "Authorization: Bearer ", 22);
        buffer_add(out, secret_bytes(token));
        buffer_append(out, "\r\n", 2);
    }
    buffer_printf(out, "Accept: %.*s\r\n", (int)accept.len, (const char *)accept.p);
    kubeheaders_request(&r->head, r->websocket, out);
    if (r->websocket)
        buffer_printf(out,
                      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: "
                      "%.*s\r\n",
                      (int)protocols.len, (const char *)protocols.p);
    if (r->body_text || bytes_eq_str(r->head.method, "POST") ||
        bytes_eq_str(r->head.method, "PUT") || bytes_eq_str(r->head.method, "PATCH"))
        buffer_printf(out, "Content-Length: %zu\r\n", r->body_len);
    buffer_append(out, "\r\n", 2);
}

/* -EPROTONOSUPPORT: the agent has to ask in another way. */
int kubeguard_send(struct kubeguard *g, struct kuberequest *r, struct error *err)
{
    struct buffer accept, protocols, out;
    int rc;

    buffer_init(&accept, 4096);
    buffer_init(&protocols, 4096);
    buffer_init(&out, 2 * HTTP_HEAD_MAX);
    /* A connection has no representation; some of these handlers insist on that. */
    rc = r->websocket ? buffer_append(&accept, "*/*", 3)
                      : kubeheaders_accept(&r->head, &r->act, kubemask_tables(g->view, &r->act),
                                           &accept, err);
    if (rc == 0 && r->websocket)
        rc = kubeheaders_protocols(&r->head, r->act.subresource, &protocols, err);
    if (rc == 0)
        rc = kubeupstream_ready(g, err);
    if (rc == 0) {
        write_head(g, r, &out, buffer_bytes(&accept), buffer_bytes(&protocols));
        rc = out.failed || accept.failed || protocols.failed
                 ? error_set(err, -ENOMEM, "headers too long")
                 : kubeio_write(g, &g->upstream, buffer_bytes(&out));
        if (rc == 0 && r->body_len)
            rc = kubeio_write(g, &g->upstream, bytes_of(r->body_text, r->body_len));
        if (rc && err && !err->text[0])
            error_set(err, rc, "the API server closed the connection");
    }
    atomic_fetch_add(&g->session->bytes_to_upstream, buffer_len(&out) + r->body_len);
    buffer_done(&accept);
    buffer_done(&protocols);
    buffer_wipe(&out);
    return rc;
}

/* ---- the head of the answer ---- */

int kubeguard_read_head(struct kubeguard *g, struct kuberequest *r, struct http_head *ret,
                        struct error *err)
{
    for (;;) {
        struct bytes in = buffer_bytes(&g->upstream.in);
        ssize_t n = in.len ? http_head_find(in) : 0;
        int rc;

        if (n > 0) {
            const char *head = arena_strndup(&g->arena, in.p, (size_t)n);

            buffer_consume(&g->upstream.in, (size_t)n);
            rc = head ? http_parse_response(bytes_of(head, (size_t)n),
                                            bytes_eq_str(r->head.method, "HEAD"), ret, err)
                      : -ENOMEM;
            if (rc || ret->status >= 200 || ret->status == 101)
                return rc;
            continue; /* 100, 103 */
        }
        rc = n < 0 ? (int)n : kubeio_fill(g, &g->upstream, ANSWER_MS);
        if (rc == 0)
            rc = -EPIPE;
        if (rc < 0)
            return error_set(err, rc,
                             rc == -ETIMEDOUT ? "the API server does not answer"
                                              : "the API server closed the connection");
    }
}

/* ---- for those who decide ---- */

static struct json_object *fetch_body(struct kubeguard *g, const struct http_head *head)
{
    struct json_object *o = NULL;
    struct http_body b;
    struct buffer body;
    int rc = 0;

    http_body_init(&b, head);
    buffer_init(&body, KUBEBODY_MAX);
    while (rc == 0 && !http_body_ended(&b)) {
        struct bytes in = buffer_bytes(&g->upstream.in), run;
        size_t before = in.len;

        rc = http_body_next(&b, &in, &run);
        if (rc == 0)
            rc = buffer_add(&body, run);
        buffer_consume(&g->upstream.in, before - in.len);
        if (rc == 0 && run.len == 0 && !http_body_ended(&b))
            rc = kubeio_fill(g, &g->upstream, FETCH_MS) == 1 ? 0 : -EIO;
    }
    if (rc == 0 && jsonread_strict(buffer_bytes(&body), 200, &o) != 0)
        o = NULL;
    if (rc || head->close)
        kubeupstream_close(g);
    buffer_wipe(&body);
    return o;
}

struct json_object *kubeguard_fetch(struct kubeguard *g, const struct kuberequest *r)
{
    struct kuberequest *q = arena_alloc(&g->arena, sizeof *q);
    struct http_head *head = arena_alloc(&g->arena, sizeof *head);
    struct json_object *o;
    struct error err = {""};

    if (!q || !head)
        return NULL;
    *q = (struct kuberequest){.act = r->act};
    q->head.method = BYTES("GET");
    q->head.target = bytes_str(r->path.text);
    if (kubeguard_send(g, q, &err) != 0 || kubeguard_read_head(g, q, head, &err) != 0 ||
        head->status == 101) {
        kubeupstream_close(g);
        return NULL;
    }
    o = fetch_body(g, head);
    if (head->status == 200 && json_object_is_type(o, json_type_object))
        return o;
    json_object_put(o);
    return NULL;
}

/* ---- the body of the answer ---- */

enum content { CONTENT_AS_IS = 0, CONTENT_JSON, CONTENT_TEXT };

struct answer {
    struct kubeguard *g;
    struct kuberequest *r;
    struct http_head head;
    struct http_body body;
    enum content content;
    struct kubemask mask;
    struct kubecut cut;
    struct detect_stream *text;
    bool text_held, chunked;
    uint64_t bytes;
    struct buffer out;
};

static bool type_is(struct bytes type, const char *what)
{
    size_t n = strlen(what);

    return type.len >= n && http_is(bytes_of(type.p, n), what) &&
           (type.len == n || type.p[n] == ';' || type.p[n] == ' ');
}

/* What the answer is, and whether the guard can read it. */
static int choose_content(struct answer *a, struct error *err)
{
    struct bytes type = http_header(&a->head, "content-type");
    const struct kube_act *act = &a->r->act;
    bool stream = strcmp(act->subresource, "log") == 0 || strcmp(act->subresource, "proxy") == 0 ||
                  !act->resource[0];

    a->content = CONTENT_AS_IS;
    if (http_header(&a->head, "content-encoding").len)
        return error_set(err, -EBADMSG, "the API server's answer is compressed");
    if (kubemask_idle(&a->mask) || act->discovery || a->body.state == BODY_END)
        return 0;
    if (stream) {
        a->content = a->mask.detectors ? CONTENT_TEXT : CONTENT_AS_IS;
        return 0;
    }
    if (!type_is(type, "application/json"))
        return error_set(err, -EBADMSG, "the API server's answer is no JSON, and has to be masked");
    a->content = CONTENT_JSON;
    return 0;
}

static int prepare(struct answer *a, struct error *err)
{
    const struct kube_act *act = &a->r->act;
    /* A failure is one object, which is looked into. */
    bool list = act->list && strcmp(act->api_verb, "watch") != 0 && a->head.status < 300;
    int rc = kubemask_init(&a->mask, a->g->view, act, a->g->session->guard->masker);

    a->r->mask = rc ? NULL : &a->mask;
    http_body_init(&a->body, &a->head);
    kubecut_init(&a->cut, list ? KUBECUT_LIST : KUBECUT_VALUES);
    buffer_init(&a->out, 4 * KUBECUT_PIECE_MAX);
    if (rc == 0)
        rc = choose_content(a, err);
    if (rc == 0 && a->content == CONTENT_TEXT)
        rc = detect_stream_new(a->mask.detectors, &a->text);
    return rc && !err->text[0] ? error_set(err, rc, "out of memory") : rc;
}

static void release(struct answer *a)
{
    a->r->mask = NULL;
    kubecut_done(&a->cut);
    kubemask_done(&a->mask);
    detect_stream_free(a->text);
    buffer_wipe(&a->out);
}

static int write_answer_head(struct answer *a)
{
    struct buffer out;
    bool bodiless = a->body.state == BODY_END;
    int rc;

    buffer_init(&out, 2 * HTTP_HEAD_MAX);
    buffer_printf(&out, "HTTP/1.1 %u %s\r\n", a->head.status,
                  a->head.status < 300   ? "OK"
                  : a->head.status < 400 ? "See Other"
                                         : "Error");
    kubeheaders_response(&a->head, false, &out);
    a->chunked = !bodiless && !(a->content == CONTENT_AS_IS && a->head.framing == HTTP_LENGTH);
    if (a->chunked)
        buffer_printf(&out, "Transfer-Encoding: chunked\r\n");
    else if (!bodiless || (a->head.status != 204 && a->head.status != 304 &&
                           !bytes_eq_str(a->r->head.method, "HEAD")))
        buffer_printf(&out, "Content-Length: %llu\r\n",
                      bodiless ? 0ull : (unsigned long long)a->head.length);
    if (a->r->head.close)
        buffer_printf(&out, "Connection: close\r\n");
    buffer_append(&out, "\r\n", 2);
    rc = out.failed ? -ENOMEM : kubeio_write(a->g, &a->g->agent, buffer_bytes(&out));
    buffer_done(&out);
    return rc;
}

/* What has been masked goes to the record and to the agent. */
static int emit(struct answer *a, struct bytes piece)
{
    struct buffer frame;
    int rc;

    if (piece.len == 0)
        return 0;
    kubejournal_data(a->g, a->r->n, "response", piece);
    if (!kubejournal_flush(a->g))
        return -EIO;
    a->bytes += piece.len;
    atomic_fetch_add(&a->g->session->bytes_to_client, piece.len);
    if (!a->chunked)
        return kubeio_write(a->g, &a->g->agent, piece);
    buffer_init(&frame, piece.len + 32);
    buffer_printf(&frame, "%zx\r\n", piece.len);
    buffer_add(&frame, piece);
    buffer_append(&frame, "\r\n", 2);
    rc = frame.failed ? -ENOMEM : kubeio_write(a->g, &a->g->agent, buffer_bytes(&frame));
    buffer_done(&frame);
    return rc;
}

static int emit_out(struct answer *a)
{
    int rc = emit(a, buffer_bytes(&a->out));

    buffer_reset(&a->out, (size_t)256 << 10);
    return rc;
}

static int settle_text(struct answer *a, struct bytes run, bool last)
{
    size_t before = buffer_len(&a->out);
    int rc = detect_stream_feed(a->text, a->mask.scratch, run, last, &a->out);

    a->text_held = !last && (a->text_held || buffer_len(&a->out) - before < run.len);
    return rc;
}

static int pass_run(struct answer *a, struct bytes run)
{
    switch (a->content) {
    case CONTENT_JSON:
        return kubecut_feed(&a->cut, run, kubemask_piece, &a->mask, &a->out);
    case CONTENT_TEXT:
        return settle_text(a, run, false);
    case CONTENT_AS_IS:
        break;
    }
    return buffer_add(&a->out, run);
}

/* All that has been received. */
static int pass_received(struct answer *a)
{
    struct bytes in = buffer_bytes(&a->g->upstream.in), run;
    size_t before = in.len;
    int rc;

    do {
        rc = http_body_next(&a->body, &in, &run);
        if (rc == 0 && run.len)
            rc = pass_run(a, run);
    } while (rc == 0 && run.len);
    buffer_consume(&a->g->upstream.in, before - in.len);
    return rc ? rc : emit_out(a);
}

static int finish_body(struct answer *a)
{
    int rc = 0;

    if (a->content == CONTENT_JSON && !kubecut_complete(&a->cut))
        return -EBADMSG;
    if (a->content == CONTENT_TEXT)
        rc = settle_text(a, (struct bytes){0}, true);
    if (rc == 0)
        rc = emit_out(a);
    return rc || !a->chunked ? rc : kubeio_write(a->g, &a->g->agent, BYTES("0\r\n\r\n"));
}

static int relay_body(struct answer *a)
{
    for (;;) {
        int rc = pass_received(a);

        if (rc)
            return rc;
        if (http_body_ended(&a->body))
            return finish_body(a);
        rc = kubeio_wait(a->g, 0,
                         0); /* a stream that never pauses is not to outlive its permission */
        if (rc >= 0)
            rc = kubeio_fill(a->g, &a->g->upstream, a->text_held ? SETTLE_MS : -1);
        if (rc == -ETIMEDOUT && a->text_held) {
            rc = settle_text(a, (struct bytes){0}, true);
            if (rc)
                return rc;
            continue;
        }
        if (rc == 0)
            return a->body.framing == HTTP_TO_CLOSE ? finish_body(a) : -ECONNRESET;
        if (rc < 0)
            return rc;
        kubeio_top_up(&a->g->upstream);
    }
}

static int relay(struct answer *a)
{
    struct error err = {""};
    int rc = prepare(a, &err);

    if (rc) {
        kubeupstream_close(a->g);
        kubejournal_decision(a->g, a->r, NULL, err.text);
        return kubeguard_reply(a->g, 502, err.text, false);
    }
    rc = write_answer_head(a);
    if (rc == 0)
        rc = relay_body(a);
    if (rc || a->head.close || a->head.framing == HTTP_TO_CLOSE)
        kubeupstream_close(a->g);
    return rc;
}

static const char *error_words(int rc)
{
    switch (rc) {
    case 0:
        return NULL;
    case -EBADMSG:
        return "the answer could not be read, and was cut";
    case -EMSGSIZE:
        return "an object of the answer is too long to be masked; the answer was cut";
    case -ECANCELED:
        return "the session ended";
    default:
        return "the connection ended";
    }
}

static int answer(struct kubeguard *g, struct kuberequest *r, const struct http_head *head)
{
    struct answer *a = calloc(1, sizeof *a);
    struct kubejournal_end e = {.exit_status = -1, .status = head->status};
    int rc;

    if (!a)
        return -ENOMEM;
    a->g = g;
    a->r = r;
    a->head = *head;
    g->recorded = 0;
    rc = relay(a);
    e.bytes = a->bytes;
    e.masked = a->mask.masked;
    e.bytes_in = r->body_len;
    e.error = error_words(rc);
    atomic_fetch_add(&g->session->guard->counters.masked_values, a->mask.masked);
    kubejournal_result(g, r, &e);
    (void)kubejournal_flush(g);
    release(a);
    free(a);
    return rc;
}

/* ---- the order of it ---- */

static int failed(struct kubeguard *g, struct kuberequest *r, int rc, struct error *err)
{
    unsigned code = rc == -EPROTONOSUPPORT ? (r->websocket ? 400 : 406)
                    : rc == -ETIMEDOUT     ? 504
                                           : 502;

    kubeupstream_close(g);
    if (rc == -ECANCELED || rc == -ECONNRESET)
        return rc;
    kubejournal_decision(g, r, NULL, err->text);
    (void)kubejournal_flush(g);
    return kubeguard_reply(g, code, err->text, false);
}

static int send_once(struct kubeguard *g, struct kuberequest *r, struct http_head *head,
                     struct error *err)
{
    int rc = kubeguard_send(g, r, err);

    return rc ? rc : kubeguard_read_head(g, r, head, err);
}

/* 401 to a login of the guard's own. What is behind a proxy has its own opinion about that. */
static bool login_refused(const struct kubeguard *g, const struct kuberequest *r,
                          const struct http_head *head)
{
    return head->status == 401 && g->session->target->credentials_secret &&
           strcmp(r->act.subresource, "proxy") != 0;
}

/* A connection that was kept may have been closed at the same moment: what changes nothing is asked
 * once more. So is anything that the API server did not let in, when the Secret has been rotated:
 * it has done nothing of it. */
static int send_and_hear(struct kubeguard *g, struct kuberequest *r, struct http_head *head,
                         struct error *err)
{
    bool again = g->upstream.conn->fd >= 0 && !r->body_len &&
                 (bytes_eq_str(r->head.method, "GET") || bytes_eq_str(r->head.method, "HEAD"));
    int rc = send_once(g, r, head, err);

    if (again && rc == -EPIPE) {
        kubeupstream_close(g);
        rc = send_once(g, r, head, err);
    }
    if (rc == 0 && login_refused(g, r, head) && kubeupstream_rotated(g)) {
        kubeupstream_close(g);
        rc = send_once(g, r, head, err);
    }
    if (rc || !login_refused(g, r, head))
        return rc;
    log_warn("login.refused", F_STR("session", g->session->id),
             F_STR("target", g->session->target->name), F_U64("status", head->status));
    return error_set(err, -EACCES,
                     "the API server refused the guard's own login: tell whoever runs the guard");
}

int kubeguard_exchange(struct kubeguard *g, struct kuberequest *r)
{
    struct http_head *head = arena_alloc(&g->arena, sizeof *head);
    struct error err = {""};
    int rc = head ? send_and_hear(g, r, head, &err) : -ENOMEM;

    if (rc)
        return failed(g, r, rc, &err);
    if (head->status == 101) {
        struct bytes protocol = http_header(head, "sec-websocket-protocol");
        struct buffer out;

        if (!r->websocket || !http_is(http_header(head, "upgrade"), "websocket"))
            return failed(g, r, -EPROTO, &err);
        buffer_init(&out, HTTP_HEAD_MAX);
        buffer_printf(&out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
                            "websocket\r\n");
        kubeheaders_response(head, true, &out);
        buffer_append(&out, "\r\n", 2);
        rc = kubeio_write(g, &g->agent, buffer_bytes(&out));
        buffer_done(&out);
        rc = rc ? rc : kubeguard_tunnel(g, r, protocol);
        kubeupstream_close(g);
        return rc ? rc : 1;
    }
    /* A refused upgrade leaves no tunnel behind: both ends are closed. */
    r->head.close |= r->websocket;
    rc = answer(g, r, head);
    if (r->websocket)
        kubeupstream_close(g);
    return rc;
}
