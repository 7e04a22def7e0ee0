/* SPDX-License-Identifier: Apache-2.0
 * Which columns of which relations are masked, once the policy's patterns have been followed
 * through the catalogue: partitions and inheritance (both ways), views and materialised views
 * (by the lineage of their output columns). Immutable; any thread.
 */
#pragma once

#include "catalog.h"
#include "sidecar/policy/policy.h"

struct maskmap;

int maskmap_new(struct catalog *catalog, const struct column_mask *masks, size_t n,
                struct maskmap **ret, struct error *err) MUST_CHECK;
void maskmap_free(struct maskmap *m); /* accepts NULL */

/* True when nothing in this database is masked by column. */
bool maskmap_empty(const struct maskmap *m);

/* The origin of a result column, as RowDescription gives it. */
struct mask_origin {
    enum mask_method method; /* MASK_NONE: not masked */
    const char *rule;        /* lives as long as the policy view that the masks came from */
    bool unknown_relation; /* the catalogue has no such relation (oid >= 16384): not proven clean */
};
struct mask_origin maskmap_origin(const struct maskmap *m, uint32_t table_oid, int16_t attribute);
