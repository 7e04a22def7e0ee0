/* SPDX-License-Identifier: Apache-2.0
 * Frames: what no Kubernetes client or server sends is refused before its payload is there.
 */
#include "sidecar/proto/kube/websocket.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define FRAME(text) BYTES(text)

static void test_refused(void **state)
{
    const struct {
        struct bytes in;
        bool from_client;
        int rc;
    } rows[] = {
        {FRAME("\x82\x01\x41"), true, -EBADMSG},          /* a client has to mask */
        {FRAME("\x82\x81\1\2\3\4\x41"), false, -EBADMSG}, /* a server must not */
        {FRAME("\xc2\x01"), false, -EBADMSG},             /* an extension */
        {FRAME("\xa2\x01"), false, -EBADMSG},
        {FRAME("\x92\x01"), false, -EBADMSG},
        {FRAME("\x83\x01"), false, -EBADMSG}, /* opcodes that nobody has */
        {FRAME("\x87\x01"), false, -EBADMSG},
        {FRAME("\x8b\x01"), false, -EBADMSG},
        {FRAME("\x8f\x01"), false, -EBADMSG},
        {FRAME("\x08\x01"), false, -EBADMSG},         /* control frames: in one piece, */
        {FRAME("\x89\x7e\x00\x7e"), false, -EBADMSG}, /* and short */
        {FRAME("\x82\x7e\x00\x7d"), false, -EBADMSG}, /* a length not in its shortest form */
        {FRAME("\x82\x7f\0\0\0\0\0\0\xff\xff"), false, -EBADMSG},
        {FRAME("\x82\x7f\0\0\0\0\0\x10\0\x01"), false, -EMSGSIZE},
        {FRAME("\x82\xff\0\0\0\0\0\x10\0\x01"), true, -EMSGSIZE},
        {FRAME("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), false, -EMSGSIZE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct websocket_frame f;

        if (websocket_frame(rows[i].in, rows[i].from_client, &f) != rows[i].rc)
            fail_msg("row %zu", i);
    }
}

static void test_every_truncation(void **state)
{
    static const char frame[] = "\x02\x85\1\2\3\4\x01\x6a\x66\x68\x6d";
    struct websocket_frame f;
    struct buffer out;

    (void)state;
    for (size_t n = 0; n < sizeof frame - 1; n++)
        assert_int_equal(websocket_frame(bytes_of(frame, n), true, &f), 0);
    assert_int_equal(websocket_frame(bytes_of(frame, sizeof frame - 1), true, &f), 1);
    assert_int_equal(f.opcode, WEBSOCKET_BINARY);
    assert_false(f.last);
    assert_int_equal(f.raw.len, sizeof frame - 1);
    buffer_init(&out, 100);
    websocket_payload(&f, true, &out);
    assert_int_equal(buffer_len(&out), 5);
    assert_memory_equal(out.p + out.start, "\0hell", 5);
    buffer_done(&out);
}

/* What is written is read back, at every form of the length. */
static void test_written(void **state)
{
    static const size_t sizes[] = {0, 1, 124, 125, 65534, 65535, WEBSOCKET_FRAME_MAX - 1};
    static uint8_t data[WEBSOCKET_FRAME_MAX];

    (void)state;
    memset(data, 'x', sizeof data);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct websocket_frame f;
        struct buffer out;

        buffer_init(&out, 2 * WEBSOCKET_FRAME_MAX);
        websocket_write(&out, 2, bytes_of(data, sizes[i]));
        buffer_add_u8(&out, 0x82); /* the next one */
        assert_int_equal(websocket_frame(buffer_bytes(&out), false, &f), 1);
        assert_true(f.last);
        assert_int_equal(f.opcode, WEBSOCKET_BINARY);
        assert_int_equal(f.payload.len, sizes[i] + 1);
        assert_int_equal(f.payload.p[0], 2);
        assert_int_equal(f.raw.len + 1, buffer_len(&out));
        buffer_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
