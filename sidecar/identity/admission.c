/* SPDX-License-Identifier: Apache-2.0
 * Who is let in, as policy and target say.
 */
#include "admission.h"

#include <errno.h>

bool admission_needs_token(const struct target *t, bool has_issuers, bool by_policy)
{
    if (!t->credentials_secret)
        return false;
    return by_policy || t->token == TARGET_TOKEN_ALWAYS ||
           (t->token == TARGET_TOKEN_WITH_ISSUERS && has_issuers);
}

int admission_no_issuer(const struct target *t, struct error *err)
{
    return error_set(err, -EACCES,
                     "target '%s' needs a token, and this guard trusts no issuer (--issuers)",
                     t->name);
}

int admission_check(const struct policy_view *v, const struct target *t, const struct identity *id,
                    struct error *err)
{
    const struct identity_settings *i = policy_view_identity(v);
    struct decision d;

    if (policy_view_empty(v)) {
        policy_decide(v, &(struct statement){0}, 1, &d);
        return error_set(err, -EACCES, "%s", d.reason);
    }
    if (i->conflict[0])
        return error_set(err, -EACCES, "%s", i->conflict);
    if (i->require_injection && !t->credentials_secret)
        return error_set(err, -EACCES,
                         "policy lets agents only use targets where the guard logs in "
                         "(identity.requireInjection), and '%s' has no credentials",
                         t->name);
    if (i->require_token && !id && !t->credentials_secret)
        return error_set(err, -EACCES,
                         "policy asks for a token (identity.requireToken), and the login to '%s' "
                         "is relayed: there is no place for one",
                         t->name);
    if (i->require_token && !id)
        return error_set(err, -EACCES, "policy asks for a token (identity.requireToken)");
    if (!id && admission_needs_token(t, false, false))
        return error_set(err, -EACCES, "target '%s' needs a token", t->name);
    return 0;
}

int admission_enter(const struct admission *a, struct policy_view **view, struct error *err)
{
    struct policy_view *v = NULL;

    if (policy_view_new(a->snapshot, &a->agent, a->target, NULL, &v) != 0)
        return error_set(err, -ENOMEM, "out of memory");
    policy_view_unref(*view);
    *view = v;
    return admission_check(v, a->target, a->identity, err);
}
