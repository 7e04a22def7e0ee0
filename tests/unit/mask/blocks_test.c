/* SPDX-License-Identifier: Apache-2.0
 * Masks of a block, against looking at one byte after the other.
 */
#include "sidecar/mask/blocks.h"

#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint8_t bytes[BLOCK_LEN];

static void check_is(uint8_t c, uint8_t also)
{
    struct block b = block_load(bytes);
    uint64_t want = 0;

    for (unsigned i = 0; i < BLOCK_LEN; i++)
        want |= (uint64_t)((bytes[i] | also) == c) << i;
    if (block_is(&b, c, also) != want)
        fail_msg("is %02x, also %02x", c, also);
}

static void check_range(uint8_t first, uint8_t last, uint8_t also)
{
    struct block b = block_load(bytes);
    uint64_t want = 0;

    for (unsigned i = 0; i < BLOCK_LEN; i++)
        want |= (uint64_t)((bytes[i] | also) >= first && (bytes[i] | also) <= last) << i;
    if (block_range(&b, first, last, also) != want)
        fail_msg("range %02x to %02x, also %02x", first, last, also);
}

static void check_all(void)
{
    check_is('@', 0);
    check_is('-', 0);
    check_is(0xe2, 0x20);
    check_is(0xef, 0);
    check_is('K', 1);
    check_is(0, 0);
    check_is(0xff, 0);
    check_is(0x80, 0);
    check_range('0', '9', 0);
    check_range('2', '9', 0);
    check_range('a', 'z', 0x20);
    check_range(0, 127, 0);
    check_range(1, 1, 0);
}

/* Each byte at each position, and with neighbours from which something could carry over. */
static void test_each_byte(void **state)
{
    static const uint8_t around[] = {0, 0xff, 0x7f, 0x80, '0'};

    (void)state;
    for (unsigned n = 0; n < sizeof around; n++) {
        for (unsigned c = 0; c < 256; c++) {
            memset(bytes, around[n], sizeof bytes);
            for (unsigned i = n; i < BLOCK_LEN; i += 3)
                bytes[i] = (uint8_t)c;
            check_all();
        }
    }
}

static void test_random_blocks(void **state)
{
    (void)state;
    random_seed(3);
    for (unsigned n = 0; n < 5000; n++) {
        for (unsigned i = 0; i < BLOCK_LEN; i++)
            bytes[i] = (uint8_t)random_below(256);
        check_all();
        check_is((uint8_t)random_below(256), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_byte),
        cmocka_unit_test(test_random_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
