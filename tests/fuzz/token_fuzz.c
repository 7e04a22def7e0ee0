/* SPDX-License-Identifier: Apache-2.0
 * What agents and issuers send. The first byte says what follows: 'T' a token, 'C' claims, 'K' a
 * key set, 'I' an issuers' file. No token verifies with a key whose private half is thrown away.
 */
#include "sidecar/identity/strictjson.h"
#include "sidecar/identity/token.h"

#include <openssl/ec.h>
#include <openssl/pem.h>

static const char *const audiences[] = {"chaperone", NULL};
static const struct issuer issuers[] = {
    {.name = "https://idp", .audiences = audiences, .groups_claim = "groups", .groups_prefix = ""},
    {.name = "https://k",
     .kind = ISSUER_KUBERNETES,
     .audiences = audiences,
     .groups_claim = "groups",
     .groups_prefix = "",
     .max_lifetime_s = 4000000000u},
};
static const struct agent agent = {
    .namespace_ = "agents", .pod = "coder-0", .service_account = "coder", .pod_uid = "1f0a"};

/* Whatever is accepted can be described, in JSON. */
static void check_identity(struct identity *id)
{
    struct json_object *o = NULL;
    struct buffer b;

    buffer_init(&b, 1 << 20);
    buffer_add_u8(&b, '{');
    identity_describe(id, &b);
    buffer_add_u8(&b, '}');
    if (b.failed || strictjson_parse(buffer_bytes(&b), &o, NULL) != 0 || !id->groups)
        abort();
    json_object_put(o);
    buffer_done(&b);
    identity_unref(id);
}

static void check_claims(struct json_object *claims)
{
    for (size_t i = 0; i < ARRAY_LEN(issuers); i++) {
        struct identity *id = NULL;
        struct error err = {""};

        if (token_check_claims(&issuers[i], claims, &agent, 1700000000, &id, &err) == 0)
            check_identity(id);
        else if (!err.text[0])
            abort();
    }
}

static const struct jose_key *lost_key(void)
{
    static struct jose_key key;
    BIO *bio;

    if (key.pkey)
        return &key;
    key.alg = JOSE_ES256;
    key.pkey = EVP_EC_gen("P-256");
    bio = BIO_new(BIO_s_mem());
    if (!key.pkey || !bio || PEM_write_bio_PUBKEY(bio, key.pkey) != 1)
        abort();
    key.pem_len = (size_t)BIO_pending(bio);
    key.pem = calloc(1, key.pem_len + 1);
    if (!key.pem || BIO_read(bio, key.pem, (int)key.pem_len) <= 0)
        abort();
    BIO_free(bio);
    return &key;
}

static void fuzz_token(struct bytes text)
{
    static struct token_parts t;
    struct error err = {""};

    if (token_parse(text, &t, &err) == 0) {
        struct jose_signed s = {t.text, t.signed_part, t.signature};

        if (jose_verify(lost_key(), &s) == 0)
            abort();
        check_claims(t.claims);
    } else if (!err.text[0]) {
        abort();
    }
    token_done(&t);
}

static void fuzz_keys(struct bytes text)
{
    struct jose_keys *keys = NULL;

    if (jose_keys_parse(text, JOSE_ALL, &keys, NULL) == 0 && keys->n == 0)
        abort();
    jose_keys_unref(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = {data + 1, size ? size - 1 : 0};
    struct json_object *claims = NULL;
    struct issuers *all = NULL;

    if (size == 0 || size > 65536)
        return 0;
    if (data[0] == 'T')
        fuzz_token(rest);
    else if (data[0] == 'K')
        fuzz_keys(rest);
    else if (data[0] == 'I' && issuers_parse(rest, "i.yaml", &all, NULL) == 0)
        issuers_unref(all);
    else if (data[0] == 'C' && strictjson_parse(rest, &claims, NULL) == 0)
        check_claims(claims);
    json_object_put(claims);
    return 0;
}
