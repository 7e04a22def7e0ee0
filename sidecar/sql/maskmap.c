/* SPDX-License-Identifier: Apache-2.0
 * The mask map: patterns to columns, spread along inheritance and through views.
 */
#include "maskmap_private.h"

#include "analysis.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define VIEW_ARENA ((size_t)64 << 20)

enum view_state { VIEW_NEW = 0, VIEW_BUSY, VIEW_DONE };

struct maskmap {
    struct catalog *catalog;
    struct arena arena;
    const struct column_mark ***marks; /* per relation, in the catalogue's order; NULL: none */
    uint8_t *states;                   /* enum view_state, while building */
    size_t n_masked;                   /* relations */
    const char *doubt_rule;            /* named where nothing better is known */
};

const struct column_mark *column_mark_stricter(const struct column_mark *a,
                                               const struct column_mark *b)
{
    if (!a || !b)
        return a ? a : b;
    if (a->allow_predicates != b->allow_predicates)
        return a->allow_predicates ? b : a;
    return b->method > a->method ? b : a;
}

/* '*' stands for any run of characters. Linear: only the last star is ever retried. */
static bool glob(const char *pattern, const char *s)
{
    const char *star = NULL, *retry = NULL;

    while (*s) {
        if (*pattern == '*') {
            star = pattern++;
            retry = s;
        } else if (*pattern == *s) {
            pattern++;
            s++;
        } else if (star) {
            pattern = star + 1;
            s = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

static size_t index_of(const struct maskmap *m, const struct catalog_relation *r)
{
    return (size_t)(r - m->catalog->relations);
}

/* ---- marking ---- */

/* Adds a mark to a column. *changed is set when that says something new. */
static int mark_column(struct maskmap *m, const struct catalog_relation *r, size_t column,
                       const struct column_mark *by, bool *changed)
{
    const struct column_mark ***row = &m->marks[index_of(m, r)];
    const struct column_mark *old;
    struct column_mark *mark;

    if (!*row) {
        *row = arena_alloc(&m->arena, r->n_columns * sizeof(**row));
        if (!*row)
            return -ENOMEM;
        m->n_masked++;
    }
    old = (*row)[column];
    if (old && old->method >= by->method && (by->allow_predicates || !old->allow_predicates) &&
        (by->allow_write_back || !old->allow_write_back))
        return 0;
    if (!(mark = arena_alloc(&m->arena, sizeof(*mark))))
        return -ENOMEM;
    *mark = *by;
    if (old) {
        if (old->method > mark->method) {
            mark->method = old->method;
            mark->rule = old->rule;
        }
        mark->allow_predicates &= old->allow_predicates;
        mark->allow_write_back &= old->allow_write_back;
    }
    mark->schema = r->schema;
    mark->relation = r->name;
    mark->column = r->columns[column].name;
    (*row)[column] = mark;
    *changed = true;
    return 0;
}

static int mark_all(struct maskmap *m, const struct catalog_relation *r,
                    const struct column_mark *by)
{
    bool changed;
    size_t i;
    int rc = 0;

    for (i = 0; i < r->n_columns && !rc; i++)
        rc = mark_column(m, r, i, by, &changed);
    return rc;
}

static int mark_by_patterns(struct maskmap *m, const struct catalog_relation *r,
                            const struct column_mask *masks, size_t n)
{
    bool changed;
    size_t i, k;
    int rc = 0;

    for (i = 0; i < n; i++) {
        struct column_mark by = {.method = masks[i].method,
                                 .allow_predicates = masks[i].allow_predicates,
                                 .allow_write_back = masks[i].allow_write_back,
                                 .rule = masks[i].rule};

        if (by.method == MASK_NONE)
            by.method = MASK_REDACT;
        if (!glob(masks[i].schema, r->schema) || !glob(masks[i].relation, r->name))
            continue;
        for (k = 0; k < r->n_columns && !rc; k++) {
            if (glob(masks[i].column, r->columns[k].name))
                rc = mark_column(m, r, k, &by, &changed);
        }
    }
    return rc;
}

static int copy_marks(struct maskmap *m, const struct catalog_relation *from,
                      const struct catalog_relation *to, bool *changed)
{
    const struct column_mark **row = m->marks[index_of(m, from)];
    size_t i, k;
    int rc = 0;

    for (i = 0; row && i < from->n_columns; i++) {
        for (k = 0; row[i] && k < to->n_columns && !rc; k++) {
            if (strcmp(from->columns[i].name, to->columns[k].name) == 0)
                rc = mark_column(m, to, k, row[i], changed);
        }
    }
    return rc;
}

/* Rows of a child come out of its parent, and the other way about: until nothing changes. A
 * mark only ever gets stricter, so this ends. */
static int follow_inheritance(struct maskmap *m)
{
    const struct catalog *c = m->catalog;
    bool changed = true;
    size_t i;
    int rc = 0;

    while (changed && !rc) {
        changed = false;
        for (i = 0; i < c->parents.n && !rc; i++) {
            const struct catalog_relation *child = catalog_by_oid(c, c->parents.v[i].from);
            const struct catalog_relation *parent = catalog_by_oid(c, c->parents.v[i].to);

            if (!child || !parent)
                continue;
            rc = copy_marks(m, parent, child, &changed);
            if (!rc)
                rc = copy_marks(m, child, parent, &changed);
        }
    }
    return rc;
}

/* ---- views ---- */

static int mark_view(struct maskmap *m, const struct catalog_relation *r, unsigned depth);

/* The views below this one first. The strictest mark of anything it reads, or NULL;
 * *ret_any_read tells whether the server named anything that it reads. */
static int mark_reads(struct maskmap *m, const struct catalog_relation *r, unsigned depth,
                      const struct column_mark **ret, bool *ret_any_read)
{
    const struct catalog_edges *e = &m->catalog->view_reads;
    size_t i = catalog_edges_start(e, r->oid), k;
    int rc = 0;

    *ret = NULL;
    *ret_any_read = i < e->n;
    for (; i < e->n && e->v[i].from == r->oid && !rc; i++) {
        const struct catalog_relation *read = catalog_by_oid(m->catalog, e->v[i].to);
        const struct column_mark **row;

        if (!read)
            continue;
        if (catalog_is_view(read))
            rc = mark_view(m, read, depth + 1);
        row = m->marks[index_of(m, read)];
        for (k = 0; row && k < read->n_columns; k++)
            *ret = column_mark_stricter(*ret, row[k]);
    }
    return rc;
}

static struct json_object *view_query(const struct catalog_relation *r)
{
    struct json_object *stmts = tree_list(r->definition, "stmts");

    return tree_len(stmts) == 1 ? tree_get(tree_at(stmts, 0), "stmt") : NULL;
}

static int mark_view_columns(struct maskmap *m, const struct catalog_relation *r,
                             const struct columns *out)
{
    bool changed;
    size_t i;
    int rc = 0;

    for (i = 0; i < r->n_columns && !rc; i++) {
        const struct column_mark *by = out->open    ? columns_all(out).mark
                                       : i < out->n ? out->v[i].value.mark
                                                    : NULL;
        struct column_mark mark;

        if (!by)
            continue;
        mark = *by;
        if ((out->open || out->v[i].value.loose) && mark.method < MASK_REDACT)
            mark.method = MASK_REDACT; /* not the value itself: its shape may not be kept */
        rc = mark_column(m, r, i, &mark, &changed);
    }
    return rc;
}

/* By the definition; -EBADMSG when it cannot be understood. */
static int mark_by_lineage(struct maskmap *m, const struct catalog_relation *r, bool must_touch)
{
    static const char *const no_path[] = {NULL};
    struct sql_env env = {.catalog = m->catalog, .masks = m, .search_path = no_path};
    struct sql_statement st = {0};
    struct columns out = {0};
    struct analysis a;
    struct arena arena;
    int rc;

    if (!view_query(r))
        return -EBADMSG;
    arena_init(&arena, VIEW_ARENA);
    analysis_begin(&a, &env, &arena, &st);
    a.owner = true;
    query_analyze(&a, NULL, view_query(r), &out);
    if (a.failed)
        rc = -ENOMEM;
    else if (a.unknown || st.unknown_relation || (must_touch && !st.touches_masked) ||
             (!out.open && out.n != r->n_columns && must_touch))
        rc = -EBADMSG;
    else
        rc = mark_view_columns(m, r, &out);
    arena_done(&arena);
    return rc;
}

static int mark_view(struct maskmap *m, const struct catalog_relation *r, unsigned depth)
{
    const struct column_mark doubtful = {.method = MASK_REDACT, .rule = m->doubt_rule};
    uint8_t *state = &m->states[index_of(m, r)];
    const struct column_mark *read;
    struct column_mark by;
    bool any_read;
    int rc;

    if (*state == VIEW_DONE)
        return 0;
    if (*state == VIEW_BUSY || depth > 200)
        return mark_all(m, r, &doubtful); /* no real view reads itself */
    *state = VIEW_BUSY;
    rc = mark_reads(m, r, depth, &read, &any_read);
    if (rc)
        return rc;
    *state = VIEW_DONE;
    if (!read && any_read && r->definition)
        return 0; /* all it reads is clean */
    rc = mark_by_lineage(m, r, read != NULL);
    if (rc != -EBADMSG)
        return rc;
    if (!read && any_read)
        return 0;
    by = read ? *read : doubtful;
    by.method = by.method < MASK_REDACT ? MASK_REDACT : by.method;
    return mark_all(m, r, &by);
}

static int follow_views(struct maskmap *m)
{
    size_t i;
    int rc = 0;

    for (i = 0; i < m->catalog->n_relations && !rc; i++) {
        const struct catalog_relation *r = &m->catalog->relations[i];

        if (catalog_is_view(r))
            rc = mark_view(m, r, 0);
    }
    return rc;
}

/* ---- making and asking ---- */

int maskmap_new(struct catalog *catalog, const struct column_mask *masks, size_t n,
                struct maskmap **ret, struct error *err)
{
    struct maskmap *m = calloc(1, sizeof(*m));
    size_t i;
    int rc = 0;

    if (!m)
        return error_set(err, -ENOMEM, "no memory for the mask map");
    arena_init(&m->arena, (size_t)256 << 20);
    m->catalog = catalog_ref(catalog);
    m->marks = arena_alloc(&m->arena, (catalog->n_relations + 1) * sizeof(*m->marks));
    m->states = arena_alloc(&m->arena, catalog->n_relations + 1);
    if (!m->marks || !m->states)
        rc = -ENOMEM;
    for (i = 0; n > 0 && i < catalog->n_relations && !rc; i++)
        rc = mark_by_patterns(m, &catalog->relations[i], masks, n);
    if (!rc && n > 0)
        rc = follow_inheritance(m);
    m->doubt_rule = n > 0 ? masks[0].rule : NULL;
    if (!rc && m->n_masked > 0)
        rc = follow_views(m);
    if (rc) {
        maskmap_free(m);
        return error_set(err, rc, "the mask map cannot be made: %s", strerror(-rc));
    }
    *ret = m;
    return 0;
}

void maskmap_free(struct maskmap *m)
{
    if (!m)
        return;
    catalog_unref(m->catalog);
    arena_done(&m->arena);
    free(m);
}

bool maskmap_empty(const struct maskmap *m)
{
    return m->n_masked == 0;
}

const struct column_mark *const *maskmap_marks(const struct maskmap *m,
                                               const struct catalog_relation *r)
{
    return m->marks[index_of(m, r)];
}

bool maskmap_in_schema(const struct maskmap *m, const char *schema)
{
    const struct catalog *c = m->catalog;
    size_t i;

    for (i = catalog_schema_start(c, schema);
         i < c->n_relations && strcmp(c->by_name[i]->schema, schema) == 0; i++) {
        if (maskmap_marks(m, c->by_name[i]))
            return true;
    }
    return false;
}

struct mask_origin maskmap_origin(const struct maskmap *m, uint32_t table_oid, int16_t attribute)
{
    struct mask_origin origin = {.method = MASK_NONE};
    const struct catalog_relation *r;
    const struct column_mark **row;
    size_t i;

    if (table_oid == 0 || table_oid < 16384)
        return origin;
    if (!(r = catalog_by_oid(m->catalog, table_oid))) {
        origin.unknown_relation = true;
        return origin;
    }
    row = m->marks[index_of(m, r)];
    for (i = 0; i < r->n_columns; i++) {
        if (attribute != 0 && r->columns[i].attnum != attribute)
            continue;
        /* attribute 0 is the whole row: the strongest of its columns' masks */
        if (row && row[i] && row[i]->method > origin.method)
            origin = (struct mask_origin){row[i]->method, row[i]->rule, false};
        if (attribute != 0)
            return origin;
    }
    if (attribute > 0)
        origin.unknown_relation = true; /* a column that was added since */
    return origin;
}
