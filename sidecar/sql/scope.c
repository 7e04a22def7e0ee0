/* SPDX-License-Identifier: Apache-2.0
 * Column references, by PostgreSQL's rules (parse_relation.c, transformColumnRef): the innermost
 * query that has the name supplies it; an alias stands for the whole row; alias.name that is no
 * column is a function call. Where the catalogue does not tell, the reference carries what any
 * candidate might.
 */
#include "analysis.h"

#include "functions.h"

#include <string.h>

struct scope scope_inside(const struct scope *outer)
{
    return (struct scope){.outer = outer, .ctes = outer ? outer->ctes : NULL};
}

void scope_add(struct analysis *a, struct scope *s, struct range_item *item)
{
    if (!item)
        return;
    if (s->n_items == s->cap_items) {
        size_t cap = s->cap_items ? s->cap_items * 2 : 4;
        struct range_item **v = facts_alloc(a, cap * sizeof(struct range_item *));

        if (!v)
            return;
        if (s->n_items)
            memcpy(v, s->items, s->n_items * sizeof(struct range_item *));
        s->items = v;
        s->cap_items = cap;
    }
    s->items[s->n_items++] = item;
}

/* Adds what the item's columns of that name carry; true when it certainly has one. */
static bool item_column(const struct range_item *item, const char *name, struct value *v)
{
    bool hit = false;
    size_t i;

    for (i = 0; i < item->columns.n; i++) {
        if (strcmp(item->columns.v[i].name, name) == 0) {
            *v = value_join(*v, item->columns.v[i].value);
            hit = true;
        }
    }
    if (item->columns.open)
        *v = value_join(*v, item->columns.rest);
    return hit;
}

bool scope_has_column(struct analysis *a, const struct scope *s, const char *name,
                      struct value *ret)
{
    bool hit = false;
    size_t i;

    for (i = 0; i < s->n_items; i++) {
        a->work += 1 + s->items[i]->columns.n;
        if (s->items[i]->bare)
            hit |= item_column(s->items[i], name, ret);
    }
    return hit;
}

static const struct range_item *find_item(struct analysis *a, const struct scope *s,
                                          const char *schema, const char *name)
{
    size_t i;

    for (; s; s = s->outer) {
        for (i = 0; i < s->n_items; i++) {
            const struct range_item *item = s->items[i];

            a->work++;
            if (!item->named || !item->alias || strcmp(item->alias, name) != 0)
                continue;
            if (!schema || (item->schema && strcmp(item->schema, schema) == 0))
                return item;
        }
        if (!schema && s->row_new && strcmp(name, "new") == 0)
            return s->row_new;
        if (!schema && s->row_old && strcmp(name, "old") == 0)
            return s->row_old;
    }
    return NULL;
}

static bool is_system_column(const char *name)
{
    static const char *const names[] = {"ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"};
    size_t i;

    for (i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* Whole rows hold every column, and come out as one value that is not a plain column. */
static struct value whole_row(struct analysis *a, const struct range_item *item)
{
    struct value v = value_loose(columns_all(&item->columns));

    expr_refuse(a, v, USE_ROW);
    return v;
}

void scope_field_use(struct analysis *a, const struct range_item *item, const char *name)
{
    const struct catalog *c = a->env->catalog;
    bool sure = item && !item->columns.open;

    if (function_is_pure(name) || is_system_column(name))
        return;
    /* With the catalogue at hand a name that no function has is a mistake or a column. Without
     * it, it is a column where one could be, a function otherwise. */
    if (c && c->n_functions ? catalog_has_function(c, NULL, name) : sure || !item)
        facts_function(a, NULL, name, "");
}

static struct value qualified(struct analysis *a, const struct scope *s, const char *schema,
                              const char *table, const char *name)
{
    const struct range_item *item = find_item(a, s, schema, table);
    struct value v = {0};

    if (!item && schema) /* search_path or temporary schemas may name it differently */
        item = find_item(a, s, NULL, table);
    if (!item) { /* the server will say so; should it not, any column of that name counts */
        for (; s; s = s->outer)
            scope_has_column(a, s, name, &v);
        return value_loose(v);
    }
    if (item_column(item, name, &v) || is_system_column(name))
        return v;
    scope_field_use(a, item, name);
    if (a->env->catalog && a->env->catalog->n_functions &&
        !catalog_has_function(a->env->catalog, NULL, name))
        return v;                             /* a column that we do not know, or a mistake */
    return value_join(v, whole_row(a, item)); /* a function of the row, or its text */
}

static struct value unqualified(struct analysis *a, const struct scope *s, const char *name)
{
    const struct scope *at;
    const struct range_item *item;
    struct value v = {0};

    for (at = s; at; at = at->outer) {
        if (scope_has_column(a, at, name, &v))
            return v;
    }
    item = find_item(a, s, NULL, name);
    return item ? value_join(v, whole_row(a, item)) : v;
}

static bool is_star(struct json_object *fields)
{
    size_t n = tree_len(fields);

    return n > 0 && tree_body(tree_at(fields, n - 1), "A_Star");
}

/* The item before the star or that the fields name: fields[0..n). */
static const struct range_item *item_of(struct analysis *a, const struct scope *s,
                                        struct json_object *fields, size_t n)
{
    const char *schema = n > 1 ? tree_name_at(fields, n - 2) : NULL;
    const char *name = n > 0 ? tree_name_at(fields, n - 1) : NULL;
    const struct range_item *item;

    if (!name)
        return NULL;
    item = find_item(a, s, schema, name);
    return item || !schema ? item : find_item(a, s, NULL, name);
}

const struct range_item *scope_row_ref(struct analysis *a, const struct scope *s,
                                       struct json_object *node)
{
    struct json_object *fields = tree_list(tree_body(node, "ColumnRef"), "fields");
    const struct scope *at;
    struct value v = {0};
    size_t n = tree_len(fields);

    if (n == 0)
        return NULL;
    if (is_star(fields))
        return item_of(a, s, fields, n - 1);
    if (n != 1 || !tree_name_at(fields, 0))
        return NULL;
    for (at = s; at; at = at->outer) {
        if (scope_has_column(a, at, tree_name_at(fields, 0), &v))
            return NULL;
    }
    return item_of(a, s, fields, 1);
}

struct value scope_column_ref(struct analysis *a, const struct scope *s, struct json_object *body)
{
    struct json_object *fields = tree_list(body, "fields");
    size_t n = tree_len(fields), i;
    struct value v = {0};

    if (is_star(fields)) { /* outside target lists: ROW(u.*), count(u.*) */
        const struct range_item *item = item_of(a, s, fields, n - 1);

        if (item)
            return whole_row(a, item);
        for (; s; s = s->outer) {
            for (i = 0; i < s->n_items; i++)
                v = value_join(v, whole_row(a, s->items[i]));
        }
        return v;
    }
    for (i = 0; i < n; i++) {
        if (!tree_name_at(fields, i)) {
            facts_unknown(a);
            return v;
        }
    }
    if (n == 1)
        return unqualified(a, s, tree_name_at(fields, 0));
    if (n >= 2 && n <= 4)
        return qualified(a, s, n > 2 ? tree_name_at(fields, n - 3) : NULL,
                         tree_name_at(fields, n - 2), tree_name_at(fields, n - 1));
    facts_unknown(a);
    return v;
}

void scope_expand_star(struct analysis *a, const struct scope *s, struct json_object *fields,
                       struct columns *out)
{
    size_t n = tree_len(fields), i;
    const struct range_item *item;

    if (n > 1) {
        item = item_of(a, s, fields, n - 1);
        if (item) {
            columns_append(a, out, &item->columns);
            return;
        }
        for (; s; s = s->outer) { /* unknown alias: whatever there is */
            for (i = 0; i < s->n_items; i++)
                out->rest = value_join(out->rest, columns_all(&s->items[i]->columns));
        }
        out->rest = value_loose(out->rest);
        out->open = true;
        return;
    }
    for (i = 0; i < s->n_items; i++) {
        if (s->items[i]->bare)
            columns_append(a, out, &s->items[i]->columns);
    }
}
