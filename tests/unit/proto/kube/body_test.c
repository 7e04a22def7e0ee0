/* SPDX-License-Identifier: Apache-2.0
 * Bodies: JSON with one meaning, within bounds. (mask_test.c has the shapes that are no JSON.)
 */
#include "sidecar/proto/kube/body.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int parse(struct bytes text)
{
    struct json_object *o = NULL;
    struct error err = {""};
    int rc = kubebody_parse(text, &o, &err);

    assert_true(!rc == (o != NULL) && !rc == !err.text[0]);
    json_object_put(o);
    return rc;
}

static void test_refused(void **state)
{
    static const char *const texts[] = {
        " ",
        "null",
        "{\"data\":{\"a\":\"1\"},\"d\\u0061ta\":{}}",
        "{\"a\":{\"b\":1,\"b\":1}}",
        "[{\"op\":\"add\",\"op\":\"test\"}]",
        "{\"a\":1}]",
        "{\"a\":1}x",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":0x1}",
        "{\"a\":Infinity}",
        "{\"a\":True}",
        "{a:1}",
        "{\"a\":'b'}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\x41\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"b}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "\xef\xbb\xbf{}",
        "--- \n{\"a\":1}",
        "{\"a\": &x 1}",
        "k8s\n\x0a\x0a",
        "\xd9\xd9\xf7\xa1\x61\x61\x01",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (parse(bytes_str(texts[i])) != -EBADMSG)
            fail_msg("%s", texts[i]);
    }
    assert_int_equal(parse(bytes_of("{\"a\":1}\0", 8)), -EBADMSG);
}

static void test_bounds(void **state)
{
    char *text = malloc(KUBEBODY_MAX + 2);
    char deep[300];

    (void)state;
    memset(text, 'x', KUBEBODY_MAX + 1);
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + KUBEBODY_MAX - 2, "\"}", 2);
    assert_int_equal(parse(bytes_of(text, KUBEBODY_MAX)), 0);
    text[KUBEBODY_MAX - 2] = 'x';
    memcpy(text + KUBEBODY_MAX - 1, "\"}", 2);
    assert_int_equal(parse(bytes_of(text, KUBEBODY_MAX + 1)), -EBADMSG);
    free(text);
    memset(deep, '[', 120);
    memset(deep + 120, ']', 120);
    assert_int_equal(parse(bytes_of(deep, 240)), -EBADMSG);
    assert_int_equal(parse(bytes_of(deep + 70, 100)), 0);
}

static bool is_wanted(const char *key, struct json_object *value, void *arg)
{
    (void)value;
    return strcmp(key, arg) == 0;
}

static void test_any(void **state)
{
    static char c[] = "c", d[] = "d";
    struct json_object *o = NULL;
    struct error err = {""};

    (void)state;
    assert_int_equal(
        kubebody_parse(bytes_str("\n{\"a\":[1,[{\"b\":{\"c\":null}}]],\"e\":\"d\"} "), &o, &err),
        0);
    assert_true(kubebody_any(o, is_wanted, c));
    assert_false(kubebody_any(o, is_wanted, d));
    json_object_put(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_any),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
