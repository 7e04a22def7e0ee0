/* SPDX-License-Identifier: Apache-2.0
 * Policies at admission, with the guard's loader; and the conditions of their status.
 */
#include "webhook_support.h"

#include "webhook/policies.h"
#include "webhook/policystatus.h"

#define OBJECT(kind, metadata, spec)                                                               \
    "{\"apiVersion\": \"chaperone.dev/v1alpha1\", \"kind\": \"" kind "\", \"metadata\": "          \
    "{" metadata "}, \"spec\": " spec "}"
#define NAMED "\"name\": \"p\", \"namespace\": \"agents\", \"uid\": \"u1\", \"generation\": 3"
#define DB                                                                                         \
    "{\"metadata\": {\"name\": \"db\", \"namespace\": \"agents\"}, \"spec\": {\"protocol\": "      \
    "\"postgres\", \"hosts\": [\"db.example\"], \"ports\": [5432]}}"
#define SSH                                                                                        \
    "{\"metadata\": {\"name\": \"box\", \"namespace\": \"agents\"}, \"spec\": {\"protocol\": "     \
    "\"tcp\", \"hosts\": [\"box.example\"], \"ports\": [22]}}"
#define BROKEN "{\"metadata\": {\"name\": \"broken\", \"namespace\": \"agents\"}, \"spec\": {}}"

static void check(const char *object, const char *wanted, const char *warning)
{
    struct json_object *targets = parse("{\"items\": [" DB "," SSH "," BROKEN "]}");
    struct review r = review_of("CREATE", "guardpolicies", parse(object), NULL);
    struct answer a;

    answer_init(&a);
    policies_check(&r, value_get(targets, "items"), &a);
    answer_settle(&a);
    if (wanted ? a.allowed || strcmp(a.message, wanted) != 0 : !a.allowed)
        fail_msg("%s\n got: %s\nwant: %s", object, a.message, wanted ? wanted : "(allowed)");
    if (warning ? !a.warnings || !strstr(value_quote(a.warnings), warning) : a.warnings != NULL)
        fail_msg("%s\n warned: %s", object, a.warnings ? value_quote(a.warnings) : "(nothing)");
    if (wanted)
        assert_int_equal(a.code, 422);
    answer_done(&a);
    json_object_put(targets);
    review_done(&r);
}

static void policies_are_checked_with_the_guards_loader(void **state)
{
    (void)state;
    check(OBJECT("GuardPolicy", NAMED, "{\"targets\": [{\"name\": \"db\"}]}"), NULL, NULL);
    check(OBJECT("GuardPolicy", "\"generateName\": \"p-\", \"namespace\": \"agents\"", "{}"), NULL,
          NULL);
    check(OBJECT("GuardPolicy", NAMED, "{\"targets\": [{\"name\": \"later\"}]}"), NULL,
          "spec.targets[0].name: there is no GuardTarget \\\"later\\\" in the namespace yet");
    check(OBJECT("GuardPolicy", NAMED,
                 "{\"rules\": [{\"name\": \"r\", \"action\": \"Alow\", \"sql\": {}}]}"),
          "spec.rules[0].action: unknown action 'Alow' (did you mean Allow?)", NULL);
    check(OBJECT("GuardPolicy", NAMED,
                 "{\"targets\": [{\"name\": \"box\", \"databases\": [\"x\"]}]}"),
          "spec.targets[0].databases: the target 'box' has no databases", NULL);
    check(OBJECT("GuardPolicy", NAMED, "{\"modes\": 1}"),
          "spec.modes: unknown field (did you mean mode?)", NULL);
    check(OBJECT("GuardTarget", NAMED, "{\"hosts\": [\"a\"], \"ports\": [1]}"),
          "spec.protocol: required", NULL);
    check(OBJECT("ClusterGuardPolicy", "\"name\": \"floor\"", "{\"mode\": \"Audit\"}"), NULL, NULL);
    check(OBJECT("ClusterGuardPolicy", "\"name\": \"floor\"", "{\"mode\": \"Maybe\"}"),
          "spec.mode: unknown mode 'Maybe'", NULL);
    check(OBJECT("Secret", NAMED, "{}"), "kind: unknown kind 'Secret'", NULL);
}

/* ---- status ---- */

static void status_is(const char *policy, const char *pods, const char *answers,
                      const char *const wanted[static 4])
{
    struct json_object *targets = parse("{\"items\": [" DB "]}"), *p = parse(pods),
                       *o = parse(policy), *ask = parse(answers), *status, *list;
    const struct policystatus_world w = {value_get(targets, "items"), value_get(p, "items"), ask,
                                         "2026-11-24T22:00:00Z"};

    status = policystatus_make(&policystatus_policy, o, &w);
    list = value_get(status, "conditions");
    for (size_t i = 0; i < 2; i++) {
        struct json_object *c = value_item(list, i);

        assert_string_equal(value_text(c, "type"), i ? "Enforced" : "Accepted");
        if (strcmp(value_text(c, "status"), wanted[2 * i]) != 0 ||
            !strstr(value_text(c, "message"), wanted[2 * i + 1]))
            fail_msg("%s", value_quote(c));
        assert_int_equal(value_int(c, "observedGeneration", 0), 3);
    }
    json_object_put(status);
    json_object_put(ask);
    json_object_put(o);
    json_object_put(p);
    json_object_put(targets);
}

#define POD(uid, app)                                                                              \
    "{\"namespace\": \"agents\", \"name\": \"" uid "\", \"uid\": \"" uid "\", \"account\": \"c\"," \
    " \"labels\": {\"app\": \"" app "\"}}"
#define PODS            "{\"items\": [" POD("a", "coder") "," POD("b", "coder") "," POD("c", "other") "]}"
#define HAS(generation) "{\"objects\": [{\"uid\": \"u1\", \"generation\": " generation "}]}"
#define CODERS                                                                                     \
    OBJECT("GuardPolicy", NAMED,                                                                   \
           "{\"subjects\": [{\"podSelector\": {\"matchLabels\": {\"app\": \"coder\"}}}]}")

static void status_counts_the_guards_that_have_it(void **state)
{
    (void)state;
    status_is(CODERS, "{\"items\": []}", "{}",
              (const char *[]){"True", "valid", "Unknown", "no running guard"});
    status_is(CODERS, PODS, "{\"a\": " HAS("3") ", \"b\": " HAS("3") "}",
              (const char *[]){"True", "valid", "True", "2 of 2 running guards"});
    status_is(CODERS, PODS, "{\"a\": " HAS("3") ", \"b\": " HAS("2") "}",
              (const char *[]){"True", "valid", "False", "1 of 2"});
    status_is(CODERS, PODS, "{\"a\": " HAS("3") "}",
              (const char *[]){"True", "valid", "Unknown", "1 of 2"});
    status_is(CODERS, PODS, "{\"a\": " HAS("2") "}",
              (const char *[]){"True", "valid", "False", "0 of 2"});
    status_is(OBJECT("GuardPolicy", NAMED, "{\"targets\": [{\"name\": \"later\"}]}"), PODS, "{}",
              (const char *[]){"True", "there is no GuardTarget", "Unknown", "0 of 3"});
    status_is(OBJECT("GuardPolicy", NAMED, "{\"subjects\": [{\"groups\": [\"g\"]}]}"), PODS,
              "{\"a\": " HAS("3") "}", (const char *[]){"True", "valid", "Unknown", "1 of 3"});
    status_is(OBJECT("GuardPolicy", NAMED, "{\"mode\": 1}"), PODS, "{\"a\": " HAS("3") "}",
              (const char *[]){"False", "spec.mode: ", "False", "not valid"});
}

static void a_condition_keeps_its_time_while_its_status_stays(void **state)
{
    struct json_object *o = parse(CODERS), *none = parse("{\"items\": []}"), *status, *list;
    const struct policystatus_world w = {value_get(none, "items"), value_get(none, "items"), none,
                                         "2026-11-24T22:00:00Z"};

    (void)state;
    json_object_object_add(
        o, "status",
        parse("{\"conditions\": [{\"type\": \"Accepted\", \"status\": \"True\", "
              "\"lastTransitionTime\": \"2020-01-01T00:00:00Z\"}, {\"type\": \"Enforced\", "
              "\"status\": \"True\", \"lastTransitionTime\": \"2020-01-01T00:00:00Z\"}]}"));
    status = policystatus_make(&policystatus_policy, o, &w);
    list = value_get(status, "conditions");
    assert_string_equal(value_text(value_item(list, 0), "lastTransitionTime"),
                        "2020-01-01T00:00:00Z");
    assert_string_equal(value_text(value_item(list, 1), "lastTransitionTime"),
                        "2026-11-24T22:00:00Z");
    json_object_put(status);
    json_object_put(none);
    json_object_put(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_checked_with_the_guards_loader),
        cmocka_unit_test(status_counts_the_guards_that_have_it),
        cmocka_unit_test(a_condition_keeps_its_time_while_its_status_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
