/* SPDX-License-Identifier: Apache-2.0
 * The inside of a catalogue, for the analyser and the mask map.
 */
#pragma once

#include "catalog.h"
#include "src-common/arena.h"

#include <json-c/json.h>
#include <stdatomic.h>

/* Rows of catalog_queries, by index. */
enum catalog_query {
    CATALOG_RELATIONS,
    CATALOG_COLUMNS,
    CATALOG_PARENTS,
    CATALOG_VIEW_READS,
    CATALOG_VIEWS,
    CATALOG_FUNCTIONS,
    CATALOG_FOREIGN_KEYS,
};

struct catalog_column {
    const char *name;
    int16_t attnum;
};

struct catalog_relation {
    uint32_t oid;
    const char *schema, *name;
    char kind; /* pg_class.relkind */
    bool triggers, rules, row_security;
    const struct catalog_column *columns; /* by attnum; dropped ones are not here */
    size_t n_columns;
    const char *definition_text;    /* views: as the server gave it, or NULL */
    struct json_object *definition; /* views: the tree; NULL: opaque */
};

struct catalog_edge { /* sorted by from, then to */
    uint32_t from, to;
};

struct catalog_edges {
    const struct catalog_edge *v;
    size_t n;
};

struct catalog_function { /* sorted by name, then schema */
    const char *schema, *name;
};

struct catalog {
    atomic_uint refs;
    struct arena arena;
    struct catalog_relation *relations; /* by oid */
    size_t n_relations;
    const struct catalog_relation **by_name; /* by schema, then name */
    struct catalog_edges parents;            /* from child to parent */
    struct catalog_edges view_reads;         /* from view to what it depends on */
    struct catalog_edges foreign_keys;       /* from the referenced to the referencing relation */
    const struct catalog_function *functions;
    size_t n_functions;
};

static inline bool catalog_is_view(const struct catalog_relation *r)
{
    return r->kind == 'v' || r->kind == 'm';
}

/* NULL when there is none. Live as long as the catalogue. */
const struct catalog_relation *catalog_by_oid(const struct catalog *c, uint32_t oid);
const struct catalog_relation *catalog_by_name(const struct catalog *c, const char *schema,
                                               const char *name);
/* The index of the first relation of that schema in by_name; they follow each other. */
size_t catalog_schema_start(const struct catalog *c, const char *schema);
/* A function of that name in that schema; schema NULL: in any. */
bool catalog_has_function(const struct catalog *c, const char *schema, const char *name);
/* The first edge from there; they follow each other. e->n when there is none. */
size_t catalog_edges_start(const struct catalog_edges *e, uint32_t from);
