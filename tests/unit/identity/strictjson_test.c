/* SPDX-License-Identifier: Apache-2.0
 * JSON that two readers could understand differently is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sidecar/identity/strictjson.h"

static const char *const good[] = {
    "{}",
    " {\t\"a\" : 1 ,\r\n\"b\":[1,-0.5e+3,0,true,false,null,\"\\u00e9\\\"\",{}]} ",
    "{\"a\":{\"a\":{\"a\":1}}}",
    "{\"\":1}",
    "{\"\xc3\xa9\":\"\xe2\x82\xac\xf0\x9f\x98\x80\xed\x9f\xbf\"}",
};

static const char *const bad[] = {
    "",
    "[]",
    "\"a\"",
    "1",
    "{",
    "{}}",
    "{} {}",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{'a':1}",
    "{\"a\":01}",
    "{\"a\":+1}",
    "{\"a\":.5}",
    "{\"a\":1.}",
    "{\"a\":1e}",
    "{\"a\":NaN}",
    "{\"a\":Infinity}",
    "{\"a\":0x10}",
    "{\"a\":tru}",
    "{\"a\":[1,]}",
    "{\"a\":[1 2]}",
    "{\"a\":1,\"a\":1}",
    "{\"b\":{\"a\":1,\"a\":1}}",
    "{\"b\":[{\"a\":1,\"a\":1}]}",
    "{\"a\\u0061\":1}",
    "{\"a\":\"\\u0000\"}",
    "{\"a\":\"\\x41\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\n\"}",
    "{\"a\":\"b}",
    "{\"a\":\"\xff\"}",
    "{\"a\":\"\xc0\xaf\"}",
    "{\"a\":\"\xe0\x80\xaf\"}",
    "{\"a\":\"\xed\xa0\x80\"}",
    "{\"a\":\"\xf4\x90\x80\x80\"}",
    "{\"a\":\"\xe2\x82\"}",
    "{/* */}",
    "{\"a\":1}\v",
    "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}",
    "{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}",
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct json_object *o = NULL;
        struct error err = {""};

        if (strictjson_parse(bytes_str(good[i]), &o, &err) != 0)
            fail_msg("'%s': %s", good[i], err.text);
        json_object_put(o);
    }
}

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct json_object *o = NULL;
        struct error err = {""};

        if (strictjson_parse(bytes_str(bad[i]), &o, &err) != -EBADMSG)
            fail_msg("accepted: '%s'", bad[i]);
        assert_null(o);
        assert_string_not_equal(err.text, "");
    }
}

static void test_nul_in_text(void **state)
{
    struct json_object *o = NULL;

    (void)state;
    assert_int_equal(strictjson_parse(bytes_of("{\"a\":\"b\0c\"}", 11), &o, NULL), -EBADMSG);
    assert_int_equal(strictjson_parse(bytes_of("{}\0", 3), &o, NULL), -EBADMSG);
}

static void test_every_cut(void **state)
{
    static const char text[] = "{\"a\":[1,{\"b\":\"c\\u00e9\"},null,-1.5e7]}";

    (void)state;
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct json_object *o = NULL;

        assert_int_equal(strictjson_parse(bytes_of(text, n), &o, NULL), -EBADMSG);
    }
}

static void test_string(void **state)
{
    struct json_object *o = NULL;

    (void)state;
    assert_int_equal(strictjson_parse(BYTES("{\"a\":\"x\",\"b\":1,\"c\":null}"), &o, NULL), 0);
    assert_string_equal(strictjson_string(o, "a"), "x");
    assert_null(strictjson_string(o, "b"));
    assert_null(strictjson_string(o, "c"));
    assert_null(strictjson_string(o, "d"));
    json_object_put(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_nul_in_text), cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_string),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
