/* SPDX-License-Identifier: Apache-2.0
 * The catalogue: rows into sorted tables.
 */
#include "catalog_private.h"

#include "parser.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define MAX_ROWS  1000000
#define MAX_BYTES ((size_t)256 << 20)

/* A growing table of the builder's. */
struct rows {
    void *v;
    size_t n, cap, size;
};

struct column_row {
    uint32_t relation;
    struct catalog_column column;
};

struct view_row {
    uint32_t oid;
    const char *text;
};

struct catalog_builder {
    struct catalog *catalog; /* owns the arena that all text lives in */
    size_t n_rows;
    struct rows relations, columns, parents, view_reads, views, functions, foreign_keys;
};

int catalog_builder_new(struct catalog_builder **ret)
{
    struct catalog_builder *b = calloc(1, sizeof(*b));

    if (!b || !(b->catalog = calloc(1, sizeof(*b->catalog)))) {
        free(b);
        return -ENOMEM;
    }
    atomic_init(&b->catalog->refs, 1);
    arena_init(&b->catalog->arena, MAX_BYTES);
    b->relations.size = sizeof(struct catalog_relation);
    b->columns.size = sizeof(struct column_row);
    b->parents.size = b->view_reads.size = b->foreign_keys.size = sizeof(struct catalog_edge);
    b->views.size = sizeof(struct view_row);
    b->functions.size = sizeof(struct catalog_function);
    *ret = b;
    return 0;
}

void catalog_builder_free(struct catalog_builder *b)
{
    if (!b)
        return;
    free(b->relations.v);
    free(b->columns.v);
    free(b->parents.v);
    free(b->view_reads.v);
    free(b->views.v);
    free(b->functions.v);
    free(b->foreign_keys.v);
    catalog_unref(b->catalog);
    free(b);
}

static void *rows_add(struct rows *r)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        void *v = reallocarray(r->v, cap, r->size);

        if (!v)
            return NULL;
        r->v = v;
        r->cap = cap;
    }
    return (char *)r->v + r->n++ * r->size;
}

/* ---- cells ---- */

struct row { /* sticky, as a cursor is */
    const struct bytes *cells;
    struct arena *arena;
    int error;
};

static uint32_t cell_u32(struct row *row, size_t i)
{
    struct bytes c = row->cells[i];
    uint64_t v = 0;
    size_t k;

    if (!c.p || c.len == 0 || c.len > 10)
        row->error = -EBADMSG;
    for (k = 0; !row->error && k < c.len; k++) {
        if (c.p[k] < '0' || c.p[k] > '9')
            row->error = -EBADMSG;
        v = v * 10 + (uint64_t)(c.p[k] - '0');
    }
    if (v > UINT32_MAX)
        row->error = -EBADMSG;
    return row->error ? 0 : (uint32_t)v;
}

static bool cell_bool(struct row *row, size_t i)
{
    struct bytes c = row->cells[i];

    if (!c.p || c.len != 1 || (c.p[0] != 't' && c.p[0] != 'f')) {
        row->error = row->error ? row->error : -EBADMSG;
        return true;
    }
    return c.p[0] == 't';
}

static const char *cell_text(struct row *row, size_t i)
{
    struct bytes c = row->cells[i];
    const char *s;

    if (!c.p || memchr(c.p, 0, c.len)) {
        row->error = row->error ? row->error : -EBADMSG;
        return "";
    }
    s = arena_strndup(row->arena, c.p, c.len);
    if (!s)
        row->error = row->error ? row->error : -E2BIG;
    return s ? s : "";
}

/* ---- one function for each query's rows ---- */

static int add_relation(struct catalog_builder *b, struct row *row)
{
    struct catalog_relation r = {
        .oid = cell_u32(row, 0),
        .schema = cell_text(row, 1),
        .name = cell_text(row, 2),
        .kind = row->cells[3].p && row->cells[3].len == 1 ? (char)row->cells[3].p[0] : 0,
        .triggers = cell_bool(row, 4),
        .rules = cell_bool(row, 5),
        .row_security = cell_bool(row, 6),
    };
    struct catalog_relation *at;

    if (!r.kind)
        return -EBADMSG;
    if (row->error)
        return row->error;
    if (!(at = rows_add(&b->relations)))
        return -ENOMEM;
    *at = r;
    return 0;
}

static int add_column(struct catalog_builder *b, struct row *row)
{
    struct column_row c = {.relation = cell_u32(row, 0)}, *at;
    uint32_t attnum = cell_u32(row, 1);

    c.column.name = cell_text(row, 2);
    if (row->error)
        return row->error;
    if (attnum == 0 || attnum > INT16_MAX)
        return -EBADMSG;
    c.column.attnum = (int16_t)attnum;
    if (!(at = rows_add(&b->columns)))
        return -ENOMEM;
    *at = c;
    return 0;
}

static int add_edge(struct rows *rows, struct row *row)
{
    struct catalog_edge e = {cell_u32(row, 0), cell_u32(row, 1)}, *at;

    if (row->error)
        return row->error;
    if (!(at = rows_add(rows)))
        return -ENOMEM;
    *at = e;
    return 0;
}

static int add_view(struct catalog_builder *b, struct row *row)
{
    struct view_row v = {.oid = cell_u32(row, 0)}, *at;

    if (row->cells[1].p) /* NULL: gone, or not to be had; opaque */
        v.text = cell_text(row, 1);
    if (row->error)
        return row->error;
    if (!(at = rows_add(&b->views)))
        return -ENOMEM;
    *at = v;
    return 0;
}

static int add_function(struct catalog_builder *b, struct row *row)
{
    struct catalog_function f = {cell_text(row, 0), cell_text(row, 1)}, *at;

    if (row->error)
        return row->error;
    if (!(at = rows_add(&b->functions)))
        return -ENOMEM;
    *at = f;
    return 0;
}

static const uint8_t n_cells_of[CATALOG_N_QUERIES] = {
    [CATALOG_RELATIONS] = 7,    [CATALOG_COLUMNS] = 3, [CATALOG_PARENTS] = 2,
    [CATALOG_VIEW_READS] = 2,   [CATALOG_VIEWS] = 2,   [CATALOG_FUNCTIONS] = 2,
    [CATALOG_FOREIGN_KEYS] = 2,
};

int catalog_builder_row(struct catalog_builder *b, unsigned query, const struct bytes *cells,
                        size_t n_cells)
{
    struct row row = {.cells = cells, .arena = &b->catalog->arena};

    if (query >= CATALOG_N_QUERIES || !n_cells_of[query] || n_cells != n_cells_of[query])
        return -EBADMSG;
    if (b->n_rows >= MAX_ROWS)
        return -E2BIG;
    b->n_rows++;
    switch ((enum catalog_query)query) {
    case CATALOG_RELATIONS:
        return add_relation(b, &row);
    case CATALOG_COLUMNS:
        return add_column(b, &row);
    case CATALOG_PARENTS:
        return add_edge(&b->parents, &row);
    case CATALOG_VIEW_READS:
        return add_edge(&b->view_reads, &row);
    case CATALOG_VIEWS:
        return add_view(b, &row);
    case CATALOG_FUNCTIONS:
        return add_function(b, &row);
    case CATALOG_FOREIGN_KEYS:
        return add_edge(&b->foreign_keys, &row);
    }
    return -EBADMSG;
}

/* ---- sorting ---- */

static int order_u32(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int order_relations(const void *a, const void *b)
{
    return order_u32(((const struct catalog_relation *)a)->oid,
                     ((const struct catalog_relation *)b)->oid);
}

static int order_columns(const void *a, const void *b)
{
    const struct column_row *x = a, *y = b;
    int order = order_u32(x->relation, y->relation);

    return order ? order : x->column.attnum - y->column.attnum;
}

static int order_edges(const void *a, const void *b)
{
    const struct catalog_edge *x = a, *y = b;
    int order = order_u32(x->from, y->from);

    return order ? order : order_u32(x->to, y->to);
}

static int order_functions(const void *a, const void *b)
{
    const struct catalog_function *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : strcmp(x->schema, y->schema);
}

static int order_names(const void *a, const void *b)
{
    const struct catalog_relation *x = *(const struct catalog_relation *const *)a;
    const struct catalog_relation *y = *(const struct catalog_relation *const *)b;
    int order = strcmp(x->schema, y->schema);

    return order ? order : strcmp(x->name, y->name);
}

static void sort_rows(struct rows *r, int (*order)(const void *, const void *))
{
    if (r->n > 1)
        qsort(r->v, r->n, r->size, order);
}

/* The sorted rows, moved into the catalogue's arena. */
static int settle(struct catalog *c, const struct rows *r, const void **ret)
{
    void *copy = NULL;

    if (r->n && !(copy = arena_alloc(&c->arena, r->n * r->size)))
        return -E2BIG;
    if (r->n)
        memcpy(copy, r->v, r->n * r->size);
    *ret = copy;
    return 0;
}

static int settle_columns(struct catalog *c, const struct rows *rows)
{
    const struct column_row *v = rows->v;
    size_t i, start = 0, k;

    while (start < rows->n) {
        struct catalog_relation *r;
        struct catalog_column *columns;
        size_t n = 1;

        while (start + n < rows->n && v[start + n].relation == v[start].relation)
            n++;
        r = (struct catalog_relation *)catalog_by_oid(c, v[start].relation);
        if (r) { /* not one that was dropped between two queries */
            if (!(columns = arena_alloc(&c->arena, n * sizeof(*columns))))
                return -E2BIG;
            for (i = 0, k = start; i < n; i++, k++)
                columns[i] = v[k].column;
            r->columns = columns;
            r->n_columns = n;
        }
        start += n;
    }
    return 0;
}

static int settle_names(struct catalog *c)
{
    size_t i;

    if (c->n_relations == 0)
        return 0;
    c->by_name = arena_alloc(&c->arena, c->n_relations * sizeof(*c->by_name));
    if (!c->by_name)
        return -E2BIG;
    for (i = 0; i < c->n_relations; i++)
        c->by_name[i] = &c->relations[i];
    qsort(c->by_name, c->n_relations, sizeof(*c->by_name), order_names);
    return 0;
}

/* A definition that does not parse, or is not one statement, leaves the view opaque. */
static int parse_views(struct catalog *c, const struct rows *views, struct sql_parser *parser)
{
    const struct view_row *v = views->v;
    size_t i;

    for (i = 0; i < views->n; i++) {
        struct catalog_relation *r = (struct catalog_relation *)catalog_by_oid(c, v[i].oid);
        struct json_object *tree = NULL;
        struct bytes text = bytes_str(v[i].text);
        int rc;

        if (!r || !v[i].text || r->definition)
            continue;
        r->definition_text = v[i].text;
        rc = parser ? sql_parser_parse(parser, text, &tree, NULL)
                    : sql_parse_here(text, &tree, NULL);
        if (rc == -EPIPE || rc == -ENOMEM)
            return rc;
        r->definition = rc == 0 ? tree : NULL;
    }
    return 0;
}

static int settle_all(struct catalog_builder *b, struct sql_parser *parser)
{
    struct catalog *c = b->catalog;
    const void *p;
    int rc;

    sort_rows(&b->relations, order_relations);
    sort_rows(&b->columns, order_columns);
    sort_rows(&b->parents, order_edges);
    sort_rows(&b->view_reads, order_edges);
    sort_rows(&b->foreign_keys, order_edges);
    sort_rows(&b->functions, order_functions);
    if ((rc = settle(c, &b->relations, &p)))
        return rc;
    c->relations = (struct catalog_relation *)p;
    c->n_relations = b->relations.n;
    if ((rc = settle_columns(c, &b->columns)) || (rc = settle_names(c)) ||
        (rc = settle(c, &b->parents, (const void **)&c->parents.v)) ||
        (rc = settle(c, &b->view_reads, (const void **)&c->view_reads.v)) ||
        (rc = settle(c, &b->foreign_keys, (const void **)&c->foreign_keys.v)) ||
        (rc = settle(c, &b->functions, (const void **)&c->functions)))
        return rc;
    c->parents.n = b->parents.n;
    c->view_reads.n = b->view_reads.n;
    c->foreign_keys.n = b->foreign_keys.n;
    c->n_functions = b->functions.n;
    return parse_views(c, &b->views, parser);
}

int catalog_builder_finish(struct catalog_builder *b, struct sql_parser *parser,
                           struct catalog **ret, struct error *err)
{
    int rc;

    if (!b->catalog || b->catalog->relations)
        return error_set(err, -EINVAL, "the catalogue was finished before");
    rc = settle_all(b, parser);
    if (rc)
        return error_set(err, rc, "the database's schema cannot be held: %s", strerror(-rc));
    *ret = take(&b->catalog);
    return 0;
}

struct catalog *catalog_ref(struct catalog *c)
{
    if (c)
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void catalog_unref(struct catalog *c)
{
    size_t i;

    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (i = 0; i < c->n_relations; i++)
        json_object_put(c->relations[i].definition);
    arena_done(&c->arena);
    free(c);
}

/* ---- looking up ---- */

const struct catalog_relation *catalog_by_oid(const struct catalog *c, uint32_t oid)
{
    struct catalog_relation key = {.oid = oid};

    if (!c->n_relations)
        return NULL;
    return bsearch(&key, c->relations, c->n_relations, sizeof(key), order_relations);
}

const struct catalog_relation *catalog_by_name(const struct catalog *c, const char *schema,
                                               const char *name)
{
    struct catalog_relation key = {.schema = schema, .name = name};
    const struct catalog_relation *k = &key, **found;

    if (!c->n_relations)
        return NULL;
    found = bsearch(&k, c->by_name, c->n_relations, sizeof(*c->by_name), order_names);
    return found ? *found : NULL;
}

size_t catalog_schema_start(const struct catalog *c, const char *schema)
{
    size_t low = 0, high = c->n_relations;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(c->by_name[mid]->schema, schema) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool catalog_has_function(const struct catalog *c, const char *schema, const char *name)
{
    size_t low = 0, high = c->n_functions;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(c->functions[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < c->n_functions && strcmp(c->functions[low].name, name) == 0; low++) {
        if (!schema || strcmp(c->functions[low].schema, schema) == 0)
            return true;
    }
    return false;
}

size_t catalog_edges_start(const struct catalog_edges *e, uint32_t from)
{
    size_t low = 0, high = e->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (e->v[mid].from < from)
            low = mid + 1;
        else
            high = mid;
    }
    return low < e->n && e->v[low].from == from ? low : e->n;
}

bool catalog_has_relation_oid(const struct catalog *c, uint32_t oid)
{
    return catalog_by_oid(c, oid) != NULL;
}

size_t catalog_n_relations(const struct catalog *c)
{
    return c->n_relations;
}
