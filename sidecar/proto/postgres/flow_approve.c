/* SPDX-License-Identifier: Apache-2.0
 * Statements that need a person's approval. The message stays where it is, at the front of what
 * the client sent; when the answer comes it is taken up again, the very same bytes.
 */
#include "flow_internal.h"

#include <openssl/evp.h>
#include <stdio.h>

/* ---- what is bound ---- */

static void hash_part(EVP_MD_CTX *md, struct bytes part)
{
    uint8_t len[4];

    put_be32(len, (uint32_t)part.len);
    EVP_DigestUpdate(md, len, sizeof len);
    EVP_DigestUpdate(md, part.p, part.len);
}

/* Everything on which the meaning of the statement depends, each part with its length. */
static int digest(const struct pgflow *f, const struct pgapproval_subject *s, uint8_t out[32])
{
    const struct policy_snapshot *snapshot = policy_view_snapshot(f->context->view);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok;

    if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(md);
        return -1;
    }
    hash_part(md, s->text);
    hash_part(md, s->effect->runs ? bytes_of(s->effect->runs->text, s->effect->runs->text_len)
                                  : (struct bytes){0});
    hash_part(md, s->parameters_raw);
    hash_part(md, bytes_of(s->types_digest, s->types_digest ? 32 : 0));
    hash_part(md, bytes_str(f->context->target));
    hash_part(md, bytes_str(f->database));
    hash_part(md, bytes_str(f->user));
    hash_part(md, bytes_str(f->search_path));
    hash_part(md, bytes_str(session_identity_name(f->session)));
    hash_part(md, bytes_str(f->context->token_key));
    hash_part(md, bytes_str(policy_snapshot_digest(snapshot)));
    ok = EVP_DigestFinal_ex(md, out, NULL);
    EVP_MD_CTX_free(md);
    return ok == 1 ? 0 : -1;
}

/* "Update public.orders (where); Select public.users" */
static void describe_effect(const struct pgverdict *v, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < v->message.n; i++) {
        const struct statement *st = &v->message.statements[i].policy;

        for (size_t j = 0; j < st->n_objects && at + 1 < size; j++) {
            const struct object *o = &st->objects[j];
            const char *schema = o->schema ? o->schema : o->guess ? o->guess : "";

            at += (size_t)snprintf(out + at, size - at, "%s%s%s%s%s%s%s", at ? "; " : "",
                                   operation_name(o->op), o->name ? " " : "", o->name ? schema : "",
                                   o->name && *schema ? "." : "", o->name ? o->name : "",
                                   o->where == WHERE_ABSENT ? " (every row: no WHERE)" : "");
        }
    }
}

/* ---- asking ---- */

/* Runs on the thread that decided. The session is kept by the reference taken in ask(). */
static void on_decided(const char id[static APPROVAL_ID_LEN + 1], enum approval_phase phase,
                       void *arg)
{
    struct session *s = arg;

    (void)id, (void)phase;
    session_post(s, INBOX_APPROVAL);
    session_unref(s);
}

static enum approval_answer ask(struct pgflow *f, const struct pgapproval_subject *s)
{
    struct guard *g = f->session->guard;
    const struct pgverdict *v = s->effect->blame;
    enum approval_answer answer;
    char effect[512];
    struct approval_ask a = {.session = f->session->id,
                             .pod = g->agent.pod,
                             .service_account = g->agent.service_account,
                             .identity = session_identity_name(f->session),
                             .target = f->context->target,
                             .database = f->database,
                             .user = f->user,
                             .policy = v->decision.policy,
                             .rule = v->decision.rule,
                             .effect = effect,
                             .statement = s->text,
                             .parameters = s->parameters_json,
                             .settings = v->decision.approval,
                             .policy_generation = f->context->policy_generation};

    /* An EXECUTE is shown with what it runs. */
    buffer_reset(&f->scratch.cell, 64 * 1024);
    if (s->effect->runs) {
        buffer_add(&f->scratch.cell, s->text);
        buffer_printf(&f->scratch.cell, "\n-- which was prepared by:\n%s", s->effect->runs->text);
        a.statement = buffer_bytes(&f->scratch.cell);
    }
    describe_effect(v, effect, sizeof effect);
    if (digest(f, s, a.digest) != 0)
        return APPROVAL_ANSWER_REFUSED;
    session_ref(f->session);
    answer = approvals_ask(g->approvals, &a, on_decided, f->session, f->approval_id);
    if (answer != APPROVAL_ANSWER_WAIT)
        session_unref(f->session);
    return answer;
}

static void say_waiting(struct pgflow *f, const struct approval_settings *settings)
{
    char message[160];
    struct pgwire_error e = {"NOTICE", "01000", message, NULL,
                             "It runs when approved; nothing needs to be sent again."};

    if (f->s_pass || f->stream.left)
        return; /* a row is half sent */
    snprintf(message, sizeof message, "statement waits for approval %s, for at most %u s",
             f->approval_id, settings->timeout_s);
    pgwire_add_error(relay_out(f->relay, SIDE_CLIENT), true, &e);
}

/* ---- answers ---- */

static enum handled refused_by_people(struct pgflow *f, const struct pgapproval_subject *s)
{
    struct pgdenial d = {.sqlstate = "57014"};
    struct approval_info info;

    switch (f->approval_phase) {
    case APPROVAL_DENIED:
        memcpy(d.sqlstate, "42501", sizeof d.sqlstate);
        snprintf(d.message, sizeof d.message, "approval %s was denied", f->approval_id);
        if (approvals_get(f->session->guard->approvals, f->approval_id, &info) == 0) {
            if (info.n_decisions)
                snprintf(d.detail, sizeof d.detail, "By %s: %s",
                         info.decisions[info.n_decisions - 1].by,
                         info.decisions[info.n_decisions - 1].reason);
            approval_info_done(&info);
        }
        break;
    case APPROVAL_EXPIRED:
        snprintf(d.message, sizeof d.message, "approval %s was not decided in time",
                 f->approval_id);
        break;
    case APPROVAL_FAILED:
        memcpy(d.sqlstate, "58030", sizeof d.sqlstate);
        snprintf(d.message, sizeof d.message, "approval cannot be asked");
        if (approvals_get(f->session->guard->approvals, f->approval_id, &info) == 0) {
            snprintf(d.message, sizeof d.message, "approval cannot be asked: %s", info.fault);
            approval_info_done(&info);
        }
        break;
    case APPROVAL_PENDING:
    case APPROVAL_APPROVED:
    case APPROVAL_WITHDRAWN:
        snprintf(d.message, sizeof d.message, "canceling statement that waited for approval %s",
                 f->approval_id);
        break;
    }
    pgflow_record_decision(f, f->approval_n, s->effect->blame, &d);
    return pgflow_deny(f, s->extended, &d);
}

static enum handled take_decision(struct pgflow *f, const struct pgapproval_subject *s,
                                  bool *ret_go)
{
    uint8_t now[32];

    f->approval_decided = false;
    pgflow_record_approval(f, approval_phase_name(f->approval_phase));
    if (f->approval_phase == APPROVAL_APPROVED &&
        (digest(f, s, now) != 0 || memcmp(now, f->approval_digest, sizeof now) != 0))
        f->approval_phase = APPROVAL_WITHDRAWN; /* policy or schema path moved meanwhile */
    if (f->approval_phase != APPROVAL_APPROVED)
        return refused_by_people(f, s);
    *ret_go = true;
    return HANDLED_OK;
}

static enum handled ticket(struct pgflow *f, const struct pgapproval_subject *s)
{
    struct pgdenial d = {.sqlstate = "42501"};

    snprintf(d.message, sizeof d.message, "statement needs approval %s", f->approval_id);
    snprintf(d.detail, sizeof d.detail, "Rule \"%s\" of policy \"%s\".",
             s->effect->blame->decision.rule, s->effect->blame->decision.policy);
    snprintf(d.hint, sizeof d.hint, "Send the identical statement again once it is approved.");
    pgflow_record_decision(f, f->approval_n, s->effect->blame, &d);
    return pgflow_deny(f, s->extended, &d);
}

enum handled pgflow_approve(struct pgflow *f, const struct pgapproval_subject *s, bool *ret_go)
{
    const struct pgverdict *v = s->effect->blame;
    static const struct pgdenial full = {.sqlstate = "53400",
                                         .message = "too many requests wait for approval"};
    static const struct pgdenial away = {
        .sqlstate = "58030",
        .message = "approval cannot be asked: the API server is away",
        .hint = "Send the statement again later; nobody has been asked."};
    const struct pgdenial *refusal = &full;

    if (f->approval_decided)
        return take_decision(f, s, ret_go);
    f->approval_n = ++f->n;
    pgflow_record_statement(f, f->n, s->kind, s->text, s->parameters_json, v, NULL);
    if (digest(f, s, f->approval_digest) != 0)
        return HANDLED_FATAL;
    atomic_fetch_add(&f->session->guard->counters.approvals, 1);
    switch (ask(f, s)) {
    case APPROVAL_ANSWER_WAIT:
        pgflow_record_approval(f, "Requested");
        say_waiting(f, v->decision.approval);
        f->park = PGPARK_APPROVAL;
        return HANDLED_PARKED;
    case APPROVAL_ANSWER_TICKET:
        pgflow_record_approval(f, "Requested");
        return ticket(f, s);
    case APPROVAL_ANSWER_GRANTED:
        pgflow_record_approval(f, "Granted");
        *ret_go = true;
        return HANDLED_OK;
    case APPROVAL_ANSWER_AWAY:
        refusal = &away;
        break;
    case APPROVAL_ANSWER_REFUSED:
        break;
    }
    pgflow_record_decision(f, f->approval_n, v, refusal);
    return pgflow_deny(f, s->extended, refusal);
}
