/* SPDX-License-Identifier: Apache-2.0
 * What the SQL parser gives and refuses: trees, errors, every bomb that is known.
 */
#include "sidecar/sql/parser.h"

#include "parser_fixture.h"

static void test_tree(void **state)
{
    struct json_object *tree = NULL, *here = NULL, *stmts = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(sql_parser_parse(parser, BYTES("select \"a\\b\" || 'x\n\"\xc3\xa4'; select 2"),
                                      &tree, &err),
                     0);
    assert_int_equal(
        sql_parse_here(BYTES("select \"a\\b\" || 'x\n\"\xc3\xa4'; select 2"), &here, &err), 0);
    assert_true(json_object_equal(tree, here));
    assert_true(json_object_object_get_ex(tree, "stmts", &stmts));
    assert_int_equal(json_object_array_length(stmts), 2);
    assert_non_null(strstr(json_object_to_json_string(tree), "x\\n\\\"\xc3\xa4"));
    json_object_put(tree);
    json_object_put(here);
    assert_int_equal(strncmp(sql_parser_version(), "15", 2), 0);
}

static void test_empty_text_is_a_tree(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(parse(BYTES(""), &err), 0);
    assert_int_equal(parse(BYTES(" -- nothing"), &err), 0);
    assert_int_equal(parse((struct bytes){0}, &err), 0);
}

static void test_syntax_errors(void **state)
{
    char name[300];

    (void)state;
    assert_refused(BYTES("selec 1"), -EBADMSG, "syntax error at or near \"selec\" at character 1");
    assert_refused(BYTES("select 'a"), -EBADMSG, "unterminated quoted string");
    assert_refused(BYTES("select 1; select from where"), -EBADMSG, "syntax error");
    assert_refused(BYTES("select 1 \x01"), -EBADMSG, "syntax error");
    assert_refused(BYTES("select 1_000"), -EBADMSG, "trailing junk");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_refused(bytes_str(name), -EBADMSG, "at character 1");
}

/* A long token in the message must not cut a character in two. */
static void test_messages_are_utf8(void **state)
{
    static const char *const heads[] = {"select 'a' '", "select 'a' 'x"};
    struct error err = {0};
    size_t n;

    (void)state;
    for (size_t h = 0; h < ARRAY_LEN(heads); h++) {
        struct bytes sql = repeat(heads[h], "\xc3\xa4", 2000, "'");

        assert_int_equal(parse(sql, &err), -EBADMSG);
        free((void *)sql.p);
        n = strlen(err.text);
        assert_in_range(n, 300, sizeof err.text - 1);
        assert_non_null(strstr(err.text, " at character 12"));
        for (size_t i = 0; i < n; i++) {
            if ((uint8_t)err.text[i] == 0xc3)
                assert_int_equal((uint8_t)err.text[i + 1], 0xa4);
        }
    }
}

static void test_bytes_the_parser_would_not_notice(void **state)
{
    (void)state;
    assert_refused(bytes_of("select 1\0; drop table t", 23), -EBADMSG, "NUL");
    assert_refused(bytes_of("\0", 1), -EBADMSG, "NUL");
    assert_refused(BYTES("select '\xff'"), -EBADMSG, "UTF8");
    assert_refused(BYTES("select E'\x83\x5c'; SELECT ssn FROM p --'"), -EBADMSG, "UTF8");
    assert_refused(BYTES("select '\xed\xa0\x80'"), -EBADMSG, "UTF8");
    /* PostgreSQL: two statements; libpg_query: one. */
    assert_refused(BYTES("do E'a' --c\n'b\\''; SELECT ssn FROM p; --'"), -EBADMSG, "continued");
}

static void test_bombs_are_refused(void **state)
{
    (void)state;
    refused_repeated("select 1", "+1", 64000, "");
    refused_repeated("select 1", "+1", 49000, "");
    refused_repeated("select ", "(", 100000, "1");
    refused_repeated("select ", "(", 501, "1");
    refused_repeated("select 1 where true", " and true", 100000, "");
    refused_repeated("select 1 where true", " or a=1", 100000, "");
    refused_repeated("select 1 where 1 in (1", ",1", 200000, ")");
    refused_repeated("select ", "/*", 400000, "");
    refused_repeated("select ", "/*", 400000, "1");
    refused_repeated("select '", "a", (size_t)1 << 20, "'");
    refused_repeated("", ";", 200000, "");
    refused_repeated("select ", "case when ", 1000, "1");
    refused_repeated("select a", "::int", 20000, "");
    refused_repeated("select a", " collate \"C\"", 30000, "");
    refused_repeated("select a", "[1]::int[]", 5000, "");
    refused_repeated("select 1", " union select 1", 20000, "");
    refused_repeated("select * from a", " natural join a", 20000, "");
    refused_repeated("select 'a'", "||'a'", 30000, "");
    refused_repeated("select 1", ",1", 49000, "");
    refused_repeated("", ";select 1", 30000, "");
    refused_repeated("select ", "not ", 5000, "true");
    refused_repeated("select (select 1", " from (select 1", 501, "");
}

/* Right recursion ends in the grammar's own stack limit. */
static void test_grammar_exhaustion_is_refused(void **state)
{
    (void)state;
    refused_repeated("select ", "not ", 50000, "true");
    refused_repeated("select ", "+ ", 50000, "1");
    refused_repeated("select ", "- ", 50000, "1");
}

static void test_ordinary_size_is_parsed(void **state)
{
    (void)state;
    parsed_repeated("select 1", "+1", 300, "");
    parsed_repeated("select 'a'", "||'a'", 300, "");
    parsed_repeated("select 1 where true", " and a = 1", 300, "");
    parsed_repeated("select 1 where true", " or (a = 1 and b = 2)", 300, "");
    parsed_repeated("select 1 where a in (1", ",1", 30000, ")");
    parsed_repeated("insert into t values (1,'a')", ",(1,'a')", 10000, "");
    parsed_repeated("select * from a", " join a using (b)", 300, "");
    parsed_repeated("select 1", " union all select 1", 300, "");
}

static void test_nested_size_is_parsed(void **state)
{
    static const struct {
        const char *open, *close;
        size_t n;
    } nested[] = {{"(", ")", 450},
                  {"f(", ")", 300},
                  {"(select ", ")", 150},
                  {"case when a then ", " end", 200},
                  {"array[", "]", 300}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(nested); i++) {
        struct bytes inner = repeat("select ", nested[i].open, nested[i].n, "1");

        parsed_repeated((const char *)inner.p, nested[i].close, nested[i].n, "");
        free((void *)inner.p);
    }
}

/* As nested as the lexer permits, and too deep a tree for it. */
static void test_nested_trees_are_refused(void **state)
{
    struct bytes selects = repeat("select ", "(select ", 490, "1");
    struct bytes cases = repeat("select ", "case when a then ", 490, "1");

    (void)state;
    refused_repeated((const char *)selects.p, ")", 490, "");
    refused_repeated((const char *)cases.p, " end", 490, "");
    free((void *)selects.p);
    free((void *)cases.p);
}

/* The deepest tree that passes can be freed on a thread's stack with much to spare. */
static void *free_tree(void *tree)
{
    json_object_put(tree);
    return NULL;
}

static void test_deepest_tree_is_small_on_the_stack(void **state)
{
    size_t good = 100, bad = 5000;
    struct json_object *tree = NULL;
    pthread_attr_t attr;
    pthread_t thread;

    (void)state;
    while (bad - good > 1) {
        size_t mid = (good + bad) / 2;
        struct bytes sql = repeat("select 1", "+1", mid, "");

        if (parse(sql, NULL) == 0)
            good = mid;
        else
            bad = mid;
        free((void *)sql.p);
    }
    assert_in_range(good, 700, PARSER_MAX_DEPTH);
    struct bytes sql = repeat("select 1", "+1", good, "");
    assert_int_equal(sql_parser_parse(parser, sql, &tree, NULL), 0);
    free((void *)sql.p);
    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)1 << 20), 0);
    assert_int_equal(pthread_create(&thread, &attr, free_tree, tree), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
}

/* What a helper that was taken over could send. */
static void test_replies_are_not_trusted(void **state)
{
    static const struct {
        enum parser_status status;
        const char *body;
        int want;
    } replies[] = {
        {PARSER_TREE, "", -E2BIG},
        {PARSER_TREE, "[]", -E2BIG},
        {PARSER_TREE, "null", -E2BIG},
        {PARSER_TREE, "{\"version\":1", -E2BIG},
        {PARSER_TREE, "{\"version\":1} {}", -E2BIG},
        {PARSER_TOO_COMPLEX, "{\"version\":1}", -E2BIG},
        {(enum parser_status)7, "{\"version\":1}", -E2BIG},
        {PARSER_SYNTAX, "", -EBADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct json_object *tree = NULL;

        assert_int_equal(parser_finish(replies[i].status, bytes_str(replies[i].body), &tree, NULL),
                         replies[i].want);
        assert_null(tree);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_empty_text_is_a_tree),
        cmocka_unit_test(test_syntax_errors),
        cmocka_unit_test(test_messages_are_utf8),
        cmocka_unit_test(test_bytes_the_parser_would_not_notice),
        cmocka_unit_test(test_bombs_are_refused),
        cmocka_unit_test(test_grammar_exhaustion_is_refused),
        cmocka_unit_test(test_ordinary_size_is_parsed),
        cmocka_unit_test(test_nested_size_is_parsed),
        cmocka_unit_test(test_nested_trees_are_refused),
        cmocka_unit_test(test_deepest_tree_is_small_on_the_stack),
        cmocka_unit_test(test_replies_are_not_trusted),
    };

    return PARSER_TEST_MAIN(argc, argv);
}
