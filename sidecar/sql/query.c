/* SPDX-License-Identifier: Apache-2.0
 * SELECT and its clauses, WITH, set operations, VALUES.
 */
#include "analysis.h"

#include <string.h>

#define MAX_PASSES 4 /* over a recursive CTE, before all its columns count as masked */

struct cte {
    const char *name;
    struct json_object *body;
    struct scope scope; /* what its query sees around it */
    struct columns columns;
    bool recursive;
    enum { CTE_NEW, CTE_BUSY, CTE_DONE } state;
    struct cte *next;
};

/* ---- WITH ---- */

/* SEARCH and CYCLE compare the columns they name and add columns made of them. */
static void cte_extras(struct analysis *a, struct cte *c, struct columns *out)
{
    struct json_object *search = tree_get(c->body, "search_clause");
    struct json_object *cycle = tree_get(c->body, "cycle_clause");
    struct value v;

    if (!search && !cycle)
        return;
    v = value_loose(columns_all(out));
    expr_refuse(a, v, USE_CONDITION);
    if (search)
        columns_add(a, out, tree_str(search, "search_seq_column"), v);
    if (cycle) {
        columns_add(a, out, tree_str(cycle, "cycle_mark_column"), (struct value){0});
        columns_add(a, out, tree_str(cycle, "cycle_path_column"), v);
    }
}

static bool same_values(const struct columns *x, const struct columns *y)
{
    size_t i;

    if (x->n != y->n || x->open != y->open || x->rest.mark != y->rest.mark)
        return false;
    for (i = 0; i < x->n; i++) {
        if (x->v[i].value.mark != y->v[i].value.mark || x->v[i].value.loose != y->v[i].value.loose)
            return false;
    }
    return true;
}

static void cte_pass(struct analysis *a, struct cte *c, struct columns *out)
{
    query_analyze(a, &c->scope, tree_get(c->body, "ctequery"), out);
    columns_rename(a, out, tree_list(c->body, "aliascolnames"));
    cte_extras(a, c, out);
}

/* What a recursive reference sees is what the pass before found; until nothing is added. The
 * first pass sees the columns of the part that does not recurse. */
static void cte_recurse(struct analysis *a, struct cte *c)
{
    struct json_object *body = tree_body(tree_get(c->body, "ctequery"), "SelectStmt");
    struct columns found = {0};
    int pass;

    if (tree_get(body, "larg") && !tree_get(body, "withClause")) {
        query_select(a, &c->scope, tree_get(body, "larg"), &c->columns);
        columns_rename(a, &c->columns, tree_list(c->body, "aliascolnames"));
        cte_extras(a, c, &c->columns);
    }
    for (pass = 0; pass < MAX_PASSES && !a->failed; pass++) {
        found = (struct columns){0};
        cte_pass(a, c, &found);
        if (same_values(&found, &c->columns))
            return;
        c->columns = found;
    }
    columns_collapse(&c->columns);
    c->columns.rest = value_loose(c->columns.rest);
}

static void cte_analyze(struct analysis *a, struct cte *c)
{
    if (c->state != CTE_NEW || facts_enter(a))
        return;
    c->state = CTE_BUSY;
    expr_check_fields(a, c->body,
                      "ctename aliascolnames ctematerialized ctequery search_clause cycle_clause "
                      "location");
    if (c->recursive)
        cte_recurse(a, c);
    else
        cte_pass(a, c, &c->columns);
    c->state = CTE_DONE;
    facts_leave(a);
}

static struct cte *cte_new(struct analysis *a, struct json_object *node)
{
    struct json_object *body = tree_body(node, "CommonTableExpr");
    struct cte *c = facts_alloc(a, sizeof(*c));

    if (!body || !tree_str(body, "ctename")) {
        facts_unknown(a);
        return NULL;
    }
    if (c) {
        c->name = tree_str(body, "ctename");
        c->body = body;
    }
    return c;
}

void query_with(struct analysis *a, struct scope *s, struct json_object *with)
{
    struct json_object *list = tree_list(with, "ctes");
    size_t i, n = tree_len(list);
    struct cte **all;

    if (!with)
        return;
    expr_check_fields(a, with, "ctes recursive location");
    all = facts_alloc(a, n * sizeof(struct cte *));
    for (i = 0; all && i < n; i++) {
        struct cte *c = all[i] = cte_new(a, tree_at(list, i));

        if (!c)
            continue;
        c->recursive = tree_bool(with, "recursive");
        if (!c->recursive) { /* sees those before it, not itself */
            c->scope = (struct scope){.outer = s->outer, .ctes = s->ctes};
            cte_analyze(a, c);
        }
        c->next = s->ctes;
        s->ctes = c;
    }
    for (i = 0; all && i < n && tree_bool(with, "recursive"); i++) {
        if (all[i])
            all[i]->scope = (struct scope){.outer = s->outer, .ctes = s->ctes};
    }
    for (i = 0; all && i < n && tree_bool(with, "recursive"); i++) {
        if (all[i])
            cte_analyze(a, all[i]);
    }
}

const struct columns *query_cte(struct analysis *a, const struct scope *s, const char *name)
{
    struct cte *c;

    for (c = s->ctes; c; c = c->next) {
        a->work++;
        if (strcmp(c->name, name) == 0) {
            cte_analyze(a, c); /* a forward reference; nothing when it is busy or done */
            if (c->state == CTE_BUSY && c->columns.n == 0)
                c->columns.open = true;
            return &c->columns;
        }
    }
    return NULL;
}

/* ---- ORDER BY, GROUP BY, DISTINCT ON ---- */

/* A number is a result column's position, a bare name may be a result column's name. */
static void output_clause(struct analysis *a, const struct scope *s, struct json_object *node,
                          const struct columns *out, bool inputs_first)
{
    struct json_object *fields = tree_list(tree_body(node, "ColumnRef"), "fields");
    const char *name = tree_len(fields) == 1 ? tree_name_at(fields, 0) : NULL;
    struct tree_const c = tree_constant(node);
    struct value v = {0};
    bool hit = false;
    size_t i;

    if (c.kind != TREE_CONST_NONE)
        a->st->literal_dependent = true; /* another number, another column */
    if (c.kind == TREE_CONST_INT) {
        if (out->open || c.num < 1 || (uint64_t)c.num > out->n)
            v = columns_all(out);
        else
            v = out->v[c.num - 1].value;
        expr_refuse(a, v, USE_CONDITION);
        return;
    }
    a->work += out->n;
    for (i = 0; name && i < out->n; i++) {
        if (strcmp(out->v[i].name, name) == 0) {
            v = value_join(v, out->v[i].value);
            hit = true;
        }
    }
    if (name && out->open)
        v = value_join(v, out->rest);
    expr_refuse(a, v, USE_CONDITION);
    if (!hit || inputs_first)
        (void)expr_use(a, s, node, USE_CONDITION);
}

static void sort_clause(struct analysis *a, const struct scope *s, struct json_object *list,
                        const struct columns *out)
{
    size_t i, n = tree_len(list);

    for (i = 0; i < n && !facts_exhausted(a); i++) {
        struct json_object *body = tree_body(tree_at(list, i), "SortBy");

        expr_check_fields(a, body, "node sortby_dir sortby_nulls useOp location");
        if (tree_get(body, "useOp"))
            expr_check_operator(a, tree_list(body, "useOp"));
        output_clause(a, s, tree_get(body, "node"), out, false);
    }
}

static void group_clause(struct analysis *a, const struct scope *s, struct json_object *list,
                         const struct columns *out)
{
    size_t i, n = tree_len(list);

    if (facts_enter(a))
        return;
    for (i = 0; i < n && !facts_exhausted(a); i++) {
        struct json_object *set = tree_body(tree_at(list, i), "GroupingSet");
        struct json_object *row = tree_body(tree_at(list, i), "RowExpr");

        if (set) {
            expr_check_fields(a, set, "kind content location");
            group_clause(a, s, tree_list(set, "content"), out);
        } else if (row) {
            group_clause(a, s, tree_list(row, "args"), out);
        } else {
            output_clause(a, s, tree_at(list, i), out, true);
        }
    }
    facts_leave(a);
}

static void distinct_clause(struct analysis *a, const struct scope *s, struct json_object *list,
                            const struct columns *out)
{
    size_t i, n = tree_len(list);

    if (n == 1 && tree_empty(tree_at(list, 0))) { /* DISTINCT compares every column */
        expr_refuse(a, columns_all(out), USE_CONDITION);
        return;
    }
    for (i = 0; i < n && !facts_exhausted(a); i++)
        output_clause(a, s, tree_at(list, i), out, false);
}

/* ---- SELECT ---- */

static void locking_clause(struct analysis *a, const struct scope *s, struct json_object *list)
{
    size_t i;

    if (tree_len(list) == 0)
        return;
    for (i = 0; i < tree_len(list); i++)
        expr_check_fields(a, tree_body(tree_at(list, i), "LockingClause"),
                          "lockedRels strength waitPolicy");
    facts_operation(a, OP_LOCK, true);
    for (i = 0; i < s->n_items; i++) {
        if (s->items[i]->relation)
            facts_implied(a, OP_LOCK, s->items[i]->relation);
    }
}

static void limits(struct analysis *a, const struct scope *s, struct json_object *body)
{
    (void)expr_use(a, s, tree_get(body, "limitOffset"), USE_CONDITION);
    (void)expr_use(a, s, tree_get(body, "limitCount"), USE_CONDITION);
}

static void values_lists(struct analysis *a, const struct scope *s, struct json_object *body,
                         struct columns *out)
{
    struct json_object *rows = tree_list(body, "valuesLists");
    size_t i, k;

    for (i = 0; i < tree_len(rows) && !a->failed; i++) {
        struct json_object *items = tree_list(tree_body(tree_at(rows, i), "List"), "items");

        if (!items)
            facts_unknown(a);
        for (k = 0; k < tree_len(items); k++) {
            struct value v = value_loose(expr_value(a, s, tree_at(items, k)));

            if (k < out->n) {
                out->v[k].value = value_join(out->v[k].value, v);
            } else {
                const char *name = arena_printf(a->arena, "column%zu", k + 1);

                columns_add(a, out, name, v);
            }
        }
    }
    sort_clause(a, s, tree_list(body, "sortClause"), out);
    limits(a, s, body);
}

static void set_operation(struct analysis *a, struct scope *s, struct json_object *body,
                          struct columns *out)
{
    struct columns left = {0}, right = {0};
    struct value all;
    size_t i;

    query_select(a, s, tree_get(body, "larg"), &left);
    query_select(a, s, tree_get(body, "rarg"), &right);
    all = value_loose(value_join(columns_all(&left), columns_all(&right)));
    /* All but UNION ALL compare rows: how many come out tells what is equal. */
    if (!tree_is(body, "op", "SETOP_UNION") || !tree_bool(body, "all"))
        expr_refuse(a, all, USE_CONDITION);
    columns_append(a, out, &left);
    out->rest = value_loose(value_join(left.rest, right.rest));
    out->open = left.open || right.open;
    for (i = 0; i < out->n; i++) {
        struct value v = out->open ? all : left.v[i].value;

        if (!out->open && i < right.n)
            v = value_join(v, right.v[i].value);
        out->v[i].value = value_loose(v);
    }
    if (out->open)
        out->rest = all;
    sort_clause(a, s, tree_list(body, "sortClause"), out);
    limits(a, s, body);
}

static void plain_select(struct analysis *a, struct scope *s, struct json_object *body,
                         struct columns *out)
{
    from_list(a, s, tree_list(body, "fromClause"));
    (void)expr_use(a, s, tree_get(body, "whereClause"), USE_CONDITION);
    target_list(a, s, tree_list(body, "targetList"), out);
    group_clause(a, s, tree_list(body, "groupClause"), out);
    (void)expr_use(a, s, tree_get(body, "havingClause"), USE_CONDITION);
    expr_use_list(a, s, tree_list(body, "windowClause"), USE_CONDITION);
    distinct_clause(a, s, tree_list(body, "distinctClause"), out);
    sort_clause(a, s, tree_list(body, "sortClause"), out);
    limits(a, s, body);
    locking_clause(a, s, tree_list(body, "lockingClause"));
}

void query_select(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out)
{
    struct scope s = scope_inside(outer);

    if (facts_enter(a))
        return;
    expr_check_fields(a, body,
                      "distinctClause targetList fromClause whereClause groupClause groupDistinct "
                      "havingClause windowClause valuesLists sortClause limitOffset limitCount "
                      "limitOption lockingClause withClause op all larg rarg intoClause");
    if (tree_get(body, "intoClause") && outer)
        facts_unknown(a);
    query_with(a, &s, tree_get(body, "withClause"));
    if (tree_get(body, "larg") || tree_get(body, "rarg"))
        set_operation(a, &s, body, out);
    else if (tree_get(body, "valuesLists"))
        values_lists(a, &s, body, out);
    else
        plain_select(a, &s, body, out);
    facts_leave(a);
}

void query_analyze(struct analysis *a, const struct scope *outer, struct json_object *node,
                   struct columns *out)
{
    static const struct {
        const char *kind;
        void (*fn)(struct analysis *, const struct scope *, struct json_object *, struct columns *);
    } kinds[] = {
        {"SelectStmt", query_select}, {"InsertStmt", write_insert}, {"UpdateStmt", write_update},
        {"DeleteStmt", write_delete}, {"MergeStmt", write_merge},
    };
    struct json_object *body;
    const char *kind = tree_kind(node, &body);
    size_t i;

    for (i = 0; kind && i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i].kind, kind) == 0) {
            kinds[i].fn(a, outer, body, out);
            return;
        }
    }
    facts_unknown(a);
    out->open = true;
}

void query_result(struct analysis *a, const struct columns *out)
{
    size_t i;

    for (i = 0; i < out->n; i++) {
        if (out->v[i].value.mark && out->v[i].value.loose)
            a->st->mask_originless = true;
    }
    if (out->rest.mark)
        a->st->mask_originless = true;
}

void query_refuse_write(struct analysis *a, struct value v, const char *what)
{
    if (!v.mark)
        return;
    facts_deny(a, v.mark->rule,
               "column %s.%s.%s is masked (rule '%s'): it may be selected as it is, not %s",
               v.mark->schema, v.mark->relation, v.mark->column, v.mark->rule, what);
}
