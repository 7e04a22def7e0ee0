/* SPDX-License-Identifier: Apache-2.0
 * Deciding. Every object is put to every selected policy; their opinions are added up (a refusal
 * beats an approval beats a permission, nothing is a refusal), and the worst object decides for
 * the whole message.
 */
#include "decide_kube.h"
#include "decide_ssh.h"
#include "reason.h"
#include "ruleindex.h"

#include <stdio.h>

/* Who is asked: the Enforce policies, or all of them as if all were. */
struct court {
    const struct policy_view *view;
    bool all;
};

static const struct object unknown = {.op = OP_UNKNOWN};

/* ---- one object, one function ---- */

static bool hears(const struct court *c, const struct view_policy *p)
{
    return c->all || p->policy->mode == POLICY_ENFORCE;
}

static void add(struct opinion *sum, const struct opinion *o, bool grants)
{
    if (!sum->deny)
        sum->deny = o->deny;
    sum->approve = rule_stricter(sum->approve, o->approve);
    if (!grants)
        return;
    if (!sum->allow)
        sum->allow = o->allow;
    sum->ask = rule_stricter(sum->ask, o->ask);
}

/* Who permits: an Allow, or an approval rule. Whoever restricts is heard first. */
static struct judgement settle(const struct opinion *o, bool needs_permission)
{
    if (o->deny)
        return (struct judgement){.verdict = VERDICT_DENY, .rule = o->deny};
    if (needs_permission && !o->allow && !o->ask)
        return (struct judgement){.verdict = VERDICT_DENY};
    if (o->approve)
        return (struct judgement){.verdict = VERDICT_APPROVE, .rule = o->approve};
    if (needs_permission && !o->allow)
        return (struct judgement){.verdict = VERDICT_APPROVE, .rule = o->ask};
    return (struct judgement){.verdict = VERDICT_ALLOW, .rule = o->allow};
}

static struct judgement judge_object(const struct court *c, const struct object *o)
{
    const struct policy_view *v = c->view;
    struct probe probe = probe_relation(o);
    struct opinion sum = {0};
    struct judgement j;

    for (size_t i = 0; i < v->n; i++) {
        const struct view_policy *p = &v->policies[i];
        struct opinion one = {0};

        if (!hears(c, p))
            continue;
        ruleindex_object(p->policy, o, &probe, &one);
        add(&sum, &one, c->all ? p->grants_among_all : p->grants);
    }
    j = settle(&sum, !o->implied);
    j.object = o;
    return j;
}

/* What no rule names is Unknown: rules on Unknown decide, and restrictions on the name hold. */
static struct judgement judge_unnamed(const struct court *c, const struct opinion *named)
{
    struct judgement j = judge_object(c, &unknown);

    if (j.verdict != VERDICT_DENY && named->approve)
        j = (struct judgement){
            VERDICT_APPROVE,
            rule_stricter(named->approve, j.verdict == VERDICT_APPROVE ? j.rule : NULL)};
    return j;
}

static struct judgement judge_function(const struct court *c, const char *function)
{
    const struct policy_view *v = c->view;
    char schema[PROBE_SCHEMA_MAX];
    struct opinion sum = {0};
    struct judgement j = {.verdict = VERDICT_DENY};
    struct probe probe;

    if (!probe_function(function, schema, &probe)) {
        j.function = function;
        return j;
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct view_policy *p = &v->policies[i];
        struct opinion one = {0};

        if (!hears(c, p))
            continue;
        ruleindex_function(p->policy, &probe, &one);
        add(&sum, &one, c->all ? p->grants_among_all : p->grants);
    }
    j = sum.deny || sum.allow || sum.ask ? settle(&sum, true) : judge_unnamed(c, &sum);
    j.object = NULL;
    j.function = function;
    return j;
}

/* ---- a message ---- */

/* Keeps the worse; of approvals the stricter; of permissions the first that a rule gave. */
static struct judgement judge_ssh(const struct court *c, const struct ssh_act *act)
{
    const struct policy_view *v = c->view;
    struct opinion sum = {0};
    struct judgement j;

    for (size_t i = 0; i < v->n; i++) {
        const struct view_policy *p = &v->policies[i];
        struct opinion one = {0};
        bool as_is = false;

        if (!hears(c, p))
            continue;
        policy_ssh_opinion(p->policy, act, &one, &as_is);
        add(&sum, &one, c->all ? p->grants_among_all : p->grants);
    }
    j = settle(&sum, true);
    j.ssh = act;
    return j;
}

static struct judgement judge_kube(const struct court *c, const struct kube_act *act)
{
    const struct policy_view *v = c->view;
    struct opinion sum = {0};
    struct judgement j;

    for (size_t i = 0; i < v->n; i++) {
        const struct view_policy *p = &v->policies[i];
        struct opinion one = {0};

        if (!hears(c, p))
            continue;
        policy_kube_opinion(p->policy, v->target_name, act, &one);
        add(&sum, &one, c->all ? p->grants_among_all : p->grants);
    }
    j = settle(&sum, !act->discovery);
    j.kube = act;
    return j;
}

static void keep_worst(struct judgement *worst, const struct judgement *j)
{
    bool worse = j->verdict < worst->verdict;

    if (j->verdict == worst->verdict && j->verdict == VERDICT_APPROVE)
        worse = rule_stricter(worst->rule, j->rule) != worst->rule;
    if (j->verdict == worst->verdict && j->verdict == VERDICT_ALLOW)
        worse = !worst->rule && j->rule;
    if (worse)
        *worst = *j;
}

static void judge_statement(const struct court *c, const struct statement *s,
                            struct judgement *worst)
{
    struct judgement j;

    if (s->ssh) {
        j = judge_ssh(c, s->ssh);
        keep_worst(worst, &j);
        return;
    }
    if (s->kube) {
        j = judge_kube(c, s->kube);
        keep_worst(worst, &j);
        return;
    }
    for (size_t i = 0; i < s->n_objects && worst->verdict != VERDICT_DENY; i++) {
        j = judge_object(c, s->objects[i].op < OP_COUNT ? &s->objects[i] : &unknown);
        keep_worst(worst, &j);
    }
    for (size_t i = 0; i < s->n_functions && worst->verdict != VERDICT_DENY; i++) {
        j = judge_function(c, s->functions[i]);
        keep_worst(worst, &j);
    }
    if (s->n_objects == 0 && s->n_functions == 0) { /* nobody looked at it */
        j = judge_object(c, &unknown);
        keep_worst(worst, &j);
    }
}

static struct judgement judge(const struct court *c, const struct statement *statements, size_t n)
{
    struct judgement worst = {.verdict = VERDICT_ALLOW};

    for (size_t i = 0; i < n && worst.verdict != VERDICT_DENY; i++)
        judge_statement(c, &statements[i], &worst);
    return worst;
}

/* ---- the decision ---- */

/* The policy whose mask refuses; NULL when the refusal is built in. */
static const char *policy_of_mask(const struct policy_view *v, const char *rule_name)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct policy *p = v->policies[i].policy;
        const struct rule *rules = p->rules.items;

        for (size_t j = 0; j < p->rules.n && rule_name && p->mode == POLICY_ENFORCE; j++) {
            if (rules[j].action == ACTION_MASK && strcmp(rules[j].name, rule_name) == 0)
                return p->name;
        }
    }
    return NULL;
}

static bool refused_before(const struct policy_view *v, const struct statement *statements,
                           size_t n, struct decision *ret)
{
    for (size_t i = 0; i < n; i++) {
        const struct statement *s = &statements[i];

        if (!s->denied)
            continue;
        ret->policy = policy_of_mask(v, s->denied_rule);
        ret->rule = s->denied_rule;
        snprintf(ret->reason, sizeof ret->reason, "%s", s->denied);
        reason_clean(ret->reason);
        return true;
    }
    return false;
}

static void write_judgement(const struct court *c, const struct judgement *j, struct decision *ret)
{
    ret->policy = j->rule ? j->rule->policy->name : NULL;
    ret->rule = j->rule ? j->rule->name : NULL;
    ret->message = j->rule && j->verdict != VERDICT_ALLOW ? j->rule->message : NULL;
    reason_write(c->view, j, c->all, ret);
}

/* A cluster policy's masks are a floor: only a cluster policy's rule lifts them. */
uint32_t policy_ssh_exempt(const struct policy_view *v, const struct ssh_act *act)
{
    uint32_t exempt = 0;

    for (size_t i = 0; i < v->n; i++) {
        const struct view_policy *p = &v->policies[i];
        struct opinion ignored = {0};
        bool as_is = false;

        if (!p->grants)
            continue;
        policy_ssh_opinion(p->policy, act, &ignored, &as_is);
        if (as_is)
            exempt |= p->policy->cluster ? v->detectors : v->detectors & ~v->floor_detectors;
    }
    return exempt;
}

void policy_decide(const struct policy_view *v, const struct statement *statements, size_t n,
                   struct decision *ret)
{
    struct court enforce = {v, false}, everyone = {v, true};
    struct judgement j = {.verdict = VERDICT_ALLOW}, audit;

    *ret = (struct decision){.verdict = VERDICT_DENY, .would = VERDICT_DENY};
    if (v->n == 0) {
        memcpy(ret->reason, v->nobody, sizeof ret->reason);
        return;
    }
    if (refused_before(v, statements, n, ret))
        return;
    if (v->any_enforce)
        j = judge(&enforce, statements, n);
    write_judgement(&enforce, &j, ret);
    ret->verdict = ret->would = j.verdict;
    ret->approval = j.verdict == VERDICT_APPROVE ? j.rule->approval : NULL;
    if (!v->any_audit || j.verdict == VERDICT_DENY)
        return;
    audit = judge(&everyone, statements, n);
    if (audit.verdict < ret->would)
        ret->would = audit.verdict;
    ret->audited = ret->would != ret->verdict;
    if (ret->verdict == VERDICT_ALLOW)
        write_judgement(&everyone, &audit, ret);
}
