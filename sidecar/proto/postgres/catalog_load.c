/* SPDX-License-Identifier: Apache-2.0
 * Catalogue collector.
 */
#include "catalog_load.h"

#include "sidecar/session/session.h"

#include <errno.h>
#include <stdio.h>

#define STEP_PLAIN       UINT32_MAX /* no rows are expected */
#define STEP_SEARCH_PATH (UINT32_MAX - 1)
#define STEP_SNAPSHOT    (UINT32_MAX - 2)
#define STEP_STATE       (UINT32_MAX - 3)
#define MAX_CELLS        32

enum part { PART_PATH = 1, PART_SNAPSHOT = 2, PART_STATE = 4, PART_ROWS = 8 };

static const char search_path_query[] =
    "SELECT s FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) AS s";

static void add(struct pgcollector *c, struct buffer *out, const char *sql, unsigned what)
{
    pgwire_add_query(out, sql);
    c->query_of_step[c->n_steps++] = what;
}

/* The round's parts see one moment. A snapshot alone needs no transaction. */
static int ask(struct pgcollector *c, unsigned parts, struct buffer *out)
{
    bool enclosed = c->in_transaction || parts & (PART_STATE | PART_ROWS);

    c->parts = parts;
    c->step = c->n_steps = 0;
    c->is = (struct pgcatalog_version){0};
    if (enclosed)
        add(c, out,
            c->in_transaction ? "SAVEPOINT chaperone_catalog"
                              : "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            STEP_PLAIN);
    if (parts & PART_PATH)
        add(c, out, search_path_query, STEP_SEARCH_PATH);
    if (parts & PART_SNAPSHOT)
        add(c, out, catalog_snapshot_query, STEP_SNAPSHOT);
    if (parts & PART_STATE)
        add(c, out, catalog_state_query, STEP_STATE);
    if (parts & PART_ROWS) {
        add(c, out, "SET LOCAL search_path TO ''", STEP_PLAIN);
        for (unsigned i = 0; i < CATALOG_N_QUERIES && catalog_queries[i]; i++)
            add(c, out, catalog_queries[i], i);
    }
    if (enclosed)
        add(c, out,
            c->in_transaction
                ? "ROLLBACK TO SAVEPOINT chaperone_catalog; RELEASE SAVEPOINT chaperone_catalog"
                : "ROLLBACK",
            STEP_PLAIN);
    return out->failed ? -ENOMEM : 0;
}

/* A transaction sees what it wrote itself, of which its snapshot tells nothing. */
static unsigned snapshot_part(const struct pgcollector *c)
{
    return c->in_transaction ? 0 : PART_SNAPSHOT;
}

static unsigned first_parts(const struct pgcollector *c)
{
    if (!c->last)
        return PART_PATH | snapshot_part(c) | PART_STATE | PART_ROWS;
    return PART_PATH | (c->in_transaction ? PART_STATE : PART_SNAPSHOT);
}

int pgcollector_new(const struct pgcatalog_key *whose, bool in_transaction, struct buffer *out,
                    struct pgcollector **ret)
{
    struct pgcollector *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    buffer_init(&c->search_path, 64 * 1024);
    c->in_transaction = in_transaction;
    c->schema_seen = pgcatalog_changes();
    c->last = whose ? pgcatalog_last(whose, &c->was) : NULL;
    if (ask(c, first_parts(c), out) != 0) {
        pgcollector_free(c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

int pgcollector_more(struct pgcollector *c, struct buffer *out)
{
    unsigned parts = snapshot_part(c) | PART_STATE;

    if (c->parts & PART_STATE)
        parts |= PART_ROWS;
    c->more = false;
    return ask(c, parts, out);
}

void pgcollector_free(struct pgcollector *c)
{
    if (!c)
        return;
    catalog_builder_free(c->builder);
    catalog_unref(c->last);
    buffer_done(&c->search_path);
    EVP_MD_CTX_free(c->md);
    free(c);
}

static void fail(struct pgcollector *c, const char *why, size_t len)
{
    if (!c->failure[0])
        snprintf(c->failure, sizeof c->failure, "%.*s", (int)min_size(len, 250), why);
}

static void add_search_path(struct pgcollector *c, struct bytes schema)
{
    if (memchr(schema.p, '\n', schema.len))
        fail(c, "a schema name contains a newline", 33);
    if (buffer_len(&c->search_path))
        buffer_add_u8(&c->search_path, '\n');
    buffer_add(&c->search_path, schema);
}

/* An answer that does not fit stays empty, which equals nothing. */
static void keep(char to[static 256], struct bytes cell)
{
    if (cell.p && cell.len < 256 && !memchr(cell.p, 0, cell.len)) {
        memcpy(to, cell.p, cell.len);
        to[cell.len] = '\0';
    }
}

/* The first row that is read brings what it goes into. */
static int builder_ready(struct pgcollector *c)
{
    if (c->builder)
        return 0;
    c->md = EVP_MD_CTX_new();
    if (!c->md || EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    return catalog_builder_new(&c->builder);
}

static int add_catalog_row(struct pgcollector *c, struct bytes body, const struct bytes *cells,
                           unsigned n)
{
    unsigned what = c->query_of_step[c->step];
    int rc = builder_ready(c);

    if (rc)
        return rc;
    EVP_DigestUpdate(c->md, body.p, body.len);
    rc = catalog_builder_row(c->builder, what, cells, n);
    if (rc == -E2BIG)
        fail(c, "the database's schema is too large", 34);
    else if (rc)
        fail(c, "unexpected catalogue row", 24);
    return 0;
}

static int on_row(struct pgcollector *c, struct bytes body)
{
    struct cursor at = cursor_over(body);
    unsigned n = cursor_be16(&at), what = c->query_of_step[c->step];
    struct bytes cells[MAX_CELLS];

    if (what == STEP_PLAIN || n > MAX_CELLS)
        return -EBADMSG;
    for (unsigned i = 0; i < n; i++)
        cells[i] = pgwire_next_value(&at);
    if (!cursor_at_end(&at))
        return -EBADMSG;
    if (what < CATALOG_N_QUERIES)
        return add_catalog_row(c, body, cells, n);
    if (n != 1)
        return -EBADMSG;
    if (what == STEP_SEARCH_PATH && cells[0].p)
        add_search_path(c, cells[0]);
    else if (what == STEP_SNAPSHOT)
        keep(c->is.snapshot, cells[0]);
    else if (what == STEP_STATE)
        keep(c->is.state, cells[0]);
    return 0;
}

static bool same(const char *a, const char *b)
{
    return a[0] && strcmp(a, b) == 0;
}

/* Whether the catalogue that was read before is still the one. */
static bool settled(const struct pgcollector *c)
{
    if (!c->last || c->parts & PART_ROWS)
        return false;
    return same(c->is.snapshot, c->was.snapshot) || same(c->is.state, c->was.state);
}

static int end_round(struct pgcollector *c)
{
    if (c->failure[0] || settled(c)) {
        c->done = true;
        return 0;
    }
    if (!(c->parts & PART_ROWS)) {
        c->more = true;
        return 0;
    }
    catalog_unref(take(&c->last));
    if (builder_ready(c) != 0 || EVP_DigestFinal_ex(c->md, c->digest, NULL) != 1)
        return -ENOMEM;
    c->done = true;
    return 0;
}

int pgcollector_message(struct pgcollector *c, const struct pgwire_msg *m)
{
    struct bytes text;

    if (c->done || c->more)
        return -EBADMSG;
    switch (m->type) {
    case PGWIRE_B_ROW_DESCRIPTION:
    case PGWIRE_B_COMMAND_COMPLETE:
    case PGWIRE_B_NOTICE:
    case PGWIRE_B_PARAMETER_STATUS:
        return 0;
    case PGWIRE_B_DATA_ROW:
        return on_row(c, m->body);
    case PGWIRE_B_ERROR:
        text = pgwire_error_field(m->body, 'M');
        fail(c, (const char *)text.p, text.len);
        return 0;
    case PGWIRE_B_READY_FOR_QUERY:
        return ++c->step == c->n_steps ? end_round(c) : 0;
    default:
        return -EBADMSG;
    }
}

/* The catalogue that the rounds ended with. A counted reference. */
static int settle_catalog(struct pgcollector *c, struct session *s,
                          const struct pgcatalog_key *whose, struct catalog **ret,
                          struct error *err)
{
    int rc = 0;

    if (c->last) {
        *ret = catalog_ref(c->last);
        if (c->parts & PART_STATE)
            pgcatalog_remember(whose, &c->is, NULL, *ret);
        return 0;
    }
    *ret = pgcatalog_find(whose, c->digest);
    if (!*ret)
        rc = catalog_builder_finish(c->builder, s->guard->parser, ret, err);
    if (rc == 0)
        pgcatalog_remember(whose, &c->is, c->digest, *ret);
    return rc;
}

int pgcollector_context(struct pgcollector *c, struct session *s, const char *database,
                        const char *user, struct pgcontext **ret, char **ret_search_path,
                        struct error *err)
{
    const struct pgcatalog_key whose = {s->target->name, database, user};
    const struct agent agent = session_agent(s);
    struct bytes path = buffer_bytes(&c->search_path);
    struct catalog *catalog = NULL;
    char *search_path = NULL;
    int rc = settle_catalog(c, s, &whose, &catalog, err);

    if (rc == 0) {
        search_path = strndup(path.len ? (const char *)path.p : "", path.len);
        rc = search_path ? pgcontext_get(&(struct pgcontext_for){s->guard, &agent, s->snapshot,
                                                                 s->target, database},
                                         catalog, search_path, ret, err)
                         : error_set(err, -ENOMEM, "out of memory");
    }
    catalog_unref(catalog);
    if (rc)
        free(search_path);
    else
        *ret_search_path = search_path;
    return rc;
}
