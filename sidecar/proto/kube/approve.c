/* SPDX-License-Identifier: Apache-2.0
 * Requests that a person has to approve. The request waits on its connection; what is sent then are
 * the bytes that were kept.
 */
#include "guard.h"

#include "body.h"
#include "difference.h"
#include "src-common/jsonread.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX ((size_t)256 << 10)

static void hash_part(EVP_MD_CTX *md, struct bytes part)
{
    uint8_t len[4];

    put_be32(len, (uint32_t)part.len);
    EVP_DigestUpdate(md, len, sizeof len);
    EVP_DigestUpdate(md, part.p, part.len);
}

/* Everything on which the meaning of the request depends. */
static int digest(struct kubeguard *g, struct kuberequest *r, uint8_t out[32])
{
    struct session *s = g->session;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok;

    if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(md);
        return -1;
    }
    hash_part(md, BYTES("kube"));
    hash_part(md, r->head.method);
    hash_part(md, r->head.target);
    hash_part(md, http_header(&r->head, "content-type"));
    hash_part(md, bytes_of(r->body_text ? r->body_text : "", r->body_len));
    hash_part(md, bytes_str(s->target_name));
    hash_part(md, bytes_str(s->target_address));
    hash_part(md, bytes_str(session_identity_name(s)));
    hash_part(md, bytes_str(policy_snapshot_digest(s->snapshot)));
    ok = EVP_DigestFinal_ex(md, out, NULL);
    EVP_MD_CTX_free(md);
    return ok == 1 ? 0 : -1;
}

/* Runs on the thread that decided. */
static void on_decided(const char id[static APPROVAL_ID_LEN + 1], enum approval_phase phase,
                       void *arg)
{
    struct session *s = arg;

    (void)id, (void)phase;
    session_post(s, INBOX_APPROVAL);
    session_unref(s);
}

/* Another object with everything masked, or NULL. */
static struct json_object *masked(struct kubemask *m, struct json_object *o)
{
    struct json_object *ret = NULL;
    size_t n = 0;
    const char *text = o ? json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &n) : NULL;
    struct buffer out;

    buffer_init(&out, 4 * KUBEBODY_MAX);
    if (text && kubemask_piece(bytes_of(text, n), &out, m) == 0 &&
        jsonread_strict(buffer_bytes(&out), 200, &ret) != 0)
        ret = NULL;
    buffer_wipe(&out);
    return ret;
}

/* What it would change, where that can be said. */
static void show_difference(struct kubeguard *g, struct kuberequest *r, struct kubemask *m,
                            struct buffer *out)
{
    bool one =
        r->act.name[0] && (strcmp(r->act.verb, "update") == 0 || strcmp(r->act.verb, "patch") == 0);
    struct json_object *stored = one && !r->json_patch ? kubeguard_fetch(g, r) : NULL;
    struct json_object *now = masked(m, stored), *wanted = now ? masked(m, r->body) : NULL;
    bool merges = strcmp(r->act.verb, "patch") == 0 &&
                  !http_is(http_header(&r->head, "content-type"), "application/merge-patch+json");
    struct buffer lines;

    buffer_init(&lines, (size_t)64 << 10);
    if (now && wanted)
        kubedifference_write(now, wanted, merges, &lines);
    if (buffer_len(&lines) && !lines.failed) {
        buffer_printf(out, "\n\nIt changes:\n");
        buffer_add(out, buffer_bytes(&lines));
    }
    buffer_wipe(&lines);
    json_object_put(wanted);
    json_object_put(now);
    json_object_put(stored);
}

/* The request as people see it: the line, and the body with Secrets' values masked. */
static void show(struct kubeguard *g, struct kuberequest *r, struct buffer *out)
{
    struct kubemask m;

    buffer_append(out, r->line, strlen(r->line));
    if (!r->body || kubemask_init(&m, g->view, &r->act, g->session->guard->masker) != 0)
        return;
    buffer_add_u8(out, '\n');
    if (r->json_patch && m.secrets)
        buffer_printf(out, "(a JSON patch of a Secret: %zu operations)",
                      json_object_array_length(r->body));
    else if (r->json_patch)
        buffer_append(out, r->body_text, r->body_len);
    else if (kubemask_piece(bytes_of(r->body_text, r->body_len), out, &m) != 0)
        buffer_printf(out, "(the body cannot be shown)");
    show_difference(g, r, &m, out);
    kubemask_done(&m);
}

static void effect_words(const struct kube_act *a, char *out, size_t n)
{
    snprintf(out, n, "%.16s %.60s%s%.30s%s%.60s%s%.60s%s%s%s", a->verb,
             a->resource[0] ? a->resource : a->url, a->subresource[0] ? "/" : "", a->subresource,
             a->name[0] ? " " : "", a->name, a->namespace_[0] ? " in " : "", a->namespace_,
             a->dry_run ? " (dry run: nothing is stored)" : "", a->risk ? "; " : "",
             a->risk ? a->risk : "");
}

static enum approval_answer ask(struct kubeguard *g, struct kuberequest *r,
                                const struct decision *d, char id[static APPROVAL_ID_LEN + 1])
{
    struct session *s = g->session;
    const struct agent agent = session_agent(s);
    struct buffer text;
    char effect[400];
    enum approval_answer answer = APPROVAL_ANSWER_REFUSED;
    struct approval_ask a = {.session = s->id,
                             .pod = agent.pod,
                             .service_account = agent.service_account,
                             .identity = session_identity_name(s),
                             .target = s->target_name,
                             .database = r->act.namespace_,
                             .user = session_identity_name(s),
                             .policy = d->policy,
                             .rule = d->rule,
                             .effect = effect,
                             .settings = d->approval,
                             .policy_generation = policy_snapshot_generation(s->snapshot)};

    effect_words(&r->act, effect, sizeof effect);
    buffer_init(&text, SHOWN_MAX);
    show(g, r, &text);
    a.statement = buffer_bytes(&text);
    if (!text.failed && digest(g, r, a.digest) == 0) {
        session_ref(s);
        answer = approvals_ask(s->guard->approvals, &a, on_decided, s, id);
        if (answer != APPROVAL_ANSWER_WAIT)
            session_unref(s);
    }
    buffer_wipe(&text);
    return answer;
}

static void withdraw(struct kubeguard *g, uint32_t n, const char *id)
{
    if (!approvals_withdraw(g->session->guard->approvals, id))
        return;
    session_unref(g->session);
    kubejournal_approval(g, n, id, "Withdrawn");
}

/* Until it is decided: the phase, and in words why not. -errno: the agent left, the session ends.
 */
static int wait_for(struct kubeguard *g, const char *id, enum approval_phase *ret, char *why,
                    size_t size)
{
    for (;;) {
        struct approval_info info;
        int rc;

        if (approvals_get(g->session->guard->approvals, id, &info) != 0)
            return -ENOENT;
        *ret = info.phase;
        if (info.n_decisions && info.phase == APPROVAL_DENIED)
            snprintf(why, size, "approval %s was denied by %s: %s", id,
                     info.decisions[info.n_decisions - 1].by,
                     info.decisions[info.n_decisions - 1].reason);
        else
            snprintf(why, size, "approval %s %s", id,
                     info.phase == APPROVAL_EXPIRED ? "was not decided in time" : "was withdrawn");
        approval_info_done(&info);
        if (*ret != APPROVAL_PENDING)
            return 0;
        rc = kubeio_wait(g, 0, 5000);
        if (rc < 0)
            return rc;
        if (rc & KUBEIO_GONE)
            return -ECONNRESET;
    }
}

static int refused(struct kubeguard *g, struct kuberequest *r, const struct decision *d,
                   const char *why)
{
    char text[700];

    kubejournal_decision(g, r, d, why);
    (void)kubejournal_flush(g);
    snprintf(text, sizeof text, "%s (request %s/%u)", why, g->session->id, r->n);
    return kubeguard_reply(g, 403, text, false);
}

/* What policy says may have changed while people thought. */
static int hold(struct kubeguard *g, struct kuberequest *r, const char *id, uint64_t generation,
                bool *ret_go_on)
{
    enum approval_phase phase = APPROVAL_PENDING;
    char why[600] = "";
    int rc;

    kubejournal_approval(g, r->n, id, "Requested");
    (void)kubejournal_flush(g);
    session_set_state(g->session, "waiting");
    rc = wait_for(g, id, &phase, why, sizeof why);
    session_set_state(g->session, "open");
    if (rc) {
        withdraw(g, r->n, id);
        return rc;
    }
    kubejournal_approval(g, r->n, id, approval_phase_name(phase));
    if (phase == APPROVAL_APPROVED &&
        generation != policy_snapshot_generation(g->session->snapshot))
        return refused(g, r, NULL,
                       "policy has changed since the approval was asked for; ask again");
    *ret_go_on = phase == APPROVAL_APPROVED;
    return *ret_go_on ? 0 : refused(g, r, NULL, why);
}

int kubeguard_ask(struct kubeguard *g, struct kuberequest *r, const struct decision *d,
                  bool *ret_go_on)
{
    uint64_t generation = policy_snapshot_generation(g->session->snapshot);
    /* The decision lives as long; policy may change while the object is fetched. */
    _cleanup_(policy_view_unref) struct policy_view *view = policy_view_ref(g->view);
    char id[APPROVAL_ID_LEN + 1] = "", why[400];

    *ret_go_on = false;
    atomic_fetch_add(&g->session->guard->counters.approvals, 1);
    switch (ask(g, r, d, id)) {
    case APPROVAL_ANSWER_WAIT:
        return hold(g, r, id, generation, ret_go_on);
    case APPROVAL_ANSWER_GRANTED:
        if (generation != policy_snapshot_generation(g->session->snapshot))
            return refused(g, r, NULL, "policy has changed meanwhile; ask again");
        kubejournal_approval(g, r->n, id, "Granted");
        *ret_go_on = true;
        return 0;
    case APPROVAL_ANSWER_TICKET:
        kubejournal_approval(g, r->n, id, "Requested");
        snprintf(why, sizeof why,
                 "needs approval %s (rule '%s' of policy '%s'); ask again when it is approved", id,
                 d->rule, d->policy);
        return refused(g, r, d, why);
    case APPROVAL_ANSWER_AWAY:
        return refused(g, r, d, "needs approval, and nobody can be asked now");
    case APPROVAL_ANSWER_REFUSED:
        break;
    }
    return refused(g, r, d,
                   "too many requests wait for approval, or this one is too long to be shown");
}
