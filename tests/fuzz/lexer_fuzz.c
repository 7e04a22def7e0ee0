/* SPDX-License-Identifier: Apache-2.0
 * The lexer on any bytes, and its promise: texts with equal shapes have trees that differ in
 * constants and locations only. An input is one text, or two with a 0xff between them; of a
 * single one, the second is made by putting other literals and blanks in the places that its
 * shape has for them.
 */
#include "sidecar/sql/lexer.h"

#include "tests/unit/sql/shape_check.h"

#include <stdio.h>

#define MAX_TEXT 2000 /* for trees, which are parsed on this thread's stack */

const char *const fuzz_dictionary[] = {
    "SELECT ",
    "select ",
    " from t ",
    " where ",
    "insert into t values (",
    "update t set a=",
    "delete from t ",
    "with x as (",
    "values (",
    "merge ",
    " order by ",
    " group by ",
    " limit ",
    " distinct on (",
    " union all ",
    " case when ",
    " then ",
    " end ",
    " uescape '!'",
    "::float(",
    "::int[",
    " array[",
    "current_timestamp(",
    "interval ",
    "date ",
    " not ",
    " in (",
    " nulls first",
    " as ",
    " and ",
    "E'",
    "e'\\'",
    "b'01'",
    "X'ff'",
    "N'",
    "U&'",
    "U&\"",
    "'a'\n'b'",
    "'--'",
    "--\n",
    "/*",
    "*/",
    "/* ' */",
    "$$",
    "$a$",
    "$1",
    "1..2",
    "1.5e5",
    ".5",
    "2147483648",
    "0x1",
    "1_0",
    "\\'",
    "''",
    "\"\"",
    ";",
    "?",
    "||",
    "::",
    ":=",
    "=>",
    "\r",
    "\f",
    "\v",
    "\xc3\xa4",
    "\xff",
    NULL,
};

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static enum lex_result lex(struct bytes sql, struct buffer *shape)
{
    const char *reason = NULL, *again = NULL;
    enum lex_result r = sql_lex(sql, &sql_default_limits, shape, &reason);

    require((r == LEX_OK) == (reason == NULL), "a reason goes with a refusal");
    require(sql_lex(sql, &sql_default_limits, NULL, &again) == r && again == reason,
            "the result does not depend on whether a shape is wanted");
    require(r == LEX_OK || buffer_len(shape) == 0, "no shape without LEX_OK");
    require(buffer_len(shape) <= sql.len, "a shape is never longer than its text");
    return r;
}

/* Other literals in the places of the marks. */
static void refill(struct bytes shape, unsigned variant, struct buffer *out)
{
    static const char *const literals[6][4] = {
        {"", "", "", ""},
        {"7", "2147483647", "0", "1000"},
        {"7.5", "99999999999", ".5", "1e-3"},
        {"'x'", "$q$'$q$", "'it''s --'", "'a'\n'b'"},
        {"b'1'", "B''", "b'0'\n'1'", "b'11'"},
        {"x'f'", "X''", "x'1'\n'2'", "x'00'"},
    };

    for (size_t i = 0; i < shape.len; i++) {
        uint8_t c = shape.p[i];

        if (c >= 1 && c <= 5)
            buffer_add(out, bytes_str(literals[c][(variant + i) % 4]));
        else
            buffer_append(out, &c, 1);
    }
}

static void check_refilled(struct bytes sql, struct bytes shape)
{
    struct buffer other, again;

    buffer_init(&other, (size_t)1 << 20);
    buffer_init(&again, (size_t)1 << 20);
    for (unsigned variant = 0; variant < 4; variant++) {
        buffer_reset(&other, SIZE_MAX);
        refill(shape, variant, &other);
        require(check_shapes(sql, buffer_bytes(&other)) != SHAPES_BROKEN,
                "equal shapes, equal trees");
    }
    buffer_done(&other);
    buffer_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0xff, size) : NULL;
    struct bytes a = bytes_of(data, cut ? (size_t)(cut - data) : size);
    struct buffer shape;

    buffer_init(&shape, (size_t)4 << 20);
    if (lex(a, &shape) == LEX_OK && a.len <= MAX_TEXT)
        check_refilled(a, buffer_bytes(&shape));
    buffer_done(&shape);
    if (cut && size <= MAX_TEXT) {
        struct bytes b = bytes_of(cut + 1, size - a.len - 1);

        require(check_shapes(a, b) != SHAPES_BROKEN, "equal shapes, equal trees");
    }
    return 0;
}
