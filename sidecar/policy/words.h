/* SPDX-License-Identifier: Apache-2.0
 * "Did you mean …?": the nearest known word to one that is unknown. And sets of operations that
 * the rest of policy/ needs by name.
 */
#pragma once

#include "statement.h"

#define OPS_TRANSACTION                                                                            \
    (OPSET(OP_BEGIN) | OPSET(OP_COMMIT) | OPSET(OP_ROLLBACK) | OPSET(OP_SAVEPOINT))
#define OPS_SESSION                                                                                \
    (OPSET(OP_SET) | OPSET(OP_SHOW) | OPSET(OP_PREPARE) | OPSET(OP_EXECUTE) |                      \
     OPSET(OP_DEALLOCATE) | OPSET(OP_DECLARE) | OPSET(OP_FETCH) | OPSET(OP_CLOSE) |                \
     OPSET(OP_LISTEN) | OPSET(OP_NOTIFY))
/* Statements that never name a relation themselves. */
#define OPS_NAMELESS (OPS_TRANSACTION | OPS_SESSION | OPSET(OP_EXPLAIN))

struct suggestion {
    const char *wrong;
    const char *best; /* NULL: nothing is near */
    size_t distance;
};

struct suggestion suggestion_for(const char *wrong);
void suggestion_offer(struct suggestion *s, const char *known);

/* Offers every name that operation_parse knows. */
void operation_suggest(struct suggestion *s);
