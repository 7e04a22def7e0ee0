/* SPDX-License-Identifier: Apache-2.0
 * What people are shown of a change.
 */
#include "sidecar/proto/kube/difference.h"
#include "src-common/jsonread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct {
    const char *now, *wanted, *out;
    bool merges;
} rows[] = {
    {"{\"a\":1}", "{\"a\":1}", ""},
    {"{\"a\":1,\"b\":2}", "{\"a\":1}", ""}, /* not mentioned */
    {"{\"spec\":{\"replicas\":2}}", "{\"spec\":{\"replicas\":3}}", ".spec.replicas: 2 -> 3\n"},
    {"{}", "{\"data\":{\"a\":\"b\"}}", ".data: (none) -> {\"a\":\"b\"}\n"},
    {"{\"data\":{\"a\":\"b\"}}", "{\"data\":{\"a\":null}}", ".data.a: \"b\" -> (removed)\n"},
    {"{\"data\":{}}", "{\"data\":{\"a\":null}}", ""},
    {"{\"l\":{\"a.b/c\":\"x\"}}", "{\"l\":{\"a.b/c\":\"y\"}}", ".l['a.b/c']: \"x\" -> \"y\"\n"},
    {"{\"l\":[{\"i\":1},{\"i\":2}]}", "{\"l\":[{\"i\":1},{\"i\":3}]}", ".l[1].i: 2 -> 3\n"},
    {"{\"l\":[1,2]}", "{\"l\":[1]}", ".l: [1,2] -> [1]\n"},
    {"{\"l\":[1,null]}", "{\"l\":[null,1]}", ".l[0]: 1 -> (removed)\n.l[1]: null -> 1\n"},
    {"{\"l\":[{\"name\":\"a\",\"i\":1},{\"name\":\"b\",\"i\":2}]}",
     "{\"l\":[{\"name\":\"b\",\"i\":3},{\"name\":\"c\"}]}",
     ".l[b].i: 2 -> 3\n.l[c]: (none) -> {\"name\":\"c\"}\n", true},
    {"{\"l\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", "{\"l\":[{\"name\":\"b\"}]}",
     ".l: [{\"name\":\"a\"},{\"name\":\"b\"}] -> [{\"name\":\"b\"}]\n", false},
    {"{\"l\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", "{\"l\":[{\"name\":\"b\"}]}", "", true},
    {"{\"a\":{\"b\":1}}", "{\"a\":7}", ".a: {\"b\":1} -> 7\n"},
};

static struct json_object *read(const char *text)
{
    struct json_object *o = NULL;

    assert_int_equal(jsonread_strict(bytes_str(text), 200, &o), 0);
    return o;
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_object *now = read(rows[i].now), *wanted = read(rows[i].wanted);
        struct buffer out;

        buffer_init(&out, 65536);
        kubedifference_write(now, wanted, rows[i].merges, &out);
        if (!bytes_eq_str(buffer_bytes(&out), rows[i].out))
            fail_msg("row %zu: %.*s", i, (int)buffer_len(&out), (char *)out.p + out.start);
        buffer_done(&out);
        json_object_put(now);
        json_object_put(wanted);
    }
}

/* An object of any size, depth and length of names makes a text of bounded length. */
static void test_bounds(void **state)
{
    struct json_object *now = json_object_new_object(), *wanted = json_object_new_object();
    struct json_object *a = now, *b = wanted;
    char name[400];
    struct buffer out;

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (int i = 0; i < 100; i++) {
        struct json_object *inner_a = json_object_new_object(), *inner_b = json_object_new_object();

        for (int k = 0; k < 20; k++) {
            name[snprintf(name, sizeof name, "%03d-%03d", i, k)] = 'n';
            json_object_object_add(a, name, json_object_new_int(1));
            json_object_object_add(b, name, json_object_new_string(name));
        }
        json_object_object_add(a, "in", inner_a);
        json_object_object_add(b, "in", inner_b);
        a = inner_a;
        b = inner_b;
    }
    buffer_init(&out, 65536);
    kubedifference_write(now, wanted, true, &out);
    assert_false(out.failed);
    assert_in_range(buffer_len(&out), 8192, 8192 + 2048);
    assert_non_null(memmem(out.p, out.end, "(more is not shown)", 19));
    buffer_done(&out);
    json_object_put(now);
    json_object_put(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
