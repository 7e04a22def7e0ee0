/* SPDX-License-Identifier: Apache-2.0
 * The keys of one issuer: fetched by a thread of its own, kept while they are fresh, asked for by
 * handshake threads. Keys that could not be confirmed for too long are not used any more.
 */
#pragma once

#include "jose.h"

struct jwks_source { /* strings live as long as the jwks */
    const char *issuer;
    const char *url;        /* of the key set; NULL: the issuer's discovery document says it */
    const char *file;       /* instead of fetching */
    const char *keys;       /* the key set itself, instead of both */
    const char *ca_file;    /* roots for fetching; NULL: the system's */
    const char *ca_text;    /* the same as PEM; NULL: none */
    const char *token_file; /* sent as bearer token; NULL: none */
    unsigned algorithms;    /* set over enum jose_alg */
    unsigned refresh_s;     /* how often the set is looked at anew */
    unsigned stale_s;       /* after this long without success it is not used */
    unsigned unknown_s;     /* how often an unknown key id may cause a fetch out of turn */
    bool https_only;        /* discovery may not lead to this machine */
};

struct jwks;

/* Starts the thread, which fetches at once. */
int jwks_start(const struct jwks_source *source, struct jwks **ret, struct error *err) MUST_CHECK;
void jwks_stop(struct jwks *j); /* accepts NULL */

/* The key with that id, or the only one when kid is NULL. *ret lives as long as the reference
 * *ret_keys. Blocks until a fetch that it caused has ended, at most until the deadline
 * (clock_mono_ms). -ENOKEY: there is none; -EAGAIN: no fresh key set can be had. */
int jwks_find(struct jwks *j, const char *kid, uint64_t deadline_ms, struct jose_keys **ret_keys,
              const struct jose_key **ret, struct error *err) MUST_CHECK;
