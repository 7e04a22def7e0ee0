/* SPDX-License-Identifier: Apache-2.0
 * Text from agents does nothing to the terminal of whoever reads it.
 */
#include "kubectl-guard/text.c"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char shown[4096];

static const char *finish(struct buffer *b)
{
    assert_false(b->failed);
    assert_true(buffer_len(b) < sizeof shown);
    if (buffer_len(b))
        memcpy(shown, b->p + b->start, buffer_len(b));
    shown[buffer_len(b)] = '\0';
    buffer_done(b);
    return shown;
}

static const char *clean(struct bytes text, enum text_mode mode)
{
    struct buffer b;

    buffer_init(&b, sizeof shown);
    text_clean(text, mode, &b);
    return finish(&b);
}

static const char *cut(struct bytes text, size_t columns)
{
    struct buffer b;

    buffer_init(&b, sizeof shown);
    text_clean_cut(text, columns, &b);
    return finish(&b);
}

#define SHOWN(text, want) assert_string_equal(clean(BYTES(text), TEXT_LINE), want)

static void plain_text_stays(void **state)
{
    (void)state;
    SHOWN("SELECT * FROM \"t\" WHERE a = 'b\\n'", "SELECT * FROM \"t\" WHERE a = 'b\\n'");
    SHOWN("Grüße 日本 🙂", "Grüße 日本 🙂");
    SHOWN("", "");
}

static void terminal_escapes_are_shown(void **state)
{
    (void)state;
    SHOWN("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H");
    SHOWN("\x1b]0;title\x07", "\\x1b]0;title\\x07");
    SHOWN("\x1bP+q\x1b\\", "\\x1bP+q\\x1b\\");
    SHOWN("a\x08\x7f", "a\\x08\\x7f");
    SHOWN("a\0b", "a\\x00b");
    SHOWN("\xc2\x9b"
          "31m",
          "<U+009B>31m"); /* CSI as one character */
    SHOWN("\x9b"
          "31m",
          "\\x9b31m"); /* and as one byte */
    SHOWN("a\rb\nc\td", "a\\rb\\nc\\td");
    assert_string_equal(clean(BYTES("a\rb\nc\td"), TEXT_BLOCK), "a\\x0db\nc    d");
}

static void bidi_controls_are_shown(void **state)
{
    (void)state;
    SHOWN("a\xe2\x80\xae"
          "b",
          "a<U+202E>b");
    SHOWN("\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad", "<U+202A><U+202B><U+202C><U+202D>");
    SHOWN("\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9", "<U+2066><U+2067><U+2068><U+2069>");
    SHOWN("\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f", "<U+061C><U+200E><U+200F>");
}

static void invisible_characters_are_shown(void **state)
{
    (void)state;
    SHOWN("dr\xe2\x80\x8bop", "dr<U+200B>op");
    SHOWN("\xef\xbb\xbf", "<U+FEFF>");
    SHOWN("\xc2\xad\xc2\xa0", "<U+00AD><U+00A0>");
    SHOWN("\xe2\x80\xa8\xe2\x80\xa9", "<U+2028><U+2029>");
    SHOWN("\xe3\x85\xa4", "<U+3164>");
    SHOWN("\xf3\xa0\x81\x81", "<U+E0041>"); /* tag characters carry hidden text */
    SHOWN("\xef\xb8\x8f", "<U+FE0F>");
}

static void bad_utf8_is_shown_byte_by_byte(void **state)
{
    (void)state;
    SHOWN("\xff\xfe", "\\xff\\xfe");
    SHOWN("\xc0\x80", "\\xc0\\x80");          /* overlong NUL */
    SHOWN("\xe0\x80\x9b", "\\xe0\\x80\\x9b"); /* overlong */
    SHOWN("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
    SHOWN("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
    SHOWN("a\xe2\x80", "a\\xe2\\x80");
    SHOWN("\xe2\x80"
          "a",
          "\\xe2\\x80"
          "a");
}

/* Whatever goes in: no control byte and no invalid UTF-8 comes out. */
static void every_pair_of_bytes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        uint8_t in[4] = {(uint8_t)(i >> 8), (uint8_t)i, 0xae, 0x80};
        const char *out = clean(bytes_of(in, sizeof in), TEXT_LINE);

        for (size_t k = 0; out[k]; k++) {
            uint32_t c = 0;
            size_t n = decode(bytes_str(out + k), &c);

            assert_true(n > 0 && c >= 0x20 && c != 0x7f && !(c > 0x7f && is_invisible(c)));
            k += n - 1;
        }
    }
}

static void json_stays_json(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b, sizeof shown);
    text_clean_json(BYTES("{\"a\":\"x\xe2\x80\xaey\x7f\xf3\xa0\x81\x81 é\"}"), &b);
    assert_string_equal(finish(&b), "{\"a\":\"x\\u202ey\\u007f\\udb40\\udc41 é\"}");
}

static void cuts_at_the_width(void **state)
{
    (void)state;
    assert_string_equal(cut(BYTES("12345"), 5), "12345");
    assert_string_equal(cut(BYTES("123456"), 5), "1234…");
    assert_string_equal(cut(BYTES("ab\x1b\x1b"), 5), "ab…");
    assert_string_equal(cut(BYTES("日本語"), 5), "日本…");
    assert_string_equal(cut(BYTES("日本語"), 6), "日本語");
    for (size_t w = 1; w < 20; w++)
        assert_true(text_columns(bytes_str(cut(BYTES("a日\x1b本\xe2\x80\xae語bcdef"), w))) <= w);
}

static void indents_every_line(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b, sizeof shown);
    text_clean_indented(BYTES("a\nb\x1b\n\nc\n\n"), "> ", &b);
    assert_string_equal(finish(&b), "> a\n> b\\x1b\n> \n> c\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_stays),
        cmocka_unit_test(terminal_escapes_are_shown),
        cmocka_unit_test(bidi_controls_are_shown),
        cmocka_unit_test(invisible_characters_are_shown),
        cmocka_unit_test(bad_utf8_is_shown_byte_by_byte),
        cmocka_unit_test(every_pair_of_bytes),
        cmocka_unit_test(json_stays_json),
        cmocka_unit_test(cuts_at_the_width),
        cmocka_unit_test(indents_every_line),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
