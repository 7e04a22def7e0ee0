/* SPDX-License-Identifier: Apache-2.0
 * Streams: where the value is cut changes nothing, and nothing that the exact pass finds in the
 * whole survives.
 */
#include "sidecar/mask/detect.h"

#include "corpus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ALL   ((1u << DETECTOR_COUNT) - 1)
#define MAX   (1u << 18)
#define SPANS 65536

static struct detect_scratch *scratch;
static struct detector_set *all;
static struct detect_stream *stream;
static struct span *spans;
static char *text;
static struct buffer out;

static int setup(void **state)
{
    (void)state;
    text = malloc(MAX);
    spans = malloc(SPANS * sizeof *spans);
    buffer_init(&out, MAX * 2);
    return !text || !spans || detect_scratch_new(&scratch) || detector_set_get(ALL, &all, NULL) ||
           detect_stream_new(all, &stream);
}

static int teardown(void **state)
{
    (void)state;
    detect_stream_free(stream);
    detect_stream_free(NULL);
    detector_set_unref(all);
    detect_scratch_free(scratch);
    buffer_done(&out);
    free(spans);
    free(text);
    return 0;
}

/* Starred by the book. */
static void expected(struct bytes t, uint8_t *to)
{
    int n = detect_exact(all, scratch, t, spans, SPANS);

    assert_true(n >= 0);
    memcpy(to, t.p, t.len);
    for (int i = 0; i < n; i++)
        memset(to + spans[i].start, '*', spans[i].end - spans[i].start);
}

/* Feeds pieces of 1 to `most` bytes. What is held back is bounded all the time. */
static void feed(struct bytes t, unsigned most)
{
    size_t done = 0;

    buffer_reset(&out, MAX);
    while (done < t.len) {
        size_t n = min_size(1 + random_below(most), t.len - done);

        assert_int_equal(detect_stream_feed(stream, scratch, bytes_of(t.p + done, n), false, &out),
                         0);
        done += n;
        assert_true(done - buffer_len(&out) <= DETECT_STREAM_HOLD);
    }
    assert_int_equal(detect_stream_feed(stream, scratch, (struct bytes){0}, true, &out), 0);
}

static void assert_same(struct bytes t, const uint8_t *want)
{
    struct bytes got = buffer_bytes(&out);

    assert_int_equal(got.len, t.len);
    for (size_t i = 0; i < t.len; i++) {
        if (got.p[i] != want[i])
            fail_msg("at %zu of %zu: %.*s | %.*s | %.*s", i, t.len, (int)min_size(60, t.len - i),
                     t.p + i, (int)min_size(60, t.len - i), want + i, (int)min_size(60, t.len - i),
                     got.p + i);
    }
}

static void check(struct bytes t, unsigned most)
{
    uint8_t *want = malloc(t.len + 1);

    assert_non_null(want);
    expected(t, want);
    feed(t, most);
    assert_same(t, want);
    free(want);
}

static void test_any_cuts(void **state)
{
    static const unsigned most[] = {1, 7, 100, 3000, 20000, 100000};

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        size_t len;

        random_seed(seed);
        len = random_text(text, 2000 + random_below(60000));
        check(bytes_of(text, len), most[seed % ARRAY_LEN(most)]);
    }
}

/* Each position of a cut in a short value. */
static void test_every_single_cut(void **state)
{
    static const char value[] =
        "id,4111 1111 1111 1111,bob@example.com,+1 (415) 555-2671,2001:db8::1,"
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV,"
        "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----,DE89 3704 0044 0532 0130 "
        "00,10.0.0.1,x";
    struct bytes t = bytes_str(value);
    uint8_t want[sizeof value];

    (void)state;
    expected(t, want);
    assert_non_null(strchr((char *)want, '*'));
    assert_null(memmem(want, t.len, "bob", 3));
    for (size_t cut = 0; cut <= t.len; cut++) {
        buffer_reset(&out, MAX);
        assert_int_equal(detect_stream_feed(stream, scratch, bytes_of(t.p, cut), false, &out), 0);
        assert_int_equal(
            detect_stream_feed(stream, scratch, bytes_of(t.p + cut, t.len - cut), true, &out), 0);
        assert_same(t, want);
    }
}

/* Far longer than what is held. */
static void test_long_key_and_token(void **state)
{
    static const char begin[] = "x -----BEGIN PRIVATE KEY-----\n",
                      end[] = "\n-----END PRIVATE KEY-----";
    static const char jwt[] = "eyJhbGciOiJIUzI1NiJ9.";
    size_t len = 0;

    (void)state;
    strcpy(text, begin);
    len = strlen(text);
    memset(text + len, 'M', 100000);
    len += 100000;
    strcpy(text + len, end);
    len += strlen(end);
    strcpy(text + len, " clear ");
    len += 7;
    strcpy(text + len, jwt);
    len += strlen(jwt);
    memset(text + len, 'J', 50000);
    len += 50000;
    strcpy(text + len, ".sign clear");
    len += 11;
    random_seed(1);
    check(bytes_of(text, len), 5000);
    assert_null(memmem(buffer_bytes(&out).p, len, "MM", 2));
    assert_null(memmem(buffer_bytes(&out).p, len, "JJ", 2));
    assert_null(memmem(buffer_bytes(&out).p, len, "sign", 4));
    assert_non_null(memmem(buffer_bytes(&out).p, len, "* clear *", 9));
    assert_memory_equal(buffer_bytes(&out).p + len - 6, " clear", 6);
    check(bytes_of(text, 60000), 5000); /* without its END */
    assert_memory_equal(buffer_bytes(&out).p, "x *", 3);
    assert_int_equal(buffer_bytes(&out).p[59999], '*');
}

/* One value's end is not the next one's beginning. */
static void test_values_are_apart(void **state)
{
    (void)state;
    buffer_reset(&out, MAX);
    assert_int_equal(
        detect_stream_feed(stream, scratch, BYTES("-----BEGIN PRIVATE KEY-----"), true, &out), 0);
    assert_int_equal(detect_stream_feed(stream, scratch, BYTES("4111 1111 "), true, &out), 0);
    assert_int_equal(detect_stream_feed(stream, scratch, BYTES("1111 1111"), true, &out), 0);
    assert_int_equal(detect_stream_feed(stream, scratch, (struct bytes){0}, true, &out), 0);
    assert_int_equal(buffer_len(&out), 27 + 19);
    assert_memory_equal(buffer_bytes(&out).p, "***************************4111 1111 1111 1111", 46);
}

static void test_no_room(void **state)
{
    struct detect_stream *s;
    struct buffer small;
    int rc = 0;

    (void)state;
    buffer_init(&small, 1000);
    assert_int_equal(detect_stream_new(all, &s), 0);
    memset(text, 'a', 50000);
    rc = detect_stream_feed(s, scratch, bytes_of(text, 50000), true, &small);
    assert_int_equal(rc, -ENOMEM);
    detect_stream_free(s);
    buffer_done(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cuts),
        cmocka_unit_test(test_every_single_cut),
        cmocka_unit_test(test_long_key_and_token),
        cmocka_unit_test(test_values_are_apart),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
