/* SPDX-License-Identifier: Apache-2.0
 * Reads the catalogue over the agent's own upstream session, at a moment when nothing else is
 * outstanding there. Pure over messages: the handshake thread and the loop both drive it.
 *
 * In up to three rounds, each only when the one before leaves it open whether the catalogue that
 * was read last is still the one: the server's snapshot; the versions of the catalogue's rows; the
 * rows themselves.
 */
#pragma once

#include "context.h"
#include "sidecar/sql/catalog.h"
#include "wire.h"

#include <openssl/evp.h>

struct session;

struct pgcollector {
    struct catalog_builder *builder;
    struct buffer search_path; /* schema names, newline-separated */
    uint64_t schema_seen;      /* pgcatalog_changes() when it began */
    bool in_transaction;
    struct catalog *last;             /* counted; the one that was read before, or NULL */
    struct pgcatalog_version was, is; /* its version; what this session sees */
    unsigned parts;                   /* of this round */
    unsigned step, n_steps; /* Query whose answer is coming; how many there are in this round */
    unsigned query_of_step[CATALOG_N_QUERIES + 8];
    bool more; /* a round has ended, and another is needed: pgcollector_more() */
    bool done;
    EVP_MD_CTX *md;     /* over the rows of the catalogue */
    uint8_t digest[32]; /* when done */
    char failure[256];  /* the upstream's first error */
};

/* Appends the first round's queries to `out`. In a transaction block they run behind a savepoint,
 * else in a read-only transaction; both are rolled back, search_path with them. `whose` NULL: reads
 * the rows, whatever is known. */
int pgcollector_new(const struct pgcatalog_key *whose, bool in_transaction, struct buffer *out,
                    struct pgcollector **ret) MUST_CHECK;
/* Appends those of the next round, when c->more. -ENOMEM. */
int pgcollector_more(struct pgcollector *c, struct buffer *out) MUST_CHECK;
void pgcollector_free(struct pgcollector *c); /* accepts NULL */
/* One backend message. -EBADMSG when it cannot be an answer to our queries. After a round's last
 * one c->more or c->done is set; when done, c->failure tells whether anything failed. */
int pgcollector_message(struct pgcollector *c, const struct pgwire_msg *m) MUST_CHECK;

/* What came of it: the catalogue (known already, or built, which parses the views' definitions)
 * and the context for it. Blocks: not on a loop. Any thread; the collector is done. */
int pgcollector_context(struct pgcollector *c, struct session *s, const char *database,
                        const char *user, struct pgcontext **ret, char **ret_search_path,
                        struct error *err) MUST_CHECK;
