/* SPDX-License-Identifier: Apache-2.0
 * Rules against requests to an API server. As elsewhere a rule permits what it surely matches and
 * restricts what it may match: a request for all namespaces is not permitted by a rule for one, and
 * is refused by it.
 */
#include "decide_kube.h"

#include "decide_ssh.h"
#include "view.h"

#include <stdio.h>

/* ---- names ---- */

static bool any(const struct array *patterns, const char *text)
{
    const struct pattern *p = patterns->items;

    for (size_t i = 0; i < patterns->n; i++) {
        if (pattern_matches(&p[i], text))
            return true;
    }
    return patterns->n == 0;
}

/* A pattern without a slash is about the resource itself. To permit, that is meant literally; a
 * refusal of pods or of * is about what is inside of them, too. */
static bool resource_matches(const struct kube_match *m, const struct kube_act *a, bool permits)
{
    const struct pattern *p = m->resources.items;
    char full[256];

    snprintf(full, sizeof full, "%s%s%s", a->resource, a->subresource[0] ? "/" : "",
             a->subresource);
    for (size_t i = 0; i < m->resources.n; i++) {
        bool slash = p[i].kind != PATTERN_ANY && strchr(p[i].text, '/');

        if (permits && slash != (a->subresource[0] != 0))
            continue;
        if (pattern_matches(&p[i], full) ||
            (!permits && !slash && pattern_matches(&p[i], a->resource)))
            return true;
    }
    return false;
}

/* exec and the like are connect; a refusal of create or get means them as well, as in RBAC. */
static bool verb_matches(const struct kube_match *m, const struct kube_act *a, bool permits)
{
    return any(&m->verbs, a->verb) || (!permits && any(&m->verbs, a->api_verb));
}

/* Names that the request does not say may be any. */
static bool named(const struct array *patterns, const char *text, bool permits)
{
    const struct pattern *p = patterns->items;

    if (text[0])
        return any(patterns, text);
    for (size_t i = 0; i < patterns->n && permits; i++) {
        if (p[i].kind == PATTERN_ANY)
            return true;
    }
    return patterns->n == 0 || !permits;
}

static bool command_matches(const struct kube_match *m, const struct kube_act *a, bool permits)
{
    const struct array *templates = m->argv.items;

    if (m->argv.n == 0)
        return true;
    if (!a->command || a->command->n == 0)
        return !permits;
    for (size_t i = 0; i < m->argv.n; i++) {
        if (policy_ssh_template_matches(&templates[i], a->command))
            return true;
    }
    return false;
}

/* ---- rules ---- */

/* Pods in another namespace carry what no guard sees: a rule has to name it. */
static bool names_namespace(const struct kube_match *m, const char *namespace_)
{
    const struct pattern *p = m->namespaces.items;

    for (size_t i = 0; i < m->namespaces.n; i++) {
        if (p[i].kind == PATTERN_EXACT && pattern_matches(&p[i], namespace_))
            return true;
    }
    return false;
}

static bool rule_matches(const struct rule *r, const struct kube_act *a, bool permits)
{
    const struct kube_match *m = r->kube;

    if (m->dry_run && !a->dry_run)
        return false;
    if (!a->resource[0])
        return m->urls.n && any(&m->urls, a->url) && any(&m->verbs, a->verb);
    if (m->urls.n || !verb_matches(m, a, permits) || !resource_matches(m, a, permits) ||
        !any(&m->groups, a->group) || !command_matches(m, a, permits))
        return false;
    if (!named(&m->namespaces, a->namespace_, permits) || !named(&m->names, a->name, permits))
        return false;
    return !permits || !a->unguarded_pods || names_namespace(m, a->namespace_);
}

/* An object that is to be created says its name in its body, which is not looked into: a rule with
 * names does not permit it. */
static void ask_rule(const struct rule *r, const struct kube_act *a, bool covered,
                     struct opinion *ret)
{
    bool yes = covered && r->action != ACTION_DENY && rule_matches(r, a, true);
    bool no = r->action != ACTION_ALLOW && rule_matches(r, a, false);

    if (r->action == ACTION_DENY && no && !ret->deny)
        ret->deny = r;
    if (r->action == ACTION_APPROVE && no)
        ret->approve = rule_stricter(ret->approve, r);
    if (r->action == ACTION_APPROVE && yes)
        ret->ask = rule_stricter(ret->ask, r);
    if (r->action == ACTION_ALLOW && yes && !a->risk && !ret->allow)
        ret->allow = r;
}

/* Does the policy cover that namespace of the target, for sure, or perhaps? */
static bool covers(const struct policy *p, const char *target, const struct kube_act *a, bool sure)
{
    const struct target_ref *refs = p->targets.items;

    for (size_t i = 0; i < p->targets.n; i++) {
        if (strcmp(refs[i].name, target) == 0 && named(&refs[i].namespaces, a->namespace_, sure))
            return true;
    }
    return p->targets.n == 0;
}

void policy_kube_opinion(const struct policy *policy, const char *target,
                         const struct kube_act *act, struct opinion *ret)
{
    const struct rule *rules = policy->rules.items;
    bool sure = covers(policy, target, act, true);

    if (!covers(policy, target, act, false))
        return;
    for (size_t i = 0; i < policy->rules.n; i++) {
        if (rules[i].kube && rules[i].action != ACTION_MASK)
            ask_rule(&rules[i], act, sure, ret);
    }
}

/* ---- masks ---- */

size_t policy_kube_masks(const struct policy_view *v, const struct kube_act *act,
                         struct kube_mask *ret, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n; i++) {
        const struct policy *p = v->policies[i].policy;
        const struct rule *rules = p->rules.items;

        for (size_t k = 0; k < p->rules.n; k++) {
            const struct kube_match *m = rules[k].kube;

            if (!m || rules[k].action != ACTION_MASK || !resource_matches(m, act, false) ||
                !any(&m->groups, act->group))
                continue;
            if (n < max)
                ret[n] = (struct kube_mask){rules[k].name, m->fields.items, &m->env, &m->names,
                                            &m->namespaces};
            n++;
        }
    }
    return n;
}

bool policy_kube_mask_covers(const struct kube_mask *m, const char *namespace_, const char *name)
{
    return named(m->namespaces, namespace_, false) && named(m->names, name, false);
}

bool policy_kube_mask_env(const struct kube_mask *m, const char *variable)
{
    const struct array *env = m->env;

    return env->n && any(env, variable);
}

bool policy_kube_mask_has_env(const struct kube_mask *m)
{
    const struct array *env = m->env;

    return env->n > 0;
}

static bool same_patterns(const struct array *a, const struct array *b)
{
    const struct pattern *p = a->items, *q = b->items;
    bool same = a->n == b->n;

    for (size_t i = 0; i < a->n && same; i++)
        same = p[i].kind == q[i].kind &&
               (p[i].text == q[i].text ||
                (p[i].text && q[i].text && strcmp(p[i].text, q[i].text) == 0));
    return same;
}

bool policy_kube_mask_same(const struct kube_mask *a, const struct kube_mask *b)
{
    const char *const *f = a->fields, *const *g = b->fields;

    while (f && g && *f && *g && strcmp(*f, *g) == 0)
        f++, g++;
    return !(f && *f) && !(g && *g) && same_patterns(a->env, b->env) &&
           same_patterns(a->names, b->names) && same_patterns(a->namespaces, b->namespaces);
}
