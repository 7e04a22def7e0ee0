/* SPDX-License-Identifier: Apache-2.0
 * Names of operations and of their groups, as policies write them.
 */
#include "statement.h"

#include <string.h>

#include "words.h"

static const char *const names[OP_COUNT] = {
    [OP_UNKNOWN] = "Unknown",
    [OP_SELECT] = "Select",
    [OP_INSERT] = "Insert",
    [OP_UPDATE] = "Update",
    [OP_DELETE] = "Delete",
    [OP_MERGE] = "Merge",
    [OP_TRUNCATE] = "Truncate",
    [OP_COPY_IN] = "CopyIn",
    [OP_COPY_OUT] = "CopyOut",
    [OP_CREATE] = "Create",
    [OP_ALTER] = "Alter",
    [OP_DROP] = "Drop",
    [OP_GRANT] = "Grant",
    [OP_REVOKE] = "Revoke",
    [OP_CALL] = "Call",
    [OP_DO] = "Do",
    [OP_SET] = "Set",
    [OP_SHOW] = "Show",
    [OP_PREPARE] = "Prepare",
    [OP_EXECUTE] = "Execute",
    [OP_DEALLOCATE] = "Deallocate",
    [OP_DECLARE] = "Declare",
    [OP_FETCH] = "Fetch",
    [OP_CLOSE] = "Close",
    [OP_EXPLAIN] = "Explain",
    [OP_LISTEN] = "Listen",
    [OP_NOTIFY] = "Notify",
    [OP_LOCK] = "Lock",
    [OP_MAINTENANCE] = "Maintenance",
    [OP_BEGIN] = "Begin",
    [OP_COMMIT] = "Commit",
    [OP_ROLLBACK] = "Rollback",
    [OP_SAVEPOINT] = "Savepoint",
    [OP_FUNCTION_CALL] = "FunctionCall",
    [OP_REPLICATION] = "Replication",
};

static const struct group {
    const char *name;
    opset set;
} groups[] = {
    {"Read",
     OPSET(OP_SELECT) | OPSET(OP_COPY_OUT) | OPSET(OP_DECLARE) | OPSET(OP_FETCH) | OPSET(OP_CLOSE)},
    {"Write", OPSET(OP_INSERT) | OPSET(OP_UPDATE) | OPSET(OP_DELETE) | OPSET(OP_MERGE) |
                  OPSET(OP_TRUNCATE) | OPSET(OP_COPY_IN)},
    {"DDL", OPSET(OP_CREATE) | OPSET(OP_ALTER) | OPSET(OP_DROP) | OPSET(OP_TRUNCATE)},
    {"Privilege", OPSET(OP_GRANT) | OPSET(OP_REVOKE)},
    {"Transaction", OPS_TRANSACTION},
    {"Session", OPS_SESSION},
    {"*", (OPSET(OP_COUNT) - 1) &
              ~(OPSET(OP_FUNCTION_CALL) | OPSET(OP_REPLICATION) | OPSET(OP_UNKNOWN))},
};

const char *operation_name(enum operation op)
{
    return op < OP_COUNT ? names[op] : names[OP_UNKNOWN];
}

opset operation_parse(const char *name)
{
    for (size_t i = 0; i < OP_COUNT; i++) {
        if (strcmp(names[i], name) == 0)
            return OPSET(i);
    }
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        if (strcmp(groups[i].name, name) == 0)
            return groups[i].set;
    }
    return 0;
}

void operation_suggest(struct suggestion *s)
{
    for (size_t i = 0; i < OP_COUNT; i++)
        suggestion_offer(s, names[i]);
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        suggestion_offer(s, groups[i].name);
}
