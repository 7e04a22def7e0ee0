/* SPDX-License-Identifier: Apache-2.0
 * Every kind of tampering with a record shows.
 */
#include "record_fixture.h"

static void any_changed_byte_shows(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    static const uint8_t flips[] = {0x01, 0x20, 0x80};
    size_t n;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    assert_true(check_bytes(text, n).ok);
    for (size_t i = 0; i < n; i++) {
        char was = text[i];

        text[i] = (char)(was ^ flips[i % sizeof flips]);
        if (check_bytes(text, n).ok)
            fail_msg("byte %zu changed and verified", i);
        text[i] = was;
    }
}

static void changed_line_names_its_number(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    struct record_check c;
    size_t n;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    *strstr(nth(text, 2), "DROP") = 'd';
    c = check_bytes(text, n);
    assert_false(c.ok);
    assert_false(c.sealed);
    assert_int_equal(c.bad_seq, 2);
    assert_int_equal(c.lines, 2);
    assert_non_null(strstr(c.reason, "changed"));
}

static size_t without_line(const char *text, size_t n, size_t i, char *out)
{
    const char *from = nth(text, i), *to = nth(text, i + 1);

    memcpy(out, text, (size_t)(from - text));
    memcpy(out + (from - text), to, (size_t)(text + n - to));
    return n - (size_t)(to - from);
}

static void dropped_line_shows(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    char out[1 << 14];
    size_t n;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    for (size_t i = 0; i < 5; i++) {
        struct record_check c = check_bytes(out, without_line(text, n, i, out));

        assert_false(c.ok);
        assert_int_equal(c.bad_seq, i);
    }
}

/* Dropped, and the numbers after it repaired: the chain still shows it. */
static void renumbered_after_drop_shows(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    char out[1 << 14];
    size_t n, m;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    m = without_line(text, n, 1, out);
    out[m] = '\0';
    for (size_t i = 1; i < 5; i++)
        *(char *)(nth(out, i) + strlen("{\"seq\":")) = (char)('0' + i);
    assert_false(check_bytes(out, m).ok);
}

static void swapped_lines_show(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    char out[1 << 14];
    size_t n, a, b, c;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    a = (size_t)(nth(text, 1) - text);
    b = (size_t)(nth(text, 2) - text);
    c = (size_t)(nth(text, 3) - text);
    memcpy(out, text, a);
    memcpy(out + a, text + b, c - b);
    memcpy(out + a + (c - b), text + a, b - a);
    memcpy(out + c, text + c, n - c);
    assert_int_equal(check_bytes(out, n).bad_seq, 1);
    assert_false(check_bytes(out, n).ok);
}

static void duplicated_line_shows(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    char out[1 << 14];
    size_t n, a, b;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    for (size_t i = 0; i < 6; i++) {
        a = (size_t)(nth(text, i) - text);
        b = (size_t)(nth(text, i + 1) - text);
        memcpy(out, text, b);
        memcpy(out + b, text + a, n - a);
        assert_false(check_bytes(out, n + b - a).ok);
    }
}

static void cut_inside_a_line_shows(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    size_t n;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    for (size_t cut = 1; cut < n; cut++) {
        struct record_check c = check_bytes(text, cut);

        assert_int_equal(c.ok, text[cut - 1] == '\n');
        assert_false(c.sealed);
    }
}

static void cut_between_lines_is_unsealed(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    struct record_check c;
    size_t n;

    (void)state;
    write_session(SESSION, true);
    text = slurp(SESSION, &n);
    c = check_bytes(text, (size_t)(nth(text, 4) - text));
    assert_true(c.ok);
    assert_false(c.sealed);
    assert_int_equal(c.lines, 4);
    c = check_bytes(text, 0);
    assert_true(c.ok);
    assert_false(c.sealed);
}

static void spliced_sessions_show(void **state)
{
    _cleanup_(free_charp) char *one = NULL;
    _cleanup_(free_charp) char *two = NULL;
    char out[1 << 14];
    struct record_check c;
    size_t n, m, a, b;

    (void)state;
    write_session(SESSION, true);
    write_session(OTHER, true);
    one = slurp(SESSION, &n);
    two = slurp(OTHER, &m);
    a = (size_t)(nth(one, 3) - one);
    b = (size_t)(nth(two, 3) - two);
    memcpy(out, one, a);
    memcpy(out + a, two + b, m - b);
    c = check_bytes(out, a + m - b);
    assert_false(c.ok);
    assert_int_equal(c.bad_seq, 3);
    assert_non_null(strstr(c.reason, OTHER));
}

static void lines_after_the_end_show(void **state)
{
    _cleanup_(free_charp) char *text = NULL;
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL;
    size_t n;

    (void)state;
    assert_int_equal(record_open(s, SESSION, &r), 0);
    line(r, "session.open", NULL, NULL);
    line(r, "session.close", NULL, NULL);
    line(r, "statement", "text", "SELECT 1");
    record_close(r);
    record_spool_close(s);
    text = slurp(SESSION, &n);
    assert_false(check_bytes(text, n).ok);
    assert_int_equal(check_bytes(text, n).bad_seq, 2);
}

static void not_a_record(void **state)
{
    static const char *const texts[] = {
        "\n", "hello\n", "{}\n", "{\"seq\":0}\n", "\0\0\0\n", "{\"seq\":00,\"time\":\"", "[]\n"};
    struct record_check c;
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(check_bytes(texts[i], strlen(texts[i]) + 1).ok);
    assert_int_equal(record_verify_file("/nonexistent/x", &c, &err), -ENOENT);
    assert_false(c.ok);
    assert_non_null(strstr(err.text, "/nonexistent/x"));
    assert_int_equal(record_verify_file(dir, &c, &err), -EISDIR);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(any_changed_byte_shows),
        T(changed_line_names_its_number),
        T(dropped_line_shows),
        T(renumbered_after_drop_shows),
        T(swapped_lines_show),
        T(duplicated_line_shows),
        T(cut_inside_a_line_shows),
        T(cut_between_lines_is_unsealed),
        T(spliced_sessions_show),
        T(lines_after_the_end_show),
        T(not_a_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
