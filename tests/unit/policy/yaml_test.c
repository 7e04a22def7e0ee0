/* SPDX-License-Identifier: Apache-2.0
 * The YAML tree: types, lines, limits, and everything that two readers could disagree on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "sidecar/policy/yaml.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, YAMLTREE_ARENA_MAX);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static struct yamltree_document *parse(const char *text)
{
    struct yamltree_document *d = NULL;
    struct error err = {0};

    if (yamltree_parse(bytes_str(text), "f", &arena, &d, &err) != 0)
        fail_msg("%s\n%s", err.text, text);
    return d;
}

static void refuse_bytes(struct bytes text, const char *wanted)
{
    struct yamltree_document *d = NULL;
    struct error err = {0};

    assert_int_equal(yamltree_parse(text, "f", &arena, &d, &err), -EINVAL);
    assert_string_equal(err.text, wanted);
    assert_null(d);
}

static void refuse(const char *text, const char *wanted)
{
    refuse_bytes(bytes_str(text), wanted);
}

static const struct {
    const char *text;
    enum node_type type;
    int64_t number;
} scalar_types[] = {
    {"", NODE_NULL, 0},
    {"~", NODE_NULL, 0},
    {"null", NODE_NULL, 0},
    {"''", NODE_STRING, 0},
    {"'null'", NODE_STRING, 0},
    {"true", NODE_BOOL, 1},
    {"False", NODE_BOOL, 0},
    {"'true'", NODE_STRING, 0},
    {"yes", NODE_BOOL, -1},
    {"No", NODE_BOOL, -1},
    {"on", NODE_BOOL, -1},
    {"OFF", NODE_BOOL, -1},
    {"y", NODE_BOOL, -1},
    {"N", NODE_BOOL, -1},
    {"'on'", NODE_STRING, 0},
    {"yess", NODE_STRING, 0},
    {"0", NODE_INT, 0},
    {"-7", NODE_INT, -7},
    {"9223372036854775807", NODE_INT, INT64_MAX},
    {"9223372036854775808", NODE_FLOAT, 0},
    {"+1", NODE_FLOAT, 0},
    {"010", NODE_FLOAT, 0},
    {"0o10", NODE_FLOAT, 0},
    {"0x1F", NODE_FLOAT, 0},
    {"0b1", NODE_FLOAT, 0},
    {"1_000", NODE_FLOAT, 0},
    {"1.5", NODE_FLOAT, 0},
    {".5", NODE_FLOAT, 0},
    {"1e3", NODE_FLOAT, 0},
    {"-.inf", NODE_FLOAT, 0},
    {".NaN", NODE_FLOAT, 0},
    {"1e", NODE_STRING, 0},
    {"1.2.3", NODE_STRING, 0},
    {".", NODE_STRING, 0},
    {"-", NODE_STRING, 0},
    {"60s", NODE_STRING, 0},
    {"0x", NODE_STRING, 0},
    {"10.1.2.3", NODE_STRING, 0},
    {"'12'", NODE_STRING, 0},
    {"\"12\"", NODE_STRING, 0},
    {"!!str 12", NODE_STRING, 0},
    {"! 12", NODE_STRING, 0},
    {"!!int 12", NODE_INT, 12},
    {"!!int '12'", NODE_INT, 12},
    {"!!bool true", NODE_BOOL, 1},
};

static void test_scalar_types(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scalar_types); i++) {
        char text[128];
        const struct node *n;

        snprintf(text, sizeof text, "[%s, x]", *scalar_types[i].text ? scalar_types[i].text : "~");
        if (strcmp(scalar_types[i].text, "-") == 0) /* a list's sign inside brackets */
            continue;
        n = parse(text)->root->items->value;
        if (n->type != scalar_types[i].type || n->number != scalar_types[i].number)
            fail_msg("%s: %s (%lld)", scalar_types[i].text, node_type_name(n->type),
                     (long long)n->number);
    }
}

static void test_structure_and_lines(void **state)
{
    const struct yamltree_document *d =
        parse("# head\na:\n  - 1\n  - {b: c}\nd: &x\n  e: |\n    f\n"
              "    g\nh: *x\n---\n---\nlast\n");
    const struct node *root = d->root, *list = root->items->value, *alias;

    (void)state;
    assert_int_equal(root->type, NODE_MAP);
    assert_int_equal(root->line, 2);
    assert_int_equal(root->n, 3);
    assert_string_equal(root->items->key->text, "a");
    assert_int_equal(list->type, NODE_LIST);
    assert_int_equal(list->n, 2);
    assert_int_equal(list->items->value->line, 3);
    assert_null(list->items->key);
    assert_int_equal(list->items->next->value->line, 4);
    assert_null(list->items->next->next);
    assert_string_equal(root->items->next->value->items->value->text, "f\ng\n");
    alias = root->items->next->next->value;
    assert_ptr_equal(alias, root->items->next->value);
    assert_int_equal(d->next->root->type, NODE_NULL);
    assert_string_equal(d->next->next->root->text, "last");
    assert_int_equal(d->next->next->root->line, 12);
    assert_null(d->next->next->next);
    assert_null(parse(""));
    assert_null(parse("# nothing\n"));
}

static void test_json(void **state)
{
    const struct node *n = parse("{\"a\": [1, true, null, \"x\\u00e9\\n\"], \"b\": {}}")->root;

    (void)state;
    assert_int_equal(n->n, 2);
    assert_int_equal(n->items->value->n, 4);
    assert_string_equal(n->items->value->items->next->next->next->value->text, "x\u00e9\n");
    assert_int_equal(n->items->next->value->type, NODE_MAP);
}

static const struct {
    const char *text, *error;
} refusals[] = {
    {"a: b: c", "f:1: YAML: mapping values are not allowed in this context"},
    {"a: 1\n  b: 2", "f:2: YAML: mapping values are not allowed in this context"},
    {"[1, 2", "f:2: YAML: did not find expected ',' or ']'"},
    {"a:\n\t- b", "f:2: YAML: found character that cannot start any token"},
    {"a: 'x", "f:1: YAML: found unexpected end of stream"},
    {"a: \"\\q\"", "f:1: YAML: found unknown escape character"},
    {"a: 1\nb: 2\na: 3", "f:3: YAML: the key 'a' is there twice (first on line 1)"},
    {"x:\n  {a: 1, 'a': 2}", "f:2: YAML: the key 'a' is there twice (first on line 2)"},
    {"a: &x {b: 1}\nc:\n  <<: *x",
     "f:3: YAML: merge keys (<<) are not supported; write the fields out"},
    {"1: a", "f:1: YAML: a key must be a string, this is a whole number; write it in quotes"},
    {"on: a", "f:1: YAML: a key must be a string, this is true or false; write it in quotes"},
    {"~: a", "f:1: YAML: a key must be a string, this is nothing; write it in quotes"},
    {"? [a]\n: b", "f:1: YAML: a key must be a string, this is a list"},
    {"? {a: b}\n: c", "f:1: YAML: a key must be a string, this is a mapping"},
    {"a: !custom b", "f:1: YAML: own tags are not supported"},
    {"a: !custom [b]", "f:1: YAML: the tag '!custom' is not supported"},
    {"a: !!set {b}", "f:1: YAML: the tag 'tag:yaml.org,2002:set' is not supported"},
    {"a: !!python/object:os.system b",
     "f:1: YAML: the value is not what its tag says, or the tag is not supported"},
    {"a: !!int x", "f:1: YAML: the value is not what its tag says, or the tag is not supported"},
    {"a: !!binary aGk=",
     "f:1: YAML: the value is not what its tag says, or the tag is not supported"},
    {"a: \"x\\0y\"", "f:1: YAML: a string contains a NUL byte"},
    {"a: *x", "f:1: YAML: the alias '*x' has no anchor before it"},
    {"a: &x 1\n---\nb: *x", "f:3: YAML: the alias '*x' has no anchor before it"},
    {"a: &x [b, *x]", "f:1: YAML: the alias '*x' contains itself"},
    {"&x a: {b: {c: &y [*y]}}", "f:1: YAML: the alias '*y' contains itself"},
    {"&x {b: *x}", "f:1: YAML: the alias '*x' contains itself"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        refuse(refusals[i].text, refusals[i].error);
    refuse_bytes(BYTES("\na: b\0c"), "f:2: YAML: control characters are not allowed");
    refuse_bytes(BYTES("\n\na: \xff\xfe"), "f:3: YAML: invalid leading UTF-8 octet");
}

/* Nine levels of nine aliases each: 3e8 values out of 300 bytes. */
static void test_billion_laughs(void **state)
{
    char text[2048];
    size_t n = (size_t)snprintf(text, sizeof text, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");

    (void)state;
    for (int i = 1; i < 9; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "a%d: &a%d [", i, i);
        for (int j = 0; j < 9; j++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s*a%d", j ? ", " : "", i - 1);
        n += (size_t)snprintf(text + n, sizeof text - n, "]\n");
    }
    refuse(text, "f:6: YAML: more than 1000000 values (aliases count as what they stand for)");
}

static void test_depth(void **state)
{
    char text[512];

    (void)state;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    text[128] = 0;
    assert_int_equal(parse(text)->root->height, 64);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = 0;
    refuse(text, "f:1: YAML: nested deeper than 64 levels");
}

/* Depth that only aliases make. */
static void test_depth_through_aliases(void **state)
{
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof text, "- &a0 [x]\n");

    (void)state;
    for (int i = 1; i < 70; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "- &a%d [*a%d]\n", i, i - 1);
    refuse(text, "f:64: YAML: nested deeper than 64 levels");
}

static void test_anchors(void **state)
{
    char text[4096];
    size_t n = 0;

    (void)state;
    for (int i = 0; i <= YAMLTREE_MAX_ANCHORS; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "- &a%d x\n", i);
    refuse(text, "f:101: YAML: more than 100 anchors");
    assert_string_equal(parse("[&a x, &a y, *a]")->root->items->next->next->value->text, "y");
}

static void test_sizes(void **state)
{
    size_t n = YAMLTREE_MAX_BYTES + 1;
    char *text = malloc(n + 1);

    (void)state;
    assert_non_null(text);
    memset(text, ' ', n);
    text[0] = '#';
    text[n] = 0;
    refuse(text, "f:1: YAML: larger than 4 MiB");
    text[n - 1] = 0;
    assert_null(parse(text));
    text[0] = '[';
    for (size_t i = 1; i + 2 < n; i += 2)
        memcpy(text + i, "x,", 2);
    refuse(text, "f:1: YAML: more than 1000000 values (aliases count as what they stand for)");
    free(text);
}

/* A mapping of many keys is read in a moment, and a double one among them found. */
static void test_many_keys(void **state)
{
    size_t n = 0, max = 3 << 20;
    char *text = malloc(max);

    (void)state;
    assert_non_null(text);
    for (int i = 0; i < 200000; i++)
        n += (size_t)snprintf(text + n, max - n, "k%d: 1\n", i);
    assert_int_equal(parse(text)->root->n, 200000);
    snprintf(text + n, max - n, "k77: 1\n");
    refuse(text, "f:200001: YAML: the key 'k77' is there twice (first on line 78)");
    free(text);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_scalar_types),
        TEST(test_structure_and_lines),
        TEST(test_json),
        TEST(test_refusals),
        TEST(test_billion_laughs),
        TEST(test_depth),
        TEST(test_depth_through_aliases),
        TEST(test_anchors),
        TEST(test_sizes),
        TEST(test_many_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
