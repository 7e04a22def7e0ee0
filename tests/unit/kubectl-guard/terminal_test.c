/* SPDX-License-Identifier: Apache-2.0
 * A terminal's output made harmless, at whatever place it is cut.
 */
#include "kubectl-guard/transcript_ssh.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Of this file's neighbours only the filter is tested here. */
struct bytes object_bytes(struct json_object *o, const char *key)
{
    (void)o, (void)key;
    return (struct bytes){0};
}

static const struct {
    const char *in, *out;
} cases[] = {
    {"plain\r\n\ttext\b", "plain\r\n\ttext\b"},
    {"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"},
    {"\x1b[2J\x1b[1;1H\x1b[?1049h", "\x1b[2J\x1b[1;1H\x1b[?1049h"},
    {"\xc3\xa4", "\xc3\xa4"},
    /* titles, clipboard, hyperlinks */
    {"a\x1b]0;title\x07"
     "b",
     "ab"},
    {"a\x1b]52;c;cm0gLXJmIC8=\x1b\\b", "ab"},
    {"a\x1b]112\x07"
     "b",
     "ab"},
    {"a\x1bPq#0\x1b\\b", "ab"},
    {"a\x1b_G\x1b\\b", "ab"},
    /* what a terminal answers */
    {"a\x1b[6nb", "ab"},
    {"a\x1b[cb", "ab"},
    {"a\x1b[>cb", "ab"},
    {"a\x1b[21tb", "ab"},
    {"a\x1b[?1$pb", "ab"},
    {"a\x1b"
     "cb",
     "ab"},
    {"a\x05\x07\x0e"
     "b",
     "ab"},
    {"a\x1b(0b", "ab"},
    /* C1 controls as UTF-8; letters that begin alike stay */
    {"a\xc2\x9d"
     "0;title\x07"
     "b",
     "ab"},
    {"a\xc2\x90q\xc2\x9c"
     "b",
     "ab"},
    {"a\xc2\x9b"
     "6nb",
     "ab"},
    {"a\xc2\x9b"
     "31mb",
     "a\x1b[31mb"},
    {"a\xc2\x85"
     "b",
     "ab"},
    {"\xc2\xa9\xc2\xa0", "\xc2\xa9\xc2\xa0"},
    {"a\xc2\x1b]x\x07\xa9"
     "b",
     "a\xa9"
     "b"},
    /* modes: what draws, and what makes the terminal send */
    {"a\x1b[?25l\x1b[?1049hb", "a\x1b[?25l\x1b[?1049hb"},
    {"a\x1b[?2004h\x1b[?1003h\x1b[?1004h\x1b[?25;1000hb", "ab"},
    /* unfinished */
    {"a\x1b]0;never ends", "a"},
    {"a\x1b[31", "a"},
    {"a\x1b", "a"},
};

static void test_filter(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes in = bytes_str(cases[i].in);

        for (size_t cut = 0; cut <= in.len; cut++) {
            struct terminal t = {0};
            struct buffer out;

            buffer_init(&out, 1024);
            terminal_filter(&t, bytes_of(in.p, cut), &out);
            terminal_filter(&t, bytes_of(in.p + cut, in.len - cut), &out);
            buffer_add_u8(&out, 0);
            assert_string_equal((const char *)out.p + out.start, cases[i].out);
            buffer_done(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_filter)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
