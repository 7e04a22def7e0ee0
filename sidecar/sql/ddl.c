/* SPDX-License-Identifier: Apache-2.0
 * Statements that change the schema, rights or maintenance state. A table says which operation
 * each is and which field names its relation. Whatever else they mention is found by a walk over
 * the whole statement: calls, queries, and relations with masked columns, which no definition
 * may build upon: the masks could not follow.
 */
#include "analysis.h"

#include <string.h>

enum names_what {
    NAMES_NOTHING = 0,
    NAMES_RELATION, /* an existing relation */
    NAMES_NEW,      /* the relation that is made */
};

enum ddl_flags {
    DDL_MASKED_OK = 1, /* may name a relation with masked columns */
    DDL_FORBIDDEN = 2, /* refused whatever the rules say */
    DDL_NO_CHANGE = 4, /* leaves the schema as it is */
    DDL_BINDS = 8,     /* makes ordinary statements run functions that they do not name */
};

static const struct ddl_kind {
    const char *name;
    enum operation op;
    enum names_what names;
    const char *field;
    unsigned flags;
} kinds[] = {
    {"AlterCollationStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterDatabaseRefreshCollStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterDatabaseSetStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterDatabaseStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterDomainStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterEnumStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterEventTrigStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterExtensionContentsStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterExtensionStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterFdwStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"AlterForeignServerStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"AlterFunctionStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterObjectDependsStmt", OP_ALTER, NAMES_RELATION, "relation", 0},
    {"AlterObjectSchemaStmt", OP_ALTER, NAMES_RELATION, "relation", 0},
    {"AlterOpFamilyStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_BINDS},
    {"AlterOperatorStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_BINDS},
    {"AlterOwnerStmt", OP_ALTER, NAMES_RELATION, "relation", 0},
    {"AlterPolicyStmt", OP_ALTER, NAMES_RELATION, "table", 0},
    {"AlterPublicationStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterRoleSetStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterRoleStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterSeqStmt", OP_ALTER, NAMES_RELATION, "sequence", 0},
    {"AlterStatsStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterSubscriptionStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"AlterSystemStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"AlterTSConfigurationStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterTSDictionaryStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterTableMoveAllStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterTableSpaceOptionsStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"AlterTableStmt", OP_ALTER, NAMES_RELATION, "relation", 0},
    {"AlterTypeStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_BINDS},
    {"AlterUserMappingStmt", OP_ALTER, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"CheckPointStmt", OP_MAINTENANCE, NAMES_NOTHING, NULL, DDL_NO_CHANGE},
    {"ClusterStmt", OP_MAINTENANCE, NAMES_RELATION, "relation", DDL_MASKED_OK | DDL_NO_CHANGE},
    {"CompositeTypeStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateAmStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreateCastStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreateConversionStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreateDomainStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateEnumStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateEventTrigStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreateExtensionStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateFdwStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"CreateForeignServerStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"CreateForeignTableStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"CreateFunctionStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateOpClassStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreateOpFamilyStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreatePLangStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreatePolicyStmt", OP_CREATE, NAMES_RELATION, "table", 0},
    {"CreatePublicationStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateRangeStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreateRoleStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateSchemaStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_MASKED_OK},
    {"CreateSeqStmt", OP_CREATE, NAMES_NEW, "sequence", 0},
    {"CreateStatsStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateStmt", OP_CREATE, NAMES_NEW, "relation", 0},
    {"CreateSubscriptionStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"CreateTableSpaceStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"CreateTransformStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_BINDS},
    {"CreateTrigStmt", OP_CREATE, NAMES_RELATION, "relation", 0},
    {"CreateUserMappingStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"CreatedbStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"DefineStmt", OP_CREATE, NAMES_NOTHING, NULL, 0},
    {"DropOwnedStmt", OP_DROP, NAMES_NOTHING, NULL, DDL_MASKED_OK},
    {"DropRoleStmt", OP_DROP, NAMES_NOTHING, NULL, 0},
    {"DropSubscriptionStmt", OP_DROP, NAMES_NOTHING, NULL, 0},
    {"DropTableSpaceStmt", OP_DROP, NAMES_NOTHING, NULL, 0},
    {"DropUserMappingStmt", OP_DROP, NAMES_NOTHING, NULL, 0},
    {"DropdbStmt", OP_DROP, NAMES_NOTHING, NULL, 0},
    {"ImportForeignSchemaStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"IndexStmt", OP_CREATE, NAMES_RELATION, "relation", DDL_MASKED_OK},
    {"LoadStmt", OP_CREATE, NAMES_NOTHING, NULL, DDL_FORBIDDEN},
    {"ReassignOwnedStmt", OP_ALTER, NAMES_NOTHING, NULL, 0},
    {"RefreshMatViewStmt", OP_MAINTENANCE, NAMES_RELATION, "relation",
     DDL_MASKED_OK | DDL_NO_CHANGE},
    {"ReindexStmt", OP_MAINTENANCE, NAMES_RELATION, "relation", DDL_MASKED_OK | DDL_NO_CHANGE},
    {"RenameStmt", OP_ALTER, NAMES_RELATION, "relation", 0},
    {"RuleStmt", OP_CREATE, NAMES_RELATION, "relation", 0},
};

/* ---- names ---- */

static void object_in_schema(struct analysis *a, enum operation op, const char *schema)
{
    const struct catalog *c = a->env->catalog;
    size_t i;

    for (i = c && schema ? catalog_schema_start(c, schema) : 0;
         c && schema && i < c->n_relations && strcmp(c->by_name[i]->schema, schema) == 0; i++) {
        struct relation_ref r = {.schema = schema, .name = c->by_name[i]->name};

        facts_object(a, op, WHERE_NOT_APPLICABLE, &r);
    }
}

/* ---- the walk over a definition ---- */

static void deny_masked(struct analysis *a, struct json_object *range_var)
{
    struct relation_ref r;

    names_resolve_quietly(a, range_var, &r);
    if (!r.marks)
        return;
    a->st->touches_masked = true;
    facts_deny(a, NULL,
               "%s.%s has masked columns: definitions that change it or build upon it are not "
               "permitted through the guard",
               r.schema, r.name);
}

static void walk(struct analysis *a, struct json_object *node, bool masked_ok)
{
    struct json_object *body;
    size_t i;

    if (facts_enter(a))
        return;
    if (json_object_is_type(node, json_type_array)) {
        for (i = 0; i < tree_len(node); i++)
            walk(a, tree_at(node, i), masked_ok);
    } else if (json_object_is_type(node, json_type_object)) {
        if (!masked_ok && tree_str(node, "relname"))
            deny_masked(a, node);
        if ((body = tree_body(node, "FuncCall")))
            expr_check_function(a, tree_list(body, "funcname"), tree_list(body, "args"));
        if ((body = tree_body(node, "A_Expr")) && !tree_is(body, "kind", "AEXPR_BETWEEN") &&
            !tree_is(body, "kind", "AEXPR_NOT_BETWEEN") &&
            !tree_is(body, "kind", "AEXPR_BETWEEN_SYM") &&
            !tree_is(body, "kind", "AEXPR_NOT_BETWEEN_SYM"))
            expr_check_operator(a, tree_list(body, "name"));
        if ((body = tree_body(node, "RangeVar"))) {
            struct relation_ref r;

            names_resolve_quietly(a, body, &r);
            facts_object(a, OP_SELECT, WHERE_NOT_APPLICABLE, &r);
        }
        json_object_object_foreach(node, key, child)
        {
            (void)key;
            walk(a, child, masked_ok);
        }
    }
    facts_leave(a);
}

/* ---- what is particular about some ---- */

static void index_columns(struct analysis *a, struct json_object *body)
{
    struct json_object *list = tree_list(body, "indexParams");
    struct relation_ref r;
    size_t i, k;

    names_resolve_quietly(a, tree_get(body, "relation"), &r);
    if (!r.marks)
        return;
    if (tree_get(body, "whereClause"))
        deny_masked(a, tree_get(body, "relation"));
    for (i = 0; i < tree_len(list); i++) {
        struct json_object *element = tree_body(tree_at(list, i), "IndexElem");
        const char *name = tree_str(element, "name");

        if (!name)
            deny_masked(a, tree_get(body, "relation"));
        for (k = 0; name && k < r.relation->n_columns; k++) {
            if (r.marks[k] && strcmp(r.relation->columns[k].name, name) == 0)
                deny_masked(a, tree_get(body, "relation"));
        }
    }
}

static bool masks_exist(const struct analysis *a)
{
    return a->env->masks && !maskmap_empty(a->env->masks);
}

/* Ways around the masks that name no relation. */
static void deny_indirect(struct analysis *a, const char *kind, struct json_object *body)
{
    const char *schema = tree_str(body, "subname");

    if (!masks_exist(a))
        return;
    if (strcmp(kind, "CreatePublicationStmt") == 0 || strcmp(kind, "AlterPublicationStmt") == 0)
        facts_deny(a, NULL, "publications are not permitted where columns are masked");
    if (strcmp(kind, "RenameStmt") == 0 && tree_is(body, "renameType", "OBJECT_SCHEMA") &&
        (!schema || maskmap_in_schema(a->env->masks, schema)))
        facts_deny(a, NULL, "a schema with masked columns may not be renamed");
    if (strcmp(kind, "AlterObjectSchemaStmt") == 0 &&
        tree_is(body, "objectType", "OBJECT_EXTENSION"))
        facts_deny(a, NULL, "extensions may not be moved where columns are masked");
}

static void nested_statements(struct analysis *a, struct json_object *list)
{
    size_t i;

    for (i = 0; i < tree_len(list); i++) {
        struct json_object *node = tree_at(list, i);
        struct json_object *inner = tree_list(tree_body(node, "List"), "items");

        if (inner)
            nested_statements(a, inner);
        else if (tree_body(node, "ReturnStmt"))
            walk(a, node, false);
        else if (!tree_empty(node))
            analyze_statement(a, node);
    }
}

static void particular(struct analysis *a, const char *kind, struct json_object *body)
{
    struct json_object *sql_body = tree_get(body, "sql_body");

    deny_indirect(a, kind, body);
    if (strcmp(kind, "IndexStmt") == 0)
        index_columns(a, body);
    if (strcmp(kind, "CreateTrigStmt") == 0)
        expr_check_function(a, tree_list(body, "funcname"), NULL);
    if (strcmp(kind, "CreateSchemaStmt") == 0 && tree_get(body, "schemaElts")) {
        facts_unknown(a); /* their names mean the new schema first */
        nested_statements(a, tree_list(body, "schemaElts"));
    }
    if (strcmp(kind, "DefineStmt") == 0 &&
        (tree_is(body, "kind", "OBJECT_OPERATOR") || tree_is(body, "kind", "OBJECT_AGGREGATE") ||
         tree_is(body, "kind", "OBJECT_TYPE")))
        facts_unknown(a);
    if (strcmp(kind, "RuleStmt") == 0)
        nested_statements(a, tree_list(body, "actions"));
    if (strcmp(kind, "CreateFunctionStmt") == 0 && sql_body)
        nested_statements(a, tree_list(tree_body(sql_body, "List"), "items"));
    if (strcmp(kind, "DropOwnedStmt") == 0)
        facts_unknown(a); /* drops what is not named */
}

/* ---- DROP, GRANT, and others with lists of names ---- */

/* The relation of a list of names, without the last `skip` of them. */
static void named_object(struct analysis *a, enum operation op, struct json_object *names,
                         size_t skip, bool masked_ok)
{
    size_t n = tree_len(names);
    struct relation_ref r;
    bool unknown = a->st->unknown_relation;

    if (n <= skip || !tree_name_at(names, n - skip - 1)) {
        facts_operation(a, op, false);
        return;
    }
    n -= skip;
    names_resolve_parts(a, n > 1 ? tree_name_at(names, n - 2) : NULL, tree_name_at(names, n - 1),
                        &r);
    a->st->unknown_relation = unknown;
    facts_object(a, op, WHERE_NOT_APPLICABLE, &r);
    if (r.marks && !masked_ok)
        facts_deny(a, NULL, "%s.%s has masked columns: it may not be changed like this", r.schema,
                   r.name);
}

static bool is_relation_kind(const char *kind)
{
    static const char *const relations[] = {"OBJECT_TABLE",    "OBJECT_VIEW",
                                            "OBJECT_MATVIEW",  "OBJECT_FOREIGN_TABLE",
                                            "OBJECT_SEQUENCE", "OBJECT_INDEX"};
    size_t i;

    for (i = 0; kind && i < ARRAY_LEN(relations); i++) {
        if (strcmp(relations[i], kind) == 0)
            return true;
    }
    return false;
}

static bool is_part_kind(const char *kind)
{
    return kind && (strcmp(kind, "OBJECT_TRIGGER") == 0 || strcmp(kind, "OBJECT_RULE") == 0 ||
                    strcmp(kind, "OBJECT_POLICY") == 0 || strcmp(kind, "OBJECT_COLUMN") == 0 ||
                    strcmp(kind, "OBJECT_TABCONSTRAINT") == 0);
}

static void drop(struct analysis *a, struct json_object *body)
{
    const char *kind = tree_str(body, "removeType");
    struct json_object *list = tree_list(body, "objects");
    size_t i;

    expr_check_fields(a, body, "objects removeType behavior missing_ok concurrent");
    for (i = 0; i < tree_len(list); i++) {
        struct json_object *names = tree_list(tree_body(tree_at(list, i), "List"), "items");

        if (is_relation_kind(kind)) {
            named_object(a, OP_DROP, names, 0, true);
        } else if (is_part_kind(kind)) {
            named_object(a, OP_DROP, names, 1, true);
        } else {
            facts_operation(a, OP_DROP, false);
            if (kind && strcmp(kind, "OBJECT_SCHEMA") == 0)
                object_in_schema(a, OP_DROP, tree_name_at(list, i));
        }
    }
}

static void grant(struct analysis *a, struct json_object *body)
{
    enum operation op = tree_bool(body, "is_grant") ? OP_GRANT : OP_REVOKE;
    struct json_object *list = tree_list(body, "objects");
    size_t i;

    expr_check_fields(a, body,
                      "is_grant targtype objtype objects privileges grantees grant_option grantor "
                      "behavior");
    if (tree_len(list) == 0)
        facts_operation(a, op, false);
    for (i = 0; i < tree_len(list); i++) {
        struct json_object *range_var = tree_body(tree_at(list, i), "RangeVar");
        struct relation_ref r;

        if (range_var) {
            names_resolve(a, range_var, &r);
            facts_object(a, op, WHERE_NOT_APPLICABLE, &r);
        } else {
            facts_operation(a, op, false);
            if (tree_is(body, "targtype", "ACL_TARGET_ALL_IN_SCHEMA"))
                object_in_schema(a, op, tree_name_at(list, i));
        }
    }
}

static void comment(struct analysis *a, struct json_object *body)
{
    const char *kind = tree_str(body, "objtype");
    struct json_object *names = tree_list(tree_body(tree_get(body, "object"), "List"), "items");

    if (is_relation_kind(kind))
        named_object(a, OP_ALTER, names, 0, true);
    else if (is_part_kind(kind))
        named_object(a, OP_ALTER, names, 1, true);
    else
        facts_operation(a, OP_ALTER, false);
}

/* TRUNCATE empties the children, too, and with CASCADE whatever refers to it. */
static void truncate_also(struct analysis *a, const struct catalog_relation *r, bool cascade,
                          unsigned depth)
{
    const struct catalog *c = a->env->catalog;
    const struct catalog_edges *e = &c->foreign_keys;
    struct relation_ref ref = {.schema = r->schema, .name = r->name, .relation = r};
    size_t i, before = a->n_objects;

    facts_object(a, OP_TRUNCATE, WHERE_NOT_APPLICABLE, &ref);
    if ((a->n_objects == before && depth > 0) || facts_enter(a))
        return;
    if (r->triggers)
        a->st->runs_hidden_code = true;
    a->work += c->parents.n;
    for (i = 0; i < c->parents.n; i++) {
        const struct catalog_relation *child = catalog_by_oid(c, c->parents.v[i].from);

        if (c->parents.v[i].to == r->oid && child)
            truncate_also(a, child, cascade, depth + 1);
    }
    for (i = cascade ? catalog_edges_start(e, r->oid) : e->n; i < e->n && e->v[i].from == r->oid;
         i++) {
        const struct catalog_relation *referrer = catalog_by_oid(c, e->v[i].to);

        if (referrer)
            truncate_also(a, referrer, true, depth + 1);
    }
    facts_leave(a);
}

static void truncate_tables(struct analysis *a, struct json_object *body)
{
    struct json_object *list = tree_list(body, "relations");
    bool cascade = tree_is(body, "behavior", "DROP_CASCADE");
    size_t i;

    expr_check_fields(a, body, "relations restart_seqs behavior");
    for (i = 0; i < tree_len(list); i++) {
        struct relation_ref r;

        names_resolve(a, tree_body(tree_at(list, i), "RangeVar"), &r);
        facts_object(a, OP_TRUNCATE, WHERE_NOT_APPLICABLE, &r);
        names_note_write(a, &r);
        if (r.relation)
            truncate_also(a, r.relation, cascade, 0);
        else if (cascade)
            facts_unknown(a); /* what refers to it is not known */
    }
}

static void maintain(struct analysis *a, struct json_object *body)
{
    struct json_object *list = tree_list(body, "rels");
    size_t i;

    if (tree_len(list) == 0)
        facts_operation(a, OP_MAINTENANCE, false);
    for (i = 0; i < tree_len(list); i++) {
        struct json_object *rel = tree_body(tree_at(list, i), "VacuumRelation");
        struct relation_ref r;

        names_resolve(a, tree_get(rel, "relation"), &r);
        facts_object(a, OP_MAINTENANCE, WHERE_NOT_APPLICABLE, &r);
        if (r.marks)
            a->st->touches_masked = true;
    }
    a->st->runs_hidden_code = true; /* functions of index expressions */
}

static void lock(struct analysis *a, struct json_object *body)
{
    struct json_object *list = tree_list(body, "relations");
    size_t i;

    expr_check_fields(a, body, "relations mode nowait");
    for (i = 0; i < tree_len(list); i++) {
        struct relation_ref r;

        names_resolve(a, tree_body(tree_at(list, i), "RangeVar"), &r);
        facts_object(a, OP_LOCK, WHERE_NOT_APPLICABLE, &r);
    }
}

/* ---- CREATE TABLE AS, views ---- */

static void create_from_query(struct analysis *a, struct json_object *range_var,
                              struct json_object *query)
{
    struct columns out = {0};
    struct relation_ref r;

    names_resolve_new(a, range_var, &r);
    facts_object(a, OP_CREATE, WHERE_NOT_APPLICABLE, &r);
    a->st->changes_catalog = true;
    query_analyze(a, NULL, query, &out);
    query_refuse_write(a, columns_all(&out), "stored in a table or view");
}

void ddl_create_as(struct analysis *a, struct json_object *body)
{
    struct json_object *query = tree_get(body, "query");

    expr_check_fields(a, body, "query into objtype is_select_into if_not_exists");
    if (tree_body(query, "ExecuteStmt"))
        facts_deny(a, NULL,
                   "CREATE TABLE AS EXECUTE is not permitted through the guard; use the query "
                   "itself");
    create_from_query(a, tree_get(tree_get(body, "into"), "rel"), query);
}

static void select_into_view(struct analysis *a, struct json_object *body)
{
    struct relation_ref old;

    expr_check_fields(a, body, "view aliases query replace options withCheckOption");
    create_from_query(a, tree_get(body, "view"), tree_get(body, "query"));
    if (tree_bool(body, "replace")) {
        names_resolve_quietly(a, tree_get(body, "view"), &old);
        if (old.marks)
            deny_masked(a, tree_get(body, "view"));
    }
    a->st->runs_hidden_code = true;
}

static bool list_statement(struct analysis *a, const char *kind, struct json_object *body)
{
    static const struct {
        const char *kind;
        void (*fn)(struct analysis *, struct json_object *);
        bool changes;
    } rows[] = {
        {"DropStmt", drop, true},
        {"GrantStmt", grant, true},
        {"CommentStmt", comment, true},
        {"SecLabelStmt", comment, true},
        {"TruncateStmt", truncate_tables, false},
        {"VacuumStmt", maintain, false},
        {"LockStmt", lock, false},
        {"ViewStmt", select_into_view, true},
        {"CreateTableAsStmt", ddl_create_as, true},
    };
    size_t i;

    for (i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].kind, kind) != 0)
            continue;
        rows[i].fn(a, body);
        a->st->changes_catalog |= rows[i].changes;
        a->st->runs_hidden_code |= rows[i].changes; /* event triggers */
        a->st->literal_dependent = true;
        return true;
    }
    return false;
}

static bool privileges(struct analysis *a, const char *kind, struct json_object *body)
{
    struct json_object *action = tree_get(body, "action");

    if (strcmp(kind, "GrantRoleStmt") == 0)
        facts_operation(a, tree_bool(body, "is_grant") ? OP_GRANT : OP_REVOKE, false);
    else if (strcmp(kind, "AlterDefaultPrivilegesStmt") == 0)
        facts_operation(a, tree_bool(action, "is_grant") ? OP_GRANT : OP_REVOKE, false);
    else
        return false;
    a->st->changes_catalog = a->st->runs_hidden_code = a->st->literal_dependent = true;
    return true;
}

static void table_statement(struct analysis *a, const struct ddl_kind *k, struct json_object *body)
{
    struct json_object *range_var = k->field ? tree_get(body, k->field) : NULL;
    struct relation_ref r;

    if (range_var && k->names == NAMES_NEW)
        names_resolve_new(a, range_var, &r);
    else if (range_var)
        names_resolve_quietly(a, range_var, &r);
    if (range_var) {
        facts_object(a, k->op, WHERE_NOT_APPLICABLE, &r);
        if (r.system)
            facts_deny(a, NULL, "the system catalogues may not be changed");
    } else {
        facts_operation(a, k->op, false);
    }
    if (k->flags & DDL_FORBIDDEN)
        facts_deny(a, NULL,
                   "statements that load code, connect to other servers or change the server's "
                   "settings are not permitted through the guard");
    if (k->flags & DDL_BINDS)
        facts_unknown(a);
    particular(a, k->name, body);
    walk(a, body, k->flags & DDL_MASKED_OK);
    a->st->changes_catalog |= !(k->flags & DDL_NO_CHANGE);
    a->st->runs_hidden_code = a->st->literal_dependent = true;
}

bool ddl_statement(struct analysis *a, const char *kind, struct json_object *body)
{
    size_t i;

    if (list_statement(a, kind, body) || privileges(a, kind, body))
        return true;
    for (i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i].name, kind) == 0) {
            table_statement(a, &kinds[i], body);
            return true;
        }
    }
    return false;
}
