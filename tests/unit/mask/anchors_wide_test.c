/* SPDX-License-Identifier: Apache-2.0
 * The search for anchors finds the same with all instructions.
 */
#include "sidecar/mask/anchors_search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_HITS 4096

struct hits {
    size_t n, at[MAX_HITS], stop_after;
};

static bool note(size_t offset, void *arg)
{
    struct hits *h = arg;

    h->at[h->n++] = offset;
    return h->n == h->stop_after || h->n == MAX_HITS;
}

typedef void search_fn(uint32_t set, struct bytes run, anchor_hit *hit, void *arg);

static const char *const pieces[] = {
    "4111111111111111",
    "4111 1111 1111 1111",
    "536-90-1234",
    "user@example.com",
    "+14155550100",
    "(415) 555-0100",
    "415-555-0100",
    "DE89370400440532013000",
    "10.20.30.40",
    "fe80::1",
    "2001:db8:1:2:3:4:5:6",
    "AKIAQ7ZTM4WXBN2PLRKD",
    "eyJhbGciOi",
    "aws_secret",
    "-----BEGIN",
    "ghp_abc",
    "\xef\xbc\x91\xef\xbc\x92",
    "12\xe2\x80\x93"
    "34",
    "lorem ipsum ",
    "d41d8cd98f00b204e9800998ecf8427e",
    "2024-01-02 12:34:56.789",
};

static size_t fill(uint8_t *text, size_t max)
{
    size_t n = 0, len = (size_t)rand() % max;

    while (n < len) {
        const char *p = pieces[(size_t)rand() % ARRAY_LEN(pieces)];
        size_t k = min_size(strlen(p), len - n);

        if (rand() % 3 == 0) {
            text[n++] = (uint8_t)rand();
            continue;
        }
        memcpy(text + n, p, k);
        n += k;
    }
    return n;
}

static void compare(search_fn *other)
{
    static struct hits a, b;
    uint32_t all = (1u << DETECTOR_COUNT) - 1;
    size_t found = 0;

    srand(7);
    for (int i = 0; i < 20000; i++) {
        uint8_t text[600];
        size_t n = fill(text, sizeof text);
        uint8_t *run = malloc(n + !n); /* so that a sanitizer sees a byte too much */
        uint32_t set = i % 2 ? all : (uint32_t)rand() & all;

        memcpy(run, text, n);
        a.n = b.n = 0;
        a.stop_after = b.stop_after = i % 5 ? 0 : 1;
        search_anchors(set, bytes_of(run, n), note, &a);
        other(set, bytes_of(run, n), note, &b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.at, b.at, a.n * sizeof a.at[0]);
        found += a.n;
        free(run);
    }
    assert_true(found > 20000);
}

static void test_avx2(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        compare(anchors_search_avx2);
        return;
    }
#endif
    print_message("no AVX2 here\n");
    skip();
}

static void test_avx512(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw")) {
        compare(anchors_search_avx512);
        return;
    }
#endif
    print_message("no AVX-512BW here\n");
    skip();
}

/* The account's own check digits decide, unless the run ends before they do. */
static void test_iban(void **state)
{
    static const struct {
        const char *text;
        size_t hits;
    } rows[] = {
        {"DE89370400440532013000", 1},
        {"xDE89370400440532013000x", 1},
        {"DE88370400440532013000xxxxxxxxxxxxxxxxxxxxxxxx", 0},
        {"de89 3704 0044 0532 0130 00 and more words", 1},
        {"DE893704004405320", 1 /* cut */},
        {"DE8937040044 and so on, which is no account", 0},
        {"ad53be7714b204e9800998ecf8427eabcdefabcdefab", 0},
        {"GB82 WEST 1234 5698 7654 32", 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct hits h = {0};

        search_anchors(1u << DETECT_IBAN, bytes_str(rows[i].text), note, &h);
        if (h.n != rows[i].hits)
            print_error("%s\n", rows[i].text);
        assert_int_equal(h.n, rows[i].hits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_iban),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
