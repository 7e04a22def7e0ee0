/* SPDX-License-Identifier: Apache-2.0
 * Whose tokens this guard trusts: --issuers, or --issuers-inline. Immutable but for the keys, which
 * each issuer's own thread keeps; a file that changes is a new list. Counted. Any thread.
 */
#pragma once

#include "jwks.h"

#include "sidecar/policy/place.h"
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
    _Atomic unsigned refs;
    struct arena arena;
    size_t n;
    struct issuer list[ISSUERS_MAX];
};

/* A list without any: nobody is trusted. NULL: out of memory. */
struct issuers *issuers_none(void);
/* Reads the file; errors are "FILE:LINE: FIELD: reason". Starts no threads yet. */
int issuers_parse(struct bytes yaml, const char *file, struct issuers **ret,
                  struct error *err) MUST_CHECK;
/* Checks the value of a field "issuers" for a guard in a pod, with all that it may not have there:
 * files that the pod has not, and http:// to this machine, which is the agent's. */
int issuers_check_inline(const struct place *list) MUST_CHECK;

struct issuers_origin {
    const char *file;        /* or NULL */
    const char *text;        /* the file's content for a guard in a pod, or NULL */
    const char *account_dir; /* NULL: the cluster's issuer is not added */
};

/* Reads what there is and starts fetching keys. */
int issuers_load(const struct issuers_origin *from, struct issuers **ret,
                 struct error *err) MUST_CHECK;
/* Adds the issuer of the guard's own ServiceAccount token (DIR/token), whose keys the API server
 * has, with the agent's audience; unless it is in the list already. */
int issuers_add_cluster(struct issuers *all, const char *account_dir, struct error *err) MUST_CHECK;
struct issuers *issuers_ref(struct issuers *i);
/* Accepts NULL. The last reference waits for the threads, which end a fetch within a second. */
void issuers_unref(struct issuers *i);
DEFINE_CLEANUP(struct issuers *, issuers_unref)
/* NULL: not trusted. */
const struct issuer *issuers_find(const struct issuers *i, const char *name);
