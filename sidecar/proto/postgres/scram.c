/* SPDX-License-Identifier: Apache-2.0
 * SCRAM-SHA-256 client.
 */
#include "scram.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#define MAX_ITERATIONS 200000
#define MAX_MESSAGE    4096

int scram_client_init(struct scram_client *c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t random[32];

    *c = (struct scram_client){0};
    buffer_init(&c->auth_message, 3 * MAX_MESSAGE);
    if (RAND_bytes(random, sizeof random) != 1)
        return -EIO;
    for (size_t i = 0; i < sizeof random; i++)
        c->nonce[i] = alphabet[random[i] & 63];
    return 0;
}

void scram_client_done(struct scram_client *c)
{
    buffer_wipe(&c->auth_message);
    OPENSSL_cleanse(c, sizeof *c);
}

/* The user name is empty: PostgreSQL takes it from the startup message. */
int scram_client_first(struct scram_client *c, struct bytes password, struct buffer *out)
{
    (void)password;
    buffer_printf(&c->auth_message, "n=,r=%s", c->nonce);
    buffer_append(out, "n,,", 3);
    buffer_add(out, buffer_bytes(&c->auth_message));
    return out->failed || c->auth_message.failed ? -ENOMEM : 0;
}

/* Takes "X=value" up to the next comma. */
static struct bytes attribute(struct bytes *in, char name)
{
    struct bytes value;
    const uint8_t *comma;

    if (in->len < 2 || in->p[0] != (uint8_t)name || in->p[1] != '=')
        return (struct bytes){0};
    comma = memchr(in->p, ',', in->len);
    value = (struct bytes){in->p + 2, comma ? (size_t)(comma - in->p) - 2 : in->len - 2};
    *in = comma ? (struct bytes){comma + 1, in->len - (size_t)(comma + 1 - in->p)}
                : (struct bytes){0};
    return value;
}

struct server_first {
    struct bytes nonce;
    uint8_t salt[MAX_MESSAGE];
    int salt_len;
    unsigned long iterations;
};

static int parse_server_first(struct bytes m, const char *nonce, struct server_first *ret)
{
    struct bytes salt, count;
    char text[MAX_MESSAGE + 1], *end;
    size_t pad = 0;

    if (m.len > MAX_MESSAGE)
        return -EPROTO;
    ret->nonce = attribute(&m, 'r');
    salt = attribute(&m, 's');
    count = attribute(&m, 'i');
    if (ret->nonce.len <= strlen(nonce) || memcmp(ret->nonce.p, nonce, strlen(nonce)) != 0 ||
        salt.len == 0 || salt.len % 4 || count.len == 0 || count.len > 9)
        return -EPROTO;
    for (size_t i = 0; i < ret->nonce.len; i++)
        if (ret->nonce.p[i] < 0x21 || ret->nonce.p[i] > 0x7e)
            return -EPROTO;
    while (pad < 2 && salt.p[salt.len - 1 - pad] == '=')
        pad++;
    ret->salt_len = EVP_DecodeBlock(ret->salt, salt.p, (int)salt.len) - (int)pad;
    memcpy(text, count.p, count.len);
    text[count.len] = '\0';
    ret->iterations = strtoul(text, &end, 10);
    if (ret->salt_len <= 0 || *end || ret->iterations == 0 || ret->iterations > MAX_ITERATIONS)
        return -EPROTO;
    return 0;
}

static void hmac(const uint8_t key[32], struct bytes data, uint8_t out[32])
{
    unsigned len = 32;

    HMAC(EVP_sha256(), key, 32, data.p, data.len, out, &len);
}

/* ClientProof and ServerSignature (RFC 5802 section 3). */
static int prove(struct scram_client *c, struct bytes password, const struct server_first *s,
                 uint8_t proof[32])
{
    uint8_t salted[32], client_key[32], stored_key[32], server_key[32], signature[32];

    if (PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.len, s->salt, s->salt_len,
                          (int)s->iterations, EVP_sha256(), 32, salted) != 1)
        return -EPROTO;
    hmac(salted, BYTES("Client Key"), client_key);
    SHA256(client_key, 32, stored_key);
    hmac(stored_key, buffer_bytes(&c->auth_message), signature);
    for (int i = 0; i < 32; i++)
        proof[i] = client_key[i] ^ signature[i];
    hmac(salted, BYTES("Server Key"), server_key);
    hmac(server_key, buffer_bytes(&c->auth_message), c->server_signature);
    OPENSSL_cleanse(salted, sizeof salted);
    OPENSSL_cleanse(client_key, sizeof client_key);
    OPENSSL_cleanse(server_key, sizeof server_key);
    return 0;
}

int scram_client_final(struct scram_client *c, struct bytes password, struct bytes server_first,
                       struct buffer *out, struct error *err)
{
    struct server_first s;
    uint8_t proof[32], text[64];
    int rc = parse_server_first(server_first, c->nonce, &s);

    if (rc)
        return error_set(err, rc, "the upstream's SCRAM message is malformed or excessive");
    buffer_add_u8(&c->auth_message, ',');
    buffer_add(&c->auth_message, server_first);
    buffer_append(&c->auth_message, ",c=biws,r=", 10); /* "biws" is "n,," in base64 */
    buffer_add(&c->auth_message, s.nonce);
    if (c->auth_message.failed)
        return error_set(err, -ENOMEM, "out of memory");
    rc = prove(c, password, &s, proof);
    if (rc)
        return error_set(err, rc, "SCRAM failed");
    EVP_EncodeBlock(text, proof, 32);
    buffer_append(out, "c=biws,r=", 9);
    buffer_add(out, s.nonce);
    buffer_append(out, ",p=", 3);
    buffer_append(out, text, 44);
    return out->failed ? -ENOMEM : 0;
}

int scram_client_verify(const struct scram_client *c, struct bytes server_final)
{
    struct bytes v = attribute(&server_final, 'v');
    uint8_t want[64];

    EVP_EncodeBlock(want, c->server_signature, 32);
    return v.len == 44 && CRYPTO_memcmp(v.p, want, 44) == 0 ? 0 : -EPROTO;
}
