/* SPDX-License-Identifier: Apache-2.0
 * Conditions that hold for every row, or do not look at the row: `WHERE true`, `1=1`, `id=id`,
 * `id IS NULL OR id IS NOT NULL`. A rule on missing WHERE clauses must not be appeased by them.
 * This finds what people and models write to appease, not every tautology there is.
 */
#include "analysis.h"

#include <string.h>

static bool is_true(struct analysis *a, struct json_object *node);

static bool has_node(struct analysis *a, struct json_object *node, const char *kind)
{
    size_t i;
    bool found = false;

    if (facts_enter(a))
        return false; /* too deep: the closed answer is that it is absent */
    if (json_object_is_type(node, json_type_object)) {
        json_object_object_foreach(node, key, child)
        {
            if (!found)
                found = strcmp(key, kind) == 0 || has_node(a, child, kind);
        }
    } else if (json_object_is_type(node, json_type_array)) {
        for (i = 0; i < tree_len(node) && !found; i++)
            found = has_node(a, tree_at(node, i), kind);
    }
    facts_leave(a);
    return found;
}

static bool has_column(struct analysis *a, struct json_object *node)
{
    return has_node(a, node, "ColumnRef") || has_node(a, node, "CurrentOfExpr");
}

/* t.id and id are the same column as far as anybody may rely on. */
static bool same_column(struct json_object *x, struct json_object *y)
{
    struct json_object *f = tree_list(tree_body(x, "ColumnRef"), "fields");
    struct json_object *g = tree_list(tree_body(y, "ColumnRef"), "fields");
    size_t n = tree_len(f), m = tree_len(g), i;

    if (n == 0 || m == 0)
        return false;
    for (i = 1; i <= n && i <= m; i++) {
        const char *s = tree_name_at(f, n - i), *t = tree_name_at(g, m - i);

        if (!s || !t || strcmp(s, t) != 0)
            return false;
    }
    return true;
}

/* Casts and parentheses by a row of one do not make a difference. */
static struct json_object *bare(struct json_object *node)
{
    struct json_object *cast;

    while ((cast = tree_body(node, "TypeCast")))
        node = tree_get(cast, "arg");
    return node;
}

/* Equal trees; where literals stand in them, others would give another answer. */
static bool equal(struct analysis *a, struct json_object *x, struct json_object *y)
{
    if (!x || !y)
        return false;
    if (has_node(a, x, "A_Const") && has_node(a, y, "A_Const"))
        a->st->literal_dependent = true;
    return tree_equal(x, y);
}

static bool same(struct analysis *a, struct json_object *x, struct json_object *y)
{
    x = bare(x);
    y = bare(y);
    if (same_column(x, y))
        return true;
    return x && y && has_column(a, x) && has_column(a, y) && equal(a, x, y);
}

static bool operator_is(struct json_object *body, const char *name)
{
    struct json_object *list = tree_list(body, "name");
    const char *s = tree_name_at(list, tree_len(list) - 1);

    return s && strcmp(s, name) == 0;
}

static bool only_percent(struct analysis *a, struct json_object *node)
{
    struct tree_const c = tree_constant(bare(node));

    if (c.kind != TREE_CONST_STRING)
        return false;
    a->st->literal_dependent = true; /* another pattern is another answer */
    return c.str[0] && c.str[strspn(c.str, "%")] == '\0';
}

static bool list_has(struct analysis *a, struct json_object *list, struct json_object *x)
{
    size_t i, n = tree_len(list);

    for (i = 0; i < n; i++) {
        if (same(a, tree_at(list, i), x))
            return true;
    }
    return false;
}

/* `negated`: the operator's opposite, that is NOT (id <> id). */
static bool expr_is_true(struct analysis *a, struct json_object *body, bool negated)
{
    struct json_object *l = tree_get(body, "lexpr"), *r = tree_get(body, "rexpr");
    struct json_object *items = tree_list(tree_body(r, "List"), "items");

    if (tree_is(body, "kind", "AEXPR_OP") || tree_is(body, "kind", "AEXPR_DISTINCT") ||
        tree_is(body, "kind", "AEXPR_NOT_DISTINCT")) {
        bool opposite = operator_is(body, "<>") || operator_is(body, "!=") ||
                        operator_is(body, "<") || operator_is(body, ">") ||
                        tree_is(body, "kind", "AEXPR_DISTINCT");

        if (tree_is(body, "kind", "AEXPR_OP") &&
            (operator_is(body, "~~") || operator_is(body, "~~*")))
            return !negated && only_percent(a, r);
        return opposite == negated && same(a, l, r);
    }
    if (tree_is(body, "kind", "AEXPR_LIKE") || tree_is(body, "kind", "AEXPR_ILIKE"))
        return (operator_is(body, "~~") || operator_is(body, "~~*")) != negated &&
               only_percent(a, r);
    if (tree_is(body, "kind", "AEXPR_IN"))
        return operator_is(body, "=") != negated && list_has(a, items, l);
    if (tree_is(body, "kind", "AEXPR_OP_ANY"))
        return !negated && operator_is(body, "=") &&
               list_has(a, tree_list(tree_body(bare(r), "A_ArrayExpr"), "elements"), l);
    if (tree_is(body, "kind", "AEXPR_BETWEEN") || tree_is(body, "kind", "AEXPR_BETWEEN_SYM"))
        return !negated && list_has(a, items, l) && same(a, tree_at(items, 0), tree_at(items, 1));
    return false;
}

static bool opposites(struct json_object *x, struct json_object *y)
{
    static const char *const pairs[][2] = {{"=", "<>"}, {"<", ">="}, {">", "<="}};
    size_t i;

    if (!tree_is(x, "kind", "AEXPR_OP") || !tree_is(y, "kind", "AEXPR_OP"))
        return false;
    for (i = 0; i < ARRAY_LEN(pairs); i++) {
        if ((operator_is(x, pairs[i][0]) && operator_is(y, pairs[i][1])) ||
            (operator_is(x, pairs[i][1]) && operator_is(y, pairs[i][0])))
            return true;
    }
    return false;
}

/* x IS NULL OR x IS NOT NULL, and x = 1 OR x <> 1, among the arms. */
static bool arms_cover(struct analysis *a, struct json_object *args)
{
    size_t i, k, n = tree_len(args);

    for (i = 0; i < n && n <= 64; i++) {
        struct json_object *x = tree_body(tree_at(args, i), "NullTest");
        struct json_object *p = tree_body(tree_at(args, i), "A_Expr");

        for (k = 0; k < i; k++) {
            struct json_object *y = tree_body(tree_at(args, k), "NullTest");
            struct json_object *q = tree_body(tree_at(args, k), "A_Expr");
            struct json_object *not = tree_body(tree_at(args, k), "BoolExpr");
            struct json_object *not2 = tree_body(tree_at(args, i), "BoolExpr");

            if (x && y && same(a, tree_get(x, "arg"), tree_get(y, "arg")) &&
                !tree_is(x, "nulltesttype", tree_str(y, "nulltesttype")))
                return true;
            if (p && q && opposites(p, q) && same(a, tree_get(p, "lexpr"), tree_get(q, "lexpr")) &&
                equal(a, tree_get(p, "rexpr"), tree_get(q, "rexpr")))
                return true;
            if (tree_is(not, "boolop", "NOT_EXPR") &&
                equal(a, tree_at(tree_list(not, "args"), 0), tree_at(args, i)))
                return true;
            if (tree_is(not2, "boolop", "NOT_EXPR") &&
                equal(a, tree_at(tree_list(not2, "args"), 0), tree_at(args, k)))
                return true;
        }
    }
    return false;
}

static bool is_false(struct analysis *a, struct json_object *node)
{
    struct json_object *body;
    bool yes = false;

    if (facts_enter(a))
        return true;
    if (!has_column(a, node))
        yes = true; /* constant: it does not look at the row */
    else if ((body = tree_body(node, "A_Expr")))
        yes = expr_is_true(a, body, true);
    else if ((body = tree_body(node, "BoolExpr")) && tree_is(body, "boolop", "NOT_EXPR"))
        yes = is_true(a, tree_at(tree_list(body, "args"), 0));
    facts_leave(a);
    return yes;
}

static bool is_constantly_false(struct json_object *node)
{
    struct tree_const c = tree_constant(bare(node));

    return c.kind == TREE_CONST_NULL || (c.kind == TREE_CONST_BOOL && !c.num);
}

static bool any_is_true(struct analysis *a, struct json_object *list)
{
    size_t i, n = tree_len(list);

    for (i = 0; i < n; i++) {
        if (!is_constantly_false(tree_at(list, i)) && is_true(a, tree_at(list, i)))
            return true;
    }
    return false;
}

static bool bool_is_true(struct analysis *a, struct json_object *body)
{
    struct json_object *args = tree_list(body, "args");
    size_t i, n = tree_len(args), hits = 0;

    if (tree_is(body, "boolop", "NOT_EXPR"))
        return is_false(a, tree_at(args, 0));
    if (tree_is(body, "boolop", "OR_EXPR"))
        return any_is_true(a, args) || arms_cover(a, args);
    for (i = 0; i < n; i++)
        hits += is_true(a, tree_at(args, i));
    return hits == n;
}

/* Every result holds for the row. */
static bool case_is_true(struct analysis *a, struct json_object *body)
{
    struct json_object *args = tree_list(body, "args"), *other = tree_get(body, "defresult");
    size_t i;

    if (!other || is_constantly_false(other) || !is_true(a, other))
        return false;
    for (i = 0; i < tree_len(args); i++) {
        struct json_object *result = tree_get(tree_body(tree_at(args, i), "CaseWhen"), "result");

        if (is_constantly_false(result) || !is_true(a, result))
            return false;
    }
    return true;
}

static bool is_true(struct analysis *a, struct json_object *node)
{
    struct json_object *body;
    bool yes = false;

    if (facts_enter(a))
        return true;
    if (!has_column(a, node))
        yes = true;
    else if ((body = tree_body(node, "A_Expr")))
        yes = expr_is_true(a, body, false);
    else if ((body = tree_body(node, "BoolExpr")))
        yes = bool_is_true(a, body);
    else if ((body = tree_body(node, "TypeCast")))
        yes = is_true(a, tree_get(body, "arg"));
    else if ((body = tree_body(node, "CaseExpr")))
        yes = case_is_true(a, body);
    else if ((body = tree_body(node, "CoalesceExpr")))
        yes = any_is_true(a, tree_list(body, "args"));
    else if ((body = tree_body(node, "BooleanTest")))
        yes = tree_is(body, "booltesttype", "IS_TRUE") ||
                      tree_is(body, "booltesttype", "IS_NOT_FALSE")
                  ? is_true(a, tree_get(body, "arg"))
                  : is_false(a, tree_get(body, "arg"));
    facts_leave(a);
    return yes;
}

bool where_is_absent(struct analysis *a, struct json_object *condition)
{
    return !condition || is_true(a, condition);
}
