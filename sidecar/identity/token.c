/* SPDX-License-Identifier: Apache-2.0
 * Tokens: form, header, signature.
 */
#include "token.h"

#include "src-common/clock.h"
#include "strictjson.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define WAIT_FOR_KEYS_MS 8000

/* ---- form ---- */

static int take_json(struct bytes part, const char *what, struct json_object **ret,
                     struct error *err)
{
    size_t cap = part.len / 4 * 3 + 3, n = 0;
    uint8_t *text = malloc(cap);
    int rc;

    if (!text)
        return error_set(err, -ENOMEM, "out of memory");
    rc = jose_decode(part, text, cap, &n);
    if (rc)
        rc = error_set(err, -EACCES, "the token's %s is no base64url", what);
    else if ((rc = strictjson_parse(bytes_of(text, n), ret, err)))
        rc = error_prefix(err, rc == -ENOMEM ? rc : -EACCES, "the token's %s", what);
    explicit_bzero(text, cap);
    free(text);
    return rc;
}

static int split(const char *text, size_t len, struct bytes parts[3], struct error *err)
{
    size_t n = 0, start = 0;

    for (size_t i = 0; i <= len; i++) {
        if (i < len && text[i] != '.')
            continue;
        if (n == 3)
            return error_set(err, -EACCES, "the token has not three parts");
        parts[n++] = bytes_of(text + start, i - start);
        start = i + 1;
    }
    if (n != 3 || parts[0].len == 0 || parts[1].len == 0)
        return error_set(err, -EACCES,
                         n == 1 ? "it is no token (a JWT has three parts)"
                                : "the token has not three parts");
    if (parts[2].len == 0)
        return error_set(err, -EACCES, "the token is not signed");
    return 0;
}

/* ---- header ---- */

/* Members that say which key to take, that the payload is something else, or that there is more to
 * understand (RFC 7515 section 4.1). Issuers that we trust send none of them. */
static const char *const refused_members[] = {"jku", "jwk", "x5u", "x5c", "crit",
                                              "cty", "enc", "zip", "b64", "epk"};

static int check_header(struct token_parts *t, struct error *err)
{
    const char *alg = strictjson_string(t->header, "alg");
    const char *typ = strictjson_string(t->header, "typ");

    for (size_t i = 0; i < ARRAY_LEN(refused_members); i++)
        if (json_object_object_get_ex(t->header, refused_members[i], NULL))
            return error_set(err, -EACCES, "the token's header has the member '%s'",
                             refused_members[i]);
    if (!alg)
        return error_set(err, -EACCES, "the token's header names no algorithm");
    t->alg = jose_alg_parse(alg);
    if (t->alg == JOSE_NONE)
        return error_set(err, -EACCES, "tokens with the algorithm '%.20s' are not accepted", alg);
    if (json_object_object_get_ex(t->header, "typ", NULL) && (!typ || strcasecmp(typ, "JWT") != 0))
        return error_set(err, -EACCES, "the token's header has a type other than JWT");
    t->kid = strictjson_string(t->header, "kid");
    if (json_object_object_get_ex(t->header, "kid", NULL) &&
        (!t->kid || !*t->kid || strlen(t->kid) > TOKEN_MAX_TEXT))
        return error_set(err, -EACCES, "the token's key id is malformed");
    return 0;
}

int token_parse(struct bytes text, struct token_parts *ret, struct error *err)
{
    struct bytes parts[3];
    size_t n = 0;
    int rc;

    ret->header = ret->claims = NULL;
    ret->kid = NULL;
    if (text.len == 0)
        return error_set(err, -EACCES, "a token is needed in place of the password");
    if (text.len > TOKEN_MAX_BYTES)
        return error_set(err, -EACCES, "the token is longer than %u bytes", TOKEN_MAX_BYTES);
    memcpy(ret->text, text.p, text.len);
    ret->text[text.len] = '\0';
    if ((rc = split(ret->text, text.len, parts, err)) ||
        (rc = take_json(parts[0], "header", &ret->header, err)) || (rc = check_header(ret, err)) ||
        (rc = take_json(parts[1], "payload", &ret->claims, err)))
        return rc;
    if (jose_decode(parts[2], ret->signature_bytes, sizeof ret->signature_bytes, &n) != 0)
        return error_set(err, -EACCES, "the token's signature is no base64url");
    ret->signature = bytes_of(ret->signature_bytes, n);
    ret->signed_part = bytes_of(ret->text, parts[0].len + 1 + parts[1].len);
    return 0;
}

void token_done(struct token_parts *t)
{
    json_object_put(t->header);
    json_object_put(t->claims);
    explicit_bzero(t, sizeof *t);
}

/* ---- signature ---- */

static int check_signature(const struct issuer *issuer, const struct token_parts *t,
                           struct error *err)
{
    _cleanup_(jose_keys_unref) struct jose_keys *keys = NULL;
    struct jose_signed s = {t->text, t->signed_part, t->signature};
    const struct jose_key *key = NULL;
    int rc = jwks_find(issuer->jwks, t->kid, clock_mono_ms() + WAIT_FOR_KEYS_MS, &keys, &key, err);

    if (rc)
        return -EACCES;
    if (key->alg != t->alg)
        return error_set(err, -EACCES, "the token says %s, but its key is for %s",
                         jose_alg_name(t->alg), jose_alg_name(key->alg));
    rc = jose_verify(key, &s);
    return rc ? error_set(err, rc, "the token's signature is wrong") : 0;
}

static int validate(const struct issuers *issuers, struct token_parts *t, const struct agent *agent,
                    struct identity **ret, struct error *err)
{
    const char *name = strictjson_string(t->claims, "iss");
    const struct issuer *issuer = name ? issuers_find(issuers, name) : NULL;
    int rc;

    if (!name)
        return error_set(err, -EACCES, "the token names no issuer");
    if (!issuer)
        return error_set(err, -EACCES, "the token's issuer '%.100s' is not trusted", name);
    rc = check_signature(issuer, t, err);
    if (rc)
        return rc;
    return token_check_claims(issuer, t->claims, agent, (int64_t)(clock_wall_us() / 1000000), ret,
                              err);
}

int token_validate(const struct issuers *issuers, struct bytes token, const struct agent *agent,
                   struct identity **ret, struct error *err)
{
    struct token_parts *t = malloc(sizeof *t);
    int rc;

    if (!t)
        return error_set(err, -ENOMEM, "out of memory");
    rc = token_parse(token, t, err);
    if (rc == 0)
        rc = validate(issuers, t, agent, ret, err);
    token_done(t);
    free(t);
    return rc;
}

struct agent token_agent(const struct agent *agent, const struct identity *id)
{
    struct agent a = *agent;

    a.groups = id->groups;
    a.claims = id->claims;
    a.token_key = id->key;
    return a;
}
