/* SPDX-License-Identifier: Apache-2.0
 * Statements by node name. What is not in the tables here or in ddl.c is Unknown.
 */
#include "analysis.h"

#include <errno.h>
#include <string.h>

typedef void statement_fn(struct analysis *a, struct json_object *body);

/* ---- queries ---- */

static void select_statement(struct analysis *a, struct json_object *body)
{
    struct json_object *into = tree_get(body, "intoClause");
    size_t before = a->n_objects;
    struct columns out = {0};
    struct relation_ref r;

    query_select(a, NULL, body, &out);
    if (a->n_objects == before)
        facts_operation(a, OP_SELECT, false);
    if (!into) {
        query_result(a, &out);
        return;
    }
    names_resolve_new(a, tree_get(into, "rel"), &r);
    facts_object(a, OP_CREATE, WHERE_NOT_APPLICABLE, &r);
    query_refuse_write(a, columns_all(&out), "stored in a table");
    a->st->changes_catalog = a->st->runs_hidden_code = true;
}

static void insert_statement(struct analysis *a, struct json_object *body)
{
    struct columns out = {0};

    write_insert(a, NULL, body, &out);
    query_result(a, &out);
}

static void update_statement(struct analysis *a, struct json_object *body)
{
    struct columns out = {0};

    write_update(a, NULL, body, &out);
    query_result(a, &out);
}

static void delete_statement(struct analysis *a, struct json_object *body)
{
    struct columns out = {0};

    write_delete(a, NULL, body, &out);
    query_result(a, &out);
}

static void merge_statement(struct analysis *a, struct json_object *body)
{
    struct columns out = {0};

    write_merge(a, NULL, body, &out);
    query_result(a, &out);
}

/* ---- statements around statements ---- */

static void explain(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "query options");
    facts_operation(a, OP_EXPLAIN, true);
    analyze_statement(a, tree_get(body, "query"));
    if (a->st->kind != SQL_EXECUTE) { /* EXPLAIN DECLARE makes no cursor */
        a->st->kind = SQL_OTHER;
        a->st->name = NULL;
    }
}

static void declare_cursor(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "portalname options query");
    facts_operation(a, OP_DECLARE, true);
    analyze_statement(a, tree_get(body, "query"));
    a->st->kind = SQL_DECLARE;
    a->st->name = facts_dup(a, tree_str(body, "portalname"));
}

static void copy_facts(struct analysis *a, const struct analysis *inner)
{
    struct sql_statement *st = a->st;
    size_t i;

    for (i = 0; i < inner->n_objects; i++)
        facts_copy_object(a, &inner->objects[i]);
    for (i = 0; i < inner->n_functions; i++)
        facts_copy_function(a, inner->functions[i]);
    st->policy.denied = inner->st->policy.denied;
    st->policy.denied_rule = inner->st->policy.denied_rule;
    st->touches_masked = inner->st->touches_masked;
    st->mask_originless = inner->st->mask_originless;
    st->writes_masked = inner->st->writes_masked;
    st->write_rule = inner->st->write_rule;
    st->runs_hidden_code |= inner->st->runs_hidden_code;
    st->literal_dependent |= inner->st->literal_dependent;
    st->unknown_relation = inner->st->unknown_relation;
    a->unknown |= inner->unknown;
    a->failed |= inner->failed;
    a->work = inner->work;
}

static void prepare(struct analysis *a, struct json_object *body)
{
    struct sql_statement *st = facts_alloc(a, sizeof(*st));
    struct analysis inner;

    if (!st)
        return;
    expr_check_fields(a, body, "name argtypes query");
    facts_operation(a, OP_PREPARE, true);
    analysis_begin(&inner, a->env, a->arena, st);
    st->text = a->st->text;
    analyze_statement(&inner, tree_get(body, "query"));
    if (analysis_end(&inner))
        a->failed = true;
    copy_facts(a, &inner);
    a->st->kind = SQL_PREPARE;
    a->st->name = facts_dup(a, tree_str(body, "name"));
    a->st->inner = st;
}

static void execute(struct analysis *a, struct json_object *body)
{
    struct scope none = {0};

    expr_check_fields(a, body, "name params");
    facts_operation(a, OP_EXECUTE, true);
    expr_use_list(a, &none, tree_list(body, "params"), USE_EXPRESSION);
    a->st->kind = SQL_EXECUTE;
    a->st->name = facts_dup(a, tree_str(body, "name"));
}

/* ---- session ---- */

static void deallocate(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "name isall location");
    facts_operation(a, OP_DEALLOCATE, false);
    a->st->kind = SQL_DEALLOCATE;
    a->st->name = facts_dup(a, tree_str(body, "name"));
}

static void fetch(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "direction howMany portalname ismove location direction_keyword");
    facts_operation(a, OP_FETCH, true);
    a->st->kind = SQL_FETCH;
    a->st->name = facts_dup(a, tree_str(body, "portalname"));
}

static void close_cursor(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "portalname");
    facts_operation(a, OP_CLOSE, true);
    a->st->kind = SQL_CLOSE;
    a->st->name = facts_dup(a, tree_str(body, "portalname"));
}

static void discard(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "target");
    facts_operation(a, OP_DEALLOCATE, false);
    if (tree_is(body, "target", "DISCARD_ALL"))
        a->st->kind = SQL_DISCARD_ALL;
    a->st->changes_catalog = !tree_is(body, "target", "DISCARD_PLANS"); /* temporary tables */
}

static void transaction(struct analysis *a, struct json_object *body)
{
    static const struct {
        const char *kind;
        enum operation op;
    } rows[] = {
        {"TRANS_STMT_BEGIN", OP_BEGIN},          {"TRANS_STMT_START", OP_BEGIN},
        {"TRANS_STMT_COMMIT", OP_COMMIT},        {"TRANS_STMT_ROLLBACK", OP_ROLLBACK},
        {"TRANS_STMT_SAVEPOINT", OP_SAVEPOINT},  {"TRANS_STMT_RELEASE", OP_SAVEPOINT},
        {"TRANS_STMT_ROLLBACK_TO", OP_ROLLBACK},
    };
    size_t i;

    expr_check_fields(a, body, "kind options savepoint_name gid chain location");
    a->st->kind = SQL_TRANSACTION;
    a->st->name = facts_dup(a, tree_str(body, "savepoint_name"));
    a->st->ends_transaction = true;
    for (i = 0; i < ARRAY_LEN(rows); i++) {
        if (tree_is(body, "kind", rows[i].kind)) {
            facts_operation(a, rows[i].op, false);
            a->st->ends_transaction = rows[i].op != OP_BEGIN && rows[i].op != OP_SAVEPOINT;
            return;
        }
    }
    facts_unknown(a); /* two-phase commit */
}

static void show(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "name");
    facts_operation(a, OP_SHOW, false);
}

static void listen_notify(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "conditionname");
    facts_operation(a, OP_LISTEN, false);
}

static void notify(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "conditionname payload payload_location");
    facts_operation(a, OP_NOTIFY, false);
}

static void set_constraints(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "constraints deferred");
    facts_operation(a, OP_SET, false);
    a->st->kind = SQL_SET;
    a->st->runs_hidden_code = true; /* deferred triggers fire */
}

/* ---- code ---- */

static void call(struct analysis *a, struct json_object *body)
{
    struct json_object *func = tree_get(body, "funccall");
    struct json_object *names = tree_list(func, "funcname");
    size_t n = tree_len(names);
    struct scope none = {0};

    expr_check_fields(a, body, "funccall");
    facts_operation(a, OP_CALL, false);
    (void)expr_body(a, &none, "FuncCall", func);
    if (n > 0 && tree_name_at(names, n - 1))
        facts_function(a, n > 1 ? tree_name_at(names, n - 2) : NULL, tree_name_at(names, n - 1),
                       "");
    a->st->changes_catalog = true; /* it may do anything */
}

static void do_block(struct analysis *a, struct json_object *body)
{
    expr_check_fields(a, body, "args");
    facts_operation(a, OP_DO, false);
    a->st->runs_hidden_code = a->st->literal_dependent = a->st->changes_catalog = true;
}

static const struct {
    const char *kind;
    statement_fn *fn;
} statements[] = {
    {"CallStmt", call},
    {"ClosePortalStmt", close_cursor},
    {"ConstraintsSetStmt", set_constraints},
    {"CopyStmt", write_copy},
    {"DeallocateStmt", deallocate},
    {"DeclareCursorStmt", declare_cursor},
    {"DeleteStmt", delete_statement},
    {"DiscardStmt", discard},
    {"DoStmt", do_block},
    {"ExecuteStmt", execute},
    {"ExplainStmt", explain},
    {"FetchStmt", fetch},
    {"InsertStmt", insert_statement},
    {"ListenStmt", listen_notify},
    {"MergeStmt", merge_statement},
    {"NotifyStmt", notify},
    {"PrepareStmt", prepare},
    {"SelectStmt", select_statement},
    {"TransactionStmt", transaction},
    {"UnlistenStmt", listen_notify},
    {"UpdateStmt", update_statement},
    {"VariableSetStmt", guc_set},
    {"VariableShowStmt", show},
};

void analyze_statement(struct analysis *a, struct json_object *node)
{
    struct json_object *body;
    const char *kind = tree_kind(node, &body);
    size_t i;

    if (facts_enter(a))
        return;
    for (i = 0; kind && i < ARRAY_LEN(statements); i++) {
        if (strcmp(statements[i].kind, kind) == 0) {
            statements[i].fn(a, body);
            facts_leave(a);
            return;
        }
    }
    if (!kind || !ddl_statement(a, kind, body))
        facts_unknown(a);
    facts_leave(a);
}

/* ---- the message ---- */

/* stmt_location and stmt_len; a length of 0 is "to the end". */
static struct bytes slice(struct bytes sql, struct json_object *raw)
{
    int64_t start = json_object_get_int64(tree_get(raw, "stmt_location"));
    int64_t len = json_object_get_int64(tree_get(raw, "stmt_len"));

    if (start < 0 || (uint64_t)start > sql.len)
        return sql;
    if (len <= 0 || (uint64_t)len > sql.len - (size_t)start)
        len = (int64_t)(sql.len - (size_t)start);
    return bytes_of(sql.p + start, (size_t)len);
}

int sql_analyze(struct json_object *tree, struct bytes sql, const struct sql_env *env,
                struct arena *arena, struct sql_message *ret, struct error *err)
{
    struct json_object *stmts = tree_get(tree, "stmts");
    struct sql_statement *list = NULL;
    size_t i, n = tree_len(stmts);

    if (!json_object_is_type(tree, json_type_object) ||
        (stmts && !json_object_is_type(stmts, json_type_array)))
        return error_set(err, -EBADMSG, "the parser's answer is not a statement tree");
    if (n > 0 && !(list = arena_alloc(arena, n * sizeof(*list))))
        return error_set(err, -ENOMEM, "the message has too many statements");
    for (i = 0; i < n; i++) {
        struct json_object *raw = tree_at(stmts, i), *node = tree_get(raw, "stmt");
        struct analysis a;

        if (!node)
            return error_set(err, -EBADMSG, "the parser's answer has a statement without tree");
        list[i].text = slice(sql, raw);
        analysis_begin(&a, env, arena, &list[i]);
        analyze_statement(&a, node);
        if (analysis_end(&a))
            return error_set(err, -ENOMEM, "the statement is too large to be judged");
    }
    *ret = (struct sql_message){list, n};
    return 0;
}
