/* SPDX-License-Identifier: Apache-2.0
 * What no policy lifts, row by row, and beside each row what is nearly the same and passes.
 */
#include "sidecar/proto/kube/attributes.h"
#include "sidecar/proto/kube/body.h"
#include "sidecar/proto/kube/builtin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char policy[] =
    "apiVersion: chaperone.dev/v1alpha1\nkind: GuardTarget\nmetadata: {name: c, namespace: ns}\n"
    "spec: {protocol: kubernetes, hosts: [10.0.0.1], ports: [443], credentials: {secretRef: {name: "
    "login}}, tls: {caSecretRef: {name: cluster-ca, key: ca.crt}}}\n";

struct row {
    const char *method, *target, *body; /* NULL: none */
    bool apply;
    const char *why; /* words of the refusal; NULL: not refused */
};

#define API  "/api/v1/"
#define NS   "/api/v1/namespaces/shop/"
#define CHAP "/apis/chaperone.dev/v1alpha1/namespaces/ns/"
#define CRD  "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

static const struct row rows[] = {
    /* by resource */
    {"POST", CHAP "guardpolicies", "{}", false, "not the agent's to change"},
    {"PATCH", CHAP "approvalrequests/a/status", "{}", false, "not the agent's to change"},
    {"DELETE", CHAP "guardtargets", NULL, false, "not the agent's to change"},
    {"GET", CHAP "guardpolicies", NULL, false, NULL},
    {"POST", NS "serviceaccounts/a/token", "{}", false, "token of a service account"},
    {"GET", NS "serviceaccounts/a/token", NULL, false, "token of a service account"},
    {"GET", NS "serviceaccounts/a", NULL, false, NULL},
    {"GET", API "nodes/n/proxy/pods", NULL, false, "nodes/proxy"},
    {"POST", API "nodes/n/proxy/run/a/b/c", NULL, false, "nodes/proxy"},
    {"GET", API "nodes/n", NULL, false, NULL},
    {"GET", API "proxy/nodes/n/pods", NULL, false, "old proxy paths"},
    {"PATCH", NS "pods/p/ephemeralcontainers", "{}", false, "beside its guard"},
    {"GET", NS "pods/p/ephemeralcontainers", NULL, false, NULL},
    {"POST", NS "pods/p/binding", "{}", false, "scheduler's"},
    {"POST", NS "bindings", "{}", false, "scheduler's"},
    {"POST", NS "pods/p/eviction", "{}", false, NULL},
    {"DELETE", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/c", NULL, false,
     "keeps pods guarded"},
    {"PUT", "/apis/admissionregistration.k8s.io/v1beta1/validatingadmissionpolicies/c", "{}", false,
     "keeps pods guarded"},
    {"GET", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", NULL, false,
     NULL},
    {"POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", "{}", false, "certificate"},
    {"PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/a/approval", "{}", false,
     "certificate"},
    {"POST", "/apis/apiregistration.k8s.io/v1/apiservices", "{}", false, "APIService"},
    /* namespaces */
    {"POST", API "namespaces", "{\"metadata\":{\"name\":\"a\"}}", false, NULL},
    {"POST", API "namespaces", "{\"metadata\":{\"labels\":{\"chaperone.dev/inject\":\"x\"}}}",
     false, "labels chaperone.dev"},
    {"POST", API "namespaces", NULL, false, "labels chaperone.dev"},
    {"PUT", API "namespaces/shop", "{}", false, "replacing a namespace"},
    {"PUT", API "namespaces/shop/finalize", "{}", false, "replacing a namespace"},
    {"DELETE", API "namespaces/shop", NULL, false, NULL},
    {"PATCH", API "namespaces/shop", "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}", false, NULL},
    {"PATCH", API "namespaces/shop", "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}", true,
     "server-side apply of a namespace"},
    {"PATCH", API "namespaces/shop", "{\"metadata\":{\"labels\":{\"chaperone.dev/inject\":null}}}",
     false, "labels chaperone.dev"},
    {"PATCH", API "namespaces/shop", "{\"metadata\":{\"labels\":null}}", false, "labels"},
    {"PATCH", API "namespaces/shop", "{\"metadata\":{\"labels\":{\"$patch\":\"replace\"}}}", false,
     "labels"},
    {"PATCH", API "namespaces/shop", "{\"metadata\":{\"$patch\":\"replace\"}}", false, "labels"},
    {"PATCH", API "namespaces/shop", "{\"$patch\":\"replace\"}", false, "labels"},
    {"PATCH", API "namespaces/shop", "{\"metadata\":null}", false, "labels"},
    {"PATCH", API "namespaces/shop", "[{\"op\":\"add\",\"path\":\"/metadata/labels/a\"}]", false,
     NULL},
    {"PATCH", API "namespaces/shop", "[{\"op\":\"add\",\"path\":\"/metadata/annotations/a\"}]",
     false, NULL},
    {"PATCH", API "namespaces/shop",
     "[{\"op\":\"remove\",\"path\":\"/metadata/labels/chaperone.dev~1inject\"}]", false, "labels"},
    {"PATCH", API "namespaces/shop", "[{\"op\":\"remove\",\"path\":\"/metadata/labels\"}]", false,
     "labels"},
    {"PATCH", API "namespaces/shop", "[{\"op\":\"remove\",\"path\":\"/metadata\"}]", false,
     "labels"},
    {"PATCH", API "namespaces/shop", "[{\"op\":\"replace\",\"path\":\"\"}]", false, "labels"},
    {"PATCH", API "namespaces/shop", "[{\"op\":\"remove\",\"path\":\"x/metadata/labels\"}]", false,
     "labels"},
    {"PATCH", API "namespaces/shop",
     "[{\"op\":\"move\",\"from\":\"/metadata/labels/chaperone.dev~1inject\",\"path\":"
     "\"/metadata/labels/a\"}]",
     false, "labels"},
    {"PATCH", API "namespaces/shop", "[7]", false, "labels"},
    /* Secrets */
    {"GET", NS "secrets/app", NULL, false, NULL},
    {"GET", NS "secrets/login", NULL, false, "guard's own"},
    {"DELETE", NS "secrets/cluster-ca", NULL, false, "guard's own"},
    {"GET", NS "secrets/chaperone-ca", NULL, false, "guard's own"},
    {"GET", NS "secrets?fieldSelector=metadata.name%3Dlogin", NULL, false, "guard's own"},
    {"POST", NS "secrets", "{\"type\":\"kubernetes.io/service-account-token\"}", false, "token"},
    {"POST", NS "secrets", "{\"type\":\"Opaque\",\"data\":{\"a\":\"YQ==\"}}", false, NULL},
    {"PUT", NS "secrets/app", "{\"data\":{\"a\":\"KioqKg==\"}}", false, "masked values"},
    {"PATCH", NS "secrets/app", "{\"stringData\":{\"a\":\"****\"}}", false, "masked values"},
    {"PATCH", NS "secrets/app", "[{\"op\":\"test\",\"path\":\"/data/a\"}]", false, "only add"},
    {"PATCH", NS "secrets/app", "[{\"op\":\"copy\",\"path\":\"/data/a\"}]", false, "only add"},
    {"PATCH", NS "secrets/app", "[{\"op\":\"add\",\"path\":\"/data/a\"},{\"path\":\"/data/b\"}]",
     false, "only add"},
    {"PATCH", NS "secrets/app", "[{\"op\":\"replace\",\"path\":\"/data/a\"}]", false, NULL},
    {"PATCH", NS "secrets/app", "{\"data\":{\"a\":\"YQ==\"}}", true, "--force-conflicts"},
    {"PATCH", NS "secrets/app?force=true", "{\"data\":{\"a\":\"YQ==\"}}", true, NULL},
    /* kinds of policies */
    {"DELETE", CRD "/guardpolicies.chaperone.dev", NULL, false, "no policy"},
    {"PATCH", CRD "/guardtargets.chaperone.dev/status", "{}", false, "no policy"},
    {"DELETE", CRD, NULL, false, "no policy"},
    {"DELETE", CRD "/widgets.example.com", NULL, false, NULL},
    {"GET", CRD "/guardpolicies.chaperone.dev", NULL, false, NULL},
    {"POST", CRD, "{\"spec\":{\"group\":\"chaperone.dev\"}}", false, "no policy"},
    {"POST", CRD, "{\"spec\":{\"group\":\"example.com\"}}", false, NULL},
    /* into the guard */
    {"GET", NS "pods/p/exec?container=chaperone&command=id", NULL, false, "guard's own containers"},
    {"GET", NS "pods/p/attach?container=chaperone-init", NULL, false, "guard's own containers"},
    {"GET", NS "pods/p/exec?container=app&command=id", NULL, false, NULL},
    {"GET", NS "pods/p/log?container=chaperone", NULL, false, NULL},
};

struct request {
    struct arena arena;
    struct kubepath path;
    struct kube_act act;
    struct builtin_facts facts;
};

static void make(struct request *q, const struct row *row, const struct policy_snapshot *s)
{
    struct error err = {""};
    const char *force;

    *q = (struct request){0};
    arena_init(&q->arena, 1 << 20);
    assert_int_equal(kubepath_parse(bytes_str(row->target), &q->arena, &q->path, &err), 0);
    assert_int_equal(attributes_derive(bytes_str(row->method), &q->path, &q->arena, &q->act, &err),
                     0);
    force = kubepath_query(&q->path, "force", NULL);
    q->facts = (struct builtin_facts){.act = &q->act,
                                      .apply = row->apply,
                                      .forced = force && strcmp(force, "true") == 0,
                                      .container = kubepath_query(&q->path, "container", NULL),
                                      .namespace_ = "ns",
                                      .snapshot = s};
    if (row->body && kubebody_parse(bytes_str(row->body), &q->facts.body, &err) != 0)
        fail_msg("%s: %s", row->body, err.text);
    q->facts.json_patch = json_object_is_type(q->facts.body, json_type_array);
}

static void drop(struct request *q)
{
    json_object_put(q->facts.body);
    arena_done(&q->arena);
}

static struct policy_snapshot *load(void)
{
    struct policy_snapshot *s = NULL;
    struct error err = {""};

    if (policy_load_text(bytes_str(policy), "test", &s, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static void test_denials(void **state)
{
    struct policy_snapshot *s = load();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct request q;
        const char *why;

        make(&q, &rows[i], s);
        why = builtin_denies(&q.facts);
        if (!why != !rows[i].why || (why && !strstr(why, rows[i].why)))
            fail_msg("%s %s %s: %s", rows[i].method, rows[i].target,
                     rows[i].body ? rows[i].body : "", why ? why : "not refused");
        drop(&q);
    }
    policy_snapshot_unref(s);
}

/* Objects that a Mask rule may concern. */
static void test_masked_objects(void **state)
{
    static const struct row masked[] = {
        {"PATCH", NS "configmaps/m", "[{\"op\":\"copy\",\"from\":\"/data/a\",\"path\":\"/b\"}]",
         false, "add, replace and remove"},
        {"PATCH", NS "configmaps/m", "[{\"op\":\"move\",\"from\":\"/data/a\",\"path\":\"/b\"}]",
         false, "add, replace and remove"},
        {"PATCH", NS "configmaps/m", "[{\"op\":\"test\",\"path\":\"/data/a\",\"value\":\"b\"}]",
         false, "add, replace and remove"},
        {"PUT", NS "configmaps/m", "{\"data\":{\"a\":\"****\"}}", false, "overwrite"},
        {"PATCH", NS "configmaps/m", "{\"binaryData\":{\"a\":\"KioqKg==\"}}", true, "overwrite"},
        {"PATCH", NS "configmaps/m", "{\"data\":{\"a\":\"b\"}}", false, NULL},
    };
    struct policy_snapshot *s = load();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(masked); i++) {
        struct request q;
        const char *why;

        make(&q, &masked[i], s);
        assert_null(builtin_denies(&q.facts));
        q.facts.masked = true;
        why = builtin_denies(&q.facts);
        if (!why != !masked[i].why || (why && !strstr(why, masked[i].why)))
            fail_msg("%s: %s", masked[i].body, why ? why : "not refused");
        drop(&q);
    }
    policy_snapshot_unref(s);
}

#define TEMPLATE(inside) "{\"spec\":{\"template\":{\"spec\":{" inside "}}}}"

static const struct {
    const char *method, *target, *body, *risk;
    bool elsewhere;
} templates[] = {
    {"POST", API "namespaces/ns/pods", "{\"spec\":{\"hostPID\":true}}", "processes", false},
    {"POST", API "namespaces/ns/pods", "{\"spec\":{\"hostPID\":false,\"hostIPC\":null}}", NULL,
     false},
    {"POST", API "namespaces/ns/pods", "{\"spec\":{\"serviceAccountName\":\"default\"}}", NULL,
     false},
    {"POST", API "namespaces/ns/pods", "{\"spec\":{\"serviceAccountName\":\"admin\"}}",
     "service account", false},
    {"POST", NS "pods", "{}", NULL, true},
    {"POST", NS "services", "{\"spec\":{\"hostPath\":1}}", NULL, false},
    {"POST", NS "replicationcontrollers", TEMPLATE("\"hostNetwork\":true"), "network", true},
    {"POST", NS "podtemplates", "{\"template\":{\"spec\":{\"volumes\":[{\"hostPath\":{}}]}}}",
     "directory of the node", true},
    {"POST", "/apis/apps/v1/namespaces/ns/deployments",
     TEMPLATE("\"volumes\":[{\"secret\":{\"secretName\":\"a\"}}]"), "mounts a Secret", false},
    {"PUT", "/apis/apps/v1/namespaces/ns/statefulsets/s",
     TEMPLATE("\"containers\":[{\"envFrom\":[{\"secretRef\":{\"name\":\"a\"}}]}]"),
     "reads a Secret", false},
    {"PATCH", "/apis/apps/v1/namespaces/ns/daemonsets/d",
     TEMPLATE("\"containers\":[{\"env\":[{\"valueFrom\":{\"secretKeyRef\":{}}}]}]"),
     "reads a Secret", false},
    {"POST", "/apis/apps/v1/namespaces/ns/replicasets",
     TEMPLATE("\"containers\":[{\"securityContext\":{\"privileged\":true}}]"), "privileged", false},
    {"POST", "/apis/batch/v1/namespaces/ns/jobs", TEMPLATE("\"volumes\":[{\"csi\":{}}]"), "driver",
     false},
    {"POST", "/apis/batch/v1/namespaces/ns/cronjobs",
     "{\"spec\":{\"jobTemplate\":" TEMPLATE("\"volumes\":[{\"projected\":{\"sources\":[{"
                                            "\"serviceAccountToken\":{}}]}}]") "}}",
     "token", false},
    {"PATCH", "/apis/apps/v1/namespaces/ns/deployments/d",
     "[{\"op\":\"add\",\"path\":\"/spec/template/spec/volumes/0/hostPath/path\",\"value\":\"/\"}]",
     "directory of the node", false},
    {"PATCH", "/apis/apps/v1/namespaces/ns/deployments/d",
     "[{\"op\":\"copy\",\"from\":\"/spec/a\",\"path\":\"/spec/template/spec/b\"}]",
     "copies or moves", false},
    {"PATCH", "/apis/apps/v1/namespaces/ns/deployments/d",
     "[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3}]", NULL, false},
    {"PATCH", "/apis/apps/v1/namespaces/ns/deployments/d/scale", "{\"spec\":{\"replicas\":3}}",
     NULL, false},
    {"DELETE", NS "pods/p", NULL, NULL, false},
};

static void test_templates(void **state)
{
    struct policy_snapshot *s = load();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(templates); i++) {
        const struct row row = {templates[i].method, templates[i].target, templates[i].body, false,
                                NULL};
        struct request q;
        const char *risk;

        make(&q, &row, s);
        risk = builtin_risk(&q.facts);
        if (!risk != !templates[i].risk || (risk && !strstr(risk, templates[i].risk)) ||
            builtin_starts_pods_elsewhere(&q.facts) != templates[i].elsewhere)
            fail_msg("%s %s: %s", row.method, row.target, risk ? risk : "no risk");
        drop(&q);
    }
    policy_snapshot_unref(s);
}

/* Bodies that are not JSON are refused where this says so, and forwarded unread elsewhere. */
static void test_what_has_to_be_read(void **state)
{
    static const struct {
        const char *method, *target;
        bool read;
    } requests[] = {
        {"POST", NS "pods", true},
        {"PUT", "/apis/batch/v1/namespaces/ns/cronjobs/c", true},
        {"POST", NS "secrets", true},
        {"PATCH", API "namespaces/shop", true},
        {"POST", CRD, true},
        {"DELETE", NS "secrets/s", false},
        {"DELETE", API "namespaces/shop", false},
        {"POST", NS "pods/p/eviction", false},
        {"POST", NS "events", false},
        {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false},
    };
    struct policy_snapshot *s = load();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        const struct row row = {requests[i].method, requests[i].target, NULL, false, NULL};
        struct request q;

        make(&q, &row, s);
        if (builtin_reads_body(&q.act) != requests[i].read)
            fail_msg("%s %s", row.method, row.target);
        drop(&q);
    }
    policy_snapshot_unref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_denials),
        cmocka_unit_test(test_masked_objects),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_what_has_to_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
