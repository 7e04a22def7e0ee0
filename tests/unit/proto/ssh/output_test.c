/* SPDX-License-Identifier: Apache-2.0
 * Directions of channels: values that are cut anywhere, what stands between their digits, two
 * streams that know nothing of each other, bounds.
 */
#include "sidecar/proto/ssh/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct detect_scratch *scratch;

static int make_scratch(void **state)
{
    (void)state;
    return detect_scratch_new(&scratch);
}

static int free_scratch(void **state)
{
    (void)state;
    detect_scratch_free(scratch);
    return 0;
}

static void open_flow(struct sshflow *f, size_t max)
{
    sshflow_init(f, "stdout", max);
    assert_int_equal(sshflow_mask(f, 1u << DETECT_CREDIT_CARD | 1u << DETECT_EMAIL), 0);
}

static void feed(struct sshflow *f, struct bytes piece, bool last)
{
    assert_int_equal(sshflow_take(f, piece, 1), piece.len);
    assert_int_equal(sshflow_settle(f, scratch, last), 0);
}

static void expect(struct sshflow *f, const char *text)
{
    struct bytes got = buffer_bytes(&f->ready);

    if (!bytes_eq_str(got, text))
        fail_msg("'%.*s', not '%s'", (int)got.len, (const char *)got.p, text);
    assert_true(f->held == 0);
    buffer_reset(&f->ready, 0);
}

/* In, out. */
static const struct {
    const char *in, *out;
} texts[] = {
    {"pay 4111111111111111 now", "pay **************** now"},
    {"4111-1111-1111-1111\n", "*******************\n"},
    {"\xc3\xa4 bob@example.com \xe2\x82\xac", "\xc3\xa4 *************** \xe2\x82\xac"},
    {"\x1b[31m4111111111111111\x1b[0m", "\x1b[31m****************\x1b[0m"},
    {"a\0b bob@example.com", "a"}, /* the text ends there: nothing to find */
    {"\xff\xfe 4111111111111111 \xff", "\xff\xfe **************** \xff"},
    {"41111111\x1b[0m11111111", "41111111\x1b[0m11111111"}, /* not found: docs/ssh.md, Masks */
    {"4111111111111112 is no card", "4111111111111112 is no card"},
    {"\r\n4111111111111111\r\n", "\r\n****************\r\n"},
};

static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct bytes t = bytes_str(texts[i].in);

        for (size_t cut = 0; cut <= t.len; cut++) {
            struct sshflow f;

            open_flow(&f, 1 << 16);
            feed(&f, bytes_of(t.p, cut), false);
            feed(&f, bytes_of(t.p + cut, t.len - cut), true);
            expect(&f, texts[i].out);
            sshflow_done(&f);
        }
    }
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct bytes t = bytes_str(texts[i].in);
        struct sshflow f;

        open_flow(&f, 1 << 16);
        for (size_t at = 0; at < t.len; at++)
            feed(&f, bytes_of(t.p + at, 1), false);
        feed(&f, (struct bytes){0}, true);
        expect(&f, texts[i].out);
        sshflow_done(&f);
    }
}

/* Half of a value on each stream is no value: what is on stderr does not end what is on stdout. */
static void test_streams_apart(void **state)
{
    struct sshflow out, err;

    (void)state;
    open_flow(&out, 1 << 16);
    open_flow(&err, 1 << 16);
    feed(&out, BYTES("x 41111111"), false);
    feed(&err, BYTES("y bob@exam"), false);
    feed(&out, BYTES("11111111 x"), true);
    feed(&err, BYTES("ple.com y"), true);
    expect(&out, "x **************** x");
    expect(&err, "y *************** y");
    sshflow_done(&out);
    sshflow_done(&err);
}

/* What a pause ended has been passed on: the rest of it is a text of its own. */
static void test_pause(void **state)
{
    struct sshflow f;

    (void)state;
    open_flow(&f, 1 << 16);
    feed(&f, BYTES("41111111"), true);
    expect(&f, "41111111");
    feed(&f, BYTES("4111111111111111"), true);
    expect(&f, "****************");
    sshflow_done(&f);
}

/* Bytes that do not fit stay outside, and `more` says so; nothing is lost or doubled. */
static void test_bounds(void **state)
{
    static uint8_t big[300000];
    struct sshflow f;
    size_t taken;

    (void)state;
    memset(big, 'x', sizeof big);
    open_flow(&f, 100000);
    taken = sshflow_take(&f, bytes_of(big, sizeof big), 1);
    assert_int_equal(taken, 100000);
    assert_true(f.more);
    assert_int_equal(sshflow_take(&f, bytes_of(big, 10), 1), 0);
    assert_int_equal(sshflow_settle(&f, scratch, false), 0);
    assert_true(buffer_len(&f.ready) + f.held + buffer_len(&f.raw) == taken);
    assert_true(buffer_len(&f.ready) <= 100000 + 2 * DETECT_STREAM_HOLD);
    assert_false(sshflow_empty(&f));
    sshflow_done(&f);
}

static void test_as_it_is(void **state)
{
    struct sshflow f;

    (void)state;
    sshflow_init(&f, "stdout", 1 << 16);
    feed(&f, BYTES("4111111111111111\0\xff"), false);
    assert_true(bytes_eq(buffer_bytes(&f.ready), BYTES("4111111111111111\0\xff")));
    buffer_reset(&f.ready, 0);
    assert_true(sshflow_empty(&f));
    sshflow_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_anywhere),  cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_streams_apart), cmocka_unit_test(test_pause),
        cmocka_unit_test(test_bounds),        cmocka_unit_test(test_as_it_is),
    };

    return cmocka_run_group_tests(tests, make_scratch, free_scratch);
}
