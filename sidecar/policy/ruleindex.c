/* SPDX-License-Identifier: Apache-2.0
 * Building the index of a policy's rules, and asking it.
 *
 * A rule permits what its patterns surely match and restricts what they may match. The two
 * differ where the analyser is not sure: a name that the catalogue does not have, a WHERE that
 * it could not judge.
 */
#include "ruleindex.h"

#include <errno.h>

#include "src-common/siphash.h"

struct entry { /* one pattern of one rule */
    struct entry *next, *next_globbed;
    const struct name_pattern *pattern;
    const struct rule *rule;
};

struct patterns {
    struct entry **by_name;   /* exact names: buckets by the name's hash */
    struct entry **by_schema; /* names with a wildcard in exact schemas, by the schema's hash */
    struct entry *globbed;    /* all entries of by_schema in one list */
    struct entry *wild;       /* wildcards in both parts */
    size_t mask;              /* buckets - 1 */
};

struct ruleindex {
    /* Rules without relations: the first of each kind, or of approvals the strictest. */
    const struct rule *any[OP_COUNT][ACTION_MASK][RULE_WHERE_COUNT];
    /* Rules with relations: one that permits the operation on something. */
    const struct rule *some_allow[OP_COUNT], *some_approve[OP_COUNT];
    struct patterns relations, functions;
};

static uint64_t hash(const char *s)
{
    return s ? siphash13(siphash_process_key(), bytes_str(s)) : 0;
}

/* ---- building ---- */

static void push(struct entry **head, struct entry *e)
{
    e->next = *head;
    *head = e;
}

static void patterns_add(struct patterns *t, struct entry *e)
{
    const struct name_pattern *p = e->pattern;

    if (p->name.kind == PATTERN_EXACT) {
        push(&t->by_name[hash(p->name.text) & t->mask], e);
    } else if (p->schema.kind == PATTERN_EXACT) {
        push(&t->by_schema[hash(p->schema.text) & t->mask], e);
        e->next_globbed = t->globbed;
        t->globbed = e;
    } else {
        push(&t->wild, e);
    }
}

static const struct array *list_of(const struct rule *r, bool functions)
{
    static const struct array none;

    if (!r->sql || r->action == ACTION_MASK)
        return &none;
    return functions ? &r->sql->functions : &r->sql->relations;
}

/* Backwards, so that the first rule of the file comes first in every bucket. */
static int patterns_build(struct patterns *t, const struct policy *p, bool functions,
                          struct arena *arena)
{
    const struct rule *rules = p->rules.items;
    size_t n = 0, buckets = 4;
    struct entry *e;

    for (size_t i = 0; i < p->rules.n; i++)
        n += list_of(&rules[i], functions)->n;
    while (buckets < 2 * n)
        buckets *= 2;
    t->mask = buckets - 1;
    t->by_name = arena_alloc(arena, buckets * sizeof(struct entry *));
    t->by_schema = arena_alloc(arena, buckets * sizeof(struct entry *));
    e = arena_alloc(arena, (n + 1) * sizeof *e);
    if (!t->by_name || !t->by_schema || !e)
        return -ENOMEM;
    for (size_t i = p->rules.n; i-- > 0;) {
        const struct array *list = list_of(&rules[i], functions);
        const struct name_pattern *patterns = list->items;

        for (size_t j = list->n; j-- > 0; e++) {
            *e = (struct entry){.pattern = &patterns[j], .rule = &rules[i]};
            patterns_add(t, e);
        }
    }
    return 0;
}

static void add_any(struct ruleindex *x, const struct rule *r, enum operation op)
{
    const struct rule **cell = &x->any[op][r->action][r->sql->where];

    if (!*cell)
        *cell = r;
    else if (r->action == ACTION_APPROVE)
        *cell = rule_stricter(*cell, r);
}

static void add_some(struct ruleindex *x, const struct rule *r, enum operation op)
{
    if (r->action == ACTION_ALLOW && !x->some_allow[op])
        x->some_allow[op] = r;
    if (r->action == ACTION_APPROVE)
        x->some_approve[op] = rule_stricter(x->some_approve[op], r);
}

int ruleindex_build(struct policy *p, struct arena *arena)
{
    const struct rule *rules = p->rules.items;
    struct ruleindex *x = arena_alloc(arena, sizeof *x);

    if (!x)
        return -ENOMEM;
    for (size_t i = 0; i < p->rules.n; i++) {
        const struct rule *r = &rules[i];

        for (enum operation op = 0; op < OP_COUNT && r->sql && r->action != ACTION_MASK; op++) {
            if (!(r->sql->operations & OPSET(op)))
                continue;
            if (r->sql->relations.n)
                add_some(x, r, op);
            else
                add_any(x, r, op);
        }
    }
    p->index = x;
    if (patterns_build(&x->relations, p, false, arena) < 0)
        return -ENOMEM;
    return patterns_build(&x->functions, p, true, arena);
}

/* ---- probes ---- */

struct probe probe_relation(const struct object *o)
{
    struct probe p = {
        .schema = o->schema, .guess = o->guess, .name = o->name, .sensitive = o->sensitive};

    if (!p.name)
        return p;
    p.name_hash = hash(p.name);
    p.schema_hash = hash(p.schema);
    return p;
}

bool probe_function(const char *full, char schema[static PROBE_SCHEMA_MAX], struct probe *ret)
{
    const char *dot = strchr(full, '.');
    size_t n = dot ? (size_t)(dot - full) : 0;

    if (dot && (strchr(dot + 1, '.') || n >= PROBE_SCHEMA_MAX))
        return false;
    if (dot) {
        memcpy(schema, full, n);
        schema[n] = 0;
    }
    *ret = (struct probe){.schema = dot ? schema : NULL, .name = dot ? dot + 1 : full};
    ret->schema_hash = hash(ret->schema);
    ret->name_hash = hash(ret->name);
    return true;
}

/* ---- asking ---- */

static void add_opinion(struct opinion *o, const struct rule *r, bool restricts, bool permits)
{
    switch ((enum rule_action)r->action) {
    case ACTION_DENY:
        if (restricts && !o->deny)
            o->deny = r;
        break;
    case ACTION_APPROVE:
        if (restricts)
            o->approve = rule_stricter(o->approve, r);
        if (permits)
            o->ask = rule_stricter(o->ask, r);
        break;
    case ACTION_ALLOW:
        if (permits && !o->allow)
            o->allow = r;
        break;
    case ACTION_MASK:
        break;
    }
}

/* Whether a rule with this `where` is meant: for sure, or when in doubt. */
static bool where_matches(unsigned rule_where, const struct object *o, bool in_doubt)
{
    if (rule_where == RULE_WHERE_ANY || (o->op != OP_UPDATE && o->op != OP_DELETE))
        return true;
    if (o->where == WHERE_ABSENT)
        return rule_where == RULE_WHERE_ABSENT;
    if (o->where == WHERE_PRESENT)
        return rule_where == RULE_WHERE_PRESENT;
    return in_doubt;
}

static void ask_any(const struct ruleindex *x, const struct object *o, struct opinion *ret)
{
    for (unsigned action = 0; action < ACTION_MASK; action++) {
        for (unsigned where = 0; where < RULE_WHERE_COUNT; where++) {
            const struct rule *r = x->any[o->op][action][where];

            if (r)
                add_opinion(ret, r, where_matches(where, o, true),
                            where_matches(where, o, false) && !o->sensitive);
        }
    }
}

/* What names no relation, and harmless catalogues, need a rule for the operation, not for the
 * relation. */
static void ask_some(const struct ruleindex *x, const struct object *o, struct opinion *ret)
{
    bool nameless = !o->name && (OPSET(o->op) & (OPS_NAMELESS | OPSET(OP_SELECT)));
    bool metadata = o->metadata && o->op == OP_SELECT;

    if ((!nameless && !metadata) || o->sensitive)
        return;
    if (x->some_allow[o->op])
        add_opinion(ret, x->some_allow[o->op], false, true);
    if (x->some_approve[o->op])
        add_opinion(ret, x->some_approve[o->op], false, true);
}

static bool is_exact(const struct name_pattern *p)
{
    return p->schema.kind == PATTERN_EXACT && p->name.kind == PATTERN_EXACT;
}

static void ask_relation_entry(const struct entry *e, const struct object *o, const struct probe *p,
                               struct opinion *ret)
{
    const struct name_pattern *pattern = e->pattern;
    const struct sql_match *m = e->rule->sql;
    const char *schema = p->schema ? p->schema : p->guess;
    bool here;

    if (!(m->operations & OPSET(o->op)) || !pattern_matches(&pattern->name, p->name))
        return;
    here = schema ? pattern_matches(&pattern->schema, schema) : pattern->schema.kind == PATTERN_ANY;
    add_opinion(ret, e->rule, (here || !p->schema) && where_matches(m->where, o, true),
                here && where_matches(m->where, o, false) && (!p->sensitive || is_exact(pattern)));
}

static void ask_function_entry(const struct entry *e, const struct probe *p, struct opinion *ret)
{
    const struct name_pattern *pattern = e->pattern;
    bool here;

    if (!pattern_matches(&pattern->name, p->name))
        return;
    if (pattern->any_schema)
        here = !p->schema || strcmp(p->schema, "pg_catalog") == 0;
    else
        here = p->schema ? pattern_matches(&pattern->schema, p->schema)
                         : pattern->schema.kind == PATTERN_ANY;
    add_opinion(ret, e->rule, here || !p->schema || pattern->any_schema, here);
}

/* The entries that may match: one bucket of names, one of schemas (all of them when the schema
 * is not known), and those with wildcards in both parts. */
static void ask_patterns(const struct patterns *t, const struct object *o, const struct probe *p,
                         struct opinion *ret)
{
    const struct entry *lists[] = {
        t->by_name[p->name_hash & t->mask],
        p->schema ? t->by_schema[p->schema_hash & t->mask] : t->globbed,
        t->wild,
    };

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        bool globbed = i == 1 && !p->schema;

        for (const struct entry *e = lists[i]; e; e = globbed ? e->next_globbed : e->next) {
            if (o)
                ask_relation_entry(e, o, p, ret);
            else
                ask_function_entry(e, p, ret);
        }
    }
}

void ruleindex_object(const struct policy *policy, const struct object *o, const struct probe *p,
                      struct opinion *ret)
{
    ask_any(policy->index, o, ret);
    ask_some(policy->index, o, ret);
    if (p->name)
        ask_patterns(&policy->index->relations, o, p, ret);
}

void ruleindex_function(const struct policy *policy, const struct probe *p, struct opinion *ret)
{
    ask_patterns(&policy->index->functions, NULL, p, ret);
}
