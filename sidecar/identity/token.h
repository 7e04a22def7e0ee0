/* SPDX-License-Identifier: Apache-2.0
 * Bearer tokens of agents: JWTs in compact form (RFC 7519), of an OpenID Connect provider or of the
 * cluster (ServiceAccount tokens). What a token says is believed only after its signature, and
 * never about which algorithm or key checks it. For every protocol; knows none. Any thread.
 */
#pragma once

#include "issuers.h"
#include "sidecar/policy/policy.h"
#include "src-common/buffer.h"

#define TOKEN_MAX_BYTES  16384u
#define TOKEN_SKEW_S     60 /* clocks differ */
#define TOKEN_GRACE_S    45 /* how long a session outlives its token; under a minute */
#define TOKEN_MAX_GROUPS 200
#define TOKEN_MAX_TEXT   256 /* bytes of a subject, group or claim */

/* Who presented it, as verified. Immutable, counted. */
struct identity {
    _Atomic unsigned refs;
    struct arena arena; /* of what follows */
    const char *issuer, *subject;
    const char *name;              /* for people and approvals: the account, or ISSUER#SUBJECT */
    const char *const *groups;     /* NULL-terminated */
    const char *const *claims;     /* name, value, …, NULL: texts, numbers, truth values, lists */
    int64_t expires_at, issued_at; /* seconds since 1970; issued_at 0: not said */
    char key[65];                  /* of issuer, subject, groups, claims: hex */
};

/* Checks everything. `agent` is the guard's own: a ServiceAccount token has to be its pod's. May
 * wait for the issuer's keys, until the deadline. -EACCES: refused, err has a reason that says
 * nothing of the token's secret parts; -ENOMEM. */
int token_validate(const struct issuers *issuers, struct bytes token, const struct agent *agent,
                   struct identity **ret, struct error *err) MUST_CHECK;

/* The agent with that identity: its groups and claims. Borrows from both. */
struct agent token_agent(const struct agent *agent, const struct identity *id);

/* Milliseconds until a session of that identity has to end: when its token expires (at_once), or a
 * little before everybody's clock says that it has expired. 0: now. */
uint64_t identity_left_ms(const struct identity *i, bool at_once);

struct identity *identity_ref(struct identity *i);
void identity_unref(struct identity *i); /* accepts NULL */
DEFINE_CLEANUP(struct identity *, identity_unref)
/* Appends the member "token": {issuer, subject, groups, expires}: for records. */
void identity_describe(const struct identity *i, struct buffer *b);

/* ---- the two halves, for tests and fuzzing ---- */

struct token_parts { /* taken apart, nothing believed */
    struct json_object *header, *claims;
    const char *kid; /* in header; NULL: none */
    enum jose_alg alg;
    char text[TOKEN_MAX_BYTES + 1];
    uint8_t signature_bytes[2048];
    struct bytes signed_part, signature; /* into text and signature_bytes */
};

/* -EACCES, -ENOMEM. token_done in any case. */
int token_parse(struct bytes text, struct token_parts *ret, struct error *err) MUST_CHECK;
void token_done(struct token_parts *t); /* wipes */
/* What the claims say, at that time. Only after the signature. */
int token_check_claims(const struct issuer *issuer, struct json_object *claims,
                       const struct agent *agent, int64_t now_s, struct identity **ret,
                       struct error *err) MUST_CHECK;
