/* SPDX-License-Identifier: Apache-2.0
 * Expressions. A table of node names: which fields each may have and which of them hold
 * expressions. A node or field without a row is Unknown.
 */
#include "analysis.h"

#include "functions.h"

#include <stdio.h>
#include <string.h>

typedef struct value expr_fn(struct analysis *a, const struct scope *s, struct json_object *body);

static expr_fn column_ref, func_call, a_expr, sub_link, a_indirection, sort_by, sub_query;

/* Fields with a '+' hold expressions (a node or a list of nodes); the others say how, not what.
 * Sorted by name. The Json rows are of PostgreSQL 16 and later. */
static const struct expr_kind {
    const char *name;
    expr_fn *special; /* NULL: every expression inside is a use */
    const char *fields;
} kinds[] = {
    {"A_ArrayExpr", NULL, "+elements location list_start list_end"},
    {"A_Const", NULL, "isnull ival fval sval bsval boolval location"},
    {"A_Expr", a_expr, "kind name +lexpr +rexpr location rexpr_list_start rexpr_list_end"},
    {"A_Indices", NULL, "is_slice +lidx +uidx"},
    {"A_Indirection", a_indirection, "arg indirection"},
    {"BoolExpr", NULL, "boolop +args location"},
    {"BooleanTest", NULL, "+arg booltesttype location"},
    {"CaseExpr", NULL, "+arg +args +defresult location"},
    {"CaseWhen", NULL, "+expr +result location"},
    {"CoalesceExpr", NULL, "+args location"},
    {"CollateClause", NULL, "+arg collname location"},
    {"ColumnRef", column_ref, "fields location"},
    {"CurrentOfExpr", NULL, "cvarno cursor_name cursor_param"},
    {"FuncCall", func_call,
     "funcname +args +agg_order +agg_filter over agg_within_group agg_star agg_distinct "
     "func_variadic funcformat location"},
    {"GroupingFunc", NULL, "+args location"},
    {"GroupingSet", NULL, "kind +content location"},
    {"JsonAggConstructor", NULL, "output +agg_filter +agg_order over location"},
    {"JsonArgument", NULL, "val name"},
    {"JsonArrayAgg", NULL, "constructor arg absent_on_null"},
    {"JsonArrayConstructor", NULL, "+exprs output absent_on_null location"},
    {"JsonArrayQueryConstructor", sub_query, "query output format absent_on_null location"},
    {"JsonBehavior", NULL, "btype +expr coerce location"},
    {"JsonFormat", NULL, "format_type encoding location"},
    {"JsonFuncExpr", NULL,
     "op column_name context_item +pathspec +passing output on_empty on_error wrapper quotes "
     "location"},
    {"JsonIsPredicate", NULL, "+expr format item_type unique_keys location"},
    {"JsonKeyValue", NULL, "+key value"},
    {"JsonObjectAgg", NULL, "constructor arg absent_on_null unique"},
    {"JsonObjectConstructor", NULL, "+exprs output absent_on_null unique location"},
    {"JsonParseExpr", NULL, "expr output unique_keys location"},
    {"JsonScalarExpr", NULL, "+expr output location"},
    {"JsonSerializeExpr", NULL, "expr output location"},
    {"JsonValueExpr", NULL, "+raw_expr +formatted_expr format"},
    {"List", NULL, "+items"},
    {"MergeSupportFunc", NULL, "msftype msfcollid location"},
    {"MinMaxExpr", NULL, "op +args location"},
    {"NamedArgExpr", NULL, "+arg name argnumber location"},
    {"NullTest", NULL, "+arg nulltesttype argisrow location"},
    {"ParamRef", NULL, "number location"},
    {"ResTarget", NULL, "name +val location"}, /* of XMLELEMENT and XMLFOREST */
    {"RowExpr", NULL, "+args row_format location"},
    {"SQLValueFunction", NULL, "op type typmod location"},
    {"SetToDefault", NULL, "typeId typeMod collation location"},
    {"SortBy", sort_by, "+node sortby_dir sortby_nulls useOp location"},
    {"SubLink", sub_link, "subLinkType subLinkId testexpr operName subselect location"},
    {"TypeCast", NULL, "+arg typeName location"},
    {"WindowDef", NULL,
     "name refname +partitionClause +orderClause frameOptions +startOffset +endOffset location"},
    {"XmlExpr", NULL, "op name +named_args arg_names +args xmloption type typmod location indent"},
    {"XmlSerialize", NULL, "xmloption +expr typeName indent location"},
};

/* Typed fields: bodies that stand without their wrapper, by field name. */
static const struct {
    const char *kind, *field, *type;
} typed_fields[] = {
    {"FuncCall", "over", "WindowDef"},
    {"JsonAggConstructor", "over", "WindowDef"},
    {"JsonArgument", "val", "JsonValueExpr"},
    {"JsonArrayAgg", "arg", "JsonValueExpr"},
    {"JsonArrayAgg", "constructor", "JsonAggConstructor"},
    {"JsonFuncExpr", "context_item", "JsonValueExpr"},
    {"JsonFuncExpr", "on_empty", "JsonBehavior"},
    {"JsonFuncExpr", "on_error", "JsonBehavior"},
    {"JsonKeyValue", "value", "JsonValueExpr"},
    {"JsonObjectAgg", "arg", "JsonKeyValue"},
    {"JsonObjectAgg", "constructor", "JsonAggConstructor"},
    {"JsonParseExpr", "expr", "JsonValueExpr"},
    {"JsonSerializeExpr", "expr", "JsonValueExpr"},
};

static const struct expr_kind *kind_row(const char *name)
{
    size_t low = 0, high = ARRAY_LEN(kinds);

    while (name && low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(name, kinds[mid].name);

        if (order == 0)
            return &kinds[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* Whether the word is in the blank-separated list, and whether with a '+' before it. */
static bool has_word(const char *words, const char *word, bool *ret_plus)
{
    size_t len = strlen(word);
    const char *p = words;

    while (*p) {
        const char *end = strchrnul(p, ' ');

        *ret_plus = *p == '+';
        p += *ret_plus;
        if ((size_t)(end - p) == len && memcmp(p, word, len) == 0)
            return true;
        p = *end ? end + 1 : end;
    }
    return false;
}

void expr_check_fields(struct analysis *a, struct json_object *body, const char *fields)
{
    bool plus;

    if (!json_object_is_type(body, json_type_object)) {
        facts_unknown(a);
        return;
    }
    json_object_object_foreach(body, key, v)
    {
        (void)v;
        if (!has_word(fields, key, &plus))
            facts_unknown(a);
    }
}

void expr_refuse(struct analysis *a, struct value v, enum use use)
{
    static const char *const words[] = {
        [USE_EXPRESSION] = "in an expression",
        [USE_CONDITION] = "in a condition, for joining, grouping or ordering",
        [USE_ROW] = "as part of a whole row",
    };

    if (!v.mark || v.mark->allow_predicates)
        return;
    facts_deny(a, v.mark->rule,
               "column %s.%s.%s is masked (rule '%s'): it may be selected as it is, not used %s; "
               "select it plainly",
               v.mark->schema, v.mark->relation, v.mark->column, v.mark->rule, words[use]);
}

/* A node, a list of nodes, or nothing. */
static struct value uses(struct analysis *a, const struct scope *s, struct json_object *node,
                         enum use use)
{
    struct value v = {0};
    size_t i, n;

    if (tree_empty(node))
        return v;
    if (!json_object_is_type(node, json_type_array))
        return expr_use(a, s, node, use);
    n = tree_len(node);
    for (i = 0; i < n; i++)
        v = value_join(v, uses(a, s, tree_at(node, i), use));
    return v;
}

static struct value children(struct analysis *a, const struct scope *s, const struct expr_kind *row,
                             struct json_object *body, enum use use)
{
    struct value v = {0};
    size_t i;
    bool plus;

    json_object_object_foreach(body, key, child)
    {
        if (!has_word(row->fields, key, &plus))
            facts_unknown(a);
        else if (plus)
            v = value_join(v, uses(a, s, child, use));
    }
    for (i = 0; i < ARRAY_LEN(typed_fields); i++) {
        struct json_object *inner;

        if (strcmp(typed_fields[i].kind, row->name) != 0 ||
            !(inner = tree_get(body, typed_fields[i].field)))
            continue;
        v = value_join(v, expr_body(a, s, typed_fields[i].type, inner));
        expr_refuse(a, v, use);
    }
    return value_loose(v);
}

struct value expr_body(struct analysis *a, const struct scope *s, const char *kind,
                       struct json_object *body)
{
    const struct expr_kind *row = kind_row(kind);
    struct value v = {0};

    if (facts_enter(a))
        return v;
    if (!row || !json_object_is_type(body, json_type_object))
        facts_unknown(a);
    else if (row->special)
        v = row->special(a, s, body);
    else
        v = children(a, s, row, body, USE_EXPRESSION);
    facts_leave(a);
    return v;
}

struct value expr_value(struct analysis *a, const struct scope *s, struct json_object *node)
{
    struct json_object *body;
    const char *kind;

    if (tree_empty(node))
        return (struct value){0};
    kind = tree_kind(node, &body);
    return expr_body(a, s, kind, body);
}

struct value expr_use(struct analysis *a, const struct scope *s, struct json_object *node,
                      enum use use)
{
    struct value v = expr_value(a, s, node);

    expr_refuse(a, v, use);
    return value_loose(v);
}

void expr_use_list(struct analysis *a, const struct scope *s, struct json_object *list,
                   enum use use)
{
    (void)uses(a, s, list, use);
}

/* ---- names ---- */

static bool in_user_path(struct analysis *a, const char *name, const char **ret_schema)
{
    static const char *const default_path[] = {"public", NULL};
    const char *const *path = a->env->search_path ? a->env->search_path : default_path;
    size_t i;

    for (i = 0; a->env->catalog && path[i]; i++) {
        if (strcmp(path[i], "pg_catalog") != 0 &&
            catalog_has_function(a->env->catalog, path[i], name)) {
            *ret_schema = path[i];
            return true;
        }
    }
    return false;
}

void expr_check_function(struct analysis *a, struct json_object *names, struct json_object *args)
{
    size_t n = tree_len(names);
    const char *name = tree_name_at(names, n - 1);
    const char *schema = n > 1 ? tree_name_at(names, n - 2) : NULL;

    if (n == 0 || n > 3 || !name || (n > 1 && !schema)) {
        facts_unknown(a);
        return;
    }
    if (schema && strcmp(schema, "information_schema") == 0 && function_is_schema_helper(name))
        return;
    if (!schema || strcmp(schema, "pg_catalog") == 0) {
        /* An overload of the same name in the search path might be the better match. */
        const char *other = NULL;
        bool built_in = schema || !in_user_path(a, name, &other);

        if (built_in && (function_is_pure(name) || guc_function(a, name, args)))
            return;
        if (other && function_is_pure(name))
            schema = other;
    }
    facts_function(a, schema, name, "");
}

void expr_check_operator(struct analysis *a, struct json_object *names)
{
    size_t n = tree_len(names);
    const char *name = tree_name_at(names, n - 1);
    const char *schema = n > 1 ? tree_name_at(names, n - 2) : NULL;

    if (n == 0 || n > 3 || !name || (n > 1 && !schema)) {
        facts_unknown(a);
        return;
    }
    if (operator_is_built_in(name) && (!schema || strcmp(schema, "pg_catalog") == 0))
        return;
    facts_function(a, schema, name, "operator ");
}

/* ---- nodes that are more than their children ---- */

static struct value column_ref(struct analysis *a, const struct scope *s, struct json_object *body)
{
    expr_check_fields(a, body, kind_row("ColumnRef")->fields);
    return scope_column_ref(a, s, body);
}

static struct value func_call(struct analysis *a, const struct scope *s, struct json_object *body)
{
    expr_check_function(a, tree_list(body, "funcname"), tree_list(body, "args"));
    return children(a, s, kind_row("FuncCall"), body, USE_EXPRESSION);
}

static struct value sort_by(struct analysis *a, const struct scope *s, struct json_object *body)
{
    if (tree_get(body, "useOp"))
        expr_check_operator(a, tree_list(body, "useOp"));
    return children(a, s, kind_row("SortBy"), body, USE_CONDITION);
}

static struct value a_expr(struct analysis *a, const struct scope *s, struct json_object *body)
{
    static const char *const with_operator[] = {
        "AEXPR_OP",     "AEXPR_OP_ANY", "AEXPR_OP_ALL", "AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT",
        "AEXPR_NULLIF", "AEXPR_IN",     "AEXPR_LIKE",   "AEXPR_ILIKE",    "AEXPR_SIMILAR",
    };
    static const char *const between[] = {"AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM",
                                          "AEXPR_NOT_BETWEEN_SYM"};
    bool known = false;
    size_t i;

    for (i = 0; i < ARRAY_LEN(with_operator); i++) {
        if (tree_is(body, "kind", with_operator[i])) {
            expr_check_operator(a, tree_list(body, "name"));
            known = true;
        }
    }
    for (i = 0; i < ARRAY_LEN(between); i++)
        known |= tree_is(body, "kind", between[i]);
    if (!known)
        facts_unknown(a);
    return children(a, s, kind_row("A_Expr"), body, USE_EXPRESSION);
}

static struct value sub_query(struct analysis *a, const struct scope *s, struct json_object *body)
{
    struct columns out = {0};
    struct value v;

    expr_check_fields(a, body, kind_row("JsonArrayQueryConstructor")->fields);
    query_analyze(a, s, tree_get(body, "query"), &out);
    v = value_loose(columns_all(&out));
    expr_refuse(a, v, USE_EXPRESSION);
    return v;
}

static struct value sub_link(struct analysis *a, const struct scope *s, struct json_object *body)
{
    struct columns out = {0};
    struct value v;

    expr_check_fields(a, body, kind_row("SubLink")->fields);
    query_analyze(a, s, tree_get(body, "subselect"), &out);
    if (tree_get(body, "operName"))
        expr_check_operator(a, tree_list(body, "operName"));
    if (tree_is(body, "subLinkType", "EXISTS_SUBLINK"))
        return (struct value){0};
    v = value_loose(columns_all(&out));
    if (tree_is(body, "subLinkType", "EXPR_SUBLINK"))
        return v; /* the value itself, without origin */
    if (tree_is(body, "subLinkType", "ARRAY_SUBLINK")) {
        expr_refuse(a, v, USE_EXPRESSION);
    } else if (tree_is(body, "subLinkType", "ANY_SUBLINK") ||
               tree_is(body, "subLinkType", "ALL_SUBLINK")) {
        expr_refuse(a, v, USE_CONDITION);
        v = value_join(v, uses(a, s, tree_get(body, "testexpr"), USE_CONDITION));
    } else {
        facts_unknown(a);
    }
    return v;
}

static struct value a_indirection(struct analysis *a, const struct scope *s,
                                  struct json_object *body)
{
    struct json_object *arg = tree_get(body, "arg"), *list = tree_list(body, "indirection");
    const struct range_item *item = scope_row_ref(a, s, arg);
    const char *field = tree_name_at(list, 0);
    struct value v = {0};
    size_t i, n = tree_len(list), start = 0;

    expr_check_fields(a, body, "arg indirection");
    if (item && field) { /* (u).email, (u.*).email */
        for (i = 0; i < item->columns.n; i++) {
            if (strcmp(item->columns.v[i].name, field) == 0) {
                v = value_join(v, value_loose(item->columns.v[i].value));
                start = 1;
            }
        }
        if (start && item->columns.open)
            v = value_join(v, value_loose(item->columns.rest));
    }
    if (!start)
        v = uses(a, s, arg, USE_EXPRESSION);
    expr_refuse(a, v, USE_EXPRESSION);
    for (i = start; i < n; i++) {
        struct json_object *node = tree_at(list, i);

        if (tree_name_at(list, i))
            scope_field_use(a, NULL, tree_name_at(list, i));
        else if (tree_body(node, "A_Indices"))
            v = value_join(v, uses(a, s, node, USE_EXPRESSION));
        else if (!tree_body(node, "A_Star"))
            facts_unknown(a);
    }
    return value_loose(v);
}
