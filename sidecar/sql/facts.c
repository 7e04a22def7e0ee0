/* SPDX-License-Identifier: Apache-2.0
 * What the analysis finds, collected without repetition.
 */
#include "analysis.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_DEPTH   1200
#define MAX_WORK    4000000 /* well under a second */
#define MAX_OBJECTS 2000
#define MAX_COLUMNS 4096 /* the server itself stops at 1664 */

void *facts_alloc(struct analysis *a, size_t n)
{
    void *p = arena_alloc(a->arena, n ? n : 1);

    if (!p)
        a->failed = true;
    return p;
}

const char *facts_dup(struct analysis *a, const char *s)
{
    const char *copy = s ? arena_strdup(a->arena, s) : NULL;

    if (s && !copy)
        a->failed = true;
    return copy;
}

static bool too_complex(struct analysis *a)
{
    facts_unknown(a);
    facts_deny(a, NULL, "the statement is too complex to be judged; split it");
    return true;
}

bool facts_exhausted(struct analysis *a)
{
    return a->failed || (a->work >= MAX_WORK && too_complex(a));
}

bool facts_enter(struct analysis *a)
{
    if (facts_exhausted(a) || (a->depth >= MAX_DEPTH && too_complex(a)))
        return true;
    a->depth++;
    a->work++;
    return false;
}

void facts_leave(struct analysis *a)
{
    a->depth--;
}

static bool same_name(const char *x, const char *y)
{
    return x == y || (x && y && strcmp(x, y) == 0);
}

static bool same_object(const struct object *x, const struct object *y)
{
    return x->op == y->op && x->where == y->where && x->implied == y->implied &&
           same_name(x->name, y->name) && same_name(x->schema, y->schema) &&
           same_name(x->guess, y->guess);
}

static bool grow(struct analysis *a, void **v, size_t n, size_t *cap, size_t size)
{
    size_t more = *cap ? *cap * 2 : 8;
    void *p;

    if (n < *cap)
        return true;
    p = facts_alloc(a, more * size);
    if (!p)
        return false;
    if (n)
        memcpy(p, *v, n * size);
    *v = p;
    *cap = more;
    return true;
}

/* Policies write pg_temp for the session's own temporary schema, whatever its number. */
static const char *policy_schema(const struct analysis *a, const char *schema)
{
    const char *temp = schema ? names_temp_schema(a) : NULL;

    return temp && strcmp(schema, temp) == 0 ? "pg_temp" : schema;
}

static void add_object(struct analysis *a, struct object o)
{
    size_t i;

    a->work += a->n_objects / 4;
    for (i = 0; i < a->n_objects; i++) {
        if (same_object(&a->objects[i], &o))
            return;
    }
    if (a->n_objects >= MAX_OBJECTS) {
        facts_deny(a, NULL, "the statement names too many objects; split it");
        return;
    }
    if (!grow(a, (void **)&a->objects, a->n_objects, &a->cap_objects, sizeof(o)))
        return;
    o.schema = facts_dup(a, policy_schema(a, o.schema));
    o.guess = facts_dup(a, o.guess);
    o.name = facts_dup(a, o.name);
    a->objects[a->n_objects++] = o;
}

static struct object object_of(enum operation op, enum where_clause where,
                               const struct relation_ref *r)
{
    return (struct object){
        .op = op,
        .where = where,
        .schema = r->schema,
        .guess = r->guess,
        .name = r->name,
        .metadata = r->metadata && op == OP_SELECT,
        .sensitive = r->sensitive || (r->system && op != OP_SELECT),
    };
}

void facts_object(struct analysis *a, enum operation op, enum where_clause where,
                  const struct relation_ref *r)
{
    add_object(a, object_of(op, where, r));
}

void facts_implied(struct analysis *a, enum operation op, const struct relation_ref *r)
{
    struct object o = object_of(op, WHERE_NOT_APPLICABLE, r);

    o.implied = true;
    o.sensitive = false; /* its Select is what needs to be allowed */
    add_object(a, o);
}

void facts_operation(struct analysis *a, enum operation op, bool implied)
{
    add_object(a, (struct object){.op = op, .implied = implied});
}

void facts_unknown(struct analysis *a)
{
    a->unknown = true;
    add_object(a, (struct object){.op = OP_UNKNOWN});
}

void facts_copy_object(struct analysis *a, const struct object *o)
{
    add_object(a, *o);
}

void facts_copy_function(struct analysis *a, const char *name)
{
    size_t i;

    for (i = 0; i < a->n_functions; i++) {
        if (strcmp(a->functions[i], name) == 0)
            return;
    }
    if (a->n_functions >= MAX_OBJECTS) {
        facts_deny(a, NULL, "the statement names too many functions; split it");
        return;
    }
    if (grow(a, (void **)&a->functions, a->n_functions, &a->cap_functions, sizeof(name)))
        a->functions[a->n_functions++] = name;
}

void facts_function(struct analysis *a, const char *schema, const char *name, const char *kind)
{
    const char *full = schema ? arena_printf(a->arena, "%s%s.%s", kind, schema, name)
                              : arena_printf(a->arena, "%s%s", kind, name);

    a->st->runs_hidden_code = true;
    if (!schema && !*kind && strchr(name, '.'))
        facts_unknown(a); /* "app.f" as one quoted name must not pass for app's f */
    else if (full)
        facts_copy_function(a, full);
    else
        a->failed = true;
}

void facts_deny(struct analysis *a, const char *rule, const char *fmt, ...)
{
    char text[600];
    va_list args;

    if (a->owner || a->st->policy.denied)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    a->st->policy.denied = facts_dup(a, text);
    a->st->policy.denied_rule = facts_dup(a, rule);
}

/* ---- values and columns ---- */

struct value value_join(struct value a, struct value b)
{
    return (struct value){column_mark_stricter(a.mark, b.mark), a.loose || b.loose};
}

struct value value_loose(struct value v)
{
    v.loose = v.mark != NULL;
    return v;
}

void columns_add(struct analysis *a, struct columns *c, const char *name, struct value v)
{
    if (!name) { /* its name is not known for sure: any name may find it */
        c->open = true;
        c->rest = value_join(c->rest, v);
        name = "?column?";
    }
    if (c->n >= MAX_COLUMNS) {
        c->open = true;
        c->rest = value_join(c->rest, v);
        facts_deny(a, NULL, "the statement has too many columns to be judged; split it");
        return;
    }
    if (grow(a, (void **)&c->v, c->n, &c->cap, sizeof(*c->v)))
        c->v[c->n++] = (struct column){name, v};
}

void columns_append(struct analysis *a, struct columns *c, const struct columns *from)
{
    size_t i;

    for (i = 0; i < from->n && !a->failed; i++) {
        a->work++;
        columns_add(a, c, from->v[i].name, from->v[i].value);
    }
    c->open |= from->open;
    c->rest = value_join(c->rest, from->rest);
}

struct value columns_all(const struct columns *c)
{
    struct value v = c->rest;
    size_t i;

    for (i = 0; i < c->n; i++)
        v = value_join(v, c->v[i].value);
    return v;
}

void columns_collapse(struct columns *c)
{
    c->rest = columns_all(c);
    c->open = true;
    c->n = 0;
}

void columns_rename(struct analysis *a, struct columns *c, struct json_object *names)
{
    size_t i, n = tree_len(names);

    if (n == 0)
        return;
    if (c->open)
        columns_collapse(c);
    for (i = 0; i < n; i++) {
        const char *name = tree_name_at(names, i);

        if (!name) {
            facts_unknown(a);
            name = "?column?";
        }
        if (i < c->n)
            c->v[i].name = name;
        else if (c->open)
            columns_add(a, c, name, c->rest);
    }
}

/* ---- begin and end ---- */

void analysis_begin(struct analysis *a, const struct sql_env *env, struct arena *arena,
                    struct sql_statement *st)
{
    *a = (struct analysis){.env = env, .arena = arena, .st = st};
}

int analysis_end(struct analysis *a)
{
    struct sql_statement *st = a->st;

    if (a->n_objects == 0) /* nothing to judge is nothing to allow */
        facts_unknown(a);
    if (a->unknown && st->touches_masked)
        facts_deny(a, NULL,
                   "the statement uses SQL that the guard does not know together with masked "
                   "columns");
    st->policy.objects = a->objects;
    st->policy.n_objects = a->n_objects;
    st->policy.functions = a->functions;
    st->policy.n_functions = a->n_functions;
    return a->failed ? -ENOMEM : 0;
}
