/* SPDX-License-Identifier: Apache-2.0
 * A PostgreSQL session's life: handshake on its thread, then the flow on a loop. What the flow
 * parks on (a text to parse, a policy or schema that changed, a person's decision) is started
 * here and handed back to it.
 */
#include "postgres.h"

#include "catalog_load.h"
#include "flow.h"
#include "handshake.h"
#include "src-common/clock.h"

#include <errno.h>
#include <stdio.h>

#define FLUSH_AFTER_MS 200
#define EXPIRY_LOOK_MS 15000       /* clocks are set, machines sleep */
#define MAX_OUT        (48u << 20) /* two of the longest messages that are held whole */
#define FLUSH_BYTES    (256 * 1024)

/* Work on the job thread for one session. It outlives the session if it has to: the session's
 * side and the job's side each hold a reference. */
struct pgjob {
    struct job job;
    _Atomic unsigned refs;
    struct session *session; /* counted, the job's side */
    enum pgpark what;
    struct pgcontext *context; /* counted; JUDGE: to judge in */
    char *text;                /* JUDGE */
    size_t text_len;
    struct pgcollector *collector; /* CATALOG: taken over */
    char *search_path;             /* CONTEXT: of the old one; CATALOG: result */
    char database[64], user[64];
    struct pgverdict *verdict;        /* result of JUDGE */
    struct pgcontext *result;         /* of CONTEXT and CATALOG */
    struct policy_snapshot *snapshot; /* of CONTEXT: the one that result is of */
    struct error err;                 /* set when it failed */
};

struct pgsession {
    struct session *session;
    struct relay relay;
    struct pgflow flow;
    struct loop_task start;
    struct loop_timer flush_timer, expiry_timer;
    struct pgpins pins;
    struct pgjob *job;
    struct buffer greeting;
    uint64_t held_at;   /* durability Node: how much of the record what is held waits for */
    size_t held_length; /* and how much is held; 0: nothing */
};

/* ---- jobs ---- */

static void job_unref(struct pgjob *j)
{
    if (!j || atomic_fetch_sub(&j->refs, 1) != 1)
        return;
    pgcollector_free(j->collector);
    pgverdict_unref(j->verdict);
    pgcontext_unref(j->context);
    pgcontext_unref(j->result);
    policy_snapshot_unref(j->snapshot);
    free(j->text);
    free(j->search_path);
    free(j);
}

static void run_context(struct pgjob *j)
{
    struct session *s = j->session;
    const struct agent agent = session_agent(s);
    const struct target *t;
    int rc;

    j->snapshot = guard_policy(s->guard);
    t = policy_target_by_name(j->snapshot, s->guard->agent.namespace_, j->context->target);
    if (!t || t->protocol != TARGET_POSTGRES) {
        error_set(&j->err, -ENOENT, "the GuardTarget is gone");
        return;
    }
    rc = pgcontext_get(&(struct pgcontext_for){s->guard, &agent, j->snapshot, t, j->database},
                       j->context->catalog, j->search_path, &j->result, &j->err);
    if (rc == 0 && policy_view_empty(j->result->view))
        error_set(&j->err, -EACCES, "no GuardPolicy selects this agent any more");
}

static void run_job(struct job *job)
{
    struct pgjob *j = (struct pgjob *)((char *)job - offsetof(struct pgjob, job));
    struct session *s = j->session;

    if (j->what == PGPARK_JUDGE) {
        if (pgcontext_judge(j->context, bytes_of(j->text, j->text_len), &j->verdict) != 0)
            error_set(&j->err, -ENOMEM, "out of memory");
    } else if (j->what == PGPARK_CATALOG) {
        if (pgcollector_context(j->collector, s, j->database, j->user, &j->result, &j->search_path,
                                &j->err) != 0 &&
            !j->err.text[0])
            error_set(&j->err, -EIO, "reading the catalogue failed");
    } else {
        run_context(j);
    }
    session_post(s, INBOX_JOB);
    session_unref(s);
    job_unref(j);
}

static struct pgjob *job_new(struct pgsession *p, enum pgpark what)
{
    struct pgjob *j = calloc(1, sizeof *j);

    if (!j)
        return NULL;
    j->job.run = run_job;
    j->refs = 2;
    j->what = what;
    j->session = session_ref(p->session);
    j->context = pgcontext_ref(p->flow.context);
    memcpy(j->database, p->flow.database, sizeof j->database);
    memcpy(j->user, p->flow.user, sizeof j->user);
    return j;
}

static void job_start(struct pgsession *p, struct pgjob *j)
{
    p->job = j;
    jobs_post(p->session->guard->jobs, &j->job);
}

static bool start_judge(struct pgsession *p)
{
    struct pgjob *j = job_new(p, PGPARK_JUDGE);

    if (!j)
        return false;
    j->text_len = p->flow.park_text.len;
    j->text = malloc(j->text_len + 1);
    if (!j->text)
        j->text_len = 0;
    else
        memcpy(j->text, p->flow.park_text.p, j->text_len);
    job_start(p, j);
    return true;
}

static bool start_context(struct pgsession *p)
{
    struct pgjob *j = job_new(p, PGPARK_CONTEXT);

    if (!j)
        return false;
    j->search_path = strdup(p->flow.search_path);
    if (!j->search_path) {
        j->refs = 1;
        session_unref(j->session);
        job_unref(j);
        return false;
    }
    job_start(p, j);
    return true;
}

/* ---- parks ---- */

static int start_collector(struct pgsession *p)
{
    struct pgflow *f = &p->flow;
    const struct pgcatalog_key whose = {f->context->target, f->database, f->user};

    return pgcollector_new(&whose, f->tx_status == 'T', relay_out(&p->relay, SIDE_UPSTREAM),
                           &f->collector);
}

/* Starts whatever the flow waits for, once. */
static void serve_park(struct pgsession *p)
{
    struct pgflow *f = &p->flow;
    bool ok = true;

    if (f->end_reason || p->job)
        return;
    switch (f->park) {
    case PGPARK_JUDGE:
        ok = start_judge(p);
        break;
    case PGPARK_CONTEXT:
        ok = start_context(p);
        break;
    case PGPARK_CATALOG:
        ok = f->collector || start_collector(p) == 0;
        break;
    case PGPARK_QUEUE:
        if (f->pending.n < PGQUEUE_LOW) {
            pgflow_resume(f);
            serve_park(p);
        }
        break;
    case PGPARK_NONE:
    case PGPARK_APPROVAL:
        break;
    }
    if (!ok)
        pgflow_fatal(f, "53200", "out of memory");
}

/* A round of the collector's answers has come: ask on, or build from them, off the loop. */
static void finish_collector(struct pgsession *p)
{
    struct pgflow *f = &p->flow;
    struct pgjob *j;

    if (f->collector && f->collector->more &&
        pgcollector_more(f->collector, relay_out(&p->relay, SIDE_UPSTREAM)) != 0)
        pgflow_fatal(f, "53200", "out of memory");
    if (!f->collector || !f->collector->done)
        return;
    if (f->collector->failure[0]) {
        pgflow_fatal(f, "58000", "the guard could not read the database's schema");
        pgcollector_free(take(&f->collector));
        return;
    }
    j = job_new(p, PGPARK_CATALOG);
    if (!j) {
        pgflow_fatal(f, "53200", "out of memory");
        return;
    }
    j->collector = take(&f->collector);
    job_start(p, j);
}

static void adopt_context(struct pgsession *p, struct pgjob *j)
{
    struct pgflow *f = &p->flow;

    pgcontext_unref(f->context);
    f->context = take(&j->result);
    if (j->what == PGPARK_CATALOG) {
        free(f->search_path);
        f->search_path = take(&j->search_path);
        f->schema_seen = j->collector->schema_seen;
        f->schema_undone = false;
        f->refreshed = true;
    } else {
        struct session *s = p->session;

        policy_snapshot_unref(s->snapshot);
        s->snapshot = take(&j->snapshot);
        s->target =
            policy_target_by_name(s->snapshot, s->guard->agent.namespace_, f->context->target);
    }
}

static void take_job(struct pgsession *p)
{
    struct pgjob *j = take(&p->job);
    struct pgflow *f = &p->flow;

    if (j->err.text[0]) {
        pgflow_fatal(f, j->what == PGPARK_CONTEXT ? "57P01" : "58000",
                     "the guard cannot judge statements of this session any more");
    } else if (j->what == PGPARK_JUDGE) {
        struct pgprepared *prepared = take(&f->park_prepared);

        if (prepared) {
            pgverdict_unref(prepared->verdict);
            prepared->verdict = take(&j->verdict);
        } else {
            pgverdict_unref(f->judged);
            f->judged = take(&j->verdict);
        }
        pgprepared_unref(prepared);
    } else {
        adopt_context(p, j);
    }
    job_unref(j);
    if (!f->end_reason)
        pgflow_resume(f);
}

/* ---- the relay's side ---- */

static void flush_later(struct loop_timer *t)
{
    struct pgsession *p = (struct pgsession *)((char *)t - offsetof(struct pgsession, flush_timer));

    struct record *r = p->session->record;

    if (record_tick(r) != 0)
        atomic_fetch_add(&p->session->guard->counters.record_failures, 1);
    if (record_busy(r))
        loop_timer_set(p->session->loop, t, FLUSH_AFTER_MS);
}

/* A token's time is over, or nearly: look again, by the wall clock. */
static void watch_expiry(struct loop_timer *t)
{
    struct pgsession *p =
        (struct pgsession *)((char *)t - offsetof(struct pgsession, expiry_timer));
    struct session *s = p->session;
    uint64_t left = identity_left_ms(s->identity, p->pins.at_expiry);
    struct buffer *b;

    if (p->flow.end_reason)
        return;
    if (left) {
        loop_timer_set(s->loop, t, left < EXPIRY_LOOK_MS ? left : EXPIRY_LOOK_MS);
        return;
    }
    b = record_begin(s->record, "auth");
    jsonw_kstr(b, "outcome", BYTES("Expired"));
    jsonw_kstr(b, "identity", bytes_str(session_identity_name(s)));
    identity_describe(s->identity, b);
    if (record_end(s->record) != 0)
        atomic_fetch_add(&s->guard->counters.record_failures, 1);
    pgflow_fatal(&p->flow, "57P01", "the session's token has expired: log in with a fresh one");
    relay_flush(&p->relay);
}

static void on_data(void *arg, enum side from, struct bytes chunk)
{
    struct pgsession *p = arg;

    if (from == SIDE_CLIENT) {
        pgflow_from_client(&p->flow, chunk);
    } else {
        pgflow_from_upstream(&p->flow, chunk);
        finish_collector(p);
    }
    serve_park(p);
}

/* On one of the syncer's threads. */
static void on_synced(void *arg)
{
    session_post(arg, INBOX_SYNCED);
}

/* durability Node: what waits for the upstream is held until what describes it is on the disk. What
 * is recorded meanwhile, such as results, holds up nothing that was asked for before. */
static int hold_until_synced(struct pgsession *p)
{
    struct record *r = p->session->record;
    size_t waiting = relay_waiting(&p->relay, SIDE_UPSTREAM);
    int rc;

    if (waiting != p->held_length) {
        p->held_at = record_written(r);
        p->held_length = waiting;
    }
    rc = record_sync(r, p->held_at, on_synced, p->session);
    relay_hold(&p->relay, SIDE_UPSTREAM, rc == -EINPROGRESS);
    if (rc != -EINPROGRESS)
        p->held_length = 0;
    return rc == -EINPROGRESS ? 0 : rc;
}

/* Nothing goes upstream before what describes it is in the record. Results may wait a little:
 * they have happened, and are written with the next statement or the timer. */
static int before_send(void *arg)
{
    struct pgsession *p = arg;
    struct record *r = p->session->record;
    int rc;

    if (!relay_waiting(&p->relay, SIDE_UPSTREAM) && record_pending(r) < FLUSH_BYTES) {
        if (record_pending(r) && !p->flush_timer.due_ms)
            loop_timer_set(p->session->loop, &p->flush_timer, FLUSH_AFTER_MS);
        return 0;
    }
    rc = record_flush(r);
    if (rc == 0 && p->flow.context->recording->to_disk)
        rc = hold_until_synced(p);
    if (rc == 0)
        return 0;
    atomic_fetch_add(&p->session->guard->counters.record_failures, 1);
    if (!p->flow.context->recording->required)
        return 0;
    relay_drop(&p->relay, SIDE_UPSTREAM);
    pgflow_fatal(&p->flow, "58030", "the statement was refused: it cannot be recorded");
    return 0;
}

/* With the reference that the asking took, unless on_decided has released it. */
static void stop_asking(struct pgsession *p)
{
    if (approvals_withdraw(p->session->guard->approvals, p->flow.approval_id))
        session_unref(p->session);
}

static void withdraw(struct pgsession *p)
{
    struct pgflow *f = &p->flow;

    if (f->park != PGPARK_APPROVAL)
        return;
    stop_asking(p);
    pgflow_record_approval(f, "Withdrawn");
    f->park = PGPARK_NONE;
}

static bool on_eof(void *arg, enum side from, int why)
{
    struct pgsession *p = arg;

    (void)why;
    if (!p->flow.end_reason)
        p->flow.end_reason =
            from == SIDE_CLIENT ? "client closed the connection" : "upstream closed the connection";
    withdraw(p);
    return true;
}

static void on_ended(void *arg)
{
    struct pgsession *p = arg;
    struct session *s = p->session;
    const char *why = p->flow.end_reason ? p->flow.end_reason : "closed";

    withdraw(p);
    loop_timer_clear(s->loop, &p->flush_timer);
    loop_timer_clear(s->loop, &p->expiry_timer);
    pgcancel_forget(s);
    pgcollector_free(p->flow.collector);
    pgprepared_unref(p->flow.park_prepared);
    pgflow_done(&p->flow);
    job_unref(p->job);
    buffer_done(&p->greeting);
    free(p);
    session_end(s, why);
}

static const struct relay_ops relay_callbacks = {on_data, before_send, on_eof, on_ended};

/* ---- life ---- */

static void start_on_loop(struct loop_task *task)
{
    struct pgsession *p = (struct pgsession *)((char *)task - offsetof(struct pgsession, start));

    relay_start(&p->relay, p->session->loop);
    relay_send(&p->relay, SIDE_CLIENT, buffer_bytes(&p->greeting));
    buffer_done(&p->greeting);
    session_set_state(p->session, "open");
    if (p->session->identity)
        watch_expiry(&p->expiry_timer);
    relay_flush(&p->relay);
}

static int hand_over(struct session *s, struct pghandshake *h)
{
    struct pgsession *p = calloc(1, sizeof *p);

    if (!p)
        return pghandshake_fail(h, "53200", "out of memory");
    if (pgflow_init(&p->flow, s, &p->relay, h->context) != 0) {
        h->context = NULL;
        pgflow_done(&p->flow);
        free(p);
        return pghandshake_fail(h, "53200", "out of memory");
    }
    h->context = NULL;
    p->session = s;
    p->start.run = start_on_loop;
    p->flush_timer.run = flush_later;
    p->expiry_timer.run = watch_expiry;
    p->pins = h->pins;
    p->flow.search_path = take(&h->search_path);
    p->flow.schema_seen = h->schema_seen;
    memcpy(p->flow.user, h->startup.user, sizeof p->flow.user);
    memcpy(p->flow.database, h->startup.database, sizeof p->flow.database);
    p->greeting = h->greeting;
    h->greeting = (struct buffer){0};
    s->proto = p;
    relay_init(&p->relay, &relay_callbacks, p, &s->client, &s->upstream, MAX_OUT);
    pghandshake_done(h);
    free(h);
    session_to_loop(s, &p->start);
    return 0;
}

static void postgres_run(struct session *s)
{
    struct pghandshake *h = calloc(1, sizeof *h);
    enum pghandshake_result r;

    if (!h) {
        session_end(s, "out of memory");
        return;
    }
    r = pghandshake_run(h, s);
    if (r == PGHANDSHAKE_DONE && hand_over(s, h) == 0)
        return;
    pgcancel_forget(s);
    session_end(s, r == PGHANDSHAKE_CANCEL ? "cancel request" : h->failure);
    pghandshake_done(h);
    free(h);
}

/* What approvers said, or that the time is over. */
static void take_decision(struct pgsession *p)
{
    struct pgflow *f = &p->flow;
    struct approval_info info;

    if (f->park != PGPARK_APPROVAL ||
        approvals_get(p->session->guard->approvals, f->approval_id, &info) != 0)
        return;
    f->approval_phase = info.phase;
    approval_info_done(&info);
    if (f->approval_phase == APPROVAL_PENDING)
        return;
    f->approval_decided = true;
    pgflow_resume(f);
}

static void cancel_waiting(struct pgsession *p)
{
    struct pgflow *f = &p->flow;

    if (f->park != PGPARK_APPROVAL)
        return; /* the upstream has been asked to cancel what runs there */
    stop_asking(p);
    f->approval_phase = APPROVAL_WITHDRAWN;
    f->approval_decided = true;
    pgflow_resume(f);
}

/* The statement that waits is judged anew, under the new policy. Who would not be let in any more,
 * or as somebody else, is shown out. */
static void policy_changed(struct pgsession *p)
{
    if (!pgpins_hold(&p->pins, p->session, p->flow.database)) {
        withdraw(p);
        pgflow_fatal(&p->flow, "57P01", "policy has changed: this login is not permitted any more");
        return;
    }
    if (p->flow.park != PGPARK_APPROVAL)
        return; /* the next message will notice */
    withdraw(p);
    pgflow_resume(&p->flow);
}

static void postgres_inbox(struct session *s, unsigned what)
{
    struct pgsession *p = s->proto;

    if (what & INBOX_KILL)
        pgflow_fatal(&p->flow, "57P01", "the session was ended by an operator of the guard");
    if (what & INBOX_STOP)
        pgflow_fatal(&p->flow, "57P01", "the guard is shutting down");
    if ((what & INBOX_JOB) && p->job)
        take_job(p);
    if (what & INBOX_APPROVAL)
        take_decision(p);
    if (what & INBOX_CANCEL)
        cancel_waiting(p);
    if (what & INBOX_POLICY)
        policy_changed(p);
    serve_park(p);
    relay_flush(&p->relay);
}

const struct proto_ops postgres_ops = {"postgres", postgres_run, postgres_inbox};
