/* SPDX-License-Identifier: Apache-2.0
 * Everything that a verdict on a statement depends on besides its text: the policy view, the
 * catalogue, the search path. Sessions of the same agent, target, database, policy and
 * catalogue share one context and with it the cache of verdicts. Immutable but for the cache;
 * reference-counted; any thread.
 */
#pragma once

#include "sidecar/mask/detect.h"
#include "sidecar/session/guard.h"
#include "sidecar/sql/analyze.h"

#define PGCONTEXT_MAX_SEARCH_PATH 64

/* What was found out about one message's text. Lives as long as a reference to it. */
struct pgverdict {
    struct sql_message message;
    struct decision decision; /* borrows from the context's view */
    const char *sqlstate;     /* set: refused before policy was asked (syntax, complexity) */
    char reason[256];         /* with sqlstate */
    bool touches_masked, mask_originless, reduce_errors, changes_catalog, unknown_relation;
    bool ends_transaction;
    bool writes_masked;
    uint64_t context_serial; /* of the context that it was judged in */
    struct arena arena;
    _Atomic unsigned refs;
};
struct pgverdict *pgverdict_ref(struct pgverdict *v);
void pgverdict_unref(struct pgverdict *v); /* accepts NULL */

struct pgcontext {
    uint64_t serial; /* unique in this process */
    struct guard *guard;
    struct policy_view *view;
    struct catalog *catalog;
    struct maskmap *masks;
    uint64_t policy_generation;
    const struct recording_settings *recording;
    struct detector_set *detectors; /* NULL: none */
    enum mask_method detector_method[DETECTOR_COUNT];
    char target[128], database[64];
    char token_key[65];                               /* of the agent's identity; empty: no token */
    char *search_path[PGCONTEXT_MAX_SEARCH_PATH + 1]; /* NULL-terminated */
    _Atomic uint64_t checked_ms; /* when a session last set out to see whether the schema is still
                                    this one */
    bool column_masks;           /* some column of this database is masked */
    _Atomic unsigned refs;
    struct verdict_cache *cache;
};

/* Finds or builds the context. Blocks (compiles detectors, follows masks through views): not on
 * a loop. Takes a reference on snapshot's view and on catalog. `search_path` is newline-separated.
 */
struct pgcontext_for { /* whose context */
    struct guard *guard;
    const struct agent *agent;
    struct policy_snapshot *snapshot;
    const struct target *target;
    const char *database;
};
int pgcontext_get(const struct pgcontext_for *whose, struct catalog *catalog,
                  const char *search_path, struct pgcontext **ret, struct error *err) MUST_CHECK;
struct pgcontext *pgcontext_ref(struct pgcontext *c);
void pgcontext_unref(struct pgcontext *c); /* accepts NULL */

/* The verdict on a text, when it is known. Does not block. A counted reference or NULL. scratch
 * as in verdict_cache.h. */
struct pgverdict *pgcontext_lookup(struct pgcontext *c, struct bytes sql, struct buffer *scratch);
/* Parses, analyses, decides, remembers. Blocks. -ENOMEM. */
int pgcontext_judge(struct pgcontext *c, struct bytes sql, struct pgverdict **ret) MUST_CHECK;

/* Whose catalogue. The strings are borrowed. */
struct pgcatalog_key {
    const char *target, *database, *user;
};
/* When it was read: answers of catalog_snapshot_query and catalog_state_query. Empty: not known. */
struct pgcatalog_version {
    char snapshot[256], state[256];
};
/* Sessions that see the same schema share one catalogue, and with it contexts and verdicts: it is
 * known by the digest of the rows it was read from. A counted reference, or NULL. */
struct catalog *pgcatalog_find(const struct pgcatalog_key *k, const uint8_t digest[static 32]);
/* The catalogue that was read last, unless that is more than a minute ago, and its version. A
 * counted reference, or NULL. */
struct catalog *pgcatalog_last(const struct pgcatalog_key *k, struct pgcatalog_version *ret);
/* Counts the statements seen in this process that may have changed a schema. A session whose
 * catalogue is older than the last of them reads it anew. */
uint64_t pgcatalog_changes(void);
void pgcatalog_changed(void);
/* Keeps it (a reference of its own) in place of that user's older one. digest NULL: c is still
 * the last one's, of this version too. */
void pgcatalog_remember(const struct pgcatalog_key *k, const struct pgcatalog_version *version,
                        const uint8_t *digest, struct catalog *c);
