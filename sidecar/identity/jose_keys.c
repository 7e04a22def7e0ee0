/* SPDX-License-Identifier: Apache-2.0
 * JWK Sets: from JSON to OpenSSL keys.
 */
#include "jose.h"
#include "strictjson.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#define MAX_MEMBER   2048 /* bytes of a decoded number: RSA keys to 16384 bits */
#define MIN_RSA_BITS 2048

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free)
DEFINE_CLEANUP(BIGNUM *, BN_free)
DEFINE_CLEANUP(struct json_object *, json_object_put)

static bool decode_member(struct json_object *o, const char *name, uint8_t out[static MAX_MEMBER],
                          size_t *ret_len)
{
    const char *text = strictjson_string(o, name);

    return text && jose_decode(bytes_str(text), out, MAX_MEMBER, ret_len) == 0 && *ret_len > 0;
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *build)
{
    _cleanup_(OSSL_PARAM_free) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    _cleanup_(EVP_PKEY_CTX_free) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;

    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return key;
}

/* RFC 7518 section 6.3.1. Small exponents and short moduli are no keys. */
static EVP_PKEY *rsa_key(struct json_object *o)
{
    _cleanup_(OSSL_PARAM_BLD_free) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    _cleanup_(BN_free) BIGNUM *n = NULL, *e = NULL;
    uint8_t raw[MAX_MEMBER];
    size_t len;

    if (!decode_member(o, "n", raw, &len) || !(n = BN_bin2bn(raw, (int)len, NULL)))
        return NULL;
    if (!decode_member(o, "e", raw, &len) || !(e = BN_bin2bn(raw, (int)len, NULL)))
        return NULL;
    if (BN_num_bits(n) < MIN_RSA_BITS || !BN_is_odd(n) || BN_num_bits(e) < 2 ||
        BN_num_bits(e) > 33 || !BN_is_odd(e))
        return NULL;
    if (!build || OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) != 1)
        return NULL;
    return key_from("RSA", build);
}

/* Section 6.2.1; fromdata checks that the point is on the curve. */
static EVP_PKEY *ec_key(struct json_object *o, const char *group, size_t size)
{
    _cleanup_(OSSL_PARAM_BLD_free) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    uint8_t x[MAX_MEMBER], y[MAX_MEMBER], point[1 + 2 * 66];
    size_t x_len, y_len;

    if (!decode_member(o, "x", x, &x_len) || !decode_member(o, "y", y, &y_len) || x_len != size ||
        y_len != size)
        return NULL;
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x, size);
    memcpy(point + 1 + size, y, size);
    if (!build ||
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * size) != 1)
        return NULL;
    return key_from("EC", build);
}

/* RFC 8037. */
static EVP_PKEY *ed25519_key(struct json_object *o)
{
    uint8_t x[MAX_MEMBER];
    size_t len;

    if (!decode_member(o, "x", x, &len) || len != 32)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, len);
}

/* ---- which algorithm ---- */

static bool is_rsa(enum jose_alg a)
{
    return a >= JOSE_RS256 && a <= JOSE_PS256;
}

/* An RSA key that names no algorithm: the only one that the settings leave, else RS256. */
static enum jose_alg rsa_default(unsigned allowed)
{
    enum jose_alg only = JOSE_NONE;

    for (unsigned a = JOSE_RS256; a <= JOSE_PS256; a++) {
        if (!(allowed & 1u << a))
            continue;
        if (only)
            return JOSE_RS256;
        only = (enum jose_alg)a;
    }
    return only;
}

/* May this key check signatures? */
static bool is_for_signatures(struct json_object *o)
{
    struct json_object *ops = NULL;
    const char *use = strictjson_string(o, "use");

    if (json_object_object_get_ex(o, "use", NULL) && (!use || strcmp(use, "sig") != 0))
        return false;
    if (!json_object_object_get_ex(o, "key_ops", &ops))
        return true;
    if (!json_object_is_type(ops, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(ops); i++) {
        struct json_object *op = json_object_array_get_idx(ops, i);

        if (json_object_is_type(op, json_type_string) &&
            strcmp(json_object_get_string(op), "verify") == 0)
            return true;
    }
    return false;
}

/* The type and curve say which algorithms are possible; `alg` may only choose among those. */
static EVP_PKEY *make_key(struct json_object *o, unsigned allowed, enum jose_alg *ret_alg)
{
    const char *kty = strictjson_string(o, "kty"), *crv = strictjson_string(o, "crv");
    bool named = json_object_object_get_ex(o, "alg", NULL);
    enum jose_alg alg = jose_alg_parse(strictjson_string(o, "alg"));
    EVP_PKEY *key = NULL;
    enum jose_alg by_type = JOSE_NONE;

    if (!kty || (named && alg == JOSE_NONE))
        return NULL;
    if (strcmp(kty, "RSA") == 0)
        by_type = is_rsa(alg) ? alg : named ? JOSE_NONE : rsa_default(allowed);
    else if (strcmp(kty, "EC") == 0 && crv && strcmp(crv, "P-256") == 0)
        by_type = JOSE_ES256;
    else if (strcmp(kty, "EC") == 0 && crv && strcmp(crv, "P-384") == 0)
        by_type = JOSE_ES384;
    else if (strcmp(kty, "OKP") == 0 && crv && strcmp(crv, "Ed25519") == 0)
        by_type = JOSE_EDDSA;
    if (by_type == JOSE_NONE || (named && alg != by_type) || !(allowed & 1u << by_type))
        return NULL;
    if (is_rsa(by_type))
        key = rsa_key(o);
    else if (by_type == JOSE_EDDSA)
        key = ed25519_key(o);
    else
        key = by_type == JOSE_ES256 ? ec_key(o, "P-256", 32) : ec_key(o, "P-384", 48);
    *ret_alg = by_type;
    return key;
}

static char *to_pem(EVP_PKEY *key, size_t *ret_len)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *copy = NULL;
    long n;

    if (bio && PEM_write_bio_PUBKEY(bio, key) == 1 && (n = BIO_get_mem_data(bio, &data)) > 0) {
        copy = strndup(data, (size_t)n);
        *ret_len = (size_t)n;
    }
    BIO_free(bio);
    return copy;
}

/* ---- sets ---- */

/* 0: added, or left out. */
static int add_key(struct jose_keys *set, struct json_object *o, unsigned allowed,
                   struct error *err)
{
    _cleanup_(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    struct jose_key *k = &set->keys[set->n];
    const char *kid;
    enum jose_alg alg;

    if (!json_object_is_type(o, json_type_object))
        return error_set(err, -EBADMSG, "a key is no object");
    kid = strictjson_string(o, "kid");
    if (!is_for_signatures(o) || !(pkey = make_key(o, allowed, &alg))) {
        ERR_clear_error();
        return 0;
    }
    for (size_t i = 0; i < set->n; i++)
        if (kid && set->keys[i].kid && strcmp(set->keys[i].kid, kid) == 0)
            return error_set(err, -EBADMSG, "the key id '%.64s' is there twice", kid);
    k->kid = kid ? strdup(kid) : NULL;
    k->pem = to_pem(pkey, &k->pem_len);
    k->alg = alg;
    k->pkey = take(&pkey);
    set->n++; /* from here on it is freed with the set */
    return k->pem && (k->kid || !kid) ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int add_keys(struct jose_keys *set, struct json_object *root, unsigned allowed,
                    struct error *err)
{
    struct json_object *list = NULL;

    if (!json_object_object_get_ex(root, "keys", &list) ||
        !json_object_is_type(list, json_type_array))
        return error_set(err, -EBADMSG, "there is no list 'keys'");
    if (json_object_array_length(list) > JOSE_MAX_KEYS)
        return error_set(err, -EBADMSG, "more than %d keys", JOSE_MAX_KEYS);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        int rc = add_key(set, json_object_array_get_idx(list, i), allowed, err);

        if (rc)
            return rc;
    }
    if (set->n == 0)
        return error_set(err, -EBADMSG, "none of its keys can be used for checking signatures");
    return 0;
}

int jose_keys_parse(struct bytes json, unsigned allowed, struct jose_keys **ret, struct error *err)
{
    _cleanup_(jose_keys_unref) struct jose_keys *set = calloc(1, sizeof *set);
    _cleanup_(json_object_put) struct json_object *root = NULL;
    int rc;

    if (!set)
        return error_set(err, -ENOMEM, "out of memory");
    set->refs = 1;
    rc = strictjson_parse(json, &root, err);
    if (rc == 0)
        rc = add_keys(set, root, allowed, err);
    if (rc == 0)
        *ret = take(&set);
    return rc;
}

struct jose_keys *jose_keys_ref(struct jose_keys *k)
{
    atomic_fetch_add(&k->refs, 1);
    return k;
}

void jose_keys_unref(struct jose_keys *k)
{
    if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    for (size_t i = 0; i < k->n; i++) {
        free(k->keys[i].kid);
        free(k->keys[i].pem);
        EVP_PKEY_free(k->keys[i].pkey);
    }
    free(k);
}

const struct jose_key *jose_keys_find(const struct jose_keys *k, const char *kid)
{
    if (!kid)
        return k->n == 1 ? &k->keys[0] : NULL;
    for (size_t i = 0; i < k->n; i++)
        if (k->keys[i].kid && strcmp(k->keys[i].kid, kid) == 0)
            return &k->keys[i];
    return NULL;
}
