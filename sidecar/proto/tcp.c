/* SPDX-License-Identifier: Apache-2.0
 * Plain relay.
 */
#include "tcp.h"

#include "sidecar/net/relay.h"
#include "src-common/log.h"

#include <errno.h>

struct tcp_session {
    struct session *session;
    struct relay relay;
    atomic_uint refs; /* the loop's, and the job's */
    struct loop_task start;
    struct job recheck; /* names are resolved, which may block */
    atomic_bool rechecking;
};

static void tcp_unref(struct tcp_session *t)
{
    if (atomic_fetch_sub(&t->refs, 1) == 1)
        free(t);
}

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
    tcp_unref(t);
}

static const struct relay_ops relay_callbacks = {on_data, before_send, on_eof, on_ended};

static void start_on_loop(struct loop_task *task)
{
    struct tcp_session *t =
        (struct tcp_session *)((char *)task - offsetof(struct tcp_session, start));

    relay_start(&t->relay, t->session->loop);
}

/* On the jobs' thread: policy changed, and what is relayed may not be any more. */
static void recheck(struct job *j)
{
    struct tcp_session *t =
        (struct tcp_session *)((char *)j - offsetof(struct tcp_session, recheck));
    struct session *s = t->session;

    atomic_store(&t->rechecking, false);
    if (!session_still_permitted(s)) {
        log_warn("session.ended_by_policy", F_STR("session", s->id),
                 F_STR("address", s->target_address));
        session_post(s, INBOX_KILL);
    }
    session_unref(s);
    tcp_unref(t);
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
    atomic_init(&t->refs, 1);
    t->recheck.run = recheck;
    t->start.run = start_on_loop;
    s->proto = t;
    session_set_state(s, "open");
    relay_init(&t->relay, &relay_callbacks, t, &s->client, &s->upstream, 4 << 20);
    session_to_loop(s, &t->start);
}

static void tcp_inbox(struct session *s, unsigned what)
{
    struct tcp_session *t = s->proto;

    if (what & (INBOX_KILL | INBOX_STOP)) {
        relay_abort(&t->relay);
    } else if ((what & INBOX_POLICY) && !atomic_exchange(&t->rechecking, true)) {
        atomic_fetch_add(&t->refs, 1);
        session_ref(s);
        jobs_post(s->guard->jobs, &t->recheck);
    }
}

const struct proto_ops tcp_ops = {"tcp", tcp_run, tcp_inbox};
