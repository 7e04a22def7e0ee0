/* SPDX-License-Identifier: Apache-2.0
 * JSON strings: every byte, at every place of the writer's steps of eight.
 */
#include "src-common/jsonw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* What one byte becomes, as RFC 8259 and docs/records.md have it. */
static void expect_byte(uint8_t c, char out[static 8])
{
    static const char named[] = {['\n'] = 'n', ['\t'] = 't', ['\r'] = 'r'};

    if (c == '"' || c == '\\')
        snprintf(out, 8, "\\%c", c);
    else if (c < sizeof named && named[c])
        snprintf(out, 8, "\\%c", named[c]);
    else if (c < 0x20 || c == 0x7f)
        snprintf(out, 8, "\\u%04x", c);
    else if (c >= 0x80)
        snprintf(out, 8, "\\ufffd");
    else
        snprintf(out, 8, "%c", c);
}

static void every_byte_everywhere(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        for (size_t len = 1; len <= 26; len++) {
            for (size_t at = 0; at < len; at++) {
                char text[32], want[64], one[8];
                struct buffer b;

                memset(text, 'a', len);
                text[at] = (char)c;
                expect_byte((uint8_t)c, one);
                snprintf(want, sizeof want, "\"%.*s%s%.*s\"", (int)at, "aaaaaaaaaaaaaaaaaaaaaaaaaa",
                         one, (int)(len - at - 1), "aaaaaaaaaaaaaaaaaaaaaaaaaa");
                buffer_init(&b, 1024);
                jsonw_str(&b, bytes_of(text, len));
                if (!bytes_eq_str(buffer_bytes(&b), want))
                    fail_msg("byte %u at %zu of %zu: %.*s", c, at, len, (int)buffer_len(&b),
                             (const char *)buffer_bytes(&b).p);
                buffer_done(&b);
            }
        }
    }
}

static void pairs_of_odd_bytes(void **state)
{
    static const uint8_t odd[] = {0, 1, 0x1f, ' ', '!', '"', '#', '[', '\\', ']', '~', 0x7f, 0xff};

    (void)state;
    for (size_t i = 0; i < sizeof odd; i++) {
        for (size_t j = 0; j < sizeof odd; j++) {
            char want[64], first[8], second[8];
            uint8_t text[9] = {'x', odd[i], odd[j], 'x', 'x', 'x', 'x', 'x', 'x'};
            struct buffer b;

            expect_byte(odd[i], first);
            expect_byte(odd[j], second);
            snprintf(want, sizeof want, "\"x%s%sxxxxxx\"", first, second);
            buffer_init(&b, 1024);
            jsonw_str(&b, bytes_of(text, sizeof text));
            assert_true(bytes_eq_str(buffer_bytes(&b), want));
            buffer_done(&b);
        }
    }
}

static void keys_and_commas(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b, 64);
    buffer_add_u8(&b, '{');
    jsonw_ku64(&b, "a", 1);
    jsonw_kstr(&b, "key", BYTES("é"));
    assert_true(bytes_eq_str(buffer_bytes(&b), "{\"a\":1,\"key\":\"é\""));
    for (int i = 0; i < 20; i++)
        jsonw_kstr(&b, "more", BYTES("than fits"));
    assert_true(b.failed);
    buffer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_everywhere),
        cmocka_unit_test(pairs_of_odd_bytes),
        cmocka_unit_test(keys_and_commas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
