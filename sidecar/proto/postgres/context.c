/* SPDX-License-Identifier: Apache-2.0
 * Contexts, and verdicts on statements.
 */
#include "context.h"

#include "src-common/clock.h"
#include "verdict_cache.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#define MAX_CONTEXTS 64
#define MAX_CATALOGS 64
/* Comparing versions does not see what a superuser does to the server's own functions. */
#define CATALOG_REREAD_MS 60000
#define TRIM_AFTER        (32 * 1024)
#define VERDICT_ARENA     (8u << 20)

/* ---- catalogues ---- */

struct cached_catalog {
    char key[320];
    uint8_t digest[32];
    struct pgcatalog_version version;
    uint64_t read_ms; /* when its rows were read */
    struct catalog *catalog;
};

static pthread_mutex_t catalogs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cached_catalog catalogs[MAX_CATALOGS]; /* under catalogs_lock */
static unsigned next_catalog;

static void catalog_key(char text[static 320], const struct pgcatalog_key *k)
{
    snprintf(text, 320, "%.127s\n%.63s\n%.63s", k->target, k->database, k->user);
}

static _Atomic uint64_t schema_changes;

uint64_t pgcatalog_changes(void)
{
    return atomic_load_explicit(&schema_changes, memory_order_relaxed);
}

void pgcatalog_changed(void)
{
    atomic_fetch_add_explicit(&schema_changes, 1, memory_order_relaxed);
}

static struct cached_catalog *catalog_slot(const char *key)
{
    for (unsigned i = 0; i < MAX_CATALOGS; i++)
        if (catalogs[i].catalog && strcmp(catalogs[i].key, key) == 0)
            return &catalogs[i];
    return NULL;
}

struct catalog *pgcatalog_find(const struct pgcatalog_key *k, const uint8_t digest[static 32])
{
    struct catalog *found = NULL;
    struct cached_catalog *slot;
    char key[320];

    catalog_key(key, k);
    pthread_mutex_lock(&catalogs_lock);
    slot = catalog_slot(key);
    if (slot && memcmp(slot->digest, digest, sizeof slot->digest) == 0)
        found = catalog_ref(slot->catalog);
    pthread_mutex_unlock(&catalogs_lock);
    return found;
}

struct catalog *pgcatalog_last(const struct pgcatalog_key *k, struct pgcatalog_version *ret)
{
    struct catalog *found = NULL;
    struct cached_catalog *slot;
    char key[320];

    catalog_key(key, k);
    pthread_mutex_lock(&catalogs_lock);
    slot = catalog_slot(key);
    if (slot && clock_mono_ms() - slot->read_ms < CATALOG_REREAD_MS) {
        found = catalog_ref(slot->catalog);
        *ret = slot->version;
    }
    pthread_mutex_unlock(&catalogs_lock);
    return found;
}

void pgcatalog_remember(const struct pgcatalog_key *k, const struct pgcatalog_version *version,
                        const uint8_t *digest, struct catalog *c)
{
    struct catalog *old = NULL;
    struct cached_catalog *slot;
    char key[320];

    catalog_key(key, k);
    pthread_mutex_lock(&catalogs_lock);
    slot = catalog_slot(key);
    if (!slot && digest)
        slot = &catalogs[next_catalog++ % MAX_CATALOGS];
    if (digest) {
        old = slot->catalog;
        slot->catalog = catalog_ref(c);
        slot->read_ms = clock_mono_ms();
        slot->version = *version;
        memcpy(slot->digest, digest, sizeof slot->digest);
        memcpy(slot->key, key, sizeof key);
    } else if (slot && slot->catalog == c && strcmp(slot->version.state, version->state) == 0) {
        slot->version = *version; /* unless somebody has read another meanwhile */
    }
    pthread_mutex_unlock(&catalogs_lock);
    catalog_unref(old);
}

/* ---- contexts ---- */

static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pgcontext *contexts[MAX_CONTEXTS]; /* under contexts_lock; one reference each */
static unsigned next_context;
static _Atomic uint64_t next_serial = 1;

struct pgcontext *pgcontext_ref(struct pgcontext *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void pgcontext_unref(struct pgcontext *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    verdict_cache_free(c->cache);
    maskmap_free(c->masks);
    catalog_unref(c->catalog);
    policy_view_unref(c->view);
    detector_set_unref(c->detectors);
    for (unsigned i = 0; c->search_path[i]; i++)
        free(c->search_path[i]);
    free(c);
}

static int split_search_path(struct pgcontext *c, const char *text)
{
    unsigned n = 0;

    while (*text && n < PGCONTEXT_MAX_SEARCH_PATH) {
        size_t len = strcspn(text, "\n");

        c->search_path[n] = strndup(text, len);
        if (!c->search_path[n++])
            return -ENOMEM;
        text += len + (text[len] == '\n');
    }
    return *text ? -E2BIG : 0;
}

static bool same_search_path(const struct pgcontext *c, const char *text)
{
    for (unsigned i = 0; c->search_path[i]; i++) {
        size_t len = strcspn(text, "\n");

        if (strlen(c->search_path[i]) != len || memcmp(c->search_path[i], text, len) != 0)
            return false;
        text += len + (text[len] == '\n');
    }
    return *text == '\0';
}

static int build(struct pgcontext *c, const struct pgcontext_for *whose, const char *search_path,
                 struct error *err)
{
    const struct column_mask *masks;
    uint32_t detectors;
    size_t n_masks;
    int rc;

    rc = policy_view_new(whose->snapshot, whose->agent, whose->target, c->database, &c->view);
    if (rc == 0)
        rc = split_search_path(c, search_path);
    if (rc)
        return error_set(err, rc, "out of memory");
    c->policy_generation = policy_snapshot_generation(whose->snapshot);
    c->recording = policy_view_recording(c->view);
    masks = policy_view_column_masks(c->view, &n_masks);
    rc = maskmap_new(c->catalog, masks, n_masks, &c->masks, err);
    if (rc)
        return rc;
    c->column_masks = !maskmap_empty(c->masks);
    detectors = policy_view_detectors(c->view);
    for (unsigned d = 0; d < DETECTOR_COUNT; d++)
        c->detector_method[d] = policy_view_detector_method(c->view, d);
    if (detectors)
        rc = detector_set_get(detectors, &c->detectors, err);
    return rc ? rc : verdict_cache_new(&c->cache);
}

static struct pgcontext *find_context(const struct pgcontext *want, const char *search_path)
{
    for (unsigned i = 0; i < MAX_CONTEXTS; i++) {
        struct pgcontext *c = contexts[i];

        if (c && c->policy_generation == want->policy_generation && c->catalog == want->catalog &&
            strcmp(c->token_key, want->token_key) == 0 && strcmp(c->target, want->target) == 0 &&
            strcmp(c->database, want->database) == 0 && same_search_path(c, search_path))
            return pgcontext_ref(c);
    }
    return NULL;
}

static void remember_context(struct pgcontext *c)
{
    struct pgcontext *old[MAX_CONTEXTS] = {0};
    unsigned slot = next_context++ % MAX_CONTEXTS;

    pthread_mutex_lock(&contexts_lock);
    for (unsigned i = 0; i < MAX_CONTEXTS; i++) {
        bool outdated = contexts[i] && (contexts[i]->policy_generation != c->policy_generation ||
                                        (contexts[i]->catalog != c->catalog &&
                                         strcmp(contexts[i]->token_key, c->token_key) == 0 &&
                                         strcmp(contexts[i]->target, c->target) == 0 &&
                                         strcmp(contexts[i]->database, c->database) == 0));

        if (outdated || i == slot) {
            old[i] = contexts[i];
            contexts[i] = NULL;
        }
    }
    contexts[slot] = pgcontext_ref(c);
    pthread_mutex_unlock(&contexts_lock);
    for (unsigned i = 0; i < MAX_CONTEXTS; i++)
        pgcontext_unref(old[i]);
}

int pgcontext_get(const struct pgcontext_for *whose, struct catalog *catalog,
                  const char *search_path, struct pgcontext **ret, struct error *err)
{
    struct pgcontext *c = calloc(1, sizeof *c), *found;
    int rc;

    if (!c)
        return error_set(err, -ENOMEM, "out of memory");
    c->serial = atomic_fetch_add(&next_serial, 1);
    c->guard = whose->guard;
    c->refs = 1;
    c->policy_generation = policy_snapshot_generation(whose->snapshot);
    c->checked_ms = clock_mono_ms();
    c->catalog = catalog_ref(catalog);
    snprintf(c->target, sizeof c->target, "%s", whose->target->name);
    snprintf(c->database, sizeof c->database, "%s", whose->database);
    if (whose->agent->token_key)
        snprintf(c->token_key, sizeof c->token_key, "%s", whose->agent->token_key);
    pthread_mutex_lock(&contexts_lock);
    found = find_context(c, search_path);
    pthread_mutex_unlock(&contexts_lock);
    if (found) {
        atomic_store_explicit(&found->checked_ms, clock_mono_ms(), memory_order_relaxed);
        pgcontext_unref(c);
        *ret = found;
        return 0;
    }
    rc = build(c, whose, search_path, err);
    if (rc) {
        pgcontext_unref(c);
        return rc;
    }
    remember_context(c);
    *ret = c;
    return 0;
}

/* ---- verdicts ---- */

struct pgverdict *pgverdict_ref(struct pgverdict *v)
{
    atomic_fetch_add(&v->refs, 1);
    return v;
}

void pgverdict_unref(struct pgverdict *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    arena_done(&v->arena);
    free(v);
}

static void refuse(struct pgverdict *v, const char *sqlstate, const char *reason)
{
    v->sqlstate = sqlstate;
    v->decision.verdict = v->decision.would = VERDICT_DENY;
    snprintf(v->reason, sizeof v->reason, "%s", reason);
}

/* What the session needs to know at every use, gathered from the statements once. */
static void summarise(struct pgverdict *v, const struct pgcontext *c)
{
    for (size_t i = 0; i < v->message.n; i++) {
        const struct sql_statement *s = &v->message.statements[i];

        for (; s; s = s->inner) {
            v->touches_masked |= s->touches_masked;
            v->mask_originless |= s->mask_originless;
            v->reduce_errors |= s->touches_masked || (c->column_masks && s->runs_hidden_code);
            v->unknown_relation |= s->unknown_relation;
            v->writes_masked |= s->writes_masked;
            v->changes_catalog |= s->changes_catalog;
            v->ends_transaction |= s->ends_transaction;
        }
    }
}

static bool literal_dependent(const struct sql_message *m)
{
    for (size_t i = 0; i < m->n; i++)
        for (const struct sql_statement *s = &m->statements[i]; s; s = s->inner)
            if (s->literal_dependent)
                return true;
    return false;
}

static void decide(struct pgcontext *c, struct pgverdict *v)
{
    struct statement *all = arena_alloc(&v->arena, (v->message.n + 1) * sizeof *all);

    if (!all) {
        refuse(v, "53200", "out of memory while judging the statement");
        return;
    }
    for (size_t i = 0; i < v->message.n; i++)
        all[i] = v->message.statements[i].policy;
    policy_decide(c->view, all, v->message.n, &v->decision);
}

static void judge_tree(struct pgcontext *c, struct bytes sql, struct json_object *tree,
                       struct pgverdict *v)
{
    struct sql_env env = {c->catalog, c->masks, (const char *const *)c->search_path};
    struct error err = {""};
    /* Slices of the text have to live as long as the verdict. */
    char *copy = arena_strndup(&v->arena, sql.p, sql.len);
    int rc = copy ? sql_analyze(tree, bytes_of(copy, sql.len), &env, &v->arena, &v->message, &err)
                  : -ENOMEM;

    if (rc) {
        refuse(v, rc == -ENOMEM ? "54001" : "0A000",
               rc == -ENOMEM ? "the statement is too large to judge" : err.text);
        v->message = (struct sql_message){0};
        return;
    }
    summarise(v, c);
    decide(c, v);
}

struct pgverdict *pgcontext_lookup(struct pgcontext *c, struct bytes sql, struct buffer *scratch)
{
    return verdict_cache_find(c->cache, sql, scratch);
}

int pgcontext_judge(struct pgcontext *c, struct bytes sql, struct pgverdict **ret)
{
    struct pgverdict *v = calloc(1, sizeof *v);
    struct json_object *tree = NULL;
    struct error err = {""};
    int rc;

    if (!v)
        return -ENOMEM;
    v->refs = 1;
    v->context_serial = c->serial;
    arena_init(&v->arena, VERDICT_ARENA);
    atomic_fetch_add(&c->guard->counters.parse_misses, 1);
    rc = sql_parser_parse(c->guard->parser, sql, &tree, &err);
    if (rc == 0)
        judge_tree(c, sql, tree, v);
    else if (rc == -EBADMSG)
        refuse(v, strncmp(err.text, "invalid byte sequence", 21) == 0 ? "22021" : "42601",
               err.text);
    else if (rc == -E2BIG)
        refuse(v, "54001", err.text);
    else
        refuse(v, "58000", err.text);
    json_object_put(tree);
    if (sql.len > TRIM_AFTER)
        malloc_trim(0); /* a large text's tree takes many times its size */
    if (!v->sqlstate)
        verdict_cache_add(c->cache, sql, literal_dependent(&v->message), v);
    *ret = v;
    return 0;
}
