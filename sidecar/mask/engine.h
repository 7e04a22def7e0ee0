/* SPDX-License-Identifier: Apache-2.0
 * The search for anchors: many patterns at once over a run of bytes. One implementation is linked:
 * engine_hyperscan.c, or engine_pcre2.c where hyperscan does not exist. Private to mask/.
 *
 * Patterns are those that both understand: bytes, not characters; classes, groups, bounded repeats, (?i);
 * no assertions (a run holds framing between its cells, and there is no telling the two apart).
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

struct engine;         /* compiled patterns; immutable; shared by threads */
struct engine_scratch; /* one per thread; grows with the engines it is used for, not with the input */

int engine_new(const char *const *patterns, size_t n, struct engine **ret,
               struct error *err) MUST_CHECK;
void engine_free(struct engine *e); /* accepts NULL */
DEFINE_CLEANUP(struct engine *, engine_free)

int engine_scratch_new(struct engine_scratch **ret) MUST_CHECK;
void engine_scratch_free(struct engine_scratch *s); /* accepts NULL */

/* Calls `hit` with the offset of the last byte of each match, ascending, until it returns true.
 * 0, or -EIO when it cannot tell. */
int engine_scan(const struct engine *e, struct engine_scratch *s, struct bytes run,
                bool (*hit)(size_t offset, void *arg), void *arg) MUST_CHECK;
