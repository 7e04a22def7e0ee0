/* SPDX-License-Identifier: Apache-2.0
 * Encodings, key sets, signatures: each algorithm, and what must not verify.
 */
#include "sign.h"

static EVP_PKEY *rsa, *rsa_other, *rsa_small, *p256, *p384, *ed;

static int make_keys(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    rsa_other = EVP_RSA_gen(2048);
    rsa_small = EVP_RSA_gen(1024);
    p256 = EVP_EC_gen("P-256");
    p384 = EVP_EC_gen("P-384");
    ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return rsa && rsa_other && rsa_small && p256 && p384 && ed ? 0 : -1;
}

static int free_keys(void **state)
{
    EVP_PKEY *all[] = {rsa, rsa_other, rsa_small, p256, p384, ed};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        EVP_PKEY_free(all[i]);
    return 0;
}

/* ---- base64url ---- */

static void test_decode(void **state)
{
    static const struct {
        const char *text, *bytes;
        int rc;
    } rows[] = {
        {"", "", 0},
        {"Zg", "f", 0},
        {"Zm8", "fo", 0},
        {"Zm9v", "foo", 0},
        {"_-8", "\xff\xef", 0},
        {"Z", "", -EBADMSG},
        {"Zh", "", -EBADMSG}, /* stray bits */
        {"Zm9", "", -EBADMSG},
        {"Zg==", "", -EBADMSG},
        {"Zm 9", "", -EBADMSG},
        {"Zm9+", "", -EBADMSG},
        {"Zm9/", "", -EBADMSG},
        {"Zm9\n", "", -EBADMSG},
    };
    uint8_t out[8];
    size_t n;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        n = 99;
        if (jose_decode(bytes_str(rows[i].text), out, sizeof out, &n) != rows[i].rc)
            fail_msg("'%s'", rows[i].text);
        if (rows[i].rc == 0)
            assert_true(bytes_eq_str(bytes_of(out, n), rows[i].bytes));
    }
    assert_int_equal(jose_decode(BYTES("Zm9vZm9v"), out, 5, &n), -ENOBUFS);
}

static void test_names(void **state)
{
    (void)state;
    for (unsigned a = 1; a < JOSE_COUNT; a++)
        assert_int_equal(jose_alg_parse(jose_alg_name((enum jose_alg)a)), a);
    assert_int_equal(jose_alg_parse("none"), JOSE_NONE);
    assert_int_equal(jose_alg_parse("None"), JOSE_NONE);
    assert_int_equal(jose_alg_parse("HS256"), JOSE_NONE);
    assert_int_equal(jose_alg_parse("rs256"), JOSE_NONE);
    assert_int_equal(jose_alg_parse(NULL), JOSE_NONE);
}

/* ---- signatures ---- */

static struct jose_keys *set_of(EVP_PKEY *key, const char *extra)
{
    struct jose_keys *set = NULL;
    struct error err = {""};
    struct buffer b;

    buffer_init(&b, 1 << 16);
    buffer_printf(&b, "{\"keys\":[");
    sign_jwk(&b, key, "k", extra);
    buffer_printf(&b, "]}");
    if (jose_keys_parse(buffer_bytes(&b), JOSE_ALL, &set, &err) != 0)
        fail_msg("%s: %.*s", err.text, (int)buffer_len(&b), (const char *)b.p);
    buffer_done(&b);
    return set;
}

static int verify(const struct jose_key *k, const char *text)
{
    struct token_parts *t = malloc(sizeof *t);
    struct error err;
    int rc;

    assert_int_equal(token_parse(bytes_str(text), t, &err), 0);
    rc = jose_verify(k, &(struct jose_signed){t->text, t->signed_part, t->signature});
    token_done(t);
    free(t);
    return rc;
}

static void check_algorithm(EVP_PKEY *key, const char *alg)
{
    char extra[64], header[64];
    struct jose_keys *set;
    struct buffer b;
    char *text;
    size_t dot;

    snprintf(extra, sizeof extra, ",\"alg\":\"%s\"", alg);
    snprintf(header, sizeof header, "{\"alg\":\"%s\"}", alg);
    set = set_of(key, extra);
    assert_string_equal(jose_alg_name(set->keys[0].alg), alg);
    text = strdup(sign_token(&b, key, alg, header, "{\"sub\":\"somebody\"}"));
    if (verify(&set->keys[0], text) != 0)
        fail_msg("%s does not verify", alg);
    dot = (size_t)(strrchr(text, '.') - text);
    text[dot - 4] ^= 1; /* the payload */
    if (verify(&set->keys[0], text) == 0)
        fail_msg("%s verifies another payload", alg);
    text[dot - 4] ^= 1;
    text[dot + 5] = text[dot + 5] == 'A' ? 'B' : 'A'; /* the signature */
    if (verify(&set->keys[0], text) == 0)
        fail_msg("%s verifies another signature", alg);
    free(text);
    buffer_done(&b);
    jose_keys_unref(set);
}

static void test_algorithms(void **state)
{
    (void)state;
    check_algorithm(rsa, "RS256");
    check_algorithm(rsa, "RS384");
    check_algorithm(rsa, "RS512");
    check_algorithm(rsa, "PS256");
    check_algorithm(p256, "ES256");
    check_algorithm(p384, "ES384");
    check_algorithm(ed, "EdDSA");
}

/* A key verifies its own algorithm only, whatever the token says. */
static void test_pinned(void **state)
{
    static const char *const algs[] = {"RS256", "RS384", "RS512", "PS256"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        char extra[64], header[64];
        struct jose_keys *set;
        struct buffer b;

        snprintf(extra, sizeof extra, ",\"alg\":\"%s\"", algs[i]);
        set = set_of(rsa, extra);
        for (size_t j = 0; j < ARRAY_LEN(algs); j++) {
            if (i == j)
                continue;
            snprintf(header, sizeof header, "{\"alg\":\"%s\"}", algs[j]);
            sign_token(&b, rsa, algs[j], header, "{}");
            if (verify(&set->keys[0], (const char *)b.p) == 0)
                fail_msg("a key for %s verifies %s", algs[i], algs[j]);
            buffer_done(&b);
        }
        jose_keys_unref(set);
    }
}

static void test_other_key(void **state)
{
    struct jose_keys *set = set_of(rsa_other, "");
    struct buffer b;

    (void)state;
    sign_token(&b, rsa, "RS256", "{\"alg\":\"RS256\"}", "{}");
    assert_int_equal(verify(&set->keys[0], (const char *)b.p), -EACCES);
    buffer_done(&b);
    jose_keys_unref(set);
}

/* ---- key sets ---- */

static void test_sets(void **state)
{
    struct jose_keys *set = NULL;
    struct buffer b;

    (void)state;
    buffer_init(&b, 1 << 16);
    buffer_printf(&b, "{\"keys\":[");
    sign_jwk(&b, rsa, "enc", ",\"use\":\"enc\"");
    buffer_printf(&b, ",");
    sign_jwk(&b, rsa_small, "small", "");
    buffer_printf(&b, ",{\"kty\":\"oct\",\"kid\":\"hmac\",\"k\":\"c2VjcmV0\",\"alg\":\"HS256\"},");
    sign_jwk(&b, rsa, "hs", ",\"alg\":\"HS256\"");
    buffer_printf(&b, ",");
    sign_jwk(&b, p256, "confused", ",\"alg\":\"RS256\"");
    buffer_printf(&b, ",");
    sign_jwk(&b, rsa, "ops", ",\"key_ops\":[\"sign\"]");
    buffer_printf(&b, ",");
    sign_jwk(&b, rsa, "good", ",\"key_ops\":[\"verify\"],\"use\":\"sig\"");
    buffer_printf(&b, ",");
    sign_jwk(&b, p256, "ec", "");
    buffer_printf(&b, "]}");
    assert_int_equal(jose_keys_parse(buffer_bytes(&b), JOSE_ALL, &set, NULL), 0);
    assert_int_equal(set->n, 2);
    assert_int_equal(jose_keys_find(set, "good")->alg, JOSE_RS256);
    assert_int_equal(jose_keys_find(set, "ec")->alg, JOSE_ES256);
    assert_null(jose_keys_find(set, "small"));
    assert_null(jose_keys_find(set, "../../etc/passwd"));
    assert_null(jose_keys_find(set, NULL)); /* there are two */
    jose_keys_unref(set);
    assert_int_equal(jose_keys_parse(buffer_bytes(&b), 1u << JOSE_PS256, &set, NULL), 0);
    assert_int_equal(set->n, 1); /* the RSA key, pinned by the settings */
    assert_int_equal(jose_keys_find(set, NULL)->alg, JOSE_PS256);
    jose_keys_unref(set);
    assert_int_equal(jose_keys_parse(buffer_bytes(&b), 1u << JOSE_EDDSA, &set, NULL), -EBADMSG);
    buffer_done(&b);
}

static void test_bad_sets(void **state)
{
    static const char *const rows[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[7]}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}]}",
        /* not on the curve */
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
        "\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\",\"y\":"
        "\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\"}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AQAB\"}]}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct jose_keys *set = NULL;
        struct error err = {""};

        if (jose_keys_parse(bytes_str(rows[i]), JOSE_ALL, &set, &err) != -EBADMSG)
            fail_msg("accepted: %s", rows[i]);
        assert_null(set);
        assert_string_not_equal(err.text, "");
    }
}

static void test_key_id_twice(void **state)
{
    struct jose_keys *set = NULL;
    struct buffer b;

    (void)state;
    buffer_init(&b, 1 << 16);
    buffer_printf(&b, "{\"keys\":[");
    sign_jwk(&b, rsa, "k", "");
    buffer_printf(&b, ",");
    sign_jwk(&b, p256, "k", "");
    buffer_printf(&b, "]}");
    assert_int_equal(jose_keys_parse(buffer_bytes(&b), JOSE_ALL, &set, NULL), -EBADMSG);
    buffer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_algorithms), cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_other_key),  cmocka_unit_test(test_sets),
        cmocka_unit_test(test_bad_sets),   cmocka_unit_test(test_key_id_twice),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
