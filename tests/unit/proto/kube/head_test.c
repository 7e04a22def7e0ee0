/* SPDX-License-Identifier: Apache-2.0 */
#include "sidecar/proto/kube/head.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define TOP "GET /api HTTP/1.1\r\nHost: a\r\n"

static int parse(const char *text, struct http_head *h)
{
    struct bytes b = bytes_str(text);
    ssize_t n = http_head_find(b);
    struct error err = {""};
    int rc;

    if (n <= 0)
        return n ? (int)n : -EAGAIN;
    rc = http_parse_request(bytes_of(b.p, (size_t)n), h, &err);
    assert_true(rc == 0 || err.text[0]);
    return rc;
}

static void test_refused(void **state)
{
    static const char *const heads[] = {
        "\r\n\r\n",
        "GET /api HTTP/1.1\n\n",
        "GET /api HTTP/1.1\r\nHost: a\n\r\n",
        "GET /api HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        "GET /api HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /api HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET  /api HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /api  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a pi HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /api\tHTTP/1.1\r\nHost: a\r\n\r\n",
        " GET /api HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T /api HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /api HTTP/1.1\r\n\r\n",
        "GET /api HTTP/1.1\r\nHost:\r\n\r\n",
        TOP "Host: b\r\n\r\n",
        TOP "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        TOP "Content-Length: 1, 1\r\n\r\n",
        TOP "Content-Length: +1\r\n\r\n",
        TOP "Content-Length: -1\r\n\r\n",
        TOP "Content-Length: 0x1\r\n\r\n",
        TOP "Content-Length: 01\r\n\r\n",
        TOP "Content-Length:\r\n\r\n",
        TOP "Content-Length: 9999999999999999\r\n\r\n",
        TOP "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        TOP "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        TOP "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        TOP "Transfer-Encoding: gzip, chunked\r\n\r\n",
        TOP "Transfer-Encoding: chunked, identity\r\n\r\n",
        TOP "Transfer-Encoding: identity\r\n\r\n",
        TOP "Transfer-Encoding: xchunked\r\n\r\n",
        TOP "Transfer-Encoding : chunked\r\n\r\n",
        TOP "Transfer_Encoding\r\n\r\n",
        TOP " folded: x\r\n\r\n",
        TOP "A: b\r\n c\r\n\r\n",
        TOP ": x\r\n\r\n",
        TOP "A: b\x01\r\n\r\n",
        TOP "A: \xc3\xa9\r\n\r\n",
        TOP "Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        TOP "Connection: Authorization\r\n\r\n",
        TOP "Connection: close, X-Remote-User\r\n\r\n",
        TOP "Connection: close\r\nConnection: close\r\n\r\n",
        TOP "Expect: 200-ok\r\n\r\n",
        TOP "Trailer: X\r\n\r\n",
        TOP "Accept: a\r\nAccept: b\r\n\r\n",
    };
    struct http_head h;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        int rc = parse(heads[i], &h);

        if (rc != -EBADMSG)
            printf("%zu: %s -> %d\n", i, heads[i], rc);
        assert_int_equal(rc, -EBADMSG);
    }
}

static void test_nul(void **state)
{
    static const char text[] = "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n";

    (void)state;
    assert_int_equal(http_head_find(bytes_of(text, sizeof text - 1)), -EBADMSG);
}

static void test_taken(void **state)
{
    struct http_head h;

    (void)state;
    assert_int_equal(parse("POST /api/v1/pods?x=1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\n"
                           "connection: Keep-Alive\r\nExpect: 100-continue\r\nEmpty:\r\n\r\nrest",
                           &h),
                     0);
    assert_true(bytes_eq_str(h.method, "POST") && bytes_eq_str(h.target, "/api/v1/pods?x=1"));
    assert_int_equal(h.framing, HTTP_LENGTH);
    assert_int_equal(h.length, 12);
    assert_true(h.expects_continue && !h.close && !h.upgrade);
    assert_true(http_header(&h, "empty").p && http_header(&h, "empty").len == 0);
    assert_null(http_header(&h, "other").p);
    assert_int_equal(parse(TOP "Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", &h), 0);
    assert_true(h.upgrade && h.close);
    assert_int_equal(parse(TOP "Transfer-Encoding: Chunked\r\n\r\n", &h), 0);
    assert_int_equal(h.framing, HTTP_CHUNKED);
}

/* Whatever is missing at the end, more is asked for. */
static void test_every_truncation(void **state)
{
    static const char text[] = TOP "Accept: */*\r\n\r\n";

    (void)state;
    for (size_t n = 0; n + 1 < sizeof text - 1; n++)
        assert_int_equal(http_head_find(bytes_of(text, n)), 0);
    assert_int_equal(http_head_find(bytes_of(text, sizeof text - 1)), sizeof text - 1);
}

static void test_too_long(void **state)
{
    static char text[HTTP_HEAD_MAX + 10];

    (void)state;
    memset(text, 'a', sizeof text);
    assert_int_equal(http_head_find(bytes_of(text, sizeof text)), -E2BIG);
}

static void test_responses(void **state)
{
    static const struct {
        const char *text;
        bool answers_head;
        int rc;
        enum http_framing framing;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_LENGTH},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, 0, HTTP_NO_BODY},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 0, HTTP_NO_BODY},
        {"HTTP/1.1 200 OK\r\n\r\n", false, 0, HTTP_TO_CLOSE},
        {"HTTP/1.1 204 No Content\r\n\r\n", false, 0, HTTP_NO_BODY},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", false, 0,
         HTTP_NO_BODY},
        {"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false, 0, HTTP_CHUNKED},
        {"HTTP/1.1 2x0 OK\r\n\r\n", false, -EBADMSG, 0},
        {"HTTP/1.0 200 OK\r\n\r\n", false, -EBADMSG, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false,
         -EBADMSG, 0},
    };
    struct http_head h;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = http_parse_response(bytes_str(rows[i].text), rows[i].answers_head, &h, NULL);

        assert_int_equal(rc, rows[i].rc);
        if (rc == 0)
            assert_int_equal(h.framing, rows[i].framing);
    }
}

/* Feeds in two parts, cut at `at`; the payload, or the error. */
static int decode(struct http_head *h, const char *text, size_t at, char *out, bool *ended)
{
    struct http_body b;
    size_t n = 0, len = strlen(text);

    http_body_init(&b, h);
    for (int part = 0; part < 2; part++) {
        struct bytes in = part ? bytes_of(text + at, len - at) : bytes_of(text, at), run;
        int rc;

        do {
            rc = http_body_next(&b, &in, &run);
            if (rc)
                return rc;
            memcpy(out + n, run.p ? run.p : (const uint8_t *)"", run.len);
            n += run.len;
        } while (run.len);
    }
    out[n] = '\0';
    *ended = http_body_ended(&b);
    return 0;
}

static void test_chunks(void **state)
{
    static const struct {
        const char *text, *payload; /* NULL: refused */
    } rows[] = {
        {"5\r\nhello\r\n0\r\n\r\n", "hello"},
        {"1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\n", "a0123456789"},
        {"5;x=y\r\nhello\r\n0\r\n\r\n", NULL},
        {"5 \r\nhello\r\n0\r\n\r\n", NULL},
        {" 5\r\nhello\r\n0\r\n\r\n", NULL},
        {"0x5\r\nhello\r\n0\r\n\r\n", NULL},
        {"-5\r\nhello\r\n0\r\n\r\n", NULL},
        {"5\nhello\r\n0\r\n\r\n", NULL},
        {"5\r\nhelloX\r\n0\r\n\r\n", NULL},
        {"5\r\nhello\n0\r\n\r\n", NULL},
        {"0\r\nX-Remote-User: a\r\n\r\n", NULL},
        {"\r\nhello", NULL},
        {"fffffffffffff\r\n", NULL},
    };
    struct http_head h = {.framing = HTTP_CHUNKED};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t at = 0; at <= strlen(rows[i].text); at++) {
            char out[100];
            bool ended = false;
            int rc = decode(&h, rows[i].text, at, out, &ended);

            assert_int_equal(rc, rows[i].payload ? 0 : -EBADMSG);
            if (rows[i].payload) {
                assert_string_equal(out, rows[i].payload);
                assert_true(ended);
            }
        }
    }
}

static void test_length_leaves_the_rest(void **state)
{
    struct http_head h = {.framing = HTTP_LENGTH, .length = 3};
    struct bytes in = BYTES("abcGET /"), run;
    struct http_body b;

    (void)state;
    http_body_init(&b, &h);
    assert_int_equal(http_body_next(&b, &in, &run), 0);
    assert_true(bytes_eq_str(run, "abc") && http_body_ended(&b));
    assert_int_equal(http_body_next(&b, &in, &run), 0);
    assert_true(run.len == 0 && bytes_eq_str(in, "GET /"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_nul),
        cmocka_unit_test(test_taken),    cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_too_long), cmocka_unit_test(test_responses),
        cmocka_unit_test(test_chunks),   cmocka_unit_test(test_length_leaves_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
