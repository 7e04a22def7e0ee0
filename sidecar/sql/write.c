/* SPDX-License-Identifier: Apache-2.0
 * INSERT, UPDATE, DELETE, MERGE and COPY: what is written, and what flows into it. A masked
 * column never flows into anything stored: it would come out of there unmasked.
 */
#include "analysis.h"

#include "sidecar/mask/mask.h"

#include <string.h>

static const char STORED[] = "written anywhere";

/* ---- write-back: masked values over real ones ---- */

static void check_literals(struct analysis *a, const struct column_mark *mark,
                           struct json_object *node)
{
    struct tree_const c = tree_constant(node);
    size_t i;

    if (facts_enter(a))
        return;
    if (c.kind == TREE_CONST_STRING) {
        if (mask_recognise(bytes_str(c.str)))
            facts_deny(a, mark->rule,
                       "the value for %s.%s.%s is a masked one (rule '%s'): writing it would "
                       "destroy the real value; leave the column out",
                       mark->schema, mark->relation, mark->column, mark->rule);
    } else if (json_object_is_type(node, json_type_object)) {
        json_object_object_foreach(node, key, child)
        {
            (void)key;
            check_literals(a, mark, child);
        }
    } else if (json_object_is_type(node, json_type_array)) {
        for (i = 0; i < tree_len(node); i++)
            check_literals(a, mark, tree_at(node, i));
    }
    facts_leave(a);
}

/* The masked column of that name that may not be written masked values to; NULL. */
static const struct column_mark *guarded(const struct relation_ref *r, const char *name)
{
    size_t i;

    for (i = 0; r && r->marks && name && i < r->relation->n_columns; i++) {
        if (strcmp(r->relation->columns[i].name, name) == 0)
            return r->marks[i] && !r->marks[i]->allow_write_back ? r->marks[i] : NULL;
    }
    return NULL;
}

static void assign(struct analysis *a, const struct relation_ref *r, const char *name,
                   struct json_object *value)
{
    const struct column_mark *mark = facts_exhausted(a) ? NULL : guarded(r, name);

    if (r->marks)
        a->work += r->relation->n_columns;
    if (!mark)
        return;
    a->st->writes_masked = true;
    a->st->write_rule = facts_dup(a, mark->rule);
    a->st->literal_dependent = true;
    check_literals(a, mark, value);
}

/* ---- common parts ---- */

/* An item for the target's new or proposed rows: the same columns, but the agent gave them. */
static struct range_item *pseudo_row(struct analysis *a, const struct range_item *target,
                                     const char *alias, bool clean)
{
    struct range_item *item = facts_alloc(a, sizeof(*item));
    size_t i;

    if (!item)
        return NULL;
    item->alias = alias;
    item->named = true;
    columns_append(a, &item->columns, &target->columns);
    for (i = 0; i < item->columns.n; i++) {
        struct value *v = &item->columns.v[i].value;

        *v = clean ? (struct value){0} : value_loose(*v);
    }
    return item;
}

static void returning(struct analysis *a, struct scope *s, const struct range_item *target,
                      struct json_object *list, struct columns *out)
{
    if (tree_len(list) == 0)
        return;
    /* The rows come back: as in PostgreSQL's own rights, that is reading the relation. */
    facts_object(a, OP_SELECT, WHERE_NOT_APPLICABLE, target->relation);
    s->row_new = pseudo_row(a, target, "new", false);
    s->row_old = pseudo_row(a, target, "old", false);
    target_list(a, s, list, out);
}

/* SET x = …, and (x, y) = (…). */
static void assignments(struct analysis *a, const struct scope *s, struct json_object *list,
                        const struct relation_ref *r)
{
    size_t i, n = tree_len(list);

    for (i = 0; i < n; i++) {
        struct json_object *body = tree_body(tree_at(list, i), "ResTarget");
        struct json_object *val = tree_get(body, "val"), *row;
        struct json_object *multi = tree_body(val, "MultiAssignRef");
        size_t k;

        expr_check_fields(a, body, "name indirection val location");
        expr_use_list(a, s, tree_list(body, "indirection"), USE_EXPRESSION);
        if (multi) {
            expr_check_fields(a, multi, "source colno ncolumns");
            val = tree_get(multi, "source");
        }
        row = multi ? tree_list(tree_body(val, "RowExpr"), "args") : NULL;
        if (row) {
            for (k = 0; k < tree_len(row); k++)
                query_refuse_write(a, expr_value(a, s, tree_at(row, k)), STORED);
        } else {
            query_refuse_write(a, expr_value(a, s, val), STORED);
        }
        assign(a, r, tree_str(body, "name"), val);
    }
}

static struct range_item *add_target(struct analysis *a, struct scope *s, struct json_object *body,
                                     enum operation op, enum where_clause where)
{
    struct range_item *item = from_relation(a, tree_get(body, "relation"), op, where);

    scope_add(a, s, item);
    return item;
}

/* ---- INSERT ---- */

/* The i-th column that the statement fills. */
static const char *insert_column(struct json_object *cols, const struct relation_ref *r, size_t i)
{
    if (cols)
        return tree_str(tree_body(tree_at(cols, i), "ResTarget"), "name");
    return r->relation && i < r->relation->n_columns ? r->relation->columns[i].name : NULL;
}

static bool insert_fills_guarded(struct json_object *cols, const struct relation_ref *r)
{
    size_t i, n = cols ? tree_len(cols) : r->relation ? r->relation->n_columns : 0;

    for (i = 0; i < n; i++) {
        if (guarded(r, insert_column(cols, r, i)))
            return true;
    }
    return false;
}

static void insert_literals(struct analysis *a, struct json_object *cols,
                            const struct relation_ref *r, struct json_object *source)
{
    struct json_object *body = tree_body(source, "SelectStmt"), *row;
    struct json_object *rows = tree_list(body, "valuesLists");
    size_t i, k;

    if (!source || !insert_fills_guarded(cols, r))
        return;
    for (i = 0; i < tree_len(rows); i++) {
        row = tree_list(tree_body(tree_at(rows, i), "List"), "items");
        for (k = 0; k < tree_len(row); k++)
            assign(a, r, insert_column(cols, r, k), tree_at(row, k));
    }
    if (rows)
        return;
    for (i = 0;; i++) { /* INSERT … SELECT: any literal in it may get there */
        const char *name = insert_column(cols, r, i);

        if (!name)
            break;
        assign(a, r, name, source);
    }
}

/* Only the columns that conflict are compared; what is proposed came from the agent. */
static void on_conflict(struct analysis *a, struct scope *s, const struct range_item *target,
                        struct json_object *body)
{
    struct json_object *infer = tree_get(body, "infer");
    struct json_object *elements = tree_list(infer, "indexElems");
    size_t i;

    if (!body)
        return;
    expr_check_fields(a, body, "action infer targetList whereClause location");
    if (infer)
        expr_check_fields(a, infer, "indexElems whereClause conname location");
    for (i = 0; i < tree_len(elements); i++) {
        struct json_object *element = tree_body(tree_at(elements, i), "IndexElem");
        struct value v = {0};

        expr_check_fields(a, element,
                          "name expr indexcolname collation opclass opclassopts ordering "
                          "nulls_ordering");
        if (tree_str(element, "name")) {
            (void)scope_has_column(a, s, tree_str(element, "name"), &v);
            expr_refuse(a, v, USE_CONDITION);
        }
        (void)expr_use(a, s, tree_get(element, "expr"), USE_CONDITION);
    }
    (void)expr_use(a, s, tree_get(infer, "whereClause"), USE_CONDITION);
    if (tree_is(body, "action", "ONCONFLICT_NOTHING"))
        return;
    if (!tree_is(body, "action", "ONCONFLICT_UPDATE"))
        facts_unknown(a);
    facts_object(a, OP_UPDATE, WHERE_PRESENT, target->relation);
    scope_add(a, s, pseudo_row(a, target, "excluded", true));
    assignments(a, s, tree_list(body, "targetList"), target->relation);
    (void)expr_use(a, s, tree_get(body, "whereClause"), USE_CONDITION);
}

void write_insert(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out)
{
    struct scope s = scope_inside(outer), rows;
    struct json_object *cols = tree_list(body, "cols"), *source = tree_get(body, "selectStmt");
    struct columns from = {0};
    struct range_item *target;
    size_t i;

    expr_check_fields(a, body,
                      "relation cols selectStmt onConflictClause returningList withClause "
                      "override");
    query_with(a, &s, tree_get(body, "withClause"));
    if (source)
        query_analyze(a, &s, source, &from);
    query_refuse_write(a, columns_all(&from), STORED);
    rows = (struct scope){.outer = s.outer, .ctes = s.ctes};
    target = add_target(a, &rows, body, OP_INSERT, WHERE_NOT_APPLICABLE);
    if (!target)
        return;
    for (i = 0; i < tree_len(cols); i++) {
        struct json_object *col = tree_body(tree_at(cols, i), "ResTarget");

        expr_check_fields(a, col, "name indirection location");
        expr_use_list(a, &rows, tree_list(col, "indirection"), USE_EXPRESSION);
    }
    insert_literals(a, cols, target->relation, source);
    on_conflict(a, &rows, target, tree_get(body, "onConflictClause"));
    rows.n_items = 1; /* RETURNING does not see excluded */
    returning(a, &rows, target, tree_list(body, "returningList"), out);
}

/* ---- UPDATE, DELETE ---- */

void write_update(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out)
{
    struct json_object *where = tree_get(body, "whereClause");
    struct scope s = scope_inside(outer);
    struct range_item *target;

    expr_check_fields(a, body,
                      "relation targetList whereClause fromClause returningList withClause");
    query_with(a, &s, tree_get(body, "withClause"));
    target = add_target(a, &s, body, OP_UPDATE,
                        where_is_absent(a, where) ? WHERE_ABSENT : WHERE_PRESENT);
    if (!target)
        return;
    from_list(a, &s, tree_list(body, "fromClause"));
    (void)expr_use(a, &s, where, USE_CONDITION);
    assignments(a, &s, tree_list(body, "targetList"), target->relation);
    returning(a, &s, target, tree_list(body, "returningList"), out);
}

void write_delete(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out)
{
    struct json_object *where = tree_get(body, "whereClause");
    struct scope s = scope_inside(outer);
    struct range_item *target;

    expr_check_fields(a, body, "relation usingClause whereClause returningList withClause");
    query_with(a, &s, tree_get(body, "withClause"));
    target = add_target(a, &s, body, OP_DELETE,
                        where_is_absent(a, where) ? WHERE_ABSENT : WHERE_PRESENT);
    if (!target)
        return;
    from_list(a, &s, tree_list(body, "usingClause"));
    (void)expr_use(a, &s, where, USE_CONDITION);
    returning(a, &s, target, tree_list(body, "returningList"), out);
}

/* ---- MERGE ---- */

static void merge_insert(struct analysis *a, const struct scope *s, struct json_object *body,
                         const struct relation_ref *r)
{
    struct json_object *cols = tree_list(body, "targetList"), *values = tree_list(body, "values");
    size_t i;

    facts_object(a, OP_INSERT, WHERE_NOT_APPLICABLE, r);
    for (i = 0; i < tree_len(cols); i++)
        expr_check_fields(a, tree_body(tree_at(cols, i), "ResTarget"), "name indirection location");
    for (i = 0; i < tree_len(values); i++) {
        query_refuse_write(a, expr_value(a, s, tree_at(values, i)), STORED);
        assign(a, r, insert_column(cols, r, i), tree_at(values, i));
    }
}

static void merge_action(struct analysis *a, const struct scope *s, struct json_object *body,
                         const struct relation_ref *r)
{
    expr_check_fields(a, body,
                      "matched matchKind commandType override condition targetList values");
    (void)expr_use(a, s, tree_get(body, "condition"), USE_CONDITION);
    if (tree_is(body, "commandType", "CMD_UPDATE")) {
        facts_object(a, OP_UPDATE, WHERE_ABSENT, r);
        assignments(a, s, tree_list(body, "targetList"), r);
    } else if (tree_is(body, "commandType", "CMD_DELETE")) {
        facts_object(a, OP_DELETE, WHERE_ABSENT, r);
    } else if (tree_is(body, "commandType", "CMD_INSERT")) {
        merge_insert(a, s, body, r);
    } else if (!tree_is(body, "commandType", "CMD_NOTHING")) {
        facts_unknown(a);
    }
}

void write_merge(struct analysis *a, const struct scope *outer, struct json_object *body,
                 struct columns *out)
{
    struct json_object *actions = tree_list(body, "mergeWhenClauses");
    struct scope s = scope_inside(outer);
    struct range_item *target;
    size_t i;

    expr_check_fields(a, body,
                      "relation sourceRelation joinCondition mergeWhenClauses withClause "
                      "returningList");
    query_with(a, &s, tree_get(body, "withClause"));
    target = add_target(a, &s, body, OP_MERGE, WHERE_NOT_APPLICABLE);
    if (!target)
        return;
    from_item(a, &s, tree_get(body, "sourceRelation"));
    (void)expr_use(a, &s, tree_get(body, "joinCondition"), USE_CONDITION);
    for (i = 0; i < tree_len(actions); i++)
        merge_action(a, &s, tree_body(tree_at(actions, i), "MergeWhenClause"), target->relation);
    returning(a, &s, target, tree_list(body, "returningList"), out);
}

/* ---- COPY ---- */

static const struct column_mark *copied_mark(const struct relation_ref *r,
                                             struct json_object *columns, bool guarded_only)
{
    size_t i, k;

    for (i = 0; r->marks && i < r->relation->n_columns; i++) {
        bool copied = !columns;

        for (k = 0; k < tree_len(columns); k++) {
            const char *name = tree_name_at(columns, k);

            copied |= !name || strcmp(name, r->relation->columns[i].name) == 0;
        }
        if (copied && r->marks[i] && !(guarded_only && r->marks[i]->allow_write_back))
            return r->marks[i];
    }
    return NULL;
}

static void copy_relation(struct analysis *a, struct json_object *body, bool in)
{
    struct json_object *columns = tree_list(body, "attlist");
    struct scope s = {0};
    struct range_item *item = from_relation(a, tree_get(body, "relation"),
                                            in ? OP_COPY_IN : OP_COPY_OUT, WHERE_NOT_APPLICABLE);
    const struct column_mark *mark;

    if (!item)
        return;
    names_note_read(a, item->relation);
    mark = copied_mark(item->relation, columns, in);
    if (mark && in)
        facts_deny(a, mark->rule,
                   "column %s.%s.%s is masked (rule '%s'): COPY into it cannot be checked for "
                   "masked values; use INSERT",
                   mark->schema, mark->relation, mark->column, mark->rule);
    else if (mark)
        query_refuse_write(a, (struct value){mark, false},
                           "copied; use SELECT, or COPY the other columns only");
    scope_add(a, &s, item);
    (void)expr_use(a, &s, tree_get(body, "whereClause"), USE_CONDITION);
}

void write_copy(struct analysis *a, struct json_object *body)
{
    bool in = tree_bool(body, "is_from");
    struct columns out = {0};

    expr_check_fields(a, body,
                      "relation query attlist is_from is_program filename options whereClause");
    if (tree_bool(body, "is_program") || tree_get(body, "filename"))
        facts_deny(a, NULL,
                   "COPY with PROGRAM or a server file is not permitted; use STDIN or STDOUT");
    a->st->copy_from_stdin = in;
    a->st->copy_to_stdout = !in;
    if (tree_get(body, "relation")) {
        copy_relation(a, body, in);
    } else if (tree_get(body, "query") && !in) {
        facts_operation(a, OP_COPY_OUT, true);
        query_analyze(a, NULL, tree_get(body, "query"), &out);
        query_refuse_write(a, columns_all(&out), "copied; use SELECT");
    } else {
        facts_unknown(a);
    }
}
