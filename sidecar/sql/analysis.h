/* SPDX-License-Identifier: Apache-2.0
 * The inside of the analyser: what one statement's analysis knows, and how its parts call each
 * other.
 *
 *   analyze.c   statements by node name          names.c   relation names, system catalogues
 *   query.c     SELECT, WITH, set operations      scope.c   column references in scopes
 *   from.c      FROM items                         expr.c    expressions by node name
 *   target.c    target lists and their names      write.c   INSERT, UPDATE, DELETE, MERGE, COPY
 *   where.c     conditions that hold for any row   ddl.c     everything that changes the schema
 *   guc.c       SET and RESET                      facts.c   what is found, collected
 *
 * Everything is allocated in the arena. Out of memory sets `failed`, which sticks and is asked
 * once, at the end; until then functions go on with what they have.
 */
#pragma once

#include "analyze.h"
#include "maskmap_private.h"
#include "tree.h"

/* ---- what is found ---- */

struct analysis {
    const struct sql_env *env;
    struct arena *arena;
    struct sql_statement *st;
    struct object *objects;
    const char **functions;
    size_t n_objects, cap_objects, n_functions, cap_functions;
    size_t work; /* nodes visited so far, over all repetitions */
    unsigned depth;
    bool owner;   /* a view's definition: lineage only, nothing is refused */
    bool failed;  /* out of memory */
    bool unknown; /* a node or field without a row in our tables */
};

/* A relation as a statement names it. */
struct relation_ref {
    const char *schema, *guess, *name;       /* as in struct object */
    const struct catalog_relation *relation; /* NULL: not in the catalogue */
    const struct column_mark *const *marks;  /* NULL: no masked column */
    bool metadata, sensitive, system;
};

void facts_object(struct analysis *a, enum operation op, enum where_clause where,
                  const struct relation_ref *r);
/* As facts_object, for what comes with another object: needs no Allow of its own. */
void facts_implied(struct analysis *a, enum operation op, const struct relation_ref *r);
/* As facts_object without a relation. */
void facts_operation(struct analysis *a, enum operation op, bool implied);
void facts_function(struct analysis *a, const char *schema, const char *name, const char *kind);
/* One more, as another analysis in the same arena found it. */
void facts_copy_object(struct analysis *a, const struct object *o);
void facts_copy_function(struct analysis *a, const char *name);
/* A node or field that this code does not know. */
void facts_unknown(struct analysis *a);
/* Refused by the mask rule `rule`, or built in when it is NULL; the first reason stays. */
void facts_deny(struct analysis *a, const char *rule, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Deeper and more work than any honest statement: true when the walk has to stop. Every
 * recursive function calls it first, and facts_leave when it returned false. */
bool facts_enter(struct analysis *a);
void facts_leave(struct analysis *a);
/* As facts_enter, for long loops. */
bool facts_exhausted(struct analysis *a);
void *facts_alloc(struct analysis *a, size_t n);
const char *facts_dup(struct analysis *a, const char *s);

/* ---- values and columns ---- */

/* What is known of a value: the masked column that it comes from, if any. */
struct value {
    const struct column_mark *mark;
    bool loose; /* not a plain chain of columns to the relation: RowDescription has no origin */
};

struct column {
    const char *name;
    struct value value;
};

/* Columns of a FROM item or of a query's result, in order. */
struct columns {
    struct column *v;
    size_t n, cap;
    bool open;         /* there are, or may be, others that we do not know … */
    struct value rest; /* … and that is what they may carry */
};

struct value value_join(struct value a, struct value b);
/* A computed value over these. */
struct value value_loose(struct value v);
void columns_add(struct analysis *a, struct columns *c, const char *name, struct value v);
/* All columns of `from`, in order. */
void columns_append(struct analysis *a, struct columns *c, const struct columns *from);
/* Everything that any column carries. */
struct value columns_all(const struct columns *c);
/* Positions are not known any more: one open set that carries everything. */
void columns_collapse(struct columns *c);
/* Renames the first ones as the list of Strings says. */
void columns_rename(struct analysis *a, struct columns *c, struct json_object *names);

/* ---- scopes ---- */

struct cte;

struct range_item {
    const char *alias;  /* NULL: cannot be named */
    const char *schema; /* of a relation without alias: schema.name.column is possible */
    struct columns columns;
    bool named;                    /* alias.column is possible (ParseNamespaceItem.p_rel_visible) */
    bool bare;                     /* column is possible (p_cols_visible) */
    struct relation_ref *relation; /* for locks; NULL for others */
};

struct scope {
    const struct scope *outer;
    struct cte *ctes; /* visible ones, innermost first; those of outer queries follow */
    struct range_item **items;
    size_t n_items, cap_items;
    const struct range_item *row_new, *row_old; /* RETURNING (PostgreSQL 18): new.x, old.x */
};

struct scope scope_inside(const struct scope *outer);
void scope_add(struct analysis *a, struct scope *s, struct range_item *item);

/* What a column reference means. */
struct value scope_column_ref(struct analysis *a, const struct scope *s, struct json_object *body);
/* The item that an expression of one name ("u") or "u.*" stands for as a whole row; NULL. */
const struct range_item *scope_row_ref(struct analysis *a, const struct scope *s,
                                       struct json_object *node);
/* Looks a bare name up among the items of this one scope. */
bool scope_has_column(struct analysis *a, const struct scope *s, const char *name,
                      struct value *ret);
/* A field of a composite value: a column, or a function written after a dot. */
void scope_field_use(struct analysis *a, const struct range_item *item, const char *name);
/* Expands "*" or "alias.*" into out. */
void scope_expand_star(struct analysis *a, const struct scope *s, struct json_object *fields,
                       struct columns *out);

/* ---- expressions ---- */

enum use { USE_EXPRESSION, USE_CONDITION, USE_ROW };

/* Refuses the value in that place when its mask says so. */
void expr_refuse(struct analysis *a, struct value v, enum use use);
/* What the expression yields, as a result column: a plain column stays plain. NULL is allowed. */
struct value expr_value(struct analysis *a, const struct scope *s, struct json_object *node);
/* As expr_value, in a place where a masked column must not stand. */
struct value expr_use(struct analysis *a, const struct scope *s, struct json_object *node,
                      enum use use);
void expr_use_list(struct analysis *a, const struct scope *s, struct json_object *list,
                   enum use use);
/* Walks an unwrapped body as if it were a node of that kind. */
struct value expr_body(struct analysis *a, const struct scope *s, const char *kind,
                       struct json_object *body);
/* Every key of the body is in the list of words (a word may begin with '+'), else Unknown. */
void expr_check_fields(struct analysis *a, struct json_object *body, const char *fields);
/* The name list of a call, an operator. */
void expr_check_function(struct analysis *a, struct json_object *names, struct json_object *args);
void expr_check_operator(struct analysis *a, struct json_object *names);

/* ---- queries ---- */

/* Any query (SELECT, INSERT … RETURNING …) as a wrapped node; its result columns in *out. */
void query_analyze(struct analysis *a, const struct scope *outer, struct json_object *node,
                   struct columns *out);
/* A SelectStmt's body. */
void query_select(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out);
/* Adds the CTEs of a WITH clause (NULL is none) to the scope and analyses them. */
void query_with(struct analysis *a, struct scope *s, struct json_object *with);
/* The CTE of that name that is visible here, analysed; NULL. */
const struct columns *query_cte(struct analysis *a, const struct scope *s, const char *name);
/* A target list in that scope. */
void target_list(struct analysis *a, const struct scope *s, struct json_object *list,
                 struct columns *out);
/* The name that PostgreSQL gives to an expression's column; NULL: not sure. */
const char *target_name(struct json_object *node);
/* One item of a FROM clause, added to the scope. */
void from_item(struct analysis *a, struct scope *s, struct json_object *node);
void from_list(struct analysis *a, struct scope *s, struct json_object *list);
/* A relation as a range item, with the object for `op` (OP_COUNT: none). */
struct range_item *from_relation(struct analysis *a, struct json_object *body, enum operation op,
                                 enum where_clause where);

/* A result that goes to the agent: notes what has no origin. */
void query_result(struct analysis *a, const struct columns *out);
/* A result that is stored or copied elsewhere: refused when it carries masked columns. */
void query_refuse_write(struct analysis *a, struct value v, const char *what);

/* ---- names ---- */

void names_resolve(struct analysis *a, struct json_object *range_var, struct relation_ref *ret);
void names_resolve_parts(struct analysis *a, const char *schema, const char *name,
                         struct relation_ref *ret);
/* As names_resolve, for what need not be in the catalogue: indexes, types. */
void names_resolve_quietly(struct analysis *a, struct json_object *range_var,
                           struct relation_ref *ret);
/* The relation that a CREATE makes: in the first schema of the path, or the temporary one. */
void names_resolve_new(struct analysis *a, struct json_object *range_var, struct relation_ref *ret);
/* Of system relations. */
bool names_is_harmless(const char *schema, const char *name);
/* The session's temporary schema as the catalogue names it, or NULL. */
const char *names_temp_schema(const struct analysis *a);
/* Marks st as touching masked data, running hidden code, as this relation asks for. */
void names_note_read(struct analysis *a, const struct relation_ref *r);
void names_note_write(struct analysis *a, const struct relation_ref *r);

/* ---- statements ---- */

/* Holds for every row, or does not look at the row at all. NULL (no WHERE) does. */
bool where_is_absent(struct analysis *a, struct json_object *condition);

void write_insert(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out);
void write_update(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out);
void write_delete(struct analysis *a, const struct scope *outer, struct json_object *body,
                  struct columns *out);
void write_merge(struct analysis *a, const struct scope *outer, struct json_object *body,
                 struct columns *out);
void write_copy(struct analysis *a, struct json_object *body);

void guc_set(struct analysis *a, struct json_object *body);
/* True when the call of that built-in only reads or sets a harmless setting: noted as such. */
bool guc_function(struct analysis *a, const char *name, struct json_object *args);

/* True when it knows the statement. */
bool ddl_statement(struct analysis *a, const char *kind, struct json_object *body);
/* CREATE TABLE AS, SELECT INTO, views. */
void ddl_create_as(struct analysis *a, struct json_object *body);

/* Any statement; dispatch of analyze.c. */
void analyze_statement(struct analysis *a, struct json_object *node);
void analysis_begin(struct analysis *a, const struct sql_env *env, struct arena *arena,
                    struct sql_statement *st);
/* Moves what was found into st. 0 or -ENOMEM. */
int analysis_end(struct analysis *a);
