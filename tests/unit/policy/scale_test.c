/* SPDX-License-Identifier: Apache-2.0
 * Many rules: the right ones are found among them, and finding them takes no longer. Time is
 * measured in the same run, with one rule and with a thousand, in the thread's own CPU time.
 */
#include "policy_support.h"

#include <time.h>

#define MANY 1000

/* Rules whose relations differ, each in one of the ways in which a rule can be written. */
static const char *const shapes[] = {
    "  - {name: r%d, action: Allow, sql: {operations: [Select], relations: [public.t%d]}}\n",
    "  - {name: r%d, action: Allow, sql: {operations: [Select], relations: [\"*.t%d\"]}}\n",
    "  - {name: r%d, action: Allow, sql: {operations: [Select], relations: [\"s%d.*\"]}}\n",
    "  - {name: r%d, action: RequireApproval, sql: {operations: [Select], relations: "
    "[public.t%d]}}\n",
    "  - {name: r%d, action: Deny, sql: {operations: [Select], relations: [public.t%d]}}\n",
    "  - {name: r%d, action: Allow, sql: {operations: [Select], functions: [app.f%d]}}\n",
};

static char *rules(const char *shape, int from, int n)
{
    size_t max = 256 + (size_t)n * 160, at;
    char *yaml = malloc(max);

    assert_non_null(yaml);
    at = (size_t)snprintf(yaml, max, "%s%sspec:\n  rules:\n", DB, HEAD("GuardPolicy", "p"));
    for (int i = from; i < from + n; i++)
        at += (size_t)snprintf(yaml + at, max - at, shape, i, i);
    return yaml;
}

static struct policy_view *view_with(const char *shape, int from, int n)
{
    char *yaml = rules(shape, from, n);
    struct policy_snapshot *s = snapshot_of(yaml);
    struct policy_view *v = view_for(s, &coder, "db", "orders");

    policy_snapshot_unref(s);
    free(yaml);
    return v;
}

static void test_every_rule_is_found(void **state)
{
    static const struct {
        size_t shape;
        const char *relation;
        enum verdict verdict;
    } rows[] = {{0, "public.t%d", VERDICT_ALLOW},
                {1, "public.t%d", VERDICT_ALLOW},
                {2, "s%d.x", VERDICT_ALLOW},
                {3, "public.t%d", VERDICT_APPROVE},
                {4, "public.t%d", VERDICT_DENY}};

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct policy_view *v = view_with(shapes[rows[r].shape], 0, MANY);

        for (int i = 0; i <= MANY; i++) {
            char relation[32], rule[16];
            struct decision d;

            snprintf(relation, sizeof relation, rows[r].relation, i);
            snprintf(rule, sizeof rule, "r%d", i);
            d = decide_thing(v, (struct thing){OP_SELECT, relation});
            assert_int_equal(d.verdict, i < MANY ? rows[r].verdict : VERDICT_DENY);
            if (i < MANY)
                assert_string_equal(d.rule, rule);
            else
                assert_null(d.rule);
        }
        policy_view_unref(v);
    }
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

#define ROUNDS 2000

/* The fastest of several runs of ROUNDS decisions: what the code costs, not the machine's mood. */
static uint64_t cost(const struct policy_view *v, const struct statement *s)
{
    uint64_t best = UINT64_MAX;

    for (int run = 0; run < 7; run++) {
        uint64_t start = cpu_ns(), took;
        struct decision d;

        for (int i = 0; i < ROUNDS; i++)
            policy_decide(v, s, 1, &d);
        took = cpu_ns() - start;
        best = took < best ? took : best;
    }
    return best / ROUNDS;
}

static void test_deciding_is_flat(void **state)
{
    static const char *const function = "app.f999";
    struct object table = {.op = OP_SELECT, .schema = "public", .name = "t999"};
    struct object schema = {.op = OP_SELECT, .schema = "s999", .name = "x"};
    struct object none = {.op = OP_SELECT};
    const struct statement statements[] = {
        {.objects = &table, .n_objects = 1},
        {.objects = &table, .n_objects = 1},
        {.objects = &schema, .n_objects = 1},
        {.objects = &table, .n_objects = 1},
        {.objects = &table, .n_objects = 1},
        {.objects = &none, .n_objects = 1, .functions = &function, .n_functions = 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        struct policy_view *one = view_with(shapes[i], 999, 1);
        struct policy_view *many = view_with(shapes[i], 0, MANY);
        uint64_t with_one = cost(one, &statements[i]), with_many = cost(many, &statements[i]);

        print_message("%s  1 rule: %llu ns, %d rules: %llu ns\n", shapes[i],
                      (unsigned long long)with_one, MANY, (unsigned long long)with_many);
        /* a walk over the rules would cost hundreds of times as much */
        if (with_many > 4 * with_one + 2000)
            fail_msg("not flat");
        policy_view_unref(one);
        policy_view_unref(many);
    }
}

static void test_view_costs_little(void **state)
{
    char *yaml = rules(shapes[0], 0, MANY);
    struct policy_snapshot *s = snapshot_of(yaml);
    uint64_t start = cpu_ns(), each;

    (void)state;
    for (int i = 0; i < 200; i++)
        policy_view_unref(view_for(s, &coder, "db", "orders"));
    each = (cpu_ns() - start) / 200;
    print_message("view over %d rules: %llu ns\n", MANY, (unsigned long long)each);
    assert_true(each < 1000000); /* a millisecond, sanitizers and all */
    policy_snapshot_unref(s);
    free(yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_rule_is_found),
        cmocka_unit_test(test_deciding_is_flat),
        cmocka_unit_test(test_view_costs_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
