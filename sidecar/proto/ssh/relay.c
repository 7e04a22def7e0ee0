/* SPDX-License-Identifier: Apache-2.0
 * The loop of a session.
 */
#include "relay.h"

#include "src-common/clock.h"

#include <stdio.h>

#define KEEPALIVE_MS 15000
#define ENOUGH       ((size_t)64 << 10)
#define ROUNDS       32 /* of reading, before something is written */

void sshrelay_end(struct sshrelay *r, const char *reason)
{
    if (r->ending)
        return;
    r->ending = true;
    snprintf(r->end_reason, sizeof r->end_reason, "%s", reason);
}

/* ---- policy ---- */

static void abort_all(struct sshrelay *r, const char *why)
{
    for (struct channel *c = r->channels; c; c = c->next)
        sshchannel_abort(c, why);
}

static void new_snapshot(struct sshrelay *r, struct policy_snapshot *snapshot,
                         const struct target *t)
{
    struct policy_snapshot *old = r->session->snapshot;

    r->session->snapshot = snapshot;
    r->session->target = t;
    policy_snapshot_unref(old);
}

/* What runs, runs on; what waits for a person is judged again, and so is everything from here.
 * Who would not be let in any more, or as somebody else, is shown out. */
static void policy_changed(struct sshrelay *r)
{
    struct policy_snapshot *snapshot = guard_policy(r->session->guard);
    const struct target *old = r->session->target;
    const struct target *t = policy_target_by_name(snapshot, old->namespace_, old->name);
    struct error err = {""};
    char pinned[sizeof r->pinned_user];

    if (!t || t->protocol != TARGET_SSH || !t->credentials_secret != !old->credentials_secret) {
        policy_snapshot_unref(snapshot);
        sshrelay_end(r, "policy has changed: the target is not what it was");
        return;
    }
    for (struct channel *c = r->channels; c; c = c->next)
        sshchannel_withdraw(c);
    memcpy(pinned, r->pinned_user, sizeof pinned);
    new_snapshot(r, snapshot, t);
    if (sshrelay_admit(r, &err) != 0 || strcmp(pinned, r->pinned_user) != 0) {
        sshrelay_end(r, "policy has changed: this login is not permitted any more");
        return;
    }
    for (struct channel *c = r->channels; c; c = c->next) {
        if (c->state == CHANNEL_HELD)
            sshchannel_judge(c);
    }
}

/* A token's time is over, or nearly: look again, by the wall clock. */
static uint64_t check_expiry(struct sshrelay *r)
{
    struct session *s = r->session;
    uint64_t left = s->identity ? identity_left_ms(s->identity, r->at_expiry) : KEEPALIVE_MS;

    if (left == 0 && !r->ending) {
        journal_auth(r, "token", "Expired", "the token has expired");
        sshrelay_end(r, "the session's token has expired: log in with a fresh one");
    }
    return left;
}

/* ---- inbox ---- */

static void take_inbox(struct sshrelay *r)
{
    struct session *s = r->session;
    unsigned what = session_take(s);
    char why[160];

    if (what & INBOX_KILL) {
        pthread_mutex_lock(&s->lock);
        snprintf(why, sizeof why, "killed: %s", s->kill_reason);
        pthread_mutex_unlock(&s->lock);
        sshrelay_end(r, why);
    }
    if (what & INBOX_STOP)
        sshrelay_end(r, "the guard is shutting down");
    if (r->ending)
        return;
    if (what & INBOX_POLICY)
        policy_changed(r);
    for (struct channel *c = r->channels; c && (what & INBOX_APPROVAL); c = c->next)
        sshchannel_answer(c);
}

/* ---- the loop ---- */

static bool enough(const struct sshrelay *r)
{
    for (const struct channel *c = r->channels; c; c = c->next) {
        if (buffer_len(&c->in.raw) >= ENOUGH || buffer_len(&c->out.raw) >= ENOUGH)
            return true;
    }
    return false;
}

/* libssh reads 4 KiB at a time: several reads make a write worth its while. */
static void read_more(struct sshrelay *r)
{
    for (unsigned i = 0; i < ROUNDS && !enough(r); i++) {
        bool got = sshleg_alive(&r->agent) && sshleg_process(&r->agent);

        got |= sshleg_alive(&r->target) && sshleg_process(&r->target);
        if (!got)
            return;
    }
}

static void pump_all(struct sshrelay *r)
{
    struct channel **p = &r->channels;

    while (*p) {
        struct channel *c = *p;

        sshchannel_pump(c);
        if (sshchannel_over(c)) {
            *p = c->next;
            r->n_channels--;
            sshchannel_free(c);
        } else {
            p = &c->next;
        }
    }
}

static bool could_send(const struct sshleg *l, ssh_channel to, const struct sshflow *f)
{
    return buffer_len(&f->ready) && to && sshleg_alive(l) &&
           !(ssh_get_poll_flags(l->ssh) & SSH_WRITE_PENDING) && ssh_channel_window_size(to);
}

/* What libssh did by itself while we wrote no poll will show: it read answers and window
 * adjustments, or the socket took what was pending. Then there may be more to do at once. */
static bool more_to_do(const struct sshrelay *r, uint64_t received_before)
{
    if (received_before != r->agent.received.in_bytes + r->target.received.in_bytes)
        return true;
    for (const struct channel *c = r->channels; c; c = c->next) {
        if (c->state != CHANNEL_DONE &&
            (could_send(&r->agent, c->agent, &c->out) || could_send(&r->agent, c->agent, &c->err)))
            return true;
        if (c->state == CHANNEL_RUNNING && could_send(&r->target, c->target, &c->in))
            return true;
    }
    return false;
}

static int timeout_ms(struct sshrelay *r)
{
    uint64_t left = check_expiry(r);
    int timeout = left < KEEPALIVE_MS ? (int)left : KEEPALIVE_MS;

    if (r->dirty)
        return 0;
    for (const struct channel *c = r->channels; c; c = c->next) {
        if (c->in.held || c->out.held || c->err.held)
            timeout = timeout < 20 ? timeout : 20;
    }
    return timeout;
}

static void keep_alive(struct sshrelay *r)
{
    uint64_t now = clock_mono_ms();

    if (now - r->last_keepalive_ms < KEEPALIVE_MS)
        return;
    r->last_keepalive_ms = now;
    if (sshleg_alive(&r->agent))
        (void)ssh_send_ignore(r->agent.ssh, "");
    if (sshleg_alive(&r->target))
        (void)ssh_send_ignore(r->target.ssh, "");
}

/* The target is gone; what it sent still goes to the agent. */
static void target_left(struct sshrelay *r)
{
    bool left = false;

    for (struct channel *c = r->channels; c; c = c->next) {
        if (c->target && !c->target_closed) {
            c->target_closed = c->target_eof = true;
            r->dirty = true; /* the agent hears of it now */
        }
        left |= c->state != CHANNEL_DONE && c->state != CHANNEL_FRESH;
        if (c->state == CHANNEL_HELD || c->state == CHANNEL_OPEN_UP)
            sshchannel_abort(c, "the target closed the connection");
    }
    if (!left)
        sshrelay_end(r, "the target closed the connection");
}

static void check_legs(struct sshrelay *r)
{
    if (r->agent.cramped || r->target.cramped)
        sshrelay_end(r, r->agent.cramped ? "the agent's maximum packet size is too small"
                                         : "the target's maximum packet size is too small");
    else if (!sshleg_alive(&r->agent))
        sshrelay_end(r, "the agent closed the connection");
    else if (!sshleg_alive(&r->target))
        target_left(r);
    if (r->flooded)
        sshrelay_end(r, "a peer sent more than its window");
}

/* A last attempt to tell the agent; it is not waited for. */
static void say_goodbye(struct sshrelay *r)
{
    abort_all(r, r->end_reason);
    for (struct channel *c = r->channels; c; c = c->next) {
        if (c->state == CHANNEL_REFUSED && sshleg_alive(&r->agent))
            sshchannel_pump(c);
        else if (c->state != CHANNEL_DONE && c->state != CHANNEL_FRESH)
            journal_result(c);
    }
}

void sshrelay_run(struct sshrelay *r)
{
    r->last_keepalive_ms = clock_mono_ms();
    r->dirty = true;
    sshleg_note_refused(&r->refused);
    while (!r->ending) {
        int timeout = timeout_ms(r);
        uint64_t received;

        r->dirty = false;
        if (sshleg_wait(&r->agent, &r->target, r->session->wake_fd, timeout))
            read_more(r);
        take_inbox(r);
        sshrelay_take_messages(r);
        received = r->agent.received.in_bytes + r->target.received.in_bytes;
        if (!r->ending)
            pump_all(r);
        sshrelay_take_messages(r);
        r->dirty |= more_to_do(r, received);
        check_legs(r);
        keep_alive(r);
    }
    say_goodbye(r);
    sshleg_note_refused(NULL);
}
