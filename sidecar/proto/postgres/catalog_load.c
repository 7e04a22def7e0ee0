/* SPDX-License-Identifier: Apache-2.0
 * Catalogue collector.
 */
#include "catalog_load.h"

#include "context.h"
#include "sidecar/session/session.h"

#include <errno.h>
#include <stdio.h>

#define STEP_PLAIN       UINT32_MAX /* no rows are expected */
#define STEP_SEARCH_PATH (UINT32_MAX - 1)
#define MAX_CELLS        32

static const char search_path_query[] =
    "SELECT s FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) AS s";

static void add(struct pgcollector *c, struct buffer *out, const char *sql, unsigned what)
{
    pgwire_add_query(out, sql);
    c->query_of_step[c->n_steps++] = what;
}

int pgcollector_new(bool in_transaction, struct buffer *out, struct pgcollector **ret)
{
    struct pgcollector *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    c->md = EVP_MD_CTX_new();
    if (!c->md || EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) != 1 ||
        catalog_builder_new(&c->builder) != 0) {
        pgcollector_free(c);
        return -ENOMEM;
    }
    buffer_init(&c->search_path, 64 * 1024);
    c->schema_seen = pgcatalog_changes();
    add(c, out, in_transaction ? "SAVEPOINT chaperone_catalog" : "BEGIN TRANSACTION READ ONLY",
        STEP_PLAIN);
    add(c, out, search_path_query, STEP_SEARCH_PATH);
    add(c, out, "SET LOCAL search_path TO ''", STEP_PLAIN);
    for (unsigned i = 0; i < CATALOG_N_QUERIES && catalog_queries[i]; i++)
        add(c, out, catalog_queries[i], i);
    add(c, out,
        in_transaction
            ? "ROLLBACK TO SAVEPOINT chaperone_catalog; RELEASE SAVEPOINT chaperone_catalog"
            : "ROLLBACK",
        STEP_PLAIN);
    if (out->failed) {
        pgcollector_free(c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

void pgcollector_free(struct pgcollector *c)
{
    if (!c)
        return;
    catalog_builder_free(c->builder);
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

static int on_row(struct pgcollector *c, struct bytes body)
{
    struct cursor at = cursor_over(body);
    unsigned n = cursor_be16(&at), what = c->query_of_step[c->step];
    struct bytes cells[MAX_CELLS];
    int rc;

    if (what == STEP_PLAIN || n > MAX_CELLS)
        return -EBADMSG;
    for (unsigned i = 0; i < n; i++)
        cells[i] = pgwire_next_value(&at);
    if (!cursor_at_end(&at))
        return -EBADMSG;
    if (what == STEP_SEARCH_PATH) {
        if (n == 1 && cells[0].p)
            add_search_path(c, cells[0]);
        return 0;
    }
    EVP_DigestUpdate(c->md, body.p, body.len);
    rc = catalog_builder_row(c->builder, what, cells, n);
    if (rc == -E2BIG)
        fail(c, "the database's schema is too large", 34);
    else if (rc)
        fail(c, "unexpected catalogue row", 24);
    return 0;
}

int pgcollector_message(struct pgcollector *c, const struct pgwire_msg *m)
{
    struct bytes text;

    if (c->done)
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
        if (++c->step == c->n_steps) {
            EVP_DigestFinal_ex(c->md, c->digest, NULL);
            c->done = true;
        }
        return 0;
    default:
        return -EBADMSG;
    }
}

int pgcollector_context(struct pgcollector *c, struct session *s, const char *database,
                        const char *user, struct pgcontext **ret, char **ret_search_path,
                        struct error *err)
{
    struct catalog *catalog = pgcatalog_find(s->target->name, database, user, c->digest);
    const struct agent agent = session_agent(s);
    char *search_path = NULL;
    int rc = 0;

    if (!catalog) {
        rc = catalog_builder_finish(c->builder, s->guard->parser, &catalog, err);
        if (rc == 0)
            pgcatalog_remember(s->target->name, database, user, c->digest, catalog);
    }
    if (rc == 0) {
        struct bytes path = buffer_bytes(&c->search_path);

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
