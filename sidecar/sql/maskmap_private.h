/* SPDX-License-Identifier: Apache-2.0
 * Which columns of one relation are masked, for the analyser.
 */
#pragma once

#include "catalog_private.h"
#include "maskmap.h"

/* One masked column: all masks that apply, the strictest of each property. */
struct column_mark {
    enum mask_method method;
    bool allow_predicates, allow_write_back;
    const char *rule;
    const char *schema, *relation, *column;
};

/* As many as the relation has columns, NULL for those that are not masked; NULL when none is. */
const struct column_mark *const *maskmap_marks(const struct maskmap *m,
                                               const struct catalog_relation *r);
/* True when a relation of that schema has a masked column. */
bool maskmap_in_schema(const struct maskmap *m, const char *schema);
/* The strictest of two marks, either of which may be NULL. */
const struct column_mark *column_mark_stricter(const struct column_mark *a,
                                               const struct column_mark *b);
