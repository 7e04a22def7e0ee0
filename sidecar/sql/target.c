/* SPDX-License-Identifier: Apache-2.0
 * Target lists, and the names that PostgreSQL gives to their columns (FigureColname).
 */
#include "analysis.h"

#include <string.h>

static const char *last_name(struct json_object *list)
{
    size_t n = tree_len(list);

    while (n > 0) {
        const char *s = tree_name_at(list, --n);

        if (s)
            return s;
    }
    return NULL;
}

static const char *select_name(struct json_object *body)
{
    struct json_object *target;

    while (tree_get(body, "larg"))
        body = tree_get(body, "larg");
    if (tree_get(body, "valuesLists"))
        return "column1";
    target = tree_body(tree_at(tree_list(body, "targetList"), 0), "ResTarget");
    if (!target)
        return NULL;
    return tree_str(target, "name") ? tree_str(target, "name")
                                    : target_name(tree_get(target, "val"));
}

static const char *sub_link_name(struct json_object *body)
{
    struct json_object *select = tree_body(tree_get(body, "subselect"), "SelectStmt");

    if (tree_is(body, "subLinkType", "EXISTS_SUBLINK"))
        return "exists";
    if (tree_is(body, "subLinkType", "ARRAY_SUBLINK"))
        return "array";
    return tree_is(body, "subLinkType", "EXPR_SUBLINK") ? select_name(select) : "?column?";
}

static const char *cast_name(struct json_object *body)
{
    const char *name = target_name(tree_get(body, "arg"));

    if (name && strcmp(name, "?column?") != 0)
        return name;
    return name ? last_name(tree_list(tree_get(body, "typeName"), "names")) : NULL;
}

static const char *case_name(struct json_object *body)
{
    struct json_object *other = tree_get(body, "defresult");
    const char *name = other ? target_name(other) : "?column?";

    return name && strcmp(name, "?column?") == 0 ? "case" : name;
}

static const char *indirection_name(struct json_object *body)
{
    const char *name = last_name(tree_list(body, "indirection"));

    return name ? name : target_name(tree_get(body, "arg"));
}

/* The operation's name in small letters, as SQLValueFunction and MinMaxExpr give it. */
static const char *operation_word(struct json_object *body)
{
    static const struct {
        const char *op, *name;
    } words[] = {
        {"IS_GREATEST", "greatest"},
        {"IS_LEAST", "least"},
        {"SVFOP_CURRENT_DATE", "current_date"},
        {"SVFOP_CURRENT_TIME", "current_time"},
        {"SVFOP_CURRENT_TIME_N", "current_time"},
        {"SVFOP_CURRENT_TIMESTAMP", "current_timestamp"},
        {"SVFOP_CURRENT_TIMESTAMP_N", "current_timestamp"},
        {"SVFOP_LOCALTIME", "localtime"},
        {"SVFOP_LOCALTIME_N", "localtime"},
        {"SVFOP_LOCALTIMESTAMP", "localtimestamp"},
        {"SVFOP_LOCALTIMESTAMP_N", "localtimestamp"},
        {"SVFOP_CURRENT_ROLE", "current_role"},
        {"SVFOP_CURRENT_USER", "current_user"},
        {"SVFOP_USER", "user"},
        {"SVFOP_SESSION_USER", "session_user"},
        {"SVFOP_CURRENT_CATALOG", "current_catalog"},
        {"SVFOP_CURRENT_SCHEMA", "current_schema"},
    };
    size_t i;

    for (i = 0; i < ARRAY_LEN(words); i++) {
        if (tree_is(body, "op", words[i].op))
            return words[i].name;
    }
    return NULL;
}

static const struct {
    const char *kind, *name;
} fixed_names[] = {
    {"A_ArrayExpr", "array"},
    {"A_Const", "?column?"},
    {"BoolExpr", "?column?"},
    {"BooleanTest", "?column?"},
    {"CoalesceExpr", "coalesce"},
    {"GroupingFunc", "grouping"},
    {"MergeSupportFunc", "merge_action"},
    {"NullTest", "?column?"},
    {"ParamRef", "?column?"},
    {"RowExpr", "row"},
    {"XmlSerialize", "xmlserialize"},
};

const char *target_name(struct json_object *node)
{
    struct json_object *body;
    const char *kind = tree_kind(node, &body);
    size_t i;

    if (!kind)
        return NULL;
    for (i = 0; i < ARRAY_LEN(fixed_names); i++) {
        if (strcmp(fixed_names[i].kind, kind) == 0)
            return fixed_names[i].name;
    }
    if (strcmp(kind, "ColumnRef") == 0)
        return last_name(tree_list(body, "fields"));
    if (strcmp(kind, "FuncCall") == 0)
        return last_name(tree_list(body, "funcname"));
    if (strcmp(kind, "A_Expr") == 0)
        return tree_is(body, "kind", "AEXPR_NULLIF") ? "nullif" : "?column?";
    if (strcmp(kind, "A_Indirection") == 0)
        return indirection_name(body);
    if (strcmp(kind, "TypeCast") == 0)
        return cast_name(body);
    if (strcmp(kind, "CollateClause") == 0)
        return target_name(tree_get(body, "arg"));
    if (strcmp(kind, "SubLink") == 0)
        return sub_link_name(body);
    if (strcmp(kind, "CaseExpr") == 0)
        return case_name(body);
    if (strcmp(kind, "MinMaxExpr") == 0 || strcmp(kind, "SQLValueFunction") == 0)
        return operation_word(body);
    return NULL; /* XML, JSON: any name may be it */
}

static bool ends_in_star(struct json_object *list)
{
    size_t n = tree_len(list);

    return n > 0 && tree_body(tree_at(list, n - 1), "A_Star");
}

static void target(struct analysis *a, const struct scope *s, struct json_object *body,
                   struct columns *out)
{
    struct json_object *val = tree_get(body, "val");
    struct json_object *ref = tree_body(val, "ColumnRef");
    struct json_object *indirection = tree_body(val, "A_Indirection");
    const char *name = tree_str(body, "name");
    struct value v;

    expr_check_fields(a, body, "name val indirection location");
    if (ref && ends_in_star(tree_list(ref, "fields"))) {
        scope_expand_star(a, s, tree_list(ref, "fields"), out);
        return;
    }
    v = expr_value(a, s, val);
    if (indirection && ends_in_star(tree_list(indirection, "indirection"))) {
        out->open = true; /* (f(x)).*: however many */
        out->rest = value_join(out->rest, v);
        return;
    }
    columns_add(a, out, name ? name : target_name(val), v);
}

void target_list(struct analysis *a, const struct scope *s, struct json_object *list,
                 struct columns *out)
{
    size_t i, n = tree_len(list);

    for (i = 0; i < n && !a->failed; i++) {
        struct json_object *body = tree_body(tree_at(list, i), "ResTarget");

        if (body)
            target(a, s, body, out);
        else
            facts_unknown(a);
    }
}
