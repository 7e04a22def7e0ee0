/* SPDX-License-Identifier: Apache-2.0
 * The unit of decision, as policy sees it: what one statement does to which objects. A
 * protocol's analyser makes it, policy_decide() judges it; nothing here knows a wire format.
 * All pointers are borrowed from the analyser's arena and live as long as the statement.
 */
#pragma once

#include "src-common/base.h"

/* Name in policies, groups it belongs to. Sql operations of design "Resources". */
enum operation {
    OP_UNKNOWN = 0, /* zero is the closed choice */
    OP_SELECT,
    OP_INSERT,
    OP_UPDATE,
    OP_DELETE,
    OP_MERGE,
    OP_TRUNCATE,
    OP_COPY_IN,
    OP_COPY_OUT,
    OP_CREATE,
    OP_ALTER,
    OP_DROP,
    OP_GRANT,
    OP_REVOKE,
    OP_CALL,
    OP_DO,
    OP_SET,
    OP_SHOW,
    OP_PREPARE,
    OP_EXECUTE,
    OP_DEALLOCATE,
    OP_DECLARE,
    OP_FETCH,
    OP_CLOSE,
    OP_EXPLAIN,
    OP_LISTEN,
    OP_NOTIFY,
    OP_LOCK,
    OP_MAINTENANCE,
    OP_BEGIN,
    OP_COMMIT,
    OP_ROLLBACK,
    OP_SAVEPOINT,
    OP_FUNCTION_CALL,
    OP_REPLICATION,
    OP_COUNT
};

typedef uint64_t opset; /* 1 << enum operation */
#define OPSET(op) ((opset)1 << (op))

/* "Select", as policies write it. */
const char *operation_name(enum operation op);
/* The set that an operation's or a group's name stands for ("Select", "Read", "DDL", "*");
 * 0 for a name that is neither. Groups: Read = Select CopyOut Declare Fetch Close; Write =
 * Insert Update Delete Merge Truncate CopyIn; DDL = Create Alter Drop Truncate; Privilege =
 * Grant Revoke; Transaction = Begin Commit Rollback Savepoint; Session = Set Show Prepare
 * Execute Deallocate Declare Fetch Close Listen Notify; "*" = all but FunctionCall,
 * Replication and Unknown. */
opset operation_parse(const char *name);

enum where_clause {
    WHERE_NOT_APPLICABLE = 0,
    WHERE_ABSENT, /* none, or one that is true for every row (WHERE true, 1=1, id=id) */
    WHERE_PRESENT,
};

/* One thing that a statement does to one relation, or to no relation in particular. */
struct object {
    enum operation op;
    enum where_clause where; /* Update and Delete only; Merge's actions count as absent */
    const char *schema;      /* NULL: name not found in the catalogue; `guess` says where it
                                would be, and a Deny matches it in every schema */
    const char *guess;       /* first schema of the search path, when schema is NULL */
    const char *name;        /* relation; NULL when the operation has none */
    bool implied;            /* judged by what is inside (Explain, Prepare, Declare, …): needs no
                                Allow of its own, but a Deny or RequireApproval that names it holds */
    bool metadata;           /* harmless system catalogue: any rule that allows Select on
                                anything allows it */
    bool sensitive;          /* system catalogue that shows data, secrets or other sessions: only
                                a rule that names it exactly allows it, no wildcard does */
};

struct statement {
    const struct object *objects;
    size_t n_objects;
    /* Functions, operators and procedures that are not known to be pure built-ins, as
     * "schema.name" or "name"; each must be named by a rule's `functions`. */
    const char *const *functions;
    size_t n_functions;
    /* Set when the statement is refused whatever the rules say, in words for the agent:
     * a masked column in a place that would reveal it, or something that no policy lifts. */
    const char *denied;
    const char *denied_rule; /* the mask rule that refuses, or NULL: built in */
};
