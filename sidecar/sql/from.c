/* SPDX-License-Identifier: Apache-2.0
 * FROM: relations, subqueries, functions, joins, each as an item of the scope. Which names an
 * item offers follows parse_clause.c: a join hides its sides' bare columns behind its own, an
 * alias hides what is under it, only LATERAL sees what stands to the left.
 */
#include "analysis.h"

#include "functions.h"

#include <string.h>

static struct range_item *item_new(struct analysis *a, struct json_object *alias)
{
    struct range_item *item = facts_alloc(a, sizeof(*item));

    if (!item)
        return NULL;
    item->named = item->bare = true;
    if (alias) {
        expr_check_fields(a, alias, "aliasname colnames");
        item->alias = tree_str(alias, "aliasname");
    }
    return item;
}

static void relation_columns(struct analysis *a, const struct relation_ref *r, struct columns *out)
{
    size_t i;

    if (!r->relation) {
        out->open = true;
        return;
    }
    for (i = 0; i < r->relation->n_columns; i++) {
        struct value v = {r->marks ? r->marks[i] : NULL, false};

        columns_add(a, out, r->relation->columns[i].name, v);
    }
}

struct range_item *from_relation(struct analysis *a, struct json_object *body, enum operation op,
                                 enum where_clause where)
{
    struct json_object *alias = tree_get(body, "alias");
    struct range_item *item = item_new(a, alias);
    struct relation_ref *r = facts_alloc(a, sizeof(*r));

    if (!item || !r)
        return NULL;
    expr_check_fields(a, body, "catalogname schemaname relname inh relpersistence alias location");
    names_resolve(a, body, r);
    if (op != OP_COUNT)
        facts_object(a, op, where, r);
    if (op == OP_SELECT || op == OP_COPY_OUT)
        names_note_read(a, r);
    else if (op != OP_COUNT)
        names_note_write(a, r);
    item->relation = r;
    relation_columns(a, r, &item->columns);
    if (!item->alias) {
        item->alias = r->name;
        item->schema = r->schema;
    }
    columns_rename(a, &item->columns, tree_list(alias, "colnames"));
    return item;
}

static void range_var(struct analysis *a, struct scope *s, struct json_object *body)
{
    struct json_object *alias = tree_get(body, "alias");
    const char *name = tree_str(body, "relname");
    const struct columns *cte;
    struct range_item *item;

    if (!tree_str(body, "schemaname") && name && (cte = query_cte(a, s, name))) {
        item = item_new(a, alias);
        if (!item)
            return;
        item->alias = item->alias ? item->alias : name;
        columns_append(a, &item->columns, cte);
        columns_rename(a, &item->columns, tree_list(alias, "colnames"));
    } else {
        item = from_relation(a, body, OP_SELECT, WHERE_NOT_APPLICABLE);
    }
    scope_add(a, s, item);
}

static void range_subselect(struct analysis *a, struct scope *s, struct json_object *body)
{
    /* without LATERAL the siblings are invisible: their names must not catch what means a
     * column of an outer query */
    struct scope blind = {.outer = s->outer, .ctes = s->ctes};
    struct json_object *alias = tree_get(body, "alias");
    struct range_item *item = item_new(a, alias);

    if (!item)
        return;
    expr_check_fields(a, body, "lateral subquery alias");
    query_analyze(a, tree_bool(body, "lateral") ? s : &blind, tree_get(body, "subquery"),
                  &item->columns);
    columns_rename(a, &item->columns, tree_list(alias, "colnames"));
    scope_add(a, s, item);
}

static void add_definitions(struct analysis *a, struct columns *out, struct json_object *list,
                            struct value v)
{
    size_t i, n = tree_len(list);

    for (i = 0; i < n; i++) {
        const char *name = tree_str(tree_body(tree_at(list, i), "ColumnDef"), "colname");

        if (!name)
            facts_unknown(a);
        columns_add(a, out, name, v);
    }
}

/* The columns of one function of a RangeFunction. */
static void function_item(struct analysis *a, const struct scope *s, struct json_object *list,
                          struct range_item *item, bool alone)
{
    struct json_object *call = tree_at(list, 0), *definitions = tree_at(list, 1);
    struct json_object *body = tree_body(call, "FuncCall");
    struct json_object *names = tree_list(body, "funcname");
    const char *name = tree_name_at(names, tree_len(names) - 1);
    const char *const *columns;
    struct value v = expr_use(a, s, call, USE_EXPRESSION);
    bool scalar;

    if (!tree_empty(definitions)) {
        add_definitions(a, &item->columns, tree_list(tree_body(definitions, "List"), "items"), v);
        return;
    }
    columns = body && name ? function_columns(name, &scalar) : NULL;
    if (columns) {
        for (; *columns; columns++)
            columns_add(a, &item->columns, *columns, v);
    } else if (body && name && scalar) {
        columns_add(a, &item->columns, alone && item->alias ? item->alias : name, v);
    } else {
        item->columns.open = true;
        item->columns.rest = value_join(item->columns.rest, v);
    }
}

static void range_function(struct analysis *a, struct scope *s, struct json_object *body)
{
    struct json_object *alias = tree_get(body, "alias"), *list = tree_list(body, "functions");
    struct range_item *item = item_new(a, alias);
    size_t i, n = tree_len(list);

    if (!item)
        return;
    expr_check_fields(a, body, "lateral ordinality is_rowsfrom functions alias coldeflist");
    for (i = 0; i < n; i++) {
        struct json_object *pair = tree_list(tree_body(tree_at(list, i), "List"), "items");

        if (!pair)
            facts_unknown(a);
        if (tree_get(body, "coldeflist")) {
            struct value v = expr_use(a, s, tree_at(pair, 0), USE_EXPRESSION);

            add_definitions(a, &item->columns, tree_list(body, "coldeflist"), v);
        } else {
            function_item(a, s, pair, item, n == 1);
        }
        if (n == 1 && !item->alias) {
            struct json_object *call = tree_body(tree_at(pair, 0), "FuncCall");
            struct json_object *names = tree_list(call, "funcname");

            item->alias = tree_name_at(names, tree_len(names) - 1);
        }
    }
    if (tree_bool(body, "ordinality"))
        columns_add(a, &item->columns, "ordinality", (struct value){0});
    columns_rename(a, &item->columns, tree_list(alias, "colnames"));
    scope_add(a, s, item);
}

/* XMLTABLE: every column may show the document. */
static void range_table_func(struct analysis *a, struct scope *s, struct json_object *body)
{
    struct json_object *alias = tree_get(body, "alias"), *list = tree_list(body, "columns");
    struct range_item *item = item_new(a, alias);
    struct value v;
    size_t i;

    if (!item)
        return;
    expr_check_fields(a, body, "lateral docexpr rowexpr namespaces columns alias location");
    v = expr_use(a, s, tree_get(body, "docexpr"), USE_EXPRESSION);
    v = value_join(v, expr_use(a, s, tree_get(body, "rowexpr"), USE_EXPRESSION));
    for (i = 0; i < tree_len(tree_list(body, "namespaces")); i++)
        v = value_join(v,
                       expr_use(a, s, tree_at(tree_list(body, "namespaces"), i), USE_EXPRESSION));
    for (i = 0; i < tree_len(list); i++) {
        struct json_object *column = tree_body(tree_at(list, i), "RangeTableFuncCol");

        expr_check_fields(a, column,
                          "colname typeName for_ordinality is_not_null colexpr coldefexpr "
                          "location");
        v = value_join(v, expr_use(a, s, tree_get(column, "colexpr"), USE_EXPRESSION));
        v = value_join(v, expr_use(a, s, tree_get(column, "coldefexpr"), USE_EXPRESSION));
        columns_add(a, &item->columns, tree_str(column, "colname"), v);
    }
    for (i = 0; i < item->columns.n; i++)
        item->columns.v[i].value = value_join(item->columns.v[i].value, v);
    if (!item->alias)
        item->alias = "xmltable";
    columns_rename(a, &item->columns, tree_list(alias, "colnames"));
    scope_add(a, s, item);
}

static struct value json_columns(struct analysis *a, const struct scope *s,
                                 struct json_object *list, struct columns *out)
{
    struct value v = {0};
    size_t i;

    if (facts_enter(a))
        return v;
    for (i = 0; i < tree_len(list); i++) {
        struct json_object *column = tree_body(tree_at(list, i), "JsonTableColumn");
        const char *const behaviors[] = {"on_empty", "on_error"};
        size_t k;

        expr_check_fields(a, column,
                          "coltype name typeName pathspec format wrapper quotes columns on_empty "
                          "on_error location");
        for (k = 0; k < ARRAY_LEN(behaviors); k++) {
            if (tree_get(column, behaviors[k]))
                v = value_join(v, expr_body(a, s, "JsonBehavior", tree_get(column, behaviors[k])));
        }
        if (tree_get(column, "columns")) /* NESTED PATH */
            v = value_join(v, json_columns(a, s, tree_list(column, "columns"), out));
        else
            columns_add(a, out, tree_str(column, "name"), (struct value){0});
    }
    facts_leave(a);
    return v;
}

/* JSON_TABLE (PostgreSQL 17): every column may show the document. */
static void json_table(struct analysis *a, struct scope *s, struct json_object *body)
{
    struct json_object *alias = tree_get(body, "alias");
    struct range_item *item = item_new(a, alias);
    struct value v;
    size_t i;

    if (!item)
        return;
    expr_check_fields(a, body,
                      "context_item pathspec passing columns on_error alias lateral location");
    v = expr_body(a, s, "JsonValueExpr", tree_get(body, "context_item"));
    v = value_join(v, json_columns(a, s, tree_list(body, "columns"), &item->columns));
    if (tree_get(body, "on_error"))
        v = value_join(v, expr_body(a, s, "JsonBehavior", tree_get(body, "on_error")));
    for (i = 0; i < tree_len(tree_list(body, "passing")); i++)
        v = value_join(v, expr_use(a, s, tree_at(tree_list(body, "passing"), i), USE_EXPRESSION));
    expr_refuse(a, v, USE_EXPRESSION);
    v = value_loose(v);
    for (i = 0; i < item->columns.n; i++)
        item->columns.v[i].value = value_join(item->columns.v[i].value, v);
    item->columns.rest = value_join(item->columns.rest, v);
    if (!item->alias)
        item->alias = "json_table";
    columns_rename(a, &item->columns, tree_list(alias, "colnames"));
    scope_add(a, s, item);
}

static void range_table_sample(struct analysis *a, struct scope *s, struct json_object *body)
{
    struct json_object *method = tree_list(body, "method");
    const char *name = tree_name_at(method, tree_len(method) - 1);

    expr_check_fields(a, body, "relation method args repeatable location");
    if (!name || tree_len(method) != 1 ||
        (strcmp(name, "system") != 0 && strcmp(name, "bernoulli") != 0))
        facts_function(a, NULL, name ? name : "?", "");
    from_item(a, s, tree_get(body, "relation"));
    expr_use_list(a, s, tree_list(body, "args"), USE_CONDITION);
    (void)expr_use(a, s, tree_get(body, "repeatable"), USE_CONDITION);
}

/* ---- joins ---- */

struct side { /* of a join: the items it added, and its columns in order */
    size_t start, end;
    struct columns columns;
};

static void join_side(struct analysis *a, struct scope *s, struct json_object *node,
                      struct side *side)
{
    size_t i;

    side->start = s->n_items;
    from_item(a, s, node);
    side->end = s->n_items;
    for (i = side->start; i < side->end; i++) {
        if (s->items[i]->bare)
            columns_append(a, &side->columns, &s->items[i]->columns);
    }
}

/* Takes the column out of the side; what it may carry. */
static struct value take_column(struct side *side, const char *name)
{
    struct value v = side->columns.open ? side->columns.rest : (struct value){0};
    size_t i, kept = 0;

    for (i = 0; i < side->columns.n; i++) {
        if (strcmp(side->columns.v[i].name, name) == 0)
            v = value_join(v, side->columns.v[i].value);
        else
            side->columns.v[kept++] = side->columns.v[i];
    }
    side->columns.n = kept;
    return v;
}

static void merge_column(struct analysis *a, struct side *left, struct side *right,
                         const char *name, struct columns *out)
{
    struct value v = value_join(take_column(left, name), take_column(right, name));

    a->work += left->columns.n + right->columns.n;
    expr_refuse(a, v, USE_CONDITION);
    columns_add(a, out, name, value_loose(v));
}

static bool side_has(const struct side *side, const char *name)
{
    size_t i;

    for (i = 0; i < side->columns.n; i++) {
        if (strcmp(side->columns.v[i].name, name) == 0)
            return true;
    }
    return false;
}

static void merge_natural(struct analysis *a, struct side *left, struct side *right,
                          struct columns *out)
{
    size_t i = 0;

    /* With unknown columns on a side, each of the other side's might be joined on. */
    if (left->columns.open)
        expr_refuse(a, columns_all(&right->columns), USE_CONDITION);
    if (right->columns.open)
        expr_refuse(a, columns_all(&left->columns), USE_CONDITION);
    while (i < left->columns.n) {
        const char *name = left->columns.v[i].name;

        a->work += 1 + right->columns.n;
        if (side_has(right, name))
            merge_column(a, left, right, name, out); /* takes [i] away */
        else
            i++;
    }
}

static void merge_using(struct analysis *a, struct side *left, struct side *right,
                        struct json_object *names, struct columns *out)
{
    size_t i;

    for (i = 0; i < tree_len(names); i++) {
        const char *name = tree_name_at(names, i);

        if (name)
            merge_column(a, left, right, name, out);
        else
            facts_unknown(a);
    }
}

static void join_expr(struct analysis *a, struct scope *s, struct json_object *body)
{
    struct json_object *alias = tree_get(body, "alias");
    struct json_object *using_alias = tree_get(body, "join_using_alias");
    struct side left = {0}, right = {0};
    struct range_item *item = item_new(a, alias), *merged;
    struct scope both;
    size_t i;

    if (!item)
        return;
    expr_check_fields(a, body,
                      "jointype isNatural larg rarg usingClause join_using_alias quals alias "
                      "rtindex");
    join_side(a, s, tree_get(body, "larg"), &left);
    join_side(a, s, tree_get(body, "rarg"), &right);
    if (tree_bool(body, "isNatural"))
        merge_natural(a, &left, &right, &item->columns);
    merge_using(a, &left, &right, tree_list(body, "usingClause"), &item->columns);
    /* ON sees the two sides, not what stands before them */
    both = (struct scope){.outer = s->outer, .ctes = s->ctes};
    both.items = s->n_items > left.start ? s->items + left.start : NULL;
    both.n_items = s->n_items - left.start;
    (void)expr_use(a, &both, tree_get(body, "quals"), USE_CONDITION);
    if (using_alias && (merged = item_new(a, using_alias))) {
        merged->bare = false;
        columns_append(a, &merged->columns, &item->columns);
        scope_add(a, s, merged);
    }
    columns_append(a, &item->columns, &left.columns);
    columns_append(a, &item->columns, &right.columns);
    for (i = left.start; i < right.end; i++) {
        s->items[i]->bare = false;
        s->items[i]->named &= !alias;
    }
    item->named = alias != NULL;
    columns_rename(a, &item->columns, tree_list(alias, "colnames"));
    scope_add(a, s, item);
}

void from_item(struct analysis *a, struct scope *s, struct json_object *node)
{
    static const struct {
        const char *kind;
        void (*fn)(struct analysis *, struct scope *, struct json_object *);
    } kinds[] = {
        {"RangeVar", range_var},
        {"JoinExpr", join_expr},
        {"RangeSubselect", range_subselect},
        {"RangeFunction", range_function},
        {"RangeTableSample", range_table_sample},
        {"RangeTableFunc", range_table_func},
        {"JsonTable", json_table},
    };
    struct json_object *body;
    const char *kind = tree_kind(node, &body);
    size_t i;

    if (facts_enter(a))
        return;
    for (i = 0; kind && i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i].kind, kind) == 0) {
            kinds[i].fn(a, s, body);
            break;
        }
    }
    if (!kind || i == ARRAY_LEN(kinds)) { /* of a later PostgreSQL */
        struct range_item *item = item_new(a, NULL);

        facts_unknown(a);
        if (item)
            item->columns.open = true;
        scope_add(a, s, item);
    }
    facts_leave(a);
}

void from_list(struct analysis *a, struct scope *s, struct json_object *list)
{
    size_t i, n = tree_len(list);

    for (i = 0; i < n && !a->failed; i++)
        from_item(a, s, tree_at(list, i));
}
