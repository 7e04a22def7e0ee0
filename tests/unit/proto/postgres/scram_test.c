/* SPDX-License-Identifier: Apache-2.0
 * SCRAM against a server of our own (OpenSSL's primitives, RFC 5802's formulas), and against ones
 * that cheat.
 */
#include "sidecar/proto/postgres/scram.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SALT "W22ZaJ0SNY7soEsUEjb6gQ==" /* RFC 7677 */

struct exchange {
    struct scram_client c;
    struct buffer first, final;
    char server_first[8192];
    struct error err;
};

static void begin(struct exchange *x, const char *format)
{
    *x = (struct exchange){0};
    buffer_init(&x->first, 4096);
    buffer_init(&x->final, 16384);
    assert_int_equal(scram_client_init(&x->c), 0);
    assert_int_equal(scram_client_first(&x->c, BYTES("pencil"), &x->first), 0);
    snprintf(x->server_first, sizeof x->server_first, format, x->c.nonce);
}

static void end(struct exchange *x)
{
    scram_client_done(&x->c);
    buffer_done(&x->first);
    buffer_done(&x->final);
}

static int answer(struct exchange *x)
{
    return scram_client_final(&x->c, BYTES("pencil"), bytes_str(x->server_first), &x->final,
                              &x->err);
}

static void hmac(const uint8_t key[32], struct bytes data, uint8_t out[32])
{
    unsigned n = 32;

    HMAC(EVP_sha256(), key, 32, data.p, data.len, out, &n);
}

/* The server: checks the proof for that password, and writes server-final. */
static bool server_accepts(struct exchange *x, const char *password, char final[64])
{
    uint8_t salt[32], salted[32], key[32], stored[32], signature[32], proof[48], back[32],
        server[32];
    char message[20000], client_final[8192];
    char *p;

    snprintf(client_final, sizeof client_final, "%.*s", (int)buffer_len(&x->final),
             (const char *)buffer_bytes(&x->final).p);
    p = strstr(client_final, ",p=");
    assert_non_null(p);
    assert_int_equal(EVP_DecodeBlock(proof, (const uint8_t *)p + 3, 44), 33);
    *p = '\0';
    snprintf(message, sizeof message, "n=,r=%s,%s,%s", x->c.nonce, x->server_first, client_final);
    EVP_DecodeBlock(salt, (const uint8_t *)SALT, (int)strlen(SALT));
    PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, 16, 4096, EVP_sha256(), 32, salted);
    hmac(salted, BYTES("Client Key"), key);
    SHA256(key, 32, stored);
    hmac(stored, bytes_str(message), signature);
    for (int i = 0; i < 32; i++)
        back[i] = proof[i] ^ signature[i];
    hmac(salted, BYTES("Server Key"), server);
    hmac(server, bytes_str(message), signature);
    memcpy(final, "v=", 2);
    EVP_EncodeBlock((uint8_t *) final + 2, signature, 32);
    return memcmp(back, key, 32) == 0;
}

static void honest_server(void **state)
{
    char final[64];
    struct exchange x;

    (void)state;
    begin(&x, "r=%sserver,s=" SALT ",i=4096");
    assert_int_equal(answer(&x), 0);
    assert_true(server_accepts(&x, "pencil", final));
    assert_int_equal(scram_client_verify(&x.c, bytes_str(final)), 0);
    end(&x);
}

static void server_without_the_password(void **state)
{
    char final[64];
    struct exchange x;

    (void)state;
    begin(&x, "r=%sserver,s=" SALT ",i=4096");
    assert_int_equal(answer(&x), 0);
    assert_false(server_accepts(&x, "pencils", final));
    assert_int_equal(scram_client_verify(&x.c, bytes_str(final)), -EPROTO);
    assert_int_equal(scram_client_verify(&x.c, BYTES("")), -EPROTO);
    assert_int_equal(scram_client_verify(&x.c, BYTES("v=")), -EPROTO);
    assert_int_equal(scram_client_verify(&x.c, BYTES("e=other-error")), -EPROTO);
    end(&x);
}

static void nonces_differ(void **state)
{
    struct exchange a, b;

    (void)state;
    begin(&a, "%s");
    begin(&b, "%s");
    assert_int_equal(strlen(a.c.nonce), 32);
    assert_string_not_equal(a.c.nonce, b.c.nonce);
    assert_null(strchr(a.c.nonce, ','));
    end(&a);
    end(&b);
}

static void refuses_server_first(void **state)
{
    static const char *const bad[] = {
        "r=%s,s=" SALT ",i=4096", /* nothing of its own in the nonce */
        "r=x%s,s=" SALT ",i=4096",
        "r=%.31s,s=" SALT ",i=4096",
        "r=%s\x01,s=" SALT ",i=4096",
        "r=%sx,s=,i=4096",
        "r=%sx,s=abc,i=4096",
        "r=%sx,s=!!!!,i=4096",
        "r=%sx,s=" SALT ",i=0",
        "r=%sx,s=" SALT ",i=-1",
        "r=%sx,s=" SALT ",i=",
        "r=%sx,s=" SALT ",i=40x",
        "r=%sx,s=" SALT ",i=200001", /* P10: work without end */
        "r=%sx,s=" SALT ",i=9999999999",
        "r=%sx,s=" SALT,
        "r=%sx,i=4096",
        "m=ext,r=%sx,s=" SALT ",i=4096", /* a mandatory extension */
        "s=" SALT ",r=%sx,i=4096",
        "",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct exchange x;

        begin(&x, bad[i]);
        assert_int_equal(answer(&x), -EPROTO);
        assert_int_equal(buffer_len(&x.final), 0);
        end(&x);
    }
}

static void refuses_long_nonce(void **state)
{
    struct exchange x;
    size_t at;

    (void)state;
    begin(&x, "r=%s");
    at = strlen(x.server_first);
    memset(x.server_first + at, 'a', 5000);
    snprintf(x.server_first + at + 5000, 100, ",s=" SALT ",i=1");
    assert_int_equal(answer(&x), -EPROTO);
    end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_server),      cmocka_unit_test(server_without_the_password),
        cmocka_unit_test(nonces_differ),      cmocka_unit_test(refuses_server_first),
        cmocka_unit_test(refuses_long_nonce),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
