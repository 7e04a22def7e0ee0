/* SPDX-License-Identifier: Apache-2.0
 * Framing at every length, and bodies that are short, long or lie about their counts.
 */
#include "sidecar/proto/postgres/wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static enum frame frame(enum pgwire_sender s, struct bytes in, struct pgwire_msg *m)
{
    /* A block of exactly that size: ASan sees any byte read behind it. */
    uint8_t *copy = malloc(in.len ? in.len : 1);
    enum frame f;

    assert_non_null(copy);
    memcpy(copy, in.p, in.len);
    f = pgwire_frame(s, bytes_of(copy, in.len), m);
    free(copy);
    return f;
}

static void needs_all_of_a_whole_message(void **state)
{
    static const char query[] = "Q\0\0\0\x0dSELECT 1";
    struct pgwire_msg m;

    (void)state;
    for (size_t n = 0; n < sizeof query; n++) {
        assert_int_equal(frame(PGWIRE_FROM_FRONTEND, bytes_of(query, n), &m), FRAME_MORE);
        assert_int_equal(m.full_len, n < 5 ? 0 : 14);
    }
    assert_int_equal(frame(PGWIRE_FROM_FRONTEND, bytes_of(query, sizeof query), &m), FRAME_OK);
    assert_int_equal(m.body.len, 9);
}

static void hands_out_parts_of_a_stream(void **state)
{
    struct pgwire_msg m;

    (void)state;
    assert_int_equal(frame(PGWIRE_FROM_BACKEND, BYTES("D\0\0\0"), &m), FRAME_MORE);
    assert_int_equal(frame(PGWIRE_FROM_BACKEND, BYTES("D\0\0\0\12ab"), &m), FRAME_PART);
    assert_int_equal(m.raw.len, 7);
    assert_int_equal(m.full_len, 11);
}

static void refuses_lengths(void **state)
{
    static const struct {
        enum pgwire_sender sender;
        struct bytes in;
    } bad[] = {
        {PGWIRE_FROM_FRONTEND, {(const uint8_t *)"Q\xff\xff\xff\xff", 5}},
        {PGWIRE_FROM_FRONTEND, {(const uint8_t *)"Q\0\0\0\0", 5}},
        {PGWIRE_FROM_FRONTEND, {(const uint8_t *)"Q\0\0\0\3", 5}},
        {PGWIRE_FROM_FRONTEND, {(const uint8_t *)"Q\1\0\0\5", 5}},
        {PGWIRE_FROM_FRONTEND, {(const uint8_t *)"S\0\0\0\5", 5}},
        {PGWIRE_FROM_FRONTEND, {(const uint8_t *)"E\0\0\x27\x15", 5}},
        {PGWIRE_FROM_FRONTEND, {(const uint8_t *)"d\x40\0\0\4", 5}},
        {PGWIRE_FROM_BACKEND, {(const uint8_t *)"D\x7f\xff\xff\xff", 5}},
        {PGWIRE_FROM_BACKEND, {(const uint8_t *)"Z\0\0\0\6", 5}},
        {PGWIRE_FROM_BACKEND, {(const uint8_t *)"1\0\0\0\5", 5}},
    };
    struct pgwire_msg m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(frame(bad[i].sender, bad[i].in, &m), FRAME_BAD);
}

static void refuses_unlisted_types_at_once(void **state)
{
    static const char frontend[] = "QPBDECSHFdcfX", backend[] = "TDdCZ123ntsIENASGHcKRv";

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        uint8_t byte = (uint8_t)type;
        struct pgwire_msg m;

        assert_int_equal(frame(PGWIRE_FROM_FRONTEND, bytes_of(&byte, 1), &m),
                         type && strchr(frontend, (int)type) ? FRAME_MORE : FRAME_BAD);
        assert_int_equal(frame(PGWIRE_FROM_BACKEND, bytes_of(&byte, 1), &m),
                         type && strchr(backend, (int)type) ? FRAME_MORE : FRAME_BAD);
    }
}

/* Every proper prefix, and one byte more, has to be refused. */
static void refuses_all_but(struct bytes good, int (*parse)(struct bytes body))
{
    for (size_t n = 0; n <= good.len + 1; n++) {
        uint8_t *copy = calloc(1, n + 1);

        assert_non_null(copy);
        memcpy(copy, good.p, min_size(n, good.len));
        assert_int_equal(parse(bytes_of(copy, n)), n == good.len ? 0 : -EBADMSG);
        free(copy);
    }
}

static int parse_parse(struct bytes b)
{
    struct pgwire_parse p;

    return pgwire_parse_parse(b, &p);
}

static int parse_bind(struct bytes b)
{
    struct pgwire_bind p;

    return pgwire_parse_bind(b, &p);
}

static int parse_execute(struct bytes b)
{
    struct pgwire_execute p;

    return pgwire_parse_execute(b, &p);
}

static int parse_named(struct bytes b)
{
    struct pgwire_named p;

    return pgwire_parse_named(b, &p);
}

static int parse_string(struct bytes b)
{
    struct bytes p;

    return pgwire_parse_string(b, &p);
}

static int count_column(const struct pgwire_column *c, unsigned i, void *arg)
{
    (void)c, (void)i, (void)arg;
    return 0;
}

static int parse_columns(struct bytes b)
{
    uint16_t n;

    return pgwire_parse_row_description(b, count_column, NULL, &n);
}

static void bodies_are_exact(void **state)
{
    (void)state;
    refuses_all_but(BYTES("s\0SELECT $1\0\0\1\0\0\0\x19"), parse_parse);
    refuses_all_but(BYTES("p\0s\0\0\1\0\1\0\2\0\0\0\3abc\xff\xff\xff\xff\0\2\0\0\0\1"), parse_bind);
    refuses_all_but(BYTES("p\0\0\0\0\5"), parse_execute);
    refuses_all_but(BYTES("Sname\0"), parse_named);
    refuses_all_but(BYTES("text\0"), parse_string);
    refuses_all_but(BYTES("\0\1c\0\0\0\x40\x10\0\2\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"),
                    parse_columns);
}

static void counts_that_lie(void **state)
{
    (void)state;
    assert_int_equal(parse_parse(BYTES("\0\0\xff\xff\0\0\0\x19")), -EBADMSG);
    assert_int_equal(parse_bind(BYTES("\0\0\0\0\0\1\xff\xff\xff\xfe\0\0")), -EBADMSG);
    assert_int_equal(parse_bind(BYTES("\0\0\0\0\0\1\x80\0\0\0\0\0")), -EBADMSG);
    assert_int_equal(parse_bind(BYTES("\0\0\0\0\xff\xff\0\0\0\0\0\0")), -EBADMSG);
    assert_int_equal(parse_columns(BYTES("\xff\xff")), -EBADMSG);
    assert_int_equal(parse_named(BYTES("Xa\0")), -EBADMSG);
    assert_int_equal(parse_named(BYTES("\0a\0")), -EBADMSG);
}

static void formats(void **state)
{
    struct bytes two = BYTES("\0\0\0\1"), one = BYTES("\0\1");

    (void)state;
    assert_int_equal(pgwire_format((struct bytes){0}, 0, 3), 0);
    assert_int_equal(pgwire_format(one, 1, 7), 1);
    assert_int_equal(pgwire_format(two, 2, 1), 1);
    assert_int_equal(pgwire_format(two, 2, 2), 0);
}

static void error_fields(void **state)
{
    (void)state;
    assert_true(bytes_eq_str(pgwire_error_field(BYTES("SERROR\0C42501\0\0"), 'C'), "42501"));
    assert_int_equal(pgwire_error_field(BYTES("SERROR\0C42501"), 'C').len, 0);
    assert_int_equal(pgwire_error_field(BYTES("SERROR\0\0C42501\0"), 'C').len, 0);
    assert_int_equal(pgwire_error_field((struct bytes){0}, 'C').len, 0);
}

static void built_errors_can_be_read(void **state)
{
    struct pgwire_error e = {"ERROR", "42501", "no", NULL, "ask"};
    struct pgwire_msg m;
    struct buffer out;

    (void)state;
    buffer_init(&out, 1024);
    buffer_append(&out, "xx", 2);
    buffer_consume(&out, 2);
    pgwire_add_error(&out, false, &e);
    assert_int_equal(pgwire_frame(PGWIRE_FROM_BACKEND, buffer_bytes(&out), &m), FRAME_OK);
    assert_int_equal(m.full_len, buffer_len(&out));
    assert_true(bytes_eq_str(pgwire_error_field(m.body, 'M'), "no"));
    assert_true(bytes_eq_str(pgwire_error_field(m.body, 'H'), "ask"));
    assert_int_equal(pgwire_error_field(m.body, 'D').len, 0);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needs_all_of_a_whole_message),
        cmocka_unit_test(hands_out_parts_of_a_stream),
        cmocka_unit_test(refuses_lengths),
        cmocka_unit_test(refuses_unlisted_types_at_once),
        cmocka_unit_test(bodies_are_exact),
        cmocka_unit_test(counts_that_lie),
        cmocka_unit_test(formats),
        cmocka_unit_test(error_fields),
        cmocka_unit_test(built_errors_can_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
