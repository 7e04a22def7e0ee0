/* SPDX-License-Identifier: Apache-2.0
 * Signatures and encodings. libjwt checks what it can; it takes the algorithm from the token
 * (its issue 200), so it is only asked after the token's algorithm was found to be the key's, and
 * asked back afterwards. PS256 before libjwt 1.13 and EdDSA are checked with OpenSSL.
 */
#include "jose.h"

#include <errno.h>
#include <jwt.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

static const char *const algorithms[JOSE_COUNT] = {
    [JOSE_NONE] = "none",   [JOSE_RS256] = "RS256", [JOSE_RS384] = "RS384", [JOSE_RS512] = "RS512",
    [JOSE_PS256] = "PS256", [JOSE_ES256] = "ES256", [JOSE_ES384] = "ES384", [JOSE_EDDSA] = "EdDSA",
};

enum jose_alg jose_alg_parse(const char *name)
{
    for (unsigned i = 1; i < JOSE_COUNT && name; i++)
        if (strcmp(algorithms[i], name) == 0)
            return (enum jose_alg)i;
    return JOSE_NONE;
}

const char *jose_alg_name(enum jose_alg a)
{
    return a < JOSE_COUNT ? algorithms[a] : "none";
}

static int sextet(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int jose_decode(struct bytes text, uint8_t *out, size_t cap, size_t *ret_len)
{
    size_t n = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);
    uint32_t bits = 0;
    size_t at = 0;

    if (text.len % 4 == 1)
        return -EBADMSG;
    if (n > cap)
        return -ENOBUFS;
    for (size_t i = 0; i < text.len; i++) {
        int v = sextet(text.p[i]);

        if (v < 0)
            return -EBADMSG;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4)
            out[at++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    /* Bits beyond the last byte: two texts would mean the same. */
    if ((text.len % 4 == 2 && (bits & 15)) || (text.len % 4 == 3 && (bits & 3)))
        return -EBADMSG;
    *ret_len = n;
    return 0;
}

/* ---- verifying ---- */

static int verify_by_openssl(const struct jose_key *k, const struct jose_signed *s)
{
    const EVP_MD *digest = k->alg == JOSE_EDDSA ? NULL : EVP_sha256();
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    bool ok = md && EVP_DigestVerifyInit(md, &ctx, digest, NULL, k->pkey) == 1;

    if (ok && k->alg == JOSE_PS256) /* RFC 7518 section 3.5: the salt is as long as the hash */
        ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1 &&
             EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1;
    ok = ok && EVP_DigestVerify(md, s->signature.p, s->signature.len, s->signed_part.p,
                                s->signed_part.len) == 1;
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return ok ? 0 : -EACCES;
}

static int verify_by_libjwt(const struct jose_key *k, const struct jose_signed *s, jwt_alg_t alg)
{
    jwt_t *jwt = NULL;
    int rc = jwt_decode(&jwt, s->token, (const unsigned char *)k->pem, (int)k->pem_len);
    bool ok = rc == 0 && jwt_get_alg(jwt) == alg;

    jwt_free(jwt);
    ERR_clear_error();
    return ok ? 0 : rc == ENOMEM ? -ENOMEM : -EACCES;
}

int jose_verify(const struct jose_key *k, const struct jose_signed *s)
{
    jwt_alg_t alg;

    if (k->alg == JOSE_NONE || k->alg >= JOSE_COUNT)
        return -EACCES;
    alg = k->alg == JOSE_EDDSA ? JWT_ALG_INVAL : jwt_str_alg(algorithms[k->alg]);
    if (k->alg == JOSE_EDDSA || (k->alg == JOSE_PS256 && alg == JWT_ALG_INVAL))
        return verify_by_openssl(k, s);
    return alg == JWT_ALG_INVAL || alg == JWT_ALG_NONE ? -EACCES : verify_by_libjwt(k, s, alg);
}
