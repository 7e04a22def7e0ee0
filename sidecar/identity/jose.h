/* SPDX-License-Identifier: Apache-2.0
 * JSON Web Keys and signatures (RFC 7515, 7517, 7518, 8037). A key is good for one algorithm,
 * which its set or the issuer's settings say; what a token claims about its algorithm is only ever
 * compared with that. Symmetric keys do not exist here. Pure; any thread.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <openssl/evp.h>
#include <stdatomic.h>

#define JOSE_MAX_KEYS 100

enum jose_alg {
    JOSE_NONE = 0,
    JOSE_RS256,
    JOSE_RS384,
    JOSE_RS512,
    JOSE_PS256,
    JOSE_ES256,
    JOSE_ES384,
    JOSE_EDDSA,
    JOSE_COUNT
};
#define JOSE_ALL (((1u << JOSE_COUNT) - 1) & ~1u)

/* JOSE_NONE for every name that is not one of ours: "none", "HS256", "ES512" … */
enum jose_alg jose_alg_parse(const char *name);
const char *jose_alg_name(enum jose_alg a);

/* Unpadded base64url without any leniency: no other characters, no stray bits. -EBADMSG;
 * -ENOBUFS when it does not fit. */
int jose_decode(struct bytes text, uint8_t *out, size_t cap, size_t *ret_len) MUST_CHECK;

struct jose_key {
    char *kid; /* NULL: the set has a key without a name */
    enum jose_alg alg;
    EVP_PKEY *pkey;
    char *pem; /* the same, as libjwt wants it */
    size_t pem_len;
};

struct jose_keys { /* immutable, counted */
    _Atomic unsigned refs;
    size_t n;
    struct jose_key keys[JOSE_MAX_KEYS];
};

/* A JWK Set. Keys that cannot check signatures with one of the algorithms (a set over enum
 * jose_alg) are left out; a set with none left, with a key id twice, or that is malformed is
 * -EBADMSG.
 */
int jose_keys_parse(struct bytes json, unsigned algorithms, struct jose_keys **ret,
                    struct error *err) MUST_CHECK;
struct jose_keys *jose_keys_ref(struct jose_keys *k);
void jose_keys_unref(struct jose_keys *k); /* accepts NULL */
DEFINE_CLEANUP(struct jose_keys *, jose_keys_unref)
/* By id; without one (NULL) only where the set has a single key. NULL: not there. */
const struct jose_key *jose_keys_find(const struct jose_keys *k, const char *kid);

/* Checks the signature of a compact token with this key, by this key's algorithm. `signed_part`
 * is what stands before the second dot, `signature` the decoded rest; `token` is the whole,
 * NUL-terminated. 0, -EACCES, -ENOMEM. */
struct jose_signed {
    const char *token;
    struct bytes signed_part, signature;
};
int jose_verify(const struct jose_key *k, const struct jose_signed *s) MUST_CHECK;
