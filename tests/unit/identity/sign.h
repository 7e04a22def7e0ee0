/* SPDX-License-Identifier: Apache-2.0
 * What the tests of tokens share: keys, JWK Sets, tokens made to order, right and wrong.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "sidecar/identity/jose.h"
#include "sidecar/identity/token.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define SIGN_UNUSED __attribute__((unused))

/* Appends unpadded base64url. */
SIGN_UNUSED static void sign_encode(struct buffer *out, const void *p, size_t n)
{
    static const char a[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *in = p;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
                     (i + 2 < n ? in[i + 2] : 0);

        buffer_add_u8(out, (uint8_t)a[v >> 18]);
        buffer_add_u8(out, (uint8_t)a[v >> 12 & 63]);
        if (i + 1 < n)
            buffer_add_u8(out, (uint8_t)a[v >> 6 & 63]);
        if (i + 2 < n)
            buffer_add_u8(out, (uint8_t)a[v & 63]);
    }
}

SIGN_UNUSED static void sign_add_number(struct buffer *out, EVP_PKEY *key, const char *param,
                                        int width)
{
    BIGNUM *n = NULL;
    uint8_t raw[2048];
    int len;

    assert_int_equal(EVP_PKEY_get_bn_param(key, param, &n), 1);
    len = width ? BN_bn2binpad(n, raw, width) : BN_bn2bin(n, raw);
    assert_true(len > 0);
    sign_encode(out, raw, (size_t)len);
    BN_free(n);
}

/* One JWK; extra: further members, with the comma in front. */
SIGN_UNUSED static void sign_jwk(struct buffer *out, EVP_PKEY *key, const char *kid,
                                 const char *extra)
{
    int size = EVP_PKEY_get_bits(key) / 8;
    uint8_t raw[64];
    size_t n = sizeof raw;

    buffer_printf(out, "{\"kid\":\"%s\"%s,", kid, extra);
    if (EVP_PKEY_is_a(key, "RSA")) {
        buffer_printf(out, "\"kty\":\"RSA\",\"n\":\"");
        sign_add_number(out, key, OSSL_PKEY_PARAM_RSA_N, 0);
        buffer_printf(out, "\",\"e\":\"");
        sign_add_number(out, key, OSSL_PKEY_PARAM_RSA_E, 0);
    } else if (EVP_PKEY_is_a(key, "EC")) {
        buffer_printf(out, "\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"", size * 8);
        sign_add_number(out, key, OSSL_PKEY_PARAM_EC_PUB_X, size);
        buffer_printf(out, "\",\"y\":\"");
        sign_add_number(out, key, OSSL_PKEY_PARAM_EC_PUB_Y, size);
    } else {
        assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw, &n), 1);
        buffer_printf(out, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
        sign_encode(out, raw, n);
    }
    buffer_printf(out, "\"}");
}

/* JOSE's form of an ECDSA signature: r and s, each as long as the curve's field. */
static void sign_add_ecdsa(struct buffer *out, const uint8_t *der, size_t len, int size)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    uint8_t raw[132];

    assert_non_null(sig);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, size);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + size, size);
    sign_encode(out, raw, 2 * (size_t)size);
    ECDSA_SIG_free(sig);
}

static const EVP_MD *sign_digest(const char *alg)
{
    if (strcmp(alg, "EdDSA") == 0)
        return NULL;
    return strstr(alg, "512") ? EVP_sha512() : strstr(alg, "384") ? EVP_sha384() : EVP_sha256();
}

/* Appends "." and the signature of what the buffer holds. */
SIGN_UNUSED static void sign_add_signature(struct buffer *out, EVP_PKEY *key, const char *alg)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    struct bytes text = buffer_bytes(out);
    uint8_t sig[2048];
    size_t n = sizeof sig;

    assert_int_equal(EVP_DigestSignInit(md, &ctx, sign_digest(alg), NULL, key), 1);
    if (alg[0] == 'P') {
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST);
    }
    assert_int_equal(EVP_DigestSign(md, sig, &n, text.p, text.len), 1);
    EVP_MD_CTX_free(md);
    buffer_add_u8(out, '.');
    if (EVP_PKEY_is_a(key, "EC"))
        sign_add_ecdsa(out, sig, n, EVP_PKEY_get_bits(key) / 8);
    else
        sign_encode(out, sig, n);
}

/* A whole token, NUL-terminated in the buffer. */
SIGN_UNUSED static const char *sign_token(struct buffer *out, EVP_PKEY *key, const char *alg,
                                          const char *header, const char *claims)
{
    buffer_init(out, 4 << 20);
    sign_encode(out, header, strlen(header));
    buffer_add_u8(out, '.');
    sign_encode(out, claims, strlen(claims));
    sign_add_signature(out, key, alg);
    buffer_add_u8(out, 0);
    out->end--;
    return (const char *)out->p;
}

/* As a forger signs who has only the public key: HMAC with its PEM. */
SIGN_UNUSED static const char *sign_hmac(struct buffer *out, EVP_PKEY *key, const char *header,
                                         const char *claims)
{
    BIO *bio = BIO_new(BIO_s_mem());
    uint8_t mac[64];
    unsigned n = 0;
    char *pem;
    long len;

    PEM_write_bio_PUBKEY(bio, key);
    len = BIO_get_mem_data(bio, &pem);
    buffer_init(out, 1 << 20);
    sign_encode(out, header, strlen(header));
    buffer_add_u8(out, '.');
    sign_encode(out, claims, strlen(claims));
    HMAC(EVP_sha256(), pem, (int)len, out->p, buffer_len(out), mac, &n);
    buffer_add_u8(out, '.');
    sign_encode(out, mac, n);
    buffer_add_u8(out, 0);
    out->end--;
    BIO_free(bio);
    return (const char *)out->p;
}
