/* SPDX-License-Identifier: Apache-2.0
 * Requests that a person has to approve. The request stays where it is, unanswered or answered
 * with a line on stderr; meanwhile the loop goes on, so keep-alives are answered. What runs is the
 * text that was kept, never one that is sent again.
 */
#include "relay.h"
#include "sftp.h"

#include <openssl/evp.h>
#include <stdio.h>

static void hash_part(EVP_MD_CTX *md, struct bytes part)
{
    uint8_t len[4];

    put_be32(len, (uint32_t)part.len);
    EVP_DigestUpdate(md, len, sizeof len);
    EVP_DigestUpdate(md, part.p, part.len);
}

/* Everything on which the meaning of the request depends, each part with its length. */
static int digest(struct channel *c, struct bytes text, uint8_t out[32])
{
    struct sshrelay *r = c->relay;
    uint8_t facts[2] = {(uint8_t)c->kind, c->pty};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok;

    if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(md);
        return -1;
    }
    hash_part(md, BYTES("ssh"));
    hash_part(md, bytes_of(facts, sizeof facts));
    hash_part(md, text);
    for (unsigned i = 0; i < c->n_env; i++) {
        hash_part(md, bytes_str(c->env[i].name));
        hash_part(md, bytes_str(c->env[i].value));
    }
    hash_part(md, bytes_str(r->session->target_name));
    hash_part(md, bytes_str(r->session->target_address));
    hash_part(md, bytes_str(r->user));
    hash_part(md, bytes_str(r->target_user));
    hash_part(md, bytes_str(session_identity_name(r->session)));
    hash_part(md, bytes_str(policy_snapshot_digest(r->snapshot)));
    ok = EVP_DigestFinal_ex(md, out, NULL);
    EVP_MD_CTX_free(md);
    return ok == 1 ? 0 : -1;
}

/* Runs on the thread that decided; the session is kept by the reference taken in ask(). */
static void on_decided(const char id[static APPROVAL_ID_LEN + 1], enum approval_phase phase,
                       void *arg)
{
    struct session *s = arg;

    (void)id, (void)phase;
    session_post(s, INBOX_APPROVAL);
    session_unref(s);
}

static const char *kind_words(const struct channel *c)
{
    static const char *const words[] = {
        [CHANNEL_NONE] = "",
        [CHANNEL_EXEC] = "run a command",
        [CHANNEL_SHELL] = "an interactive shell: recorded, not policed",
        [CHANNEL_SFTP] = "transfer files (sftp)",
        [CHANNEL_FORWARD] = "forward a connection: not looked into",
    };

    return words[c->kind];
}

static enum approval_answer ask(struct channel *c, const struct decision *d, struct bytes text)
{
    struct sshrelay *r = c->relay;
    struct guard *g = r->session->guard;
    const struct agent agent = session_agent(r->session);
    enum approval_answer answer;
    char effect[160];
    struct approval_ask a = {.session = r->session->id,
                             .pod = agent.pod,
                             .service_account = agent.service_account,
                             .identity = session_identity_name(r->session),
                             .target = r->session->target_name,
                             .database = "",
                             .user = r->target_user,
                             .policy = d->policy,
                             .rule = d->rule,
                             .effect = effect,
                             .statement = text,
                             .settings = d->approval,
                             .policy_generation = policy_snapshot_generation(r->snapshot)};

    snprintf(effect, sizeof effect, "%s%s", kind_words(c), c->pty ? ", with a terminal" : "");
    if (digest(c, text, a.digest) != 0)
        return APPROVAL_ANSWER_REFUSED;
    session_ref(r->session);
    answer = approvals_ask(g->approvals, &a, on_decided, r->session, c->approval_id);
    if (answer != APPROVAL_ANSWER_WAIT)
        session_unref(r->session);
    return answer;
}

/* The agent is told why nothing happens. For that its request has to be answered first. */
static void say_waiting(struct channel *c, const struct decision *d)
{
    char line[200];

    if (c->kind != CHANNEL_EXEC && c->kind != CHANNEL_SHELL)
        return;
    snprintf(line, sizeof line, "chaperone: waits for approval %s, for at most %u s%s\n",
             c->approval_id, d->approval->timeout_s, c->pty ? "\r" : "");
    if (c->pending && !c->answered)
        (void)ssh_message_channel_request_reply_success(c->pending);
    c->answered = true;
    buffer_append(&c->err.ready, line, strlen(line));
}

enum asked sshchannel_ask(struct channel *c, uint32_t n, const struct decision *d,
                          struct bytes text, char why[static 300])
{
    struct sshrelay *r = c->relay;

    atomic_fetch_add(&r->session->guard->counters.approvals, 1);
    c->asking_n = n;
    switch (ask(c, d, text)) {
    case APPROVAL_ANSWER_WAIT:
        journal_approval(r, n, c->approval_id, "Requested");
        c->asking = true;
        say_waiting(c, d);
        return ASKED_WAIT;
    case APPROVAL_ANSWER_TICKET:
        journal_approval(r, n, c->approval_id, "Requested");
        snprintf(
            why, 300,
            "needs approval %s (rule '%.63s' of policy '%.63s'); run the same again when it is "
            "approved",
            c->approval_id, d->rule, d->policy);
        break;
    case APPROVAL_ANSWER_GRANTED:
        journal_approval(r, n, c->approval_id, "Granted");
        return ASKED_GRANTED;
    case APPROVAL_ANSWER_AWAY:
        snprintf(
            why, 300,
            "needs approval (rule '%.63s' of policy '%.63s'), and nobody can be asked now; run "
            "it again later",
            d->rule, d->policy);
        break;
    case APPROVAL_ANSWER_REFUSED:
        snprintf(
            why, 300,
            "needs approval (rule '%.63s' of policy '%.63s'), but it is too long to be shown, or "
            "too many requests wait; shorten it, or run it again later",
            d->rule, d->policy);
        break;
    }
    journal_decision(r, n, sshchannel_kind(c), d, why);
    return ASKED_REFUSED;
}

/* Who or what stood against it, and what the agent can do. */
static void why_not(const struct approval_info *info, char why[static 480])
{
    char rule[200];
    const struct approval_decision *last =
        info->n_decisions ? &info->decisions[info->n_decisions - 1] : NULL;

    snprintf(rule, sizeof rule, "approval %s (rule '%.63s' of policy '%.63s')", info->id,
             info->rule, info->policy);
    switch (info->phase) {
    case APPROVAL_DENIED:
        if (last)
            snprintf(why, 480, "%s was denied by %.80s: %.180s", rule, last->by, last->reason);
        else
            snprintf(why, 480, "%s was denied", rule);
        break;
    case APPROVAL_EXPIRED:
        snprintf(why, 480, "%s was not decided in time; run it again when somebody can look", rule);
        break;
    case APPROVAL_FAILED:
        snprintf(why, 480, "%s cannot be asked for: %.160s; run it again later", rule, info->fault);
        break;
    case APPROVAL_WITHDRAWN:
    case APPROVAL_PENDING:
    case APPROVAL_APPROVED:
        snprintf(why, 480, "%s was withdrawn; run it again", rule);
        break;
    }
}

static void take_answer(struct channel *c, const struct approval_info *info)
{
    bool yes = info->phase == APPROVAL_APPROVED;
    char why[480] = "";

    c->asking = false;
    c->relay->dirty = true;
    journal_approval(c->relay, c->asking_n, c->approval_id, approval_phase_name(info->phase));
    if (!yes) {
        why_not(info, why);
        journal_decision(c->relay, c->asking_n, sshchannel_kind(c), NULL, why);
    }
    if (c->state != CHANNEL_HELD)
        sshfile_answer(c->file, yes, why);
    else if (yes)
        sshchannel_permit(c);
    else
        sshchannel_refuse(c, why);
}

void sshchannel_answer(struct channel *c)
{
    struct approval_info info;

    if (!c->asking ||
        approvals_get(c->relay->session->guard->approvals, c->approval_id, &info) != 0)
        return;
    if (info.phase != APPROVAL_PENDING)
        take_answer(c, &info);
    approval_info_done(&info);
}

void sshchannel_withdraw(struct channel *c)
{
    if (!c->asking)
        return;
    c->asking = false;
    if (!approvals_withdraw(c->relay->session->guard->approvals, c->approval_id))
        return;
    session_unref(c->relay->session);
    journal_approval(c->relay, c->asking_n, c->approval_id, "Withdrawn");
}
