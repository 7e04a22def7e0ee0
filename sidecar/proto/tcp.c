/* SPDX-License-Identifier: Apache-2.0
 * Plain relay.
 */
#include "tcp.h"

#include "sidecar/net/relay.h"

#include <errno.h>

struct tcp_session {
    struct session *session;
    struct relay relay;
    struct loop_task start;
};

static void on_data(void *arg, enum side from, struct bytes chunk)
{
    struct tcp_session *t = arg;

    atomic_fetch_add(from == SIDE_CLIENT ? &t->session->bytes_to_upstream
                                         : &t->session->bytes_to_client,
                     chunk.len);
    relay_pass(&t->relay, other_side(from), chunk);
}

static int before_send(void *arg)
{
    (void)arg;
    return 0;
}

static bool on_eof(void *arg, enum side from, int why)
{
    (void)arg, (void)from;
    return why != 0; /* one way may go on */
}

static void on_ended(void *arg)
{
    struct tcp_session *t = arg;

    session_end(t->session, "closed");
    free(t);
}

static const struct relay_ops relay_callbacks = {on_data, before_send, on_eof, on_ended};

static void start_on_loop(struct loop_task *task)
{
    struct tcp_session *t =
        (struct tcp_session *)((char *)task - offsetof(struct tcp_session, start));

    relay_start(&t->relay, t->session->loop);
}

static void tcp_run(struct session *s)
{
    struct tcp_session *t = calloc(1, sizeof *t);
    struct error err = {""};

    if (!t || s->over_limit || session_record_open(s) != 0 || session_connect(s, &err) != 0) {
        free(t);
        session_end(s, err.text[0] ? err.text : "refused");
        return;
    }
    t->session = s;
    t->start.run = start_on_loop;
    s->proto = t;
    session_set_state(s, "open");
    relay_init(&t->relay, &relay_callbacks, t, &s->client, &s->upstream, 4 << 20);
    session_to_loop(s, &t->start);
}

static void tcp_inbox(struct session *s, unsigned what)
{
    struct tcp_session *t = s->proto;

    if (what & (INBOX_KILL | INBOX_STOP))
        relay_abort(&t->relay);
}

const struct proto_ops tcp_ops = {"tcp", tcp_run, tcp_inbox};
