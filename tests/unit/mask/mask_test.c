/* SPDX-License-Identifier: Apache-2.0
 * Masked forms: what they show, that tokens are stable and keyed, and that they are known again.
 */
#include "sidecar/mask/mask.h"
#include "sidecar/mask/chars.h"

#include "corpus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct masker *masker, *other;
static struct buffer out;

static int setup(void **state)
{
    uint8_t key[32];

    (void)state;
    buffer_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    if (masker_new(key, &masker))
        return -1;
    key[31] ^= 1;
    return masker_new(key, &other);
}

static int teardown(void **state)
{
    (void)state;
    masker_free(masker);
    masker_free(other);
    masker_free(NULL);
    buffer_done(&out);
    return 0;
}

/* The masked form as a string, valid until the next call. */
static const char *masked(const struct masker *m, enum mask_method method, struct bytes value)
{
    buffer_reset(&out, 1 << 20);
    assert_int_equal(mask_text(m, method, value, &out), 0);
    assert_int_equal(buffer_add_u8(&out, 0), 0);
    return (const char *)buffer_bytes(&out).p;
}

static const char *matched(enum mask_method method, const char *name, const char *value)
{
    buffer_reset(&out, 1 << 20);
    assert_int_equal(mask_match(masker, method, name, bytes_str(value), &out), 0);
    assert_int_equal(buffer_add_u8(&out, 0), 0);
    return (const char *)buffer_bytes(&out).p;
}

static void assert_utf8(const char *s)
{
    struct bytes t = bytes_str(s);

    for (size_t at = 0; at < t.len;) {
        size_t n = utf8_len_at(t, at);

        if (n == 0)
            fail_msg("not UTF-8: %s", s);
        at += n;
    }
}

static void test_partial(void **state)
{
    static const struct {
        const char *value, *want;
    } samples[] = {
        {"", "****"},
        {"a", "****"},
        {"ab", "****b"},
        {"abc", "****c"},
        {"abcd", "****cd"},
        {"abcdefg", "****efg"},
        {"abcdefgh", "****efgh"},
        {"4111 1111 1111 1234", "****1234"},
        {"bob@example.com", "****@example.com"},
        {"a@b.co", "****@b.co"},
        {"a@b.coAKIAIOSFODNN7EXAMPLE", "****MPLE"},
        {"a@AKIAIOSFODNN7EXAMPLE.com", "****"},
        {"abcdefgh ::1", "****"},
        {"a@4111111111111111.com", "****"},
        {"bob@localhost", "****host"},
        {"x bob@example.com", "****.com"},
        {"bob@example.com and more", "****more"},
        {"@example.com", "****.com"},
        {"bob@", "****b@"},
        {"\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f", "****\xc3\xbc\xc3\x9f"},
        {"\xf0\x9f\x98\x80\xf0\x9f\x98\x81", "****\xf0\x9f\x98\x81"},
        {"abcd----", "****"},
        {"ab\xff\xfe", "****\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xff", "****"},
        {"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x81\xf0\x9f"
         "\x98\x82\xf0\x9f\x98\x83\xf0\x9f\x98\x84",
         "****\xf0\x9f\x98\x81\xf0\x9f\x98\x82\xf0\x9f\x98\x83\xf0\x9f\x98\x84"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const char *got = masked(masker, MASK_PARTIAL, bytes_str(samples[i].value));

        assert_string_equal(got, samples[i].want);
        assert_utf8(got);
        assert_true(mask_recognise(bytes_str(got)));
    }
    assert_string_equal(masked(masker, MASK_PARTIAL, bytes_of("abcde\0\0z", 8)),
                        "****e\xef\xbf\xbd\xef\xbf\xbdz");
}

static void test_constants(void **state)
{
    (void)state;
    assert_string_equal(masked(masker, MASK_REDACT, BYTES("secret")), MASK_REDACTED);
    assert_string_equal(masked(masker, MASK_REDACT, (struct bytes){0}), MASK_REDACTED);
    assert_string_equal(masked(masker, MASK_NULL, BYTES("secret")), "");
    assert_string_equal(masked(masker, MASK_NONE, BYTES("secret")), MASK_REDACTED); /* closed */
    assert_string_equal(matched(MASK_PARTIAL, "creditCard", "4111-1111-1111-1111"),
                        "[creditCard ****1111]");
    assert_string_equal(matched(MASK_PARTIAL, "email", "bob@example.com"),
                        "[email ****@example.com]");
    assert_string_equal(matched(MASK_PARTIAL, "privateKey", "-----END PRIVATE KEY-----"),
                        "[privateKey ****]");
    assert_string_equal(matched(MASK_REDACT, "creditCard", "4111"), "[creditCard]");
    assert_string_equal(matched(MASK_NULL, "creditCard", "4111"), "[creditCard]");
    assert_string_equal(matched(MASK_NONE, "creditCard", "4111"), "[creditCard]");
}

static void test_token(void **state)
{
    char first[64];

    (void)state;
    strcpy(first, masked(masker, MASK_TOKEN, BYTES("4111111111111111")));
    assert_int_equal(strlen(first), 36);
    assert_memory_equal(first, "tok_", 4);
    assert_int_equal(strspn(first + 4, "abcdefghijklmnopqrstuvwxyz234567"), 32);
    assert_string_equal(masked(masker, MASK_TOKEN, BYTES("4111111111111111")), first);
    assert_string_not_equal(masked(masker, MASK_TOKEN, BYTES("4111111111111112")), first);
    assert_string_not_equal(masked(masker, MASK_TOKEN, (struct bytes){0}), first);
    assert_string_not_equal(masked(other, MASK_TOKEN, BYTES("4111111111111111")), first);
    assert_memory_equal(matched(MASK_TOKEN, "creditCard", "4111111111111111"), "[creditCard:tok_",
                        16);
    assert_memory_equal(buffer_bytes(&out).p + 12, first, 36);
    assert_int_equal(mask_text(NULL, MASK_TOKEN, BYTES("x"), &out), -ENOMEM);
}

/* The key is 00 to 1f; the expected value was computed with Python's hmac and base64 modules. */
static void test_token_is_hmac_sha256(void **state)
{
    (void)state;
    assert_memory_equal(masked(masker, MASK_TOKEN, BYTES("what do ya want for nothing?")) + 4,
                        "bgmal5fmgedynfufmxajrw2rlt", 26);
}

static void test_output_is_utf8(void **state)
{
    char value[300];

    (void)state;
    random_seed(9);
    for (unsigned i = 0; i < 20000; i++) {
        size_t len = random_below(i % 3 ? 24 : sizeof value);

        for (size_t k = 0; k < len; k++)
            value[k] = (char)(i % 2 ? random_below(256)
                                    : 0xc0 + random_below(64) - (random_below(3) ? 64 : 0));
        assert_utf8(masked(masker, MASK_PARTIAL, bytes_of(value, len)));
    }
}

/* At most half of a value is shown. */
static void test_partial_hides_half(void **state)
{
    (void)state;
    for (size_t len = 0; len < 40; len++) {
        char value[41] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmn";

        assert_true(2 * (strlen(masked(masker, MASK_PARTIAL, bytes_of(value, len))) - 4) <= len);
    }
}

static void test_recognise(void **state)
{
    static const char *const masks[] = {
        "****",
        " **** ",
        "********",
        "****************",
        "****1234",
        "****b",
        "'****1234'",
        "{\"ssn\":\"****6789\",\"x\":1}",
        "{\"a\":\"****\"}",
        "****@example.com",
        "write to ****@example.com please",
        "ssn ****6789 of bob",
        "card: ****1234",
        "[creditCard]",
        "x [creditCard] y",
        "[creditCard ****1111]",
        "[email ****@example.com] and",
        "[usSsn ****]",
        "(****1234)",
        "****.0.1",
        "'****-567'",
        "****\xc3\xbc\xc3\x9f",
    };
    static const char *const texts[] = {
        "",
        "*",
        "***",
        "plain text",
        "2 ** 4",
        "**bold**",
        "a **** b",
        "****bold****",
        "***1234",
        "*****1234 x",
        "x****1234",
        "****12345",
        "x ****12345",
        "tok_",
        "tok_abcdefghijklmnopqrstuvwxyz234567",
        "tok_1AbCdEfGhIjKlMnOpQrStUvWx",
        "[creditcard]",
        "[creditCards]",
        "[creditCard x]",
        "[creditCard:tok_x]",
        "[other]",
        "creditCard",
        "[]",
        "[",
        "SELECT count(*) FROM t",
        "/**** comment ****/",
        "bob@example.com",
        "4111111111111111",
        "**** **** **** 1234 5",
        "************1234 x",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
        if (!mask_recognise(bytes_str(masks[i])))
            fail_msg("not recognised: %s", masks[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (mask_recognise(bytes_str(texts[i])))
            fail_msg("wrongly recognised: %s", texts[i]);
    }
}

static void test_recognise_tokens(void **state)
{
    char value[32], text[128];

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        const char *token;
        unsigned at;

        snprintf(value, sizeof value, "value %u", i);
        token = masked(i % 2 ? masker : other, MASK_TOKEN, bytes_str(value));
        snprintf(text, sizeof text, i % 3 ? "%s" : "x='%s' y", token);
        if (i % 5 == 0) {
            for (char *c = text; *c; c++)
                *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
        }
        assert_true(mask_recognise(bytes_str(text)));
        assert_true(mask_recognise(bytes_str(matched(MASK_TOKEN, "email", value))));
        /* One character off is a different text. */
        strcpy(text, masked(masker, MASK_TOKEN, bytes_str(value)));
        at = 4 + i % 32;
        text[at] = text[at] == 'q' ? 'r' : 'q';
        assert_false(mask_recognise(bytes_str(text)));
        text[35] = 0;
        assert_false(mask_recognise(bytes_str(text)));
    }
}

static void test_no_room(void **state)
{
    static const enum mask_method each[] = {MASK_PARTIAL, MASK_TOKEN, MASK_REDACT};
    struct buffer small;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(each); i++) {
        buffer_init(&small, 256);
        while (buffer_len(&small) < 256)
            assert_int_equal(buffer_add_u8(&small, 'x'), 0);
        assert_int_equal(mask_text(masker, each[i], BYTES("bob@example.com"), &small), -ENOMEM);
        assert_int_equal(mask_match(masker, each[i], "email", BYTES("bob@example.com"), &small),
                         -ENOMEM);
        assert_int_equal(buffer_len(&small), 256);
        buffer_done(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partial),        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_token),          cmocka_unit_test(test_token_is_hmac_sha256),
        cmocka_unit_test(test_output_is_utf8), cmocka_unit_test(test_partial_hides_half),
        cmocka_unit_test(test_recognise),      cmocka_unit_test(test_recognise_tokens),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
