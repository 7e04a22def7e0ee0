/* SPDX-License-Identifier: Apache-2.0
 * AdmissionReview: what is taken, what is refused, what is answered; and configuration files.
 */
#include "webhook_support.h"

#include <errno.h>

#define REQUEST                                                                                    \
    "\"uid\": \"u\", \"operation\": \"CREATE\", \"resource\": {\"group\": \"\", \"version\": "     \
    "\"v1\", \"resource\": \"pods\"}, \"userInfo\": {\"username\": \"alice\"}"
#define REVIEW(request)                                                                            \
    "{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": "       \
    "{" request "}}"

static void a_review_is_read(void **state)
{
    static const char text[] =
        REVIEW(REQUEST ", \"namespace\": \"ns\", \"subResource\": \"exec\", \"object\": {}");
    struct review r;
    struct error err;

    (void)state;
    assert_int_equal(review_parse(bytes_str(text), &r, &err), 0);
    assert_string_equal(r.uid, "u");
    assert_string_equal(r.namespace_, "ns");
    assert_string_equal(r.name, "");
    assert_string_equal(r.username, "alice");
    assert_true(review_is(&r, "CREATE", "exec"));
    assert_false(review_is(&r, "CREATE", ""));
    assert_non_null(r.object);
    assert_null(r.old);
    review_done(&r);
}

static void others_are_refused(void **state)
{
    static const char *const rows[][2] = {
        {"", "expected a JSON object, found nothing"},
        {"{", "expected a JSON object"},
        {"[]", "found something else"},
        {"nonsense", "expected a JSON object"},
        {REVIEW(REQUEST) "x", "expected a JSON object"},
        {"{\"a\": \"\xff\"}", "expected a JSON object"},
        {"{}", "expected an AdmissionReview"},
        {"{\"apiVersion\": \"admission.k8s.io/v1beta1\", \"kind\": \"AdmissionReview\"}",
         "expected an AdmissionReview of admission.k8s.io/v1"},
        {REVIEW(""), "request.uid: required"},
        {REVIEW("\"uid\": \"u\""), "request.operation: required"},
        {REVIEW("\"uid\": \"u\", \"operation\": \"CREATE\""),
         "request.resource.resource: required"},
        {REVIEW(
             "\"uid\": \"u\", \"operation\": \"CREATE\", \"resource\": {\"resource\": \"pods\"}"),
         "request.userInfo.username: required"},
        {REVIEW("\"uid\": 7"), "request.uid: expected a string, found a whole number"},
        {REVIEW(REQUEST ", \"object\": []"), "request.object: expected an object, found a list"},
        {REVIEW(REQUEST ", \"oldObject\": \"x\""), "request.oldObject: expected an object"},
        {"{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": 1}",
         "request: expected an object"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct review r;
        struct error err;

        if (review_parse(bytes_str(rows[i][0]), &r, &err) != -EINVAL ||
            !strstr(err.text, rows[i][1]))
            fail_msg("%s\n got: %s\nwant: %s", rows[i][0], err.text, rows[i][1]);
    }
}

static void too_much_is_refused(void **state)
{
    size_t n = REVIEW_MAX_BYTES + 1;
    char *text = malloc(n);
    struct review r;
    struct error err;

    (void)state;
    memset(text, ' ', n);
    assert_int_equal(review_parse(bytes_of(text, n), &r, &err), -EMSGSIZE);
    memset(text, '[', n);
    assert_int_equal(review_parse(bytes_of(text, 100000), &r, &err), -EINVAL); /* depth */
    free(text);
}

static void answers_are_written(void **state)
{
    struct json_object *o;
    struct buffer out;
    struct answer a;

    (void)state;
    buffer_init(&out, 1 << 20);
    answer_init(&a);
    patch_add(&a.patch, json_object_new_string("true"), "/metadata/labels/%s", "a~1b");
    answer_warn(&a, "mind %d", 1);
    answer_settle(&a);
    assert_int_equal(answer_write(&a, "u-1", &out), 0);
    buffer_add_u8(&out, 0);
    o = parse((const char *)buffer_bytes(&out).p);
    assert_string_equal(value_text(o, "response.uid"), "u-1");
    assert_true(value_bool(o, "response.allowed"));
    assert_string_equal(value_text(o, "response.patchType"), "JSONPatch");
    assert_string_equal(value_text(o, "response.patch"),
                        "W3sib3AiOiJhZGQiLCJwYXRoIjoiL21ldGFkYXRhL2xhYmVscy9hfjFiIiwidmFsdWUiOiJ0c"
                        "nVlIn1d");
    assert_true(value_has(value_at(o, "response.warnings"), "mind 1"));
    json_object_put(o);
    answer_done(&a);
    buffer_done(&out);
}

static void refusals_say_all_and_carry_no_patch(void **state)
{
    struct json_object *o;
    struct buffer out;
    struct answer a;

    (void)state;
    buffer_init(&out, 1 << 20);
    answer_init(&a);
    patch_add(&a.patch, json_object_new_string("x"), "/x");
    for (int i = 0; i < 15; i++)
        answer_refuse(&a, "f%d: no", i);
    answer_settle(&a);
    assert_int_equal(answer_write(&a, "u", &out), 0);
    buffer_add_u8(&out, 0);
    o = parse((const char *)buffer_bytes(&out).p);
    assert_false(value_bool(o, "response.allowed"));
    assert_null(value_at(o, "response.patch"));
    assert_int_equal(value_int(o, "response.status.code", 0), 403);
    assert_non_null(strstr(value_text(o, "response.status.message"), "f0: no; f1: no; "));
    assert_non_null(strstr(value_text(o, "response.status.message"), "f11: no; and 3 more"));
    json_object_put(o);
    answer_done(&a);
    buffer_done(&out);
}

static void a_fresh_answer_is_a_refusal(void **state)
{
    struct answer a;

    (void)state;
    answer_init(&a);
    assert_false(a.allowed);
    answer_done(&a);
}

/* ---- configuration ---- */

static void configurations_are_checked(void **state)
{
    static const char *const rows[][2] = {
        {"{}", "c.yaml:1: guardImage: required"},
        {"{guardImage: g}", "c.yaml:1: initImage: required"},
        {"{guardImage: g, initImage: 'a b'}", "initImage: 'a b' is not an image"},
        {"{guardImage: g, initImage: i, guardImages: x}",
         "guardImages: unknown field (did you mean guardImage?)"},
        {"{guardImage: g, initImage: i, imagePullPolicy: always}",
         "imagePullPolicy: unknown policy"},
        {"{guardImage: g, initImage: i, guardUID: 15000}", "guardGID: a fixed user needs"},
        {"{guardImage: g, initImage: i, guardUID: 0, guardGID: 20000}", "guardUID:"},
        {"{guardImage: g, initImage: i, guardUID: random}",
         "guardUID: expected Random or a number"},
        {"{guardImage: g, initImage: i, spoolSizeLimit: 5}", "spoolSizeLimit: expected a size"},
        {"{guardImage: g, initImage: i, spoolSizeLimit: 0Gi}", "spoolSizeLimit: expected a size"},
        {"{guardImage: g, initImage: i, trustFiles: [etc]}", "trustFiles[0]: expected an absolute"},
        {"{guardImage: g, initImage: i, trustFiles: [/a/../b]}", "trustFiles[0]"},
        {"{guardImage: g, initImage: i, guardArgs: [1]}", "guardArgs[0]: expected a string"},
        {"{guardImage: g, initImage: i, guardSecrets: [ok, ../x]}",
         "guardSecrets[1]: expected the name of a Secret"},
        {"{guardImage: g, initImage: i, guardResources: {limit: {}}}",
         "guardResources.limit: unknown field 'limit' (did you mean limits?)"},
        {"{guardImage: g, initImage: i, issuers: {}}", "issuers: expected a list"},
        {"{guardImage: g, initImage: i, issuers: []}", "issuers: an empty list"},
        {"{guardImage: g, initImage: i, issuers: [{issuer: 'https://x'}]}",
         "issuers[0].audience: required"},
        {"{guardImage: g, initImage: i, issuers: [{issuer: 'https://x', audience: a, "
         "groupClaim: g}]}",
         "groupClaim: unknown field (did you mean groupsClaim?)"},
        {"{guardImage: g, initImage: i, issuers: [{issuer: 'https://x', audience: a, jwksFile: "
         "/k}]}",
         "issuers[0]: jwksFile: the guard of a pod has no such file"},
        {"{guardImage: g, initImage: i, issuers: [{issuer: 'http://127.0.0.1/x', audience: a}]}",
         "issuers[0]: http:// to this machine is the agent's own"},
        {"{guardImage: g, initImage: i, issuers: [{issuer: 'https://x', audience: a}, {issuer: "
         "'https://x', audience: b}]}",
         "issuers[1].issuer: 'https://x' is there twice"},
        {"{guardImage: g, initImage: i, certificateTimes: {overlap: 24h, renewBefore: 30h}}",
         "certificateTimes: renewBefore has to be longer"},
        {"{guardImage: g, initImage: i, certificateTimes: {caLifetime: 800h}}",
         "certificateTimes: caLifetime has to be"},
        {"{guardImage: g, initImage: i}\n---\n{}", "expected one document"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct error err;

        if (config_parse(bytes_str(rows[i][0]), "c.yaml", &c, &err) != -EINVAL ||
            !strstr(err.text, rows[i][1]))
            fail_msg("%s\n got: %s\nwant: %s", rows[i][0], c ? "(accepted)" : err.text, rows[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_review_is_read),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(answers_are_written),
        cmocka_unit_test(refusals_say_all_and_carry_no_patch),
        cmocka_unit_test(a_fresh_answer_is_a_refusal),
        cmocka_unit_test(configurations_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
