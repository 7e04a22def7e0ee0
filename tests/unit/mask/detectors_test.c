/* SPDX-License-Identifier: Apache-2.0
 * Each detector against a table of texts: what it has to find, and what only looks like it.
 */
#include "sidecar/mask/detect.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ALL        ((1u << DETECTOR_COUNT) - 1)
#define KEY        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAtest\n-----END RSA PRIVATE KEY-----"
#define JWT_HEADER "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
#define JWT_BODY   "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0"
#define JWT_SIGN   "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
#define JWT        JWT_HEADER "." JWT_BODY "." JWT_SIGN
#define A36        "abcdefghijklmnopqrstuvwxyz0123456789"

/* `found` is the part of `text` that has to be found; NULL: nothing. */
static const struct sample {
    enum detector d;
    const char *text, *found;
} samples[] = {
#include "samples.inc"
};

static unsigned failures; /* all are shown before the test fails */
#define WRONG(...) (print_error(__VA_ARGS__), print_error("\n"), failures++)

static struct detect_scratch *scratch;
static struct detector_set *all;

static int setup(void **state)
{
    (void)state;
    return detect_scratch_new(&scratch) || detector_set_get(ALL, &all, NULL);
}

static int teardown(void **state)
{
    (void)state;
    detect_scratch_free(scratch);
    detector_set_unref(all);
    return 0;
}

static bool note_hit(size_t offset, void *arg)
{
    size_t *last = arg;

    *last = offset;
    return true;
}

/* Every match has an anchor in its text. */
static void assert_anchor(struct detector_set *set, struct bytes text)
{
    size_t last = SIZE_MAX;

    assert_int_equal(detect_anchors(set, scratch, text, note_hit, &last), 0);
    if (last == SIZE_MAX)
        WRONG("no anchor in: %.*s", (int)text.len, text.p);
    else
        assert_true(last < text.len);
}

static void check(const struct sample *s, const char *text, const char *found)
{
    struct bytes t = bytes_str(text);
    struct detector_set *set;
    struct span spans[8];
    int n;

    assert_int_equal(detector_set_get(1u << s->d, &set, NULL), 0);
    n = detect_exact(set, scratch, t, spans, 8);
    if (n != (found ? 1 : 0))
        WRONG("%s: %d matches in: %s", detector_name(s->d), n, text);
    if (found && n == 1) {
        size_t at = (size_t)(strstr(text, found) - text);

        if (spans[0].start != at || spans[0].end != at + strlen(found))
            WRONG("%s: found [%.*s] in: %s", detector_name(s->d),
                  (int)(spans[0].end - spans[0].start), text + spans[0].start, text);
        assert_int_equal(spans[0].detector, s->d);
        assert_anchor(set, t);
        assert_anchor(all, t);
        /* Whatever else is looked for, this part is covered. */
        n = detect_exact(all, scratch, t, spans, 8);
        assert_true(n >= 1);
        for (int i = 0; i < n; i++) {
            if (spans[i].start <= at && spans[i].end >= at + strlen(found))
                n = 0;
        }
        assert_int_equal(n, 0);
    }
    detector_set_unref(set);
}

static void test_samples(void **state)
{
    unsigned yes[DETECTOR_COUNT] = {0}, no[DETECTOR_COUNT] = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *s = &samples[i];

        if (s->found && !strstr(s->text, s->found))
            fail_msg("bad sample: %s", s->text);
        check(s, s->text, s->found);
        *(s->found ? &yes[s->d] : &no[s->d]) += 1;
    }
    assert_int_equal(failures, 0);
    for (int d = 0; d < DETECTOR_COUNT; d++) {
        if (yes[d] < 10 || no[d] < 15)
            fail_msg("%s: %u positive and %u negative samples", detector_name(d), yes[d], no[d]);
    }
}

/* What stands around a value in JSON, CSV, COPY text, URLs and prose does not hide it. */
static void test_samples_in_context(void **state)
{
    static const char *const contexts[][2] = {
        {"{\"key\":\"", "\"}"},
        {"a\t", "\tb"},
        {"a,\"", "\",b"},
        {"", ","},
        {"{", "}"},
        {"('", "')"},
        {"line\n", "\n"},
        {"<b>", "</b>"},
        {"{\"k\":\"a\\n", "\\nb\"}"},
        {"text\\t", "\\tmore"},
        {"x\\r\\n", "\\r\\n"},
        {"é ", " é"},
    };
    char text[2048];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *s = &samples[i];

        if (!s->found || strcmp(s->text, s->found) != 0)
            continue;
        for (size_t c = 0; c < ARRAY_LEN(contexts); c++) {
            snprintf(text, sizeof text, "%s%s%s", contexts[c][0], s->text, contexts[c][1]);
            check(s, text, s->found);
        }
    }
    assert_int_equal(failures, 0);
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(detector_by_name("creditCard"), DETECT_CREDIT_CARD);
    assert_int_equal(detector_by_name("githubToken"), DETECT_GITHUB_TOKEN);
    for (int d = 0; d < DETECTOR_COUNT; d++)
        assert_int_equal(detector_by_name(detector_name(d)), d);
    assert_int_equal(detector_by_name("creditcard"), -1);
    assert_int_equal(detector_by_name(""), -1);
    assert_int_equal(detector_by_name(NULL), -1);
}

static void test_sets(void **state)
{
    struct detector_set *a, *b, *many[64];
    struct error err = {0};

    (void)state;
    assert_int_equal(detector_set_get(0, &a, &err), -EINVAL);
    assert_true(err.text[0]);
    assert_int_equal(detector_set_get(1u << DETECTOR_COUNT, &a, &err), -EINVAL);
    assert_int_equal(detector_set_get(UINT32_MAX, &a, NULL), -EINVAL);
    assert_int_equal(detector_set_get(6, &a, &err), 0);
    assert_int_equal(detector_set_get(6, &b, &err), 0);
    assert_ptr_equal(a, b);
    for (uint32_t i = 0; i < 64; i++) /* more than are kept; those in use stay */
        assert_int_equal(detector_set_get(100 + i, &many[i], &err), 0);
    for (uint32_t i = 0; i < 64; i++)
        detector_set_unref(many[i]);
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal(detector_set_get(300 + i, &many[i], &err), 0);
        detector_set_unref(many[i]);
    }
    detector_set_unref(b);
    assert_int_equal(detector_set_get(6, &b, &err), 0);
    assert_ptr_equal(a, b);
    detector_set_unref(b);
    detector_set_unref(a);
    detector_set_unref(NULL);
}

static void *get_and_release(void *arg)
{
    for (uint32_t i = 0; i < 2000; i++) {
        struct detector_set *set;
        struct span span;

        if (detector_set_get(1 + i % 40, &set, NULL) != 0)
            return arg;
        if (detect_exact(set, arg, BYTES("4111111111111111"), &span, 1) != (int)((1 + i % 40) & 1))
            return arg;
        detector_set_unref(set);
    }
    return NULL;
}

/* Sets are made, kept and dropped by several threads at once. */
static void test_threads(void **state)
{
    struct detect_scratch *own[4];
    pthread_t threads[4];
    void *failed;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(detect_scratch_new(&own[i]), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, get_and_release, own[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        detect_scratch_free(own[i]);
    }
}

/* Only what the set names is found. */
static void test_other_detectors_stay_silent(void **state)
{
    struct detector_set *set;
    struct span spans[4];

    (void)state;
    assert_int_equal(detector_set_get(1u << DETECT_IBAN, &set, NULL), 0);
    assert_int_equal(
        detect_exact(set, scratch, BYTES("bob@example.com 4111111111111111 10.0.0.1"), spans, 4),
        0);
    detector_set_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples), cmocka_unit_test(test_samples_in_context),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_sets),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_other_detectors_stay_silent),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
