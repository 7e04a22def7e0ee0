/* SPDX-License-Identifier: Apache-2.0
 * Strict JSON: what is read, what is refused, and that it does not depend on json-c's version.
 */
#include "src-common/jsonread.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void reads(struct bytes text, const char *expected)
{
    struct json_object *o = NULL;

    assert_int_equal(jsonread_strict(text, 32, &o), 0);
    assert_string_equal(
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
        expected);
    json_object_put(o);
}

static void characters_of_all_lengths_are_read(void **state)
{
    (void)state;
    reads(BYTES("{\"a\":\"caf\xc3\xa9\"}"), "{\"a\":\"caf\xc3\xa9\"}");
    reads(BYTES("{\"a\":\"\xe2\x80\xae \xed\x9f\xbf \xee\x80\x80\"}"),
          "{\"a\":\"\xe2\x80\xae \xed\x9f\xbf \xee\x80\x80\"}");
    reads(BYTES("[\"\xf0\x9f\x98\x80\",\"\xf4\x8f\xbf\xbf\"]"),
          "[\"\xf0\x9f\x98\x80\",\"\xf4\x8f\xbf\xbf\"]");
    reads(BYTES("{\"\xc3\xa4\":1}"), "{\"\xc3\xa4\":1}");
    reads(BYTES("[\"\\\\\xc3\xa4\",\"\\\"\xc3\xa4\",\"\\u00e4\"]"),
          "[\"\\\\\xc3\xa4\",\"\\\"\xc3\xa4\",\"\xc3\xa4\"]");
}

static void whole_values_are_read(void **state)
{
    (void)state;
    reads(BYTES(" {\"a\": [1, true, null]} \r\n"), "{\"a\":[1,true,null]}");
    reads(BYTES("12"), "12");
    reads(BYTES("\"x\""), "\"x\"");
    reads(BYTES("[\"\\u0000\\n\\t\x7f\"]"), "[\"\\u0000\\n\\t\x7f\"]");
}

static void anything_else_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "  ",
        "null",
        "{",
        "{}{}",
        "{} x",
        "{\"a\":1,}",
        "{\"a\":01}",
        "[nan]",
        "[True]",
        "{}/*x*/",
        "{/*c*/}",
        "[1",
        "\"a",
        "[\"\\x\"]",
        "{a:1}",
        "[\xc3\xa4]",
        "\xc3\xa4",
        "[\"\x80\"]",
        "[\"a\xff\"]",
        "[\"\xc0\xaf\"]",
        "[\"\xed\xa0\x80\"]",
        "[\"\xc3\"]",
        "[\"\xf4\x90\x80\x80\"]",
        "[\"\\\xc3\xa4\"]",
        "[\"\\u00\xc3\xa4\"]",
    };
    struct json_object *o = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (jsonread_strict(bytes_str(bad[i]), 32, &o) != -EBADMSG || o)
            fail_msg("%zu: %s", i, bad[i]);
    assert_int_equal(jsonread_strict(BYTES("[1]\0"), 32, &o), -EBADMSG);
}

static void depth_is_limited(void **state)
{
    struct json_object *o = NULL;

    (void)state;
    reads(BYTES("[[[1]]]"), "[[[1]]]");
    assert_int_equal(jsonread_strict(BYTES("[[[[[1]]]]]"), 4, &o), -E2BIG);
    assert_int_equal(jsonread_strict(BYTES("[[[[[\"\xc3\xa4\"]]]]]"), 4, &o), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_of_all_lengths_are_read),
        cmocka_unit_test(whole_values_are_read),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(depth_is_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
