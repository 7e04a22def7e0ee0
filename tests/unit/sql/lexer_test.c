/* SPDX-License-Identifier: Apache-2.0
 * The lexer: where literals end, what stays in a shape, what is refused.
 */
#include "sidecar/sql/lexer.h"

#include "shape_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#define I "\x01"
#define D "\x02"
#define S "\x03"
#define B "\x04"
#define X "\x05"

static enum lex_result lex(const char *sql, struct buffer *shape)
{
    const char *reason = NULL;
    enum lex_result r = sql_lex(bytes_str(sql), &sql_default_limits, shape, &reason);

    assert_true((r == LEX_OK) == (reason == NULL));
    return r;
}

static void assert_shape(const char *sql, const char *want)
{
    struct buffer shape;

    buffer_init(&shape, (size_t)4 << 20);
    if (lex(sql, &shape) != LEX_OK || !bytes_eq_str(buffer_bytes(&shape), want))
        fail_msg("%s\n  has the shape %.*s\n  and not       %s", sql, (int)buffer_len(&shape),
                 (const char *)buffer_bytes(&shape).p, want);
    buffer_done(&shape);
}

static void assert_result(const char *sql, enum lex_result want)
{
    struct buffer shape;

    buffer_init(&shape, (size_t)4 << 20);
    if (lex(sql, &shape) != want)
        fail_msg("%.200s is not refused as it should be", sql);
    assert_int_equal(buffer_len(&shape), 0);
    assert_int_equal(lex(sql, NULL), want);
    buffer_done(&shape);
}

static void test_literals_become_marks(void **state)
{
    (void)state;
    assert_shape("", "");
    assert_shape("SELECT abalance FROM pgbench_accounts WHERE aid = 17",
                 "SELECT abalance FROM pgbench_accounts WHERE aid = " I);
    assert_shape("select -5, +5, a-5", "select -" I ", +" I ", a-" I);
    assert_shape("select 1.5,.5,1.,1e10,1E-5,1.e+3,1.5e2",
                 "select " D "," D "," D "," D "," D "," D "," D);
    assert_shape("select 2147483647, 2147483648, 0000000000000000000017",
                 "select " I ", " D ", " I);
    assert_shape("select 'it''s', '', '--', '/*', '$$', '\\'",
                 "select " S ", " S ", " S ", " S ", " S ", " S);
    assert_shape("select b'01', X'ff', N'x'", "select " B ", " X ", N" S);
    assert_shape("select E'a\\'b', e'\\\\', E'\\n''x'", "select " S ", " S ", " S);
    assert_shape("select $$a'b$$, $q$ $$ $q $q$, $\xc3\xa4$x$\xc3\xa4$", "select " S ", " S ", " S);
    assert_shape("select 'a'\n'b'", "select " S);
    assert_shape("select 'a'\r \f\t'b' -- it's\n, 1", "select " S " , " I);
    assert_shape("select 1..2, a[1..2]", "select " I ".." I ", a[1.." I "]");
    assert_shape("select a.1, t.x", "select a" D ", t.x");
    assert_shape("values (1,'a');insert into t values (2);delete from t where a=3",
                 "values (" I "," S ");insert into t values (" I ");delete from t where a=" I);
    assert_shape("(((SELECT 1)))", "(((SELECT " I ")))");
    assert_shape("WITH a AS (SELECT 5) UPDATE t SET x='y'",
                 "WITH a AS (SELECT " I ") UPDATE t SET x=" S);
}

static void test_blanks_and_comments_become_one_blank(void **state)
{
    (void)state;
    assert_shape("select\t1", "select " I);
    assert_shape("select  /* a */ -- b\n\r\f 1", "select " I);
    assert_shape("select 1/**/+2--", "select " I " +" I " ");
    assert_shape("select 1 /* /* ' */ \" */ , 2", "select " I " , " I);
    assert_shape("select 1 */**/ 2", "select " I " * " I);
    assert_shape("select a+--b\n1", "select a+ " I);
    assert_shape("select '--' --'\n", "select " S " ");
    assert_shape("--", " ");
    assert_shape("/**/", " ");
}

static void test_doubtful_literals_stay(void **state)
{
    (void)state;
    static const char *const same[] = {
        "select U&'\\0041', u&\"d\\0061t\", U&'!0041' UESCAPE '!'",
        "select u&'a'\n'b'",
        "select U&\"x!\" uescape '!'",
        "select E'\\x41', E'\\101', E'\\u0041', E'\\U00000041'",
        "select E'a'\n'b\\''",
        "select $1, $23",
        "select a1, a$1, a$b$c, \"1\", \"a'b\", \"a\"\"b\"",
    };

    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        assert_shape(same[i], same[i]);
    assert_shape("select '1' UESCAPE \t'!', '2'", "select " S " UESCAPE '!', " S);
}

static void test_ordinals_stay(void **state)
{
    (void)state;
    assert_shape("select a from t where b = 17 order by 1, 2 desc",
                 "select a from t where b = " I " order by 1, 2 desc");
    assert_shape("select 5 group by(1),2", "select " I " group by(1),2");
    assert_shape("select 5 group /**/ BY /**/ 1500", "select " I " group BY 1500");
    assert_shape("select 5 group by distinct 1, grouping sets ((1,2),(3))",
                 "select " I " group by distinct 1, grouping sets ((1,2),(3))");
    assert_shape("select 5 group by all 1", "select " I " group by all 1");
    assert_shape("select distinct on (1, 2) a, 3", "select distinct on (1, 2) a, 3");
    assert_shape("select distinct/**/ON(1) a", "select distinct ON(1) a");
    assert_shape("select distinct a, 3 from t join u on (t.x = 3)",
                 "select distinct a, " I " from t join u on (t.x = " I ")");
    assert_shape("select * from (select 1 order by 2) x where a = 3",
                 "select * from (select " I " order by 2) x where a = " I);
    assert_shape("select sum(a) over (partition by b) from t where c = 9",
                 "select sum(a) over (partition by b) from t where c = " I);
    assert_shape("select 1 order by 1; select 1", "select " I " order by 1; select " I);
    assert_shape("select 1 order by 'a', 1.5", "select " I " order by " S ", " D);
}

static void test_integers_that_are_no_constants_stay(void **state)
{
    (void)state;
    assert_shape("select a::float(24), b::varchar(10)", "select a::float(24), b::varchar(" I ")");
    assert_shape("select a::FLOAT /**/ ( 24 )", "select a::FLOAT ( 24 )");
    assert_shape(
        "select current_time(3), CURRENT_TIMESTAMP(4), localtime(5), localtimestamp(6), f(7)",
        "select current_time(3), CURRENT_TIMESTAMP(4), localtime(5), localtimestamp(6), f(" I ")");
    assert_shape("select a::int[3], '{}'::int array[4], b[5]",
                 "select a::int[3], " S "::int array[4], b[5]");
}

static void test_other_statements_stay(void **state)
{
    (void)state;
    static const char *const same[] = {
        "SET work_mem = '64MB'",
        "set statement_timeout = 5",
        "FETCH 100 FROM c",
        "DO $$begin perform 1; end$$",
        "create table t (a varchar(10) default 'x')",
        "COPY t FROM '/etc/passwd'",
        "explain select 1",
        "declare c cursor for select 5",
        "create user x password 'secret'",
        "alter sequence s increment 5",
        "notify a, 'b'",
        "create function f() returns int language sql as 'select 1'",
        "\"select\" 1",
        "1 'a'",
        "selects 1",
        "sel 1",
        "prepare p as select 5",
        "execute p(1, 'a')",
        "load 'x'",
        "[select 1]",
        ",select 1",
    };

    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        assert_shape(same[i], same[i]);
    assert_shape("select 1; set a = 1; select 1", "select " I "; set a = 1; select " I);
    assert_shape(";;select 1", ";;select " I);
    assert_shape("SeLeCt 1", "SeLeCt " I);
}

static void test_what_looks_alike_stays_apart(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"select 'a'", "select \"a\""},
        {"select 'a'", "select 1"},
        {"select 1", "select 1.0"},
        {"select 1", "select 9999999999"},
        {"select b'1'", "select x'1'"},
        {"select b'1'", "select b '1'"},
        {"select 'a' 'b'", "select 'a'\n'b'"},
        {"select 'a'/**/'b'", "select 'a'\n'b'"},
        {"select 'a', 'b'", "select 'a, ''b'"},
        {"select a--b", "select a-b"},
        {"select a/*b*/", "select a"},
        {"select a <-- b\n 1", "select a <- 1"},
        {"select + - 1", "select +- 1"},
        {"select a from t order by 1", "select a from t order by 2"},
        {"select a", "select A"},
        {"select $1", "select $2"},
        {"select a $$b$$", "select a$$b$$"},
        {"select N'a'", "select n 'a'"},
        {"select b'0''1'", "select b'01'"},
        {"select x'f'''", "select x'f'"},
        {"select E'\\', 'x'", "select '\\', 'x'"},
        {"select 1 from t", "select 1from"},
    };

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (check_shapes(bytes_str(pairs[i][0]), bytes_str(pairs[i][1])) != SHAPES_DIFFER)
            fail_msg("%s\n%s\n have one shape", pairs[i][0], pairs[i][1]);
    }
}

static void test_bad_text_has_no_shape(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "select 'a",
        "select 'a''",
        "select \"a",
        "select $$a",
        "select $a$b$$",
        "select /* /* */",
        "select E'a\\'",
        "select E'a\\",
        "select b'0",
        "select U&'a",
        "select U&\"a",
        "select 'a'\n'b",
        "select 'a' --c\n'b'",
        "select 'a'\n--c\n'b'",
        "do E'a' --c\n'b\\''; select 1; --'",
        "select a not/**/in (1)",
        "select a order by a nulls --\nfirst",
        "with/**/x as (select 1) select 1",
        "select U&'a'/**/uescape '!'",
        "select U&'a' uescape /**/ '!'",
        "select U&\"a\" /**/ uescape '!'",
        "select $a",
        "select $",
        "select \x01",
        "select \x7f",
        "select \v1",
        "select {",
        "select \\d",
        "select \"a\x03\"",
        "set a = '\x03'",
        "select U&'\x02'",
        "select )",
        "select (1",
        "select [1",
        "select 1a",
        "select 1e",
        "select 1e+",
        "select 1.a",
        "select 1_000",
        "select 0x1f",
        "select $1a",
        "select 1.5e5x",
        "select 1\xc3\xa4",
        "select '\xff'",
        "select '\xc3'",
        "select \xc0\x80",
        "select '\xed\xa0\x80'",
        "select '\xf4\x90\x80\x80'",
        "select '\xe0\x80\x80'",
        "select '\xf0\x80\x80\x80'",
        "select 12345678 -- \x80",
        "select '\x83\x5c'; select 1",
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_result(bad[i], LEX_BAD);
    assert_int_equal(
        sql_lex(bytes_of("select 'a\0b'", 12), &sql_default_limits, NULL, &(const char *){NULL}),
        LEX_BAD);
    assert_int_equal(
        sql_lex(bytes_of("select 1\0", 9), &sql_default_limits, NULL, &(const char *){NULL}),
        LEX_BAD);
    assert_shape("select '\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf' as \xc3\xa4",
                 "select " S " as \xc3\xa4");
}

static char *repeat(const char *head, const char *part, size_t n, const char *tail)
{
    size_t part_len = strlen(part);
    char *text = malloc(strlen(head) + part_len * n + strlen(tail) + 1);
    char *p = stpcpy(text, head);

    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, part);
    strcpy(p, tail);
    return text;
}

static void assert_repeated(const char *part, size_t n, enum lex_result want)
{
    char *text = repeat("select ", part, n, "");
    const char *reason = NULL;
    enum lex_result r = sql_lex(bytes_str(text), &sql_default_limits, NULL, &reason);

    if (r != want)
        fail_msg("%zu times %s: %d", n, part, r);
    assert_true(r == LEX_OK || strlen(reason) > 10);
    free(text);
}

static void test_limits(void **state)
{
    (void)state;
    assert_repeated("(", 501, LEX_TOO_COMPLEX);
    assert_repeated("[", 501, LEX_TOO_COMPLEX);
    assert_repeated("a[(", 251, LEX_TOO_COMPLEX);
    assert_repeated("case ", 501, LEX_TOO_COMPLEX);
    assert_repeated("CASE WHEN a.end THEN ", 501, LEX_TOO_COMPLEX);
    assert_repeated("case(", 251, LEX_TOO_COMPLEX);
    assert_repeated("case 1 end ", 5000, LEX_OK);
    assert_repeated("() ", 5000, LEX_OK);
    assert_repeated("/*", 33, LEX_TOO_COMPLEX);
    assert_repeated("/*", 400000, LEX_TOO_COMPLEX);
    assert_repeated("/*", 32, LEX_BAD);
    assert_repeated("/**/", 200000, LEX_OK);
    assert_repeated("+1", 50000, LEX_TOO_COMPLEX);
    assert_repeated("+1", 49999, LEX_OK);
    assert_repeated("-+", 50000, LEX_TOO_COMPLEX);
    assert_repeated(",", 100000, LEX_TOO_COMPLEX);
    assert_repeated("''", 500000, LEX_OK);
    assert_repeated(" ", (1 << 20) - 7, LEX_OK);
    assert_repeated(" ", (1 << 20) - 6, LEX_TOO_COMPLEX);
    /* Limits count even where something is bad before. */
    assert_repeated("\xff (", 501, LEX_TOO_COMPLEX);
    assert_repeated(") ((", 600, LEX_TOO_COMPLEX);
}

static void test_shape_respects_the_buffer(void **state)
{
    struct buffer shape;
    const char *reason = NULL;

    (void)state;
    buffer_init(&shape, 16);
    assert_int_equal(sql_lex(BYTES("select a, b, c, d"), &sql_default_limits, &shape, &reason),
                     LEX_BAD);
    buffer_done(&shape);
    buffer_init(&shape, 64);
    buffer_append(&shape, "key:", 4);
    assert_int_equal(sql_lex(BYTES("select 5"), &sql_default_limits, &shape, &reason), LEX_OK);
    assert_true(bytes_eq_str(buffer_bytes(&shape), "key:select " I));
    buffer_done(&shape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals_become_marks),
        cmocka_unit_test(test_blanks_and_comments_become_one_blank),
        cmocka_unit_test(test_doubtful_literals_stay),
        cmocka_unit_test(test_ordinals_stay),
        cmocka_unit_test(test_integers_that_are_no_constants_stay),
        cmocka_unit_test(test_other_statements_stay),
        cmocka_unit_test(test_what_looks_alike_stays_apart),
        cmocka_unit_test(test_bad_text_has_no_shape),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_shape_respects_the_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
