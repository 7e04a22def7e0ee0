/* SPDX-License-Identifier: Apache-2.0
 * Whose tokens this guard trusts: the file given with --issuers. Loaded once, before the first
 * connection; immutable but for the keys, which each issuer's own thread keeps. Any thread.
 */
#pragma once

#include "jwks.h"

#include "src-common/arena.h"

#define ISSUERS_MAX 16

enum issuer_kind {
    ISSUER_OIDC = 0,
    ISSUER_KUBERNETES /* ServiceAccount tokens, bound to the guard's own pod */
};

struct issuer {
    const char *name;             /* the iss claim */
    unsigned kind;                /* enum issuer_kind */
    const char *const *audiences; /* NULL-terminated; a token has to have one of them */
    const char *groups_claim, *groups_prefix;
    unsigned max_lifetime_s;
    struct jwks_source source;
    struct jwks *jwks;
};

/* What an issuer has that says nothing. */
void issuer_defaults(struct issuer *i);

struct issuers {
    struct arena arena;
    size_t n;
    struct issuer list[ISSUERS_MAX];
};

/* Reads the file; errors are "FILE:LINE: FIELD: reason". Starts no threads yet. */
int issuers_parse(struct bytes yaml, const char *file, struct issuers **ret,
                  struct error *err) MUST_CHECK;
/* Reads the file (NULL: none), adds the cluster's issuer when there is an account_dir, and starts
 * fetching keys. */
int issuers_load(const char *path, const char *account_dir, struct issuers **ret,
                 struct error *err) MUST_CHECK;
/* Adds the issuer of the guard's own ServiceAccount token (DIR/token), whose keys the API server
 * has, with the agent's audience; unless it is in the list already. */
int issuers_add_cluster(struct issuers *all, const char *account_dir, struct error *err) MUST_CHECK;
void issuers_free(struct issuers *i); /* accepts NULL; waits for the threads */
DEFINE_CLEANUP(struct issuers *, issuers_free)
/* NULL: not trusted. */
const struct issuer *issuers_find(const struct issuers *i, const char *name);
