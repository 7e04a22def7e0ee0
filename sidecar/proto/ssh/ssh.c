/* SPDX-License-Identifier: Apache-2.0
 * The order of an SSH session.
 */
#include "ssh.h"

#include "relay.h"
#include "sidecar/identity/admission.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>

/* ---- may this agent come here at all ---- */

int sshrelay_admit(struct sshrelay *r, struct error *err)
{
    const struct session *s = r->session;
    const struct admission a = {s->snapshot, session_agent(s), s->target, s->identity};
    const struct identity_settings *i;
    int rc = admission_enter(&a, &r->view, err);

    if (rc)
        return rc;
    r->snapshot = s->snapshot;
    i = policy_view_identity(r->view);
    snprintf(r->pinned_user, sizeof r->pinned_user, "%s", i->user ? i->user : "");
    r->at_expiry = i->end_at_expiry;
    return 0;
}

/* Before anybody has logged in: does a policy ask for a token, whoever it is? */
static void look_for_token(struct sshrelay *r)
{
    const struct agent agent = session_agent(r->session);
    struct policy_view *v = NULL;

    if (policy_view_new(r->session->snapshot, &agent, r->session->target, NULL, &v) != 0)
        return;
    r->token_by_policy = policy_view_identity(v)->require_token;
    policy_view_unref(v);
}

static void refused(struct sshrelay *r, const struct error *err)
{
    struct buffer *b = record_begin(r->session->record, "decision");

    jsonw_kstr(b, "verdict", BYTES("Deny"));
    jsonw_kstr(b, "reason", bytes_str(err->text));
    if (record_end(r->session->record) != 0)
        atomic_fetch_add(&r->session->guard->counters.record_failures, 1);
    atomic_fetch_add(&r->session->guard->counters.sessions_refused, 1);
}

/* ---- start and end ---- */

static int start(struct sshrelay *r, struct error *err)
{
    int rc;

    arena_init(&r->arena, (size_t)4 << 20);
    rc = session_keep_thread(r->session);
    if (rc == 0)
        rc = detect_scratch_new(&r->scratch);
    if (rc)
        return error_set(err, rc, "out of memory");
    look_for_token(r);
    return r->session->over_limit ? error_set(err, -EMFILE, "too many sessions") : 0;
}

static void finish(struct sshrelay *r, const char *goodbye)
{
    struct channel *c;

    while ((c = r->channels)) {
        r->channels = c->next;
        sshchannel_withdraw(c);
        sshchannel_free(c);
    }
    sshleg_close(&r->target, NULL);
    sshleg_close(&r->agent, goodbye);
    secret_done(&r->password);
    policy_view_unref(r->view);
    detect_scratch_free(r->scratch);
    arena_done(&r->arena);
    /* What OpenSSL keeps for this thread: nobody waits for the thread once the session has ended,
     * and the guard may be gone before it is. */
    OPENSSL_thread_stop();
}

/* Only after the key exchange, when it asks for something, can a client be told anything. */
static void turn_away(struct sshrelay *r, const char *why)
{
    struct session *s = r->session;
    struct error err = {""};
    char goodbye[200];

    arena_init(&r->arena, 1);
    snprintf(goodbye, sizeof goodbye, "chaperone: %s", why);
    if (sshrelay_meet_agent(r, &err) == 0) {
        ssh_message m = NULL; /* closing on what is unread would lose the goodbye */

        while (!(m = ssh_message_get(r->agent.ssh)) && sshrelay_wait_login(r, &r->agent, &err) == 0)
            ;
        ssh_message_free(m);
    }
    finish(r, goodbye);
    session_end(s, why);
    free(r);
}

static void run(struct session *s)
{
    struct sshrelay *r = calloc(1, sizeof *r);
    struct error err = {""};
    int rc;

    if (!r) {
        session_end(s, "out of memory");
        return;
    }
    r->session = s;
    if (session_record_open(s) != 0) {
        turn_away(r, "the session cannot be recorded");
        return;
    }
    s->proto = r;
    rc = start(r, &err);
    if (rc == 0)
        rc = sshrelay_login_agent(r, &err);
    if (rc == 0) {
        session_describe(s, r->target_user, "");
        session_set_state(s, "open");
        sshrelay_run(r);
        finish(r, r->end_reason);
        session_end(s, r->end_reason);
    } else {
        char goodbye[700];

        refused(r, &err);
        snprintf(goodbye, sizeof goodbye, "chaperone: %s", err.text);
        finish(r, goodbye);
        session_end(s, err.text[0] ? err.text : "refused");
    }
    free(r);
}

/* Sessions on their own thread are not called: session_take. */
static void inbox(struct session *s, unsigned what)
{
    (void)s, (void)what;
}

const struct proto_ops ssh_guard_ops = {"ssh", run, inbox};
