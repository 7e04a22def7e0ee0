/* SPDX-License-Identifier: Apache-2.0
 * Answers, cut at every place, come out the same, and no canary with them.
 */
#include "sidecar/proto/kube/body.h"
#include "sidecar/proto/kube/cut.h"
#include "sidecar/proto/kube/mask.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char policy[] =
    "apiVersion: chaperone.dev/v1alpha1\nkind: GuardTarget\nmetadata: {name: c, namespace: ns}\n"
    "spec: {protocol: kubernetes, hosts: [10.0.0.1], ports: [443]}\n---\n"
    "apiVersion: chaperone.dev/v1alpha1\nkind: GuardPolicy\nmetadata: {name: p, namespace: ns}\n"
    "spec:\n  rules:\n"
    "  - {name: all, action: Allow, kube: {resources: [\"*\"]}}\n"
    "  - {name: maps, action: Mask, kube: {resources: [configmaps], names: [\"x*\"]}}\n"
    "  - {name: env, action: Mask, kube: {resources: [pods], env: [\"*PASS*\"], "
    "fields: [\".spec.containers[*].image\", \".metadata.labels['a.b']\", \".status.*\"]}}\n"
    "  - {name: values, action: Mask, values: {detectors: [awsAccessKey]}}\n";

struct fixture {
    struct policy_snapshot *snapshot;
    struct policy_view *view;
    struct masker *masker;
};

static int setup(void **state)
{
    static struct fixture f;
    static const struct agent agent = {.namespace_ = "ns", .pod = "p", .service_account = "s"};
    static const uint8_t key[32] = {1};
    struct error err = {""};

    if (policy_load_text(bytes_str(policy), "test", &f.snapshot, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(
        policy_view_new(f.snapshot, &agent, policy_target_at(f.snapshot, 0), NULL, &f.view), 0);
    assert_int_equal(masker_new(key, &f.masker), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    policy_view_unref(f->view);
    policy_snapshot_unref(f->snapshot);
    masker_free(f->masker);
    return 0;
}

static struct kube_act act_on(const char *resource)
{
    return (struct kube_act){.verb = "get",
                             .api_verb = "get",
                             .group = "",
                             .version = "v1",
                             .resource = resource,
                             .subresource = "",
                             .namespace_ = "",
                             .name = "",
                             .url = ""};
}

/* Masks text that arrives in two parts. */
static int run(struct fixture *f, const char *resource, enum kubecut_mode mode, const char *text,
               size_t at, struct buffer *out)
{
    struct kube_act act = act_on(resource);
    struct kubemask m;
    struct kubecut c;
    size_t n = strlen(text);
    int rc;

    assert_int_equal(kubemask_init(&m, f->view, &act, f->masker), 0);
    kubecut_init(&c, mode);
    buffer_init(out, 1 << 20);
    rc = kubecut_feed(&c, bytes_of(text, at), kubemask_piece, &m, out);
    if (rc == 0)
        rc = kubecut_feed(&c, bytes_of(text + at, n - at), kubemask_piece, &m, out);
    if (rc == 0 && !kubecut_complete(&c))
        rc = -EAGAIN;
    kubecut_done(&c);
    kubemask_done(&m);
    return rc;
}

static const struct {
    const char *resource;
    enum kubecut_mode mode;
    const char *in, *out;
} rows[] = {
    {"secrets", KUBECUT_VALUES,
     "{\"kind\":\"Secret\",\"data\":{\"p\":\"CANARY=\"},\"stringData\":{\"q\":\"CANARY\"}}\n",
     "{\"kind\":\"Secret\",\"data\":{\"p\":\"KioqKg==\"},\"stringData\":{\"q\":\"****\"}}\n"},
    {"secrets", KUBECUT_VALUES, "{\"data\":\"CANARY\"}", "{\"data\":\"****\"}"},
    {"secrets", KUBECUT_VALUES, "{\"data\":[\"CANARY\"],\"stringData\":7}",
     "{\"data\":\"****\",\"stringData\":\"****\"}"},
    {"secrets", KUBECUT_VALUES, "{\"data\":{\"a\":{\"b\":\"CANARY\"}}}",
     "{\"data\":{\"a\":\"KioqKg==\"}}"},
    {"pods", KUBECUT_VALUES, "{\"data\":{\"a\":\"CANARY\"},\"kind\":\"Secret\"}",
     "{\"data\":{\"a\":\"KioqKg==\"},\"kind\":\"Secret\"}"},
    {"secrets", KUBECUT_VALUES,
     "{\"type\":\"Opaque\",\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/"
     "last-applied-configuration\":"
     "\"{\\\"kind\\\":\\\"Secret\\\",\\\"stringData\\\":{\\\"p\\\":\\\"CANARY\\\"}}\\n\"}}}",
     "{\"type\":\"Opaque\",\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/"
     "last-applied-configuration\":"
     "\"{\\\"kind\\\":\\\"Secret\\\",\\\"stringData\\\":{\\\"p\\\":\\\"****\\\"}}\"}}}"},
    {"secrets", KUBECUT_VALUES,
     "{\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/"
     "last-applied-configuration\":\"CANARY\"}}}",
     "{\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/"
     "last-applied-configuration\":\"****\"}}}"},
    {"secrets", KUBECUT_LIST,
     "{\"kind\":\"SecretList\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{\"data\":{"
     "\"a\":\"CANARY\"}} , "
     "{\"data\":{\"]}\\\"\":\"CANARY\"}}]}",
     "{\"kind\":\"SecretList\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{\"data\":{"
     "\"a\":\"KioqKg==\"}} , "
     "{\"data\":{\"]}\\\"\":\"KioqKg==\"}}]}"},
    {"secrets", KUBECUT_LIST, "{\"items\":[],\"metadata\":{}}", "{\"items\":[],\"metadata\":{}}"},
    {"secrets", KUBECUT_LIST, "{\"items\":null}", "{\"items\":null}"},
    {"secrets", KUBECUT_LIST,
     "{\"kind\":\"Table\",\"columnDefinitions\":[{\"name\":\"Data\"}],\"rows\":[{\"cells\":[\"a\","
     "1],\"object\":"
     "{\"metadata\":{\"name\":\"a\"},\"data\":{\"a\":\"CANARY\"}}}]}",
     "{\"kind\":\"Table\",\"columnDefinitions\":[{\"name\":\"Data\"}],\"rows\":[{\"cells\":[\"a\","
     "1],\"object\":"
     "{\"metadata\":{\"name\":\"a\"},\"data\":{\"a\":\"KioqKg==\"}}}]}"},
    {"secrets", KUBECUT_VALUES,
     "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Secret\",\"data\":{\"a\":\"CANARY\"}}}\n"
     "{\"type\":\"MODIFIED\",\"object\":{\"data\":{\"a\":\"CANARY\"}}}\n",
     "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Secret\",\"data\":{\"a\":\"KioqKg==\"}}}\n"
     "{\"type\":\"MODIFIED\",\"object\":{\"data\":{\"a\":\"KioqKg==\"}}}\n"},
    {"secrets", KUBECUT_VALUES,
     "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Table\",\"rows\":[{\"object\":{\"data\":{\"a\":"
     "\"CANARY\"}}}]}}",
     "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Table\",\"rows\":[{\"object\":{\"data\":{\"a\":"
     "\"KioqKg==\"}}}]}}"},
    {"configmaps", KUBECUT_VALUES,
     "{\"metadata\":{\"name\":\"x1\"},\"data\":{\"a\":\"CANARY\"},\"binaryData\":{\"b\":\"CANARY\"}"
     "}",
     "{\"metadata\":{\"name\":\"x1\"},\"data\":{\"a\":\"****\"},\"binaryData\":{\"b\":\"KioqKg==\"}"
     "}"},
    {"configmaps", KUBECUT_VALUES,
     "{\"metadata\":{\"name\":\"y\"},\"data\":{\"a\":\"open\"},\"n\":[1.50,9007199254740993,-1,1e3]"
     "}",
     "{\"metadata\":{\"name\":\"y\"},\"data\":{\"a\":\"open\"},\"n\":[1.50,9007199254740993,-1,1e3]"
     "}"},
    {"pods", KUBECUT_VALUES,
     "{\"metadata\":{\"labels\":{\"a.b\":\"CANARY\",\"c\":\"d\"}},\"spec\":{\"containers\":[{"
     "\"image\":\"CANARY\",\"env\":"
     "[{\"name\":\"DB_PASSWORD\",\"value\":\"CANARY\"},{\"name\":\"B\",\"value\":\"c\"}]}]},"
     "\"status\":{\"x\":{\"y\":\"CANARY\"}}}",
     "{\"metadata\":{\"labels\":{\"a.b\":\"****\",\"c\":\"d\"}},\"spec\":{\"containers\":[{"
     "\"image\":\"****\",\"env\":"
     "[{\"name\":\"DB_PASSWORD\",\"value\":\"****\"},{\"name\":\"B\",\"value\":\"c\"}]}]},"
     "\"status\":{\"x\":\"****\"}}"},
    /* a failure's message may quote the stored object; a Secret's managedFields tell of equality */
    {"secrets", KUBECUT_VALUES,
     "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"CANARY\",\"reason\":\"Invalid\","
     "\"details\":{\"causes\":[{\"reason\":\"FieldValueInvalid\",\"message\":\"CANARY\",\"field\":"
     "\"patch\"}]},\"code\":422}",
     "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"the API server refuses it "
     "(Invalid): "
     "patch: FieldValueInvalid; its message is withheld, because it may quote masked "
     "values\",\"reason\":\"Invalid\",\"details\":{\"causes\":[{\"reason\":\"FieldValueInvalid\","
     "\"message\":\"withheld: it may quote masked values\",\"field\":\"patch\"}]},\"code\":422}"},
    {"secrets", KUBECUT_VALUES,
     "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"message\":\"CANARY\"}}",
     "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"message\":\"the API server refuses it "
     "(): "
     "its message is withheld, because it may quote masked values\"}}"},
    {"secrets", KUBECUT_VALUES,
     "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"secrets \\\"x\\\" not "
     "found\",\"reason\":\"NotFound\"}",
     "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"secrets \\\"x\\\" not "
     "found\",\"reason\":\"NotFound\"}"},
    {"services", KUBECUT_VALUES, "{\"kind\":\"Status\",\"message\":\"a\",\"reason\":\"Invalid\"}",
     "{\"kind\":\"Status\",\"message\":\"a\",\"reason\":\"Invalid\"}"},
    {"secrets", KUBECUT_VALUES,
     "{\"metadata\":{\"name\":\"a\",\"managedFields\":[{\"manager\":\"CANARY\"}]},\"data\":{}}",
     "{\"metadata\":{\"name\":\"a\"},\"data\":{}}"},
    /* values again in annotations: in clear, as they are stored, as YAML without the object */
    {"secrets", KUBECUT_VALUES,
     "{\"metadata\":{\"annotations\":{\"a\":\"x CANARY y\",\"b\":\"eCBDQU5BUlk= "
     "Q0FOQVJZ\",\"c\":\"plain\",\"d\":\" {bad "
     "CANARY\"}},\"data\":{\"p\":\"Q0FOQVJZ\",\"q\":\"YQ==\"}}",
     "{\"metadata\":{\"annotations\":{\"a\":\"****\",\"b\":\"****\",\"c\":\"plain\",\"d\":\"****\"}"
     "},"
     "\"data\":{\"p\":\"KioqKg==\",\"q\":\"KioqKg==\"}}"},
    {"secrets", KUBECUT_LIST,
     "{\"kind\":\"PartialObjectMetadataList\",\"items\":[{\"metadata\":{\"annotations\":{\"a\":"
     "\"CANARY\"}}}]}",
     "{\"kind\":\"PartialObjectMetadataList\",\"items\":[{\"metadata\":{\"annotations\":{\"a\":"
     "\"****\"}}}]}"},
    {"secrets", KUBECUT_VALUES,
     "{\"type\":\"Opaque\",\"metadata\":{\"annotations\":{\"a\":\"kept\"}}}",
     "{\"type\":\"Opaque\",\"metadata\":{\"annotations\":{\"a\":\"kept\"}}}"},
    {"secrets", KUBECUT_VALUES,
     "{\"metadata\":{\"annotations\":{\"a\":\"kind: Secret\\ndata:\\n  p: CANARY\"}}}",
     "{\"metadata\":{\"annotations\":{\"a\":\"****\"}}}"},
    /* the end of the first events of a watch; anybody else's annotation there is not known */
    {"secrets", KUBECUT_VALUES,
     "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Secret\",\"metadata\":{\"annotations\":{\"k8s."
     "io/initial-events-end\":\"true\",\"a\":\"CANARY\"}}}}",
     "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Secret\",\"metadata\":{\"annotations\":{\"k8s."
     "io/initial-events-end\":\"true\",\"a\":\"****\"}}}}"},
    {"secrets", KUBECUT_VALUES,
     "{\"metadata\":{\"annotations\":{\"k8s.io/initial-events-end\":\"CANARY\"}}}",
     "{\"metadata\":{\"annotations\":{\"k8s.io/initial-events-end\":\"****\"}}}"},
    /* members twice or in disguise, as no API server writes them */
    {"secrets", KUBECUT_VALUES, "{\"data\":{\"a\":\"CANARY\"},\"data\":{\"a\":\"CANARY\"}}",
     "{\"data\":{\"a\":\"KioqKg==\"}}"},
    {"secrets", KUBECUT_VALUES, "{\"d\\u0061ta\":{\"a\":\"CANARY\"}}",
     "{\"data\":{\"a\":\"KioqKg==\"}}"},
    /* a copy that does not say its name is that of the object around it */
    {"configmaps", KUBECUT_VALUES,
     "{\"metadata\":{\"name\":\"x1\",\"annotations\":{\"kubectl.kubernetes.io/"
     "last-applied-configuration\":\"{\\\"data\\\":{\\\"a\\\":\\\"CANARY\\\"}}\"}}}",
     "{\"metadata\":{\"name\":\"x1\",\"annotations\":{\"kubectl.kubernetes.io/"
     "last-applied-configuration\":\"{\\\"data\\\":{\\\"a\\\":\\\"****\\\"}}\"}}}"},
    {"services", KUBECUT_VALUES, "{\"metadata\":{\"x\":\"key AKIAIOSFODNN7EXAMPLE end\"}}",
     "{\"metadata\":{\"x\":\"key [awsAccessKey] end\"}}"},
};

static void test_every_split(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t at = 0; at <= strlen(rows[i].in); at++) {
            struct buffer out;
            int rc = run(*state, rows[i].resource, rows[i].mode, rows[i].in, at, &out);

            if (rc || !bytes_eq_str(buffer_bytes(&out), rows[i].out))
                fail_msg("row %zu at %zu: %d\n%.*s\n%s", i, at, rc, (int)buffer_len(&out),
                         out.p ? (char *)out.p + out.start : "", rows[i].out);
            buffer_done(&out);
        }
    }
}

/* What is no list as it should be is cut before anything of an object has passed. */
static void test_lists_that_are_none(void **state)
{
    static const char *const texts[] = {
        "{\"kind\":\"Secret\",\"data\":{\"a\":\"CANARY\"}}",
        "{\"data\":{\"a\":\"CANARY\"},\"items\":[]}",
        "{\"items\":{\"a\":{\"data\":\"CANARY\"}}}",
        "{\"items\":\"CANARY\"}",
        "{\"items\":[\"CANARY\"]}",
        "{\"items\":[[{\"data\":\"CANARY\"}]]}",
        "{\"it\\u0065ms\":[{\"data\":\"CANARY\"}]}",
        "{\"items\":[]}{\"data\":\"CANARY\"}",
        "[{\"data\":\"CANARY\"}]",
        "\"CANARY\"",
        "{\"items\":[{\"data\":{\"a\":\"CANARY\"}",
        "{\"items\":[{\"data\":{\"a\":\"CANARY\",}}]}x}}",
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (size_t at = 0; at <= strlen(texts[i]); at++) {
            struct buffer out;
            int rc = run(*state, "secrets", KUBECUT_LIST, texts[i], at, &out);

            if (rc == 0 || (out.p && memmem(out.p, out.end, "CANARY", 6)))
                fail_msg("%s at %zu: %d", texts[i], at, rc);
            buffer_done(&out);
        }
    }
}

static void test_values_that_are_none(void **state)
{
    static const char *const texts[] = {
        "\"CANARY\"",        "[{\"data\":\"CANARY\"}]", "CANARY",
        "{\"data\":CANARY}", "{\"data\":\"CANARY\"",    "{\"data\":{\"a\":\"CANARY\"}}}"};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct buffer out;
        int rc = run(*state, "secrets", KUBECUT_VALUES, texts[i], 0, &out);

        assert_int_not_equal(rc, 0);
        assert_true(!out.p || !memmem(out.p, out.end, "CANARY", 6));
        buffer_done(&out);
    }
}

static void test_bodies(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } bodies[] = {
        {"{\"a\":1,\"b\":[{\"a\":\":\"}]}", true},
        {" [{\"op\":\"add\"}]\n", true},
        {"{\"a\":1,\"a\":2}", false},
        {"{\"b\":{\"a\":1,\"\\u0061\":2}}", false},
        {"{\"a\\u0000b\":1}", false},
        {"{\"a\":1} {}", false},
        {"{\"a\":1,}", false},
        {"{'a':1}", false},
        {"{\"a\":NaN}", false},
        {"{/* */\"a\":1}", false},
        {"a: 1", false},
        {"\"text\"", false},
        {"7", false},
        {"", false},
        {"{\"a\":\"\xff\"}", false},
        {"{\"a\":\"\x01\"}", false},
        {"k8s\x01", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct json_object *o = NULL;
        struct error err = {""};
        int rc = kubebody_parse(bytes_str(bodies[i].text), &o, &err);

        if ((rc == 0) != bodies[i].ok || (rc && !err.text[0]))
            fail_msg("%s: %d %s", bodies[i].text, rc, err.text);
        json_object_put(o);
    }
}

/* A stream goes on after its policy has been replaced: what its mask needs is still there. */
static void test_outlives_the_view(void **state)
{
    struct fixture *f = *state;
    static const struct agent agent = {.namespace_ = "ns", .pod = "p", .service_account = "s"};
    static const char event[] = "{\"kind\":\"Pod\",\"metadata\":{\"labels\":{\"a.b\":\"CANARY\"}}}";
    struct kube_act act = act_on("pods"), maps = act_on("configmaps");
    struct policy_snapshot *s = NULL;
    struct policy_view *v = NULL;
    struct error err = {""};
    struct kubemask m, other;
    struct buffer out;

    assert_int_equal(policy_load_text(bytes_str(policy), "test", &s, &err), 0);
    assert_int_equal(policy_view_new(s, &agent, policy_target_at(s, 0), NULL, &v), 0);
    assert_int_equal(kubemask_init(&m, v, &act, f->masker), 0);
    policy_view_unref(v);
    policy_snapshot_unref(s);
    buffer_init(&out, 1 << 16);
    assert_int_equal(kubemask_piece(bytes_str(event), &out, &m), 0);
    assert_null(memmem(out.p, out.end, "CANARY", 6));
    assert_true(kubemask_same(&m, f->view, &act));
    assert_false(kubemask_same(&m, f->view, &maps));
    assert_int_equal(kubemask_init(&other, f->view, &maps, f->masker), 0);
    assert_false(kubemask_same(&other, f->view, &act));
    kubemask_done(&other);
    kubemask_done(&m);
    buffer_done(&out);
}

static void test_who_gets_tables(void **state)
{
    struct fixture *f = *state;
    struct kube_act pods = act_on("pods"), maps = act_on("configmaps"),
                    custom = act_on("configmaps");

    custom.group = "example.com";
    assert_false(kubemask_tables(f->view, &pods)); /* fields */
    assert_false(kubemask_tables(f->view, &custom));
    assert_true(kubemask_tables(f->view, &maps));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_split),          cmocka_unit_test(test_lists_that_are_none),
        cmocka_unit_test(test_values_that_are_none), cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_outlives_the_view),    cmocka_unit_test(test_who_gets_tables),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
