/* SPDX-License-Identifier: Apache-2.0
 * A buffer grows up to its maximum, and never beyond.
 */
#include "src-common/buffer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void grows_to_its_maximum_and_no_further(void **state)
{
    static const size_t maxima[] = {1, 255, 256, 257, 300, 1000, 4095, 4097, 100000};
    static const uint8_t some[100000];

    (void)state;
    for (size_t i = 0; i < sizeof maxima / sizeof *maxima; i++) {
        struct buffer b;
        size_t n = 0;

        buffer_init(&b, maxima[i]);
        while (n < maxima[i]) {
            size_t more = min_size(maxima[i] - n, 77);

            assert_int_equal(buffer_append(&b, some, more), 0);
            n += more;
            assert_true(b.cap <= maxima[i]);
        }
        assert_int_equal(buffer_len(&b), maxima[i]);
        assert_int_equal(buffer_append(&b, some, 1), -ENOBUFS);
        assert_true(b.failed);
        buffer_done(&b);
    }
}

static void what_was_consumed_makes_room(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b, 300);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(buffer_append(&b, "0123456789", 10), 0);
        assert_int_equal(buffer_append(&b, "abcdefghij", 10), 0);
        assert_memory_equal(b.p + b.start, i % 2 ? "abcdefghij" : "0123456789", 10);
        buffer_consume(&b, i % 2 ? 30 : 10);
        assert_true(b.cap <= 300);
    }
    buffer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_its_maximum_and_no_further),
        cmocka_unit_test(what_was_consumed_makes_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
