/* SPDX-License-Identifier: Apache-2.0
 * Parse tree to facts: what each statement of a message does, to which objects, whether masked
 * columns could come out of it other than as plain result columns, and what it changes in the
 * session's names (prepared statements, cursors). A pure function; recursion is bounded by the
 * tree's depth, which the parser bounds. A node it does not know makes the statement Unknown.
 */
#pragma once

#include "maskmap.h"
#include "sidecar/policy/statement.h"
#include "src-common/arena.h"

struct json_object;

/* What a name in the text can mean. Borrowed for the call. */
struct sql_env {
    const struct catalog *catalog; /* NULL: nothing known (explain without a server) */
    const struct maskmap *masks;   /* NULL: no column masks */
    const char *const
        *search_path; /* resolved schemas, NULL-terminated, as current_schemas(true) */
};

enum sql_kind { /* what the session's bookkeeping needs to know */
                SQL_OTHER = 0,
                SQL_PREPARE,
                SQL_EXECUTE,
                SQL_DEALLOCATE, /* prepared statements; name NULL: ALL */
                SQL_DECLARE,
                SQL_FETCH,
                SQL_CLOSE, /* cursors; name NULL: ALL */
                SQL_DISCARD_ALL,
                SQL_TRANSACTION,
                SQL_SET,
};

struct sql_statement {
    struct statement policy;
    enum sql_kind kind;
    const char *name;            /* see kind */
    struct sql_statement *inner; /* of PREPARE: the statement that EXECUTE will run */
    struct bytes text;           /* this statement's part of the message */
    bool touches_masked;         /* reads or writes a relation with masked columns: results are
                                    masked by origin, errors and notices reduced */
    bool mask_originless;        /* masked columns reach results through expressions that policy
                                    permits, or through UNION, COALESCE of USING and the like: result
                                    columns without        origin are masked */
    bool writes_masked;          /* assigns to a masked column under writeBack: Deny: parameters are
                                    to be checked with mask_recognise (literals were) */
    const char *write_rule;      /* that mask's rule */
    bool runs_hidden_code;  /* may fire triggers, user functions, DO: errors and notices reduced
                               when any column mask exists */
    bool changes_catalog;   /* DDL and the like: the catalogue is stale after it */
    bool ends_transaction;  /* or goes back to a savepoint: what DDL did may be undone */
    bool literal_dependent; /* the facts depend on a literal's value: no caching by shape */
    bool unknown_relation;  /* names a relation the catalogue lacks: refresh it, then ask again */
    bool copy_from_stdin, copy_to_stdout;
};

struct sql_message { /* one Query or Parse */
    struct sql_statement *statements;
    size_t n; /* 0: empty query */
};

/* Facts of every statement, allocated in the arena. `sql` is the text the tree came from (for
 * statement slices; borrowed by the result). 0; -ENOMEM; -EBADMSG when the tree is no tree (deny).
 */
int sql_analyze(struct json_object *tree, struct bytes sql, const struct sql_env *env,
                struct arena *arena, struct sql_message *ret, struct error *err) MUST_CHECK;
