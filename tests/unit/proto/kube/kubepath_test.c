/* SPDX-License-Identifier: Apache-2.0
 * Targets with one meaning are taken apart; all others are refused.
 */
#include "sidecar/proto/kube/kubepath.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_refused(void **state)
{
    static const char *const targets[] = {
        "",
        "*",
        "api",
        "http://a/api",
        "//api",
        "/api//v1",
        "/api/v1//",
        "/api/./v1",
        "/api/../v1",
        "/api/%2e%2e/v1",
        "/api/%2E/v1",
        "/api%2fv1",
        "/api/a%2Fb",
        "/api/a%5cb",
        "/api/a\\b",
        "/api/a;b",
        "/api/a%3bb",
        "/api/a%00",
        "/api/a%0a",
        "/api/a%20b",
        "/api/a%7fb",
        "/api/a%25b",
        "/api/a%252fb",
        "/api/a%3fb",
        "/api/a%23b",
        "/api/%61",
        "/api/%2d",
        "/api/a%",
        "/api/a%4",
        "/api/a%zz",
        "/api/a#b",
        "/api/a%c3",
        "/api/a%ed%a0%80",
        "/api/a%c0%af",
        "/api/\xc3\xa9",
        /* queries */
        "/api?a;b",
        "/api?watch=1;dryRun=All",
        "/api?a=%",
        "/api?a=%4",
        "/api?a=%zz",
        "/api?a=%00",
        "/api?%00=a",
        "/api?a#b",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct error err = {""};
        struct kubepath p;
        struct arena a;

        arena_init(&a, 1 << 20);
        if (kubepath_parse(bytes_str(targets[i]), &a, &p, &err) != -EBADMSG || !err.text[0])
            fail_msg("%s", targets[i]);
        arena_done(&a);
    }
}

static void repeat(char *to, const char *what, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to = stpcpy(to, what);
}

static void test_bounds(void **state)
{
    struct error err = {""};
    struct kubepath p;
    struct arena a;
    char text[1000];

    (void)state;
    arena_init(&a, 1 << 20);
    repeat(text, "/a", KUBEPATH_SEGMENTS);
    assert_int_equal(kubepath_parse(bytes_str(text), &a, &p, &err), 0);
    assert_int_equal(p.n, KUBEPATH_SEGMENTS);
    repeat(text, "/a", KUBEPATH_SEGMENTS + 1);
    assert_int_equal(kubepath_parse(bytes_str(text), &a, &p, &err), -EBADMSG);
    strcpy(text, "/a?");
    repeat(text + 3, "b=c&", KUBEPATH_PAIRS);
    assert_int_equal(kubepath_parse(bytes_str(text), &a, &p, &err), 0);
    assert_int_equal(p.n_query, KUBEPATH_PAIRS);
    repeat(text + 3, "b=c&", KUBEPATH_PAIRS + 1);
    assert_int_equal(kubepath_parse(bytes_str(text), &a, &p, &err), -EBADMSG);
    arena_done(&a);
}

static void test_taken(void **state)
{
    struct error err = {""};
    struct kubepath p;
    struct arena a;
    size_t n;

    (void)state;
    arena_init(&a, 1 << 20);
    assert_int_equal(
        kubepath_parse(bytes_str("/api/v1/system%3Anode/%C3%A9/?a=b+c%26&&watch&x==&a=2"), &a, &p,
                       &err),
        0);
    assert_int_equal(p.n, 4);
    assert_string_equal(p.segments[2], "system:node");
    assert_string_equal(p.segments[3], "\xc3\xa9");
    assert_true(p.trailing_slash);
    assert_string_equal(p.text, "/api/v1/system%3Anode/%C3%A9/");
    assert_string_equal(kubepath_query(&p, "a", &n), "b c&");
    assert_int_equal(n, 2);
    assert_string_equal(kubepath_query(&p, "watch", &n), "");
    assert_string_equal(kubepath_query(&p, "x", NULL), "=");
    assert_null(kubepath_query(&p, "WATCH", &n));
    assert_int_equal(n, 0);
    assert_int_equal(kubepath_parse(bytes_str("/"), &a, &p, &err), 0);
    assert_int_equal(p.n, 0);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
