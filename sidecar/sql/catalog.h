/* SPDX-License-Identifier: Apache-2.0
 * What the guard knows of a database's schema: relations, their columns, views' definitions,
 * inheritance, functions outside pg_catalog. Filled from the rows of the guard's own queries,
 * which are fully qualified (schemas, functions, operators) so that no search_path of the agent's
 * can change their meaning. Immutable once built; reference-counted; any thread.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#define CATALOG_N_QUERIES 8 /* at most; unused entries are NULL */
/* Run in this order, each as one simple Query, results in text format. None writes. The caller
 * puts them between "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL
 * search_path TO ''" (pg_get_viewdef qualifies names only as far as the path in force needs it) and
 * "ROLLBACK". */
extern const char *const catalog_queries[CATALOG_N_QUERIES];
/* One cell each. Their answers are compared with earlier ones of the same database: an equal
 * snapshot says that nothing at all was committed in between (NULL: this server cannot say so; and
 * it means nothing inside a transaction that has written), an equal state that nothing changed of
 * what catalog_queries read, but for objects that initdb made. */
extern const char catalog_snapshot_query[], catalog_state_query[];

struct catalog_builder;
int catalog_builder_new(struct catalog_builder **ret) MUST_CHECK;
void catalog_builder_free(struct catalog_builder *b); /* accepts NULL */
DEFINE_CLEANUP(struct catalog_builder *, catalog_builder_free)
/* One row of catalog_queries[query]; a cell with p == NULL is SQL NULL. Copies. -E2BIG past the
 * limits (1 M rows, 256 MiB), -EBADMSG for a row that does not fit the query. */
int catalog_builder_row(struct catalog_builder *b, unsigned query, const struct bytes *cells,
                        size_t n_cells) MUST_CHECK;

struct catalog;
struct sql_parser;
/* Parses the view definitions (blocks; not on a loop) and takes the builder's rows.
 * A view that cannot be parsed is kept as opaque: all its columns count as masked when it
 * depends on a masked relation or its dependencies are unknown. */
int catalog_builder_finish(struct catalog_builder *b, struct sql_parser *parser,
                           struct catalog **ret, struct error *err) MUST_CHECK;
struct catalog *catalog_ref(struct catalog *c);
void catalog_unref(struct catalog *c); /* accepts NULL */
DEFINE_CLEANUP(struct catalog *, catalog_unref)

bool catalog_has_relation_oid(const struct catalog *c, uint32_t oid);
size_t catalog_n_relations(const struct catalog *c);
