/* SPDX-License-Identifier: Apache-2.0
 * Whole texts: overlaps, limits, replacing, anchors, and that hostile text costs no more than any
 * other.
 */
#include "sidecar/mask/detect.h"
#include "sidecar/mask/mask.h"

#include "corpus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define ALL ((1u << DETECTOR_COUNT) - 1)
#define MAX (1u << 20)

static struct detect_scratch *scratch;
static struct detector_set *all;
static struct masker *masker;
static char *text;
static struct span spans[4096];
static struct buffer out;
static enum mask_method methods[DETECTOR_COUNT];

static int setup(void **state)
{
    (void)state;
    for (int d = 0; d < DETECTOR_COUNT; d++)
        methods[d] = MASK_PARTIAL;
    text = malloc(MAX);
    buffer_init(&out, MAX * 16);
    return !text || detect_scratch_new(&scratch) || detector_set_get(ALL, &all, NULL) ||
           masker_new((const uint8_t[32]){1, 2, 3}, &masker);
}

static int teardown(void **state)
{
    (void)state;
    detect_scratch_free(scratch);
    detector_set_unref(all);
    masker_free(masker);
    buffer_done(&out);
    free(text);
    return 0;
}

static void assert_spans_sound(struct bytes t, int n)
{
    for (int i = 0; i < n; i++) {
        assert_true(spans[i].start < spans[i].end);
        assert_true(spans[i].end <= t.len);
        assert_true(i == 0 || spans[i - 1].end <= spans[i].start);
        assert_true((unsigned)spans[i].detector < DETECTOR_COUNT);
    }
}

static bool collect_hit(size_t offset, void *arg)
{
    size_t *hits = arg;

    if (hits[0] && offset <= hits[hits[0]])
        fail_msg("anchors not ascending");
    if (hits[0] < 20000)
        hits[++hits[0]] = offset;
    return false;
}

/* Whatever the exact pass finds has an anchor inside, or within the reach of an AWS secret's name
 * in front; framing around the text does not hide it. */
static void test_anchors_are_necessary(void **state)
{
    static size_t hits[20001];

    (void)state;
    for (uint64_t seed = 1000; seed < 1600; seed++) {
        struct bytes t = {(uint8_t *)text + 64, 0};
        int n;

        random_seed(seed);
        memset(text, seed & 1 ? '4' : 0, 64);
        t.len = random_text(text + 64, 200 + random_below(5000));
        memset(text + 64 + t.len, seed & 2 ? '1' : 'z', 64);
        n = detect_exact(all, scratch, t, spans, ARRAY_LEN(spans));
        assert_true(n >= 0);
        assert_spans_sound(t, n);
        hits[0] = 0;
        assert_int_equal(
            detect_anchors(all, scratch, bytes_of(text, t.len + 128), collect_hit, hits), 0);
        for (int i = 0; i < n; i++) {
            bool found = false;

            for (size_t h = 1; h <= hits[0] && !found; h++)
                found = hits[h] + 128 >= spans[i].start + 64 && hits[h] < spans[i].end + 64;
            if (!found)
                fail_msg("no anchor for %s: %.*s", detector_name(spans[i].detector),
                         (int)(spans[i].end - spans[i].start), t.p + spans[i].start);
        }
    }
}

static bool stop_at_third(size_t offset, void *arg)
{
    (void)offset;
    return ++*(int *)arg == 3;
}

static void test_anchors_stop_and_reach_the_end(void **state)
{
    int calls = 0;
    size_t hits[64] = {0};

    (void)state;
    memset(text, '@', 1000);
    assert_int_equal(detect_anchors(all, scratch, bytes_of(text, 1000), stop_at_third, &calls), 0);
    assert_int_equal(calls, 3);
    assert_int_equal(detect_anchors(all, scratch, (struct bytes){0}, collect_hit, hits), 0);
    assert_int_equal(hits[0], 0);
    /* At each offset, and with every length of what follows. */
    for (size_t at = 0; at < 150; at++) {
        for (size_t behind = 0; behind < 70; behind += 23) {
            memset(text, 'x', 400);
            memcpy(text + at, "4111111111111111", 16);
            hits[0] = 0;
            assert_int_equal(
                detect_anchors(all, scratch, bytes_of(text, at + 16 + behind), collect_hit, hits),
                0);
            assert_true(hits[0] >= 1 && hits[1] >= at && hits[1] < at + 16);
        }
    }
    memset(text, 'x', 400);
    hits[0] = 0;
    assert_int_equal(detect_anchors(all, scratch, bytes_of(text, 400), collect_hit, hits), 0);
    assert_int_equal(hits[0], 0);
}

/* Valid card numbers in random text are found wherever they stand, in each spelling. */
static void test_cards_in_random_text(void **state)
{
    static const char *const spellings[] = {"%.4s%.4s%.4s%.4s", "%.4s %.4s %.4s %.4s",
                                            "%.4s-%.4s-%.4s-%.4s",
                                            "%.4s\xc2\xa0%.4s\xc2\xa0%.4s\xc2\xa0%.4s"};

    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        char card[20], spelled[40];
        size_t before, len;
        bool covered = false;
        int n;

        random_seed(seed);
        random_card(card, 16);
        snprintf(spelled, sizeof spelled, spellings[seed % 4], card, card + 4, card + 8, card + 12);
        before = random_below(200);
        for (size_t i = 0; i < before; i++)
            text[i] = (char)(' ' + random_below(95));
        if (before) /* not inside a longer number */
            text[before - 1] = "x \"(\t,"[random_below(6)];
        len = before + strlen(spelled);
        memcpy(text + before, spelled, strlen(spelled));
        text[len++] = "x \"(\t,"[random_below(6)];
        for (size_t i = random_below(100); i; i--)
            text[len++] = (char)('A' + random_below(50));
        n = detect_exact(all, scratch, bytes_of(text, len), spans, ARRAY_LEN(spans));
        for (int i = 0; i < n; i++)
            covered |= spans[i].start <= before && spans[i].end >= before + strlen(spelled);
        if (!covered)
            fail_msg("seed %u: not found: %.*s", (unsigned)seed, (int)len, text);
    }
}

static void test_overlaps(void **state)
{
    int n;

    (void)state;
    /* Contained: the longer one names the span. */
    n = detect_exact(all, scratch, BYTES("DE89 3704 0044 0532 0130 00"), spans, 8);
    assert_int_equal(n, 1);
    assert_int_equal(spans[0].detector, DETECT_IBAN);
    n = detect_exact(all, scratch, BYTES("::ffff:10.0.0.1"), spans, 8);
    assert_int_equal(n, 1);
    assert_int_equal(spans[0].detector, DETECT_IPV6);
    n = detect_exact(all, scratch, BYTES("4111111111111111@example.com"), spans, 8);
    assert_int_equal(n, 1);
    assert_int_equal(spans[0].detector, DETECT_EMAIL);
    assert_int_equal(spans[0].end, 28);
    /* In part: one span, both covered. */
    n = detect_exact(all, scratch, BYTES("+1 415 555 2671@example.com"), spans, 8);
    assert_int_equal(n, 1);
    assert_int_equal(spans[0].start, 0);
    assert_int_equal(spans[0].end, 27);
    /* Side by side: two. */
    n = detect_exact(all, scratch, BYTES("a@b.co,c@d.co 10.0.0.1;4111111111111111"), spans, 8);
    assert_int_equal(n, 4);
    assert_int_equal(spans[0].end, 6);
    assert_int_equal(spans[1].start, 7);
    assert_int_equal(spans[2].detector, DETECT_IPV4);
    assert_int_equal(spans[3].detector, DETECT_CREDIT_CARD);
    /* A secret behind its name, with a match between the two. */
    n = detect_exact(all, scratch,
                     BYTES("aws_secret a@b.co wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), spans, 8);
    assert_int_equal(n, 2);
    assert_int_equal(spans[0].detector, DETECT_EMAIL);
    assert_int_equal(spans[1].detector, DETECT_AWS_ACCESS_KEY);
}

static void test_too_many(void **state)
{
    struct bytes three = BYTES("a@b.co c@d.co e@f.co");

    (void)state;
    assert_int_equal(detect_exact(all, scratch, three, spans, 3), 3);
    assert_int_equal(detect_exact(all, scratch, three, spans, 2), -ENOBUFS);
    assert_int_equal(detect_exact(all, scratch, three, spans, 1), -ENOBUFS);
    assert_int_equal(detect_exact(all, scratch, three, NULL, 0), -ENOBUFS);
    assert_int_equal(detect_exact(all, scratch, BYTES("nothing"), NULL, 0), 0);
    assert_int_equal(detect_exact(all, scratch, (struct bytes){0}, NULL, 0), 0);
}

static void assert_masked(const char *in, const char *want)
{
    bool changed = false;

    buffer_reset(&out, MAX);
    assert_int_equal(detect_mask_text(all, scratch, masker, methods, bytes_str(in), &out, &changed),
                     0);
    assert_int_equal(changed, strcmp(in, want) != 0);
    if (changed) {
        buffer_add_u8(&out, 0);
        assert_string_equal((const char *)buffer_bytes(&out).p, want);
    } else {
        assert_int_equal(buffer_len(&out), 0);
    }
}

static void test_mask_text(void **state)
{
    (void)state;
    assert_masked("", "");
    assert_masked("nothing here 2024-01-02", "nothing here 2024-01-02");
    assert_masked("4111-1111-1111-1111", "[creditCard ****1111]");
    assert_masked("mail bob@example.com or 123-45-6789.",
                  "mail [email ****@example.com] or [usSsn ****6789].");
    assert_masked("{\"a\":\"x\\nbob@example.com\"}", "{\"a\":\"x\\n[email ****@example.com]\"}");
    assert_masked("k=-----BEGIN PRIVATE KEY-----\nM\n-----END PRIVATE KEY-----;",
                  "k=[privateKey ****];");
    methods[DETECT_EMAIL] = MASK_REDACT;
    methods[DETECT_US_SSN] = MASK_NULL;
    methods[DETECT_IPV4] = MASK_NONE;
    assert_masked("bob@example.com 123-45-6789 10.0.0.1", "[email] [usSsn] [ipv4]");
    methods[DETECT_EMAIL] = methods[DETECT_US_SSN] = methods[DETECT_IPV4] = MASK_PARTIAL;
}

/* What a mask writes is nothing to mask again, and is known as such. */
static void test_masks_are_not_matches(void **state)
{
    static const enum mask_method each[] = {MASK_PARTIAL, MASK_TOKEN, MASK_REDACT, MASK_NULL};
    unsigned seen = 0;
    struct span again;

    (void)state;
    for (uint64_t seed = 5000; seed < 5200; seed++) {
        struct bytes t = {(uint8_t *)text, 0};
        int n;

        random_seed(seed);
        t.len = random_text(text, 3000);
        n = detect_exact(all, scratch, t, spans, ARRAY_LEN(spans));
        for (int i = 0; i < n; i++) {
            struct bytes value = {t.p + spans[i].start, spans[i].end - spans[i].start};

            buffer_reset(&out, MAX);
            assert_int_equal(
                mask_match(masker, each[seed % 4], detector_name(spans[i].detector), value, &out),
                0);
            if (detect_exact(all, scratch, buffer_bytes(&out), &again, 1) != 0 ||
                !mask_recognise(buffer_bytes(&out)))
                fail_msg("%.*s -> %.*s", (int)value.len, value.p, (int)buffer_len(&out),
                         buffer_bytes(&out).p);
            seen++;
        }
    }
    assert_true(seen > 500);
}

/* After masking, no detector finds any of the values that were there. */
static void test_no_value_survives(void **state)
{
    bool changed;

    (void)state;
    for (uint64_t seed = 7000; seed < 7300; seed++) {
        struct bytes t = {(uint8_t *)text, 0}, got;
        size_t at = 0;
        int n;

        random_seed(seed);
        t.len = random_text(text, 3000);
        n = detect_exact(all, scratch, t, spans, ARRAY_LEN(spans));
        buffer_reset(&out, MAX);
        assert_int_equal(detect_mask_text(all, scratch, masker, methods, t, &out, &changed), 0);
        assert_int_equal(changed, n > 0);
        got = buffer_bytes(&out);
        for (int i = 0; i < n; i++) { /* the text between the matches, and a bracket for each */
            size_t from = i ? spans[i - 1].end : 0, gap = spans[i].start - from;
            const uint8_t *close;

            assert_true(got.len - at > gap);
            assert_memory_equal(got.p + at, t.p + from, gap);
            at += gap;
            assert_int_equal(got.p[at], '[');
            close = memchr(got.p + at, ']', got.len - at);
            assert_non_null(close);
            at = (size_t)(close - got.p) + 1;
        }
    }
}

static void test_mask_text_without_room(void **state)
{
    struct buffer small;
    bool changed = false;

    (void)state;
    buffer_init(&small, 256);
    memset(text, 'x', 1000);
    memcpy(text, "bob@example.com ", 16);
    assert_int_equal(buffer_append(&small, "keep", 4), 0);
    assert_int_equal(
        detect_mask_text(all, scratch, masker, methods, bytes_of(text, 1000), &small, &changed),
        -ENOMEM);
    assert_int_equal(buffer_len(&small), 4);
    buffer_done(&small);
}

static double best_seconds(size_t len)
{
    double best = 1e9;

    for (int i = 0; i < 3; i++) {
        struct timespec a, b;
        bool changed;
        double took;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
        buffer_reset(&out, MAX * 16);
        assert_int_equal(
            detect_mask_text(all, scratch, masker, methods, bytes_of(text, len), &out, &changed),
            0);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
        took = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
        best = took < best ? took : best;
    }
    return best;
}

/* 32 times the text: 32 times the work, not 1024 times. */
static void test_hostile_text_is_linear(void **state)
{
    static const char *const units[] = {
        "@",
        "1",
        "eyJ",
        "a",
        "1 ",
        "1111 ",
        "1-",
        "a@",
        ":",
        "a:",
        "1.",
        "1.1.1.",
        "-",
        "-----BEGIN ",
        "-----END ",
        "ghp_",
        "github_pat_",
        "aws_secret",
        "secretAccessKey",
        "AKIA",
        "+1",
        "+11 ",
        "(",
        "(111) ",
        "DE89",
        "DE89 ",
        "a.a@",
        "\xef\xbc\x91",
        "\xc3\xa9",
        "\xc3\xa9@",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJIUzI1NiJ9.",
        "\\u00",
        "a\\n",
        ".",
        "212-212-",
        "123-45-",
        "****",
        "%20eyJ",
        "a-",
        "a@b.co",
        "a@b.co ",
        "::1 ",
        "4111111111111111 ",
        "4111 1111 1111 1111 ",
        "a.b@c.de@f.gh",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJhbGciOiJIUzI1NiJ9.a ",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0.",
        "1.1.1.1 ",
        "+14155552671",
        "AKIAIOSFODNN7EXAMPLE ",
        "415-555-2671 ",
        "aws_secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY ",
    };

    (void)state;
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        size_t n = strlen(units[u]);
        double small, large;

        for (size_t i = 0; i < MAX; i++)
            text[i] = units[u][i % n];
        small = best_seconds(MAX / 32);
        large = best_seconds(MAX);
        if (large > 0.02 && large > small * 200)
            fail_msg("\"%s\": %.1f ms for 32 KB, %.1f ms for 1 MB", units[u], small * 1e3,
                     large * 1e3);
        if (large > 2.0)
            fail_msg("\"%s\": %.1f s for 1 MB", units[u], large);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anchors_are_necessary),
        cmocka_unit_test(test_anchors_stop_and_reach_the_end),
        cmocka_unit_test(test_cards_in_random_text),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_mask_text),
        cmocka_unit_test(test_masks_are_not_matches),
        cmocka_unit_test(test_no_value_survives),
        cmocka_unit_test(test_mask_text_without_room),
        cmocka_unit_test(test_hostile_text_is_linear),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
