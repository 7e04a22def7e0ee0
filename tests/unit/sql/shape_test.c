/* SPDX-License-Identifier: Apache-2.0
 * Equal shapes mean equal trees: statements with places for literals and blanks, filled twice
 * with much that is hard to tell apart, from a fixed seed.
 */
#include "sidecar/sql/lexer.h"

#include "shape_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t seed;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed >> 11) % n);
}

/* `?` is a place for a literal, `~` one for white space. */
static const char *const templates[] = {
    "select ?~,~?::text from t where a~=~? and b in (?, ?,?)",
    "select a from t where b between ? and ?~order by ?, a~limit ? offset ?",
    "select count(*)~from t group by ?~having count(*) > ?",
    "insert into t (a,b) values (?,?), (?,-?) on conflict (a) do update set b = ? returning a, ?",
    "update t set a = ?, b = b||?, c = array[?,?], d[?] = ?~where e like ?~escape ?",
    "delete from t using u where t.a = u.a and u.b = ?::varchar(?) returning *",
    "with w as (select ? as x) select x::float(?), y::numeric(?,?), z::bit(?) from w, "
    "generate_series(?,?)",
    "select interval ?, date ?, timestamp(?) ?, interval(?) ?, interval ? day, numeric(?,?) ?",
    "select interval ? second(?), time(?) with time zone ?, char(?) ?, f(?) ?",
    "select cast(? as int[?]), ?::int[?][?], a[?], a[?:?], ?::int array[?]",
    "select current_time(?), current_timestamp(?), localtime(?), localtimestamp(?)",
    "select distinct on (?, a) b, ?~from t order by a, ?",
    "select distinct a from t where b = ? union all select ? except select ? order by ?",
    "select case ? when ? then ? else ? end, coalesce(?, -?, +?), extract(? from a), position(? in "
    "b)",
    "select sum(a) over (partition by b order by ? rows ? preceding), rank() over w from t window "
    "w as (order by ?)",
    "select * from (values (?, ?)) v(a, b) where (a, b) = (?, ?) or not a <> ? fetch first ? rows "
    "only",
    "select a -> ? ->> ?, b #> ?, c @> ?, d ~ ?, e !~* ?, f ? g, h ?| ?",
    "select U&? uescape ?, n? , N?, e ?, x ?, b ?",
    "select * from t tablesample bernoulli (?) repeatable (?), json_to_recordset(?) as x(a "
    "varchar(?), b float(?))",
    "merge into t using (select ? as a) s on t.a = s.a when matched and t.b > ? then update set b "
    "= ? when not matched then insert values (?)",
    "select grouping(a) from t group by grouping sets ((?), (a, ?), ()), rollup(?), cube(a,?)",
    "select ?; select a~, ? from t; set x = ?; select ?",
    "select a from t where b = any(array[?,?]) and c ilike ?~and d similar to ?~ and e is distinct "
    "from ?",
    "select xmlparse(document ?), overlay(? placing ? from ? for ?), substring(a from ? for ?), "
    "trim(? from ?)",
    "select ? at time zone ?, ? collate \"C\", ?~-~?, -~?, - - ?, ?*-?, a+?, a~-?",
    "select a not~between ? and ?, b not~in (?), c not~like ? from t order by a nulls~first, b "
    "nulls~last",
    "select timestamp with~time zone ?, time without~time zone ?, U&?~uescape~?, U&\"a\"~uescape~?",
    "select a not~in (?)",
    "select a from t order by a nulls~first",
    "with~x as (select ?) select ?",
    "select U&'!0041'~uescape~'!'",
    "select U&\"!0041\"~uescape~'!'",
    "select a~like~?~escape~?",
    "select ?~?",
    "select ?a",
    "select a?",
    "select a~?",
    "select (?)",
    "select ?.?",
    "select .?",
    "values (?~,~?), (default, ?)",
    "table t limit ?",
    "(select ?) union (select ? order by ?) limit ?",
    "explain select ?",
    "create table t (a varchar(?) default ?)",
    "fetch ? from c",
    "do ?",
    "copy t to ?",
    "set a to ?, ?",
    "create function f() returns int as ? language ?",
    "alter table t alter a set statistics ?",
    "prepare p as select ?",
    "execute p(?, ?)",
    "create rule r as on insert to t do also (select ?; update u set a = ?)",
    "create function f() returns int begin atomic select ?; select ? order by ?; end",
};

static const char *const literals[] = {
    "0",
    "1",
    "2",
    "3",
    "17",
    "24",
    "25",
    "53",
    "00",
    "007",
    "1000",
    "99999",
    "2147483647",
    "2147483648",
    "99999999999999999999",
    "1.",
    ".5",
    "1.5",
    "1e5",
    "1E-5",
    "1.e2",
    "1..2",
    "1.5.5",
    "1a",
    "1e",
    "1_0",
    "0x10",
    "$1",
    "$2",
    "'a'",
    "''",
    "'it''s'",
    "'\\'",
    "'a\\''",
    "'--'",
    "'/*'",
    "'*/'",
    "'$$'",
    "';'",
    "'1'",
    "'a'\n'b'",
    "'a' 'b'",
    "'a' --c\n 'b'",
    "'a'/**/'b'",
    "'a'\n/**/'b'",
    "E'a'",
    "e'\\''",
    "E'\\\\'",
    "E'\\x41'",
    "E'\\u0041'",
    "E'\\uD83D\\uDE00'",
    "E'\\u00'",
    "E'\\777'",
    "E'a'\n'\\''",
    "b'01'",
    "B''",
    "b'2'",
    "b'0''1'",
    "x'f'''",
    "b'0''",
    "x'ff'",
    "X''",
    "b'0'\n'1'",
    "x'f'\n'f'",
    "N'a'",
    "n''",
    "U&'a'",
    "U&'\\0041'",
    "u&'\\00'",
    "U&'!0041' uescape '!'",
    "U&\"a\"",
    "\"a\"",
    "\"a'b\"",
    "\"\"",
    "\"a\"\"b\"",
    "$$a$$",
    "$$$$",
    "$a$'$a$",
    "$a$$b$$a$",
    "$a$ $$ $a$",
    "$_1$x$_1$",
    "$\xc3\xa4$x$\xc3\xa4$",
    "'\xc3\xa4'",
    "true",
    "null",
    "a",
    "-1",
    "- 1",
    "+1",
    "(1)",
    "date '2020-01-01'",
    "'",
    "\"",
    "$$",
    "E'",
    "'day'",
    "'year'",
    "'1 day'",
    "'\x03'",
    "'\x01'",
    "\x03",
    "array[1]",
    "(select 1)",
    "?",
    "@1",
    "@-1",
};

static const char *const blanks[] = {
    "",        " ",        "  ",         "\n",     "\t",   "\r\n", "/**/",
    "/* ' */", "/* \" */", "/*/**/*/",   "-- '\n", "--\n", "--\r", " /* $$ */ ",
    "/*-*/",   "\f",       "--x\n--y\n", "/*",     "*/",   "--",   "\v",
};

/* Fills the places. With `same_kind` places are filled alike but for blanks and, in half of the
 * places, the literal. */
struct filling {
    unsigned char literal[32], blank[32];
};

static void fill_at_random(struct filling *f)
{
    for (size_t i = 0; i < ARRAY_LEN(f->literal); i++) {
        f->literal[i] = (unsigned char)below(ARRAY_LEN(literals));
        f->blank[i] = (unsigned char)below(ARRAY_LEN(blanks));
    }
}

static void vary(struct filling *f)
{
    unsigned changes = 1 + below(3);

    for (unsigned i = 0; i < changes; i++) {
        f->literal[below(8)] = (unsigned char)below(ARRAY_LEN(literals));
        if (below(4) == 0)
            f->blank[below(4)] = (unsigned char)below(ARRAY_LEN(blanks));
    }
}

/* Sometimes glues, doubles or drops a byte, alike in both texts of a pair. */
static void render(const char *template, const struct filling *f, unsigned damage,
                   struct buffer *out)
{
    size_t n_literals = 0, n_blanks = 0, at = 0;

    buffer_reset(out, SIZE_MAX);
    for (const char *p = template; *p; p++, at++) {
        if (damage && at == damage)
            continue;
        if (*p == '?')
            buffer_add(out, bytes_str(literals[f->literal[n_literals++ % 32]]));
        else if (*p == '~')
            buffer_add(out, bytes_str(blanks[f->blank[n_blanks++ % 32]]));
        else
            buffer_append(out, p, 1);
    }
}

static unsigned gentle(unsigned index)
{
    return index % 30; /* the first literals are plain numbers */
}

static void check_pairs(unsigned n, unsigned counts[static 4])
{
    struct buffer a, b;

    buffer_init(&a, 1 << 16);
    buffer_init(&b, 1 << 16);
    for (unsigned i = 0; i < n; i++) {
        const char *template = templates[below(ARRAY_LEN(templates))];
        unsigned damage = below(4) == 0 ? below((unsigned)strlen(template)) : 0;
        struct filling f;
        enum shape_verdict v;

        fill_at_random(&f);
        if (below(2)) {
            for (size_t k = 0; k < ARRAY_LEN(f.literal); k++)
                f.literal[k] = (unsigned char)gentle(f.literal[k]);
        }
        render(template, &f, damage, &a);
        vary(&f);
        render(template, &f, damage, &b);
        v = check_shapes(buffer_bytes(&a), buffer_bytes(&b));
        counts[v]++;
        if (v == SHAPES_BROKEN)
            fail_msg("one shape, different trees:\n%.*s\n%.*s", (int)buffer_len(&a),
                     (const char *)buffer_bytes(&a).p, (int)buffer_len(&b),
                     (const char *)buffer_bytes(&b).p);
    }
    buffer_done(&a);
    buffer_done(&b);
}

static void test_equal_shapes_have_equal_trees(void **state)
{
    unsigned counts[4] = {0};

    (void)state;
    seed = 0x9e3779b97f4a7c15u;
    check_pairs(200000, counts);
    print_message("pairs: %u differ, %u alike and parsed, %u alike and unparsed\n",
                  counts[SHAPES_DIFFER], counts[SHAPES_HOLD], counts[SHAPES_HOLD_UNPARSED]);
    assert_true(counts[SHAPES_HOLD] > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_shapes_have_equal_trees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
