/* SPDX-License-Identifier: Apache-2.0
 * Whose request it is, and by which policies it is judged.
 */
#include "guard.h"

#include "headers.h"
#include "sidecar/identity/admission.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

/* ---- policies ---- */

static int admit(struct kubeguard *g, struct error *err)
{
    const struct session *s = g->session;
    const struct admission a = {s->snapshot, session_agent(s), s->target, g->identity};
    int rc = admission_enter(&a, &g->view, err);

    if (g->view)
        g->at_expiry = policy_view_identity(g->view)->end_at_expiry;
    return rc;
}

int kubeguard_admit(struct kubeguard *g, struct error *err)
{
    int rc = admit(g, err);

    g->admitted = rc == 0;
    snprintf(g->not_admitted, sizeof g->not_admitted, "%s", rc ? err->text : "");
    return rc;
}

static bool same_target(const struct target *a, const struct target *b)
{
    return b && b->protocol == TARGET_KUBERNETES &&
           !a->credentials_secret == !b->credentials_secret && a->tls == b->tls;
}

void kubeguard_policy_changed(struct kubeguard *g)
{
    struct session *s = g->session;
    struct policy_snapshot *snapshot = guard_policy(s->guard), *old = s->snapshot;
    const struct target *t =
        s->target == s->guard->kubernetes
            ? s->target
            : policy_target_by_name(snapshot, s->target->namespace_, s->target->name);
    struct error err = {""};
    struct decision d;

    if (!same_target(s->target, t)) {
        policy_snapshot_unref(snapshot);
        kubeguard_end(g, "policy has changed: the target is not what it was");
        return;
    }
    s->snapshot = snapshot;
    s->target = t;
    if (kubeguard_admit(g, &err) != 0) {
        policy_snapshot_unref(old);
        kubeguard_end(g, "policy has changed: this agent is not let in any more");
        return;
    }
    policy_snapshot_unref(old);
    if (!g->running)
        return;
    kubeguard_decide(g, &g->running->act, &d);
    if (d.verdict == VERDICT_DENY)
        kubeguard_end(g, "policy has changed: the request is not permitted any more");
    else if (g->running->mask && !kubemask_same(g->running->mask, g->view, &g->running->act))
        kubeguard_end(g, "policy has changed: what is masked is not the same any more; ask again");
}

/* ---- tokens ---- */

static bool wants_token(const struct kubeguard *g)
{
    return admission_needs_token(g->session->target, g->session->guard->has_issuers,
                                 policy_view_identity(g->view)->require_token);
}

/* The first token says whose session it is; later ones may be fresher, and nobody else's. */
static int adopt(struct kubeguard *g, struct identity *id, struct error *err)
{
    struct session *s = g->session;

    if (s->identity && strcmp(s->identity->key, id->key) != 0)
        return error_set(err, -EACCES, "the token is somebody else's than this connection's");
    identity_unref(g->identity);
    g->identity = identity_ref(id);
    if (s->identity)
        return 0;
    session_identify(s, identity_ref(id));
    session_describe(s, id->name, "");
    kubejournal_auth(g, "Accepted", NULL);
    (void)!kubeguard_admit(g, err); /* whoever is known and may not come here is told so: 403 */
    return 0;
}

static int check_token(struct kubeguard *g, struct bytes token, struct error *err)
{
    struct guard *guard = g->session->guard;
    const struct agent agent = guard_agent(guard);
    _cleanup_(identity_unref) struct identity *id = NULL;
    _cleanup_(issuers_unref) struct issuers *issuers = NULL;
    uint8_t digest[32];
    unsigned n;
    int rc;

    if (EVP_Digest(token.p, token.len, digest, &n, EVP_sha256(), NULL) != 1)
        return error_set(err, -ENOMEM, "out of memory");
    if (g->identity && memcmp(digest, g->token_digest, sizeof digest) == 0)
        return identity_left_ms(g->identity, g->at_expiry)
                   ? 0
                   : error_set(err, -EACCES, "the token has expired");
    if (!guard->has_issuers)
        return admission_no_issuer(g->session->target, err);
    issuers = guard_issuers(guard);
    rc = token_validate(issuers, token, &agent, &id, err);
    atomic_fetch_add(rc ? &guard->counters.tokens_refused : &guard->counters.tokens_accepted, 1);
    if (rc == 0)
        rc = adopt(g, id, err);
    if (rc == 0)
        memcpy(g->token_digest, digest, sizeof digest);
    return rc;
}

/* Without credentials of the guard's the agent's token is passed on, and only ever to the target.
 */
static int keep_relayed(struct kubeguard *g, struct bytes token, struct error *err)
{
    secret_done(&g->relayed);
    if (g->session->target->credentials_secret || !token.len)
        return 0;
    return secret_set(&g->relayed, token.p, token.len) == 0
               ? 0
               : error_set(err, -ENOMEM, "out of memory");
}

int kubeguard_identify(struct kubeguard *g, const struct http_head *h, struct error *err)
{
    struct bytes token;
    int rc = kubeheaders_token(h, &token, err);

    if (rc)
        return rc;
    if (!wants_token(g))
        return keep_relayed(g, token, err);
    if (!token.p)
        return error_set(err, -EACCES,
                         "no bearer token; the agent's is at "
                         "/var/run/secrets/kubernetes.io/serviceaccount/token");
    return check_token(g, token, err);
}
