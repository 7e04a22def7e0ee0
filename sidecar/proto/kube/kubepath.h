/* SPDX-License-Identifier: Apache-2.0
 * The target of a request taken apart: a path of decoded segments and a query of decoded pairs.
 * Only canonical paths are taken: what somebody would clean up before reading is refused. Pure.
 */
#pragma once

#include "src-common/arena.h"
#include "src-common/error.h"

#define KUBEPATH_SEGMENTS 64
#define KUBEPATH_PAIRS    128

struct kubepath {
    const char *text; /* the path as it was sent */
    const char *query_text;
    const char *segments[KUBEPATH_SEGMENTS]; /* decoded */
    size_t n;
    bool trailing_slash;
    struct {
        const char *key, *value;
    } query[KUBEPATH_PAIRS];
    size_t n_query;
};

/* What ret points to lives in the arena. -EBADMSG with the reason, -ENOMEM. */
int kubepath_parse(struct bytes target, struct arena *arena, struct kubepath *ret,
                   struct error *err) MUST_CHECK;
/* The first value, or NULL; *ret_n (may be NULL): how many there are. */
const char *kubepath_query(const struct kubepath *p, const char *key, size_t *ret_n);
