/* SPDX-License-Identifier: Apache-2.0
 * Statement text to verdict, in two steps: the text's shape (sql/lexer.h), which statements that
 * differ in constants share; or the exact text, for statements whose verdict depends on a
 * constant. Keyed hashes, and the bytes are compared: the agent chooses the keys. Bounded; any
 * thread.
 */
#pragma once

#include "src-common/buffer.h"

struct pgverdict;
struct verdict_cache;

int verdict_cache_new(struct verdict_cache **ret) MUST_CHECK;
void verdict_cache_free(struct verdict_cache *c); /* accepts NULL */
/* A counted reference, or NULL. `scratch` is the caller's, so that a look-up allocates nothing. */
struct pgverdict *verdict_cache_find(struct verdict_cache *c, struct bytes sql,
                                     struct buffer *scratch);
/* What a scratch buffer is initialised with. */
#define VERDICT_CACHE_SCRATCH (64 * 1024 + 64)
/* Takes a reference of its own. Forgets older entries when full; failure to add is no error. */
void verdict_cache_add(struct verdict_cache *c, struct bytes sql, bool literal_dependent,
                       struct pgverdict *v);
