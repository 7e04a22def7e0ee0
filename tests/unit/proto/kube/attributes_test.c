/* SPDX-License-Identifier: Apache-2.0
 * Rows as the API server itself derives them (its request info resolver).
 */
#include "sidecar/proto/kube/attributes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct row {
    const char *method, *target;
    const char *verb, *group, *resource, *subresource, *namespace_, *name;
};

static const struct row rows[] = {
    {"GET", "/api/v1/namespaces", "list", "", "namespaces", "", "", ""},
    {"GET", "/api/v1/namespaces/other", "get", "", "namespaces", "", "other", "other"},
    {"PUT", "/api/v1/namespaces/other/finalize", "update", "", "namespaces", "finalize", "other",
     "other"},
    {"PATCH", "/api/v1/namespaces/other/status", "patch", "", "namespaces", "status", "other",
     "other"},
    {"GET", "/api/v1/namespaces/other/pods", "list", "", "pods", "", "other", ""},
    {"GET", "/api/v1/namespaces/other/pods/foo", "get", "", "pods", "", "other", "foo"},
    {"HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "pods", "", "other", "foo"},
    {"GET", "/api/v1/pods", "list", "", "pods", "", "", ""},
    {"HEAD", "/api/v1/pods", "list", "", "pods", "", "", ""},
    {"GET", "/api/v1/namespaces/other/pods/foo/log", "get", "", "pods", "log", "other", "foo"},
    {"POST", "/api/v1/namespaces/other/pods", "create", "", "pods", "", "other", ""},
    {"PUT", "/api/v1/namespaces/other/pods/foo", "update", "", "pods", "", "other", "foo"},
    {"PATCH", "/api/v1/namespaces/other/pods/foo", "patch", "", "pods", "", "other", "foo"},
    {"DELETE", "/api/v1/namespaces/other/pods/foo", "delete", "", "pods", "", "other", "foo"},
    {"DELETE", "/api/v1/namespaces/other/pods", "deletecollection", "", "pods", "", "other", ""},
    {"DELETE", "/api/v1/nodes", "deletecollection", "", "nodes", "", "", ""},
    {"GET", "/api/v1/watch/pods", "watch", "", "pods", "", "", ""},
    {"GET", "/api/v1/watch/namespaces/other/pods", "watch", "", "pods", "", "other", ""},
    {"GET", "/api/v1/watch/namespaces/other/pods/foo", "watch", "", "pods", "", "other", "foo"},
    {"GET", "/api/v1/pods?watch=true", "watch", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch=banana", "watch", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch=", "watch", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch", "watch", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch=1", "watch", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch=false", "list", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch=FALSE", "list", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch=0", "list", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods/foo?watch=true", "get", "", "pods", "", "", "foo"},
    {"GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dfoo", "list", "", "pods", "",
     "a", "foo"},
    {"GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name==foo&watch=1", "watch", "",
     "pods", "", "a", "foo"},
    {"GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name!=foo", "list", "", "pods", "",
     "a", ""},
    {"GET", "/api/v1/namespaces/a/pods?fieldSelector=a%3Db%2Cmetadata.name%3Dfoo", "list", "",
     "pods", "", "a", "foo"},
    {"GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dfoo%2Fbar", "list", "", "pods",
     "", "a", ""},
    {"GET", "/api/v1/pods?watch=T", "watch", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods?watch=+", "watch", "", "pods", "", "", ""},
    /* with an escape in it the selector names nobody */
    {"GET", "/api/v1/pods?fieldSelector=metadata.namespace!%3Da%5C,metadata.name%3Dfoo", "list", "",
     "pods", "", "", ""},
    {"GET", "/api/v1/pods?fieldSelector=metadata.name%3Dfo%5Co", "list", "", "pods", "", "", ""},
    {"DELETE", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dfoo", "deletecollection",
     "", "pods", "", "a", ""},
    {"POST", "/api/v1/namespaces/a/pods/foo/exec?command=ls", "connect", "", "pods", "exec", "a",
     "foo"},
    {"GET", "/api/v1/namespaces/a/pods/foo/exec?command=ls", "connect", "", "pods", "exec", "a",
     "foo"},
    {"GET", "/api/v1/namespaces/a/pods/foo/attach", "connect", "", "pods", "attach", "a", "foo"},
    {"GET", "/api/v1/namespaces/a/pods/foo/portforward", "connect", "", "pods", "portforward", "a",
     "foo"},
    {"GET", "/api/v1/namespaces/a/pods/foo/proxy/metrics/", "connect", "", "pods", "proxy", "a",
     "foo"},
    {"DELETE", "/api/v1/namespaces/a/services/foo/proxy", "connect", "", "services", "proxy", "a",
     "foo"},
    {"GET", "/api/v1/nodes/n/proxy/pods", "connect", "", "nodes", "proxy", "", "n"},
    {"POST", "/api/v1/namespaces/a/pods/foo/eviction", "create", "", "pods", "eviction", "a",
     "foo"},
    {"PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "patch", "apps", "deployments",
     "scale", "a", "d"},
    {"GET", "/apis/apps/v1/deployments", "list", "apps", "deployments", "", "", ""},
    {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "create",
     "authorization.k8s.io", "selfsubjectaccessreviews", "", "", ""},
    {"POST", "/api/v1/namespaces/a/serviceaccounts/x/token", "create", "", "serviceaccounts",
     "token", "a", "x"},
    {"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", "get",
     "rbac.authorization.k8s.io", "clusterroles", "", "", "system:node"},
    {"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode", "get",
     "rbac.authorization.k8s.io", "clusterroles", "", "", "system:node"},
};

static int derive(const char *method, const char *target, struct arena *a, struct kube_act *act)
{
    struct kubepath path;
    struct error err = {""};
    int rc = kubepath_parse(bytes_str(target), a, &path, &err);

    if (rc == 0)
        rc = attributes_derive(bytes_str(method), &path, a, act, &err);
    assert_true(rc == 0 || err.text[0]);
    return rc;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct kube_act act;
        struct arena a;

        arena_init(&a, 1 << 20);
        if (derive(r->method, r->target, &a, &act) != 0)
            fail_msg("%s %s", r->method, r->target);
        if (strcmp(act.verb, r->verb))
            fail_msg("%s %s: %s", r->method, r->target, act.verb);
        assert_string_equal(act.group, r->group);
        assert_string_equal(act.resource, r->resource);
        assert_string_equal(act.subresource, r->subresource);
        assert_string_equal(act.namespace_, r->namespace_);
        if (strcmp(act.name, r->name))
            fail_msg("%s %s: name %s", r->method, r->target, act.name);
        assert_false(act.discovery);
        arena_done(&a);
    }
}

static void test_refused(void **state)
{
    static const char *const targets[] = {
        "",
        "api/v1/pods",
        "*",
        "http://a/api/v1/pods",
        "//api/v1/pods",
        "/api//v1/pods",
        "/api/v1/pods/",
        "/api/v1/./pods",
        "/api/v1/x/../secrets",
        "/api/v1/%2e/pods",
        "/api/v1/%2e%2e/pods",
        "/api/v1/pods%2fa",
        "/api/v1%2Fpods",
        "/api/v1/%73ecrets",
        "/api/v1/pods;x",
        "/api/v1/pods%3bx",
        "/api/v1/pods%00",
        "/api/v1/pods%0a",
        "/api/v1/pods%",
        "/api/v1/pods%2",
        "/api/v1/pods%zz",
        "/api/v1/pods%25",
        "/api/v1/pods%5c",
        "/api/v1/pods%ff",
        "/api/v1/pods\\x",
        "/api/v1/pods#x",
        "/api/v1/pods?a=%zz",
        "/api/v1/pods?a=b;watch=1",
        "/api/v1/pods?a=%00",
        "/api/v1/pods?watch=0&watch=1",
        "/api/v1/pods?fieldSelector=a&fieldSelector=metadata.name=b",
        "/api/v1/watch",
    };
    struct kube_act act;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct arena a;

        arena_init(&a, 1 << 20);
        if (derive("GET", targets[i], &a, &act) != -EBADMSG)
            fail_msg("%s was taken", targets[i]);
        arena_done(&a);
    }
}

static void test_methods(void **state)
{
    static const char *const methods[] = {"CONNECT", "TRACE", "OPTIONS", "get", "PROPFIND"};
    struct kube_act act;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct arena a;

        arena_init(&a, 1 << 20);
        assert_int_equal(derive(methods[i], "/api/v1/pods", &a, &act), -EBADMSG);
        arena_done(&a);
    }
}

static void test_non_resource(void **state)
{
    static const struct {
        const char *method, *target;
        bool discovery;
    } cases[] = {
        {"GET", "/", true},
        {"GET", "/api", true},
        {"GET", "/api/v1", true},
        {"GET", "/apis", true},
        {"GET", "/apis/apps", true},
        {"GET", "/apis/apps/v1", true},
        {"GET", "/version/", true},
        {"GET", "/openapi/v3/apis/apps/v1?hash=x", true},
        {"GET", "/readyz", true},
        {"POST", "/api", false},
        {"GET", "/metrics", false},
        {"GET", "/logs/kube.log", false},
        {"GET", "/debug/pprof/", false},
    };
    struct kube_act act;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a;

        arena_init(&a, 1 << 20);
        assert_int_equal(derive(cases[i].method, cases[i].target, &a, &act), 0);
        assert_string_equal(act.resource, "");
        if (act.discovery != cases[i].discovery)
            fail_msg("%s %s", cases[i].method, cases[i].target);
        arena_done(&a);
    }
}

static void test_command_and_dry_run(void **state)
{
    struct kube_act act;
    struct arena a;

    (void)state;
    arena_init(&a, 1 << 20);
    assert_int_equal(
        derive("GET", "/api/v1/namespaces/a/pods/b/exec?command=sh&command=-c&command=a+b%26c", &a,
               &act),
        0);
    assert_int_equal(act.command->n, 3);
    assert_string_equal(act.command->argv[2], "a b&c");
    assert_int_equal(derive("POST", "/api/v1/namespaces/a/pods?dryRun=All", &a, &act), 0);
    assert_true(act.dry_run);
    assert_int_equal(derive("POST", "/api/v1/namespaces/a/pods?dryRun=All&dryRun=x", &a, &act), 0);
    assert_false(act.dry_run);
    assert_int_equal(derive("POST", "/api/v1/namespaces/a/pods?dryRun=all", &a, &act), 0);
    assert_false(act.dry_run);
    arena_done(&a);
}

/* A rule with dryRun: Only lets nothing read, and nothing run. */
static void test_what_is_no_dry_run(void **state)
{
    static const char *const cases[][2] = {
        {"GET", "/api/v1/namespaces/a/secrets/s?dryRun=All"},
        {"GET", "/api/v1/namespaces/a/secrets?dryRun=All"},
        {"GET", "/api/v1/namespaces/a/secrets?watch=1&dryRun=All"},
        {"POST", "/api/v1/namespaces/a/pods/b/exec?command=sh&dryRun=All"},
        {"POST", "/api/v1/namespaces/a/services/b/proxy/x?dryRun=All"},
        {"DELETE", "/api/v1/namespaces/a/pods/b?dryRun="},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kube_act act;
        struct arena a;

        arena_init(&a, 1 << 20);
        assert_int_equal(derive(cases[i][0], cases[i][1], &a, &act), 0);
        if (act.dry_run)
            fail_msg("%s %s", cases[i][0], cases[i][1]);
        arena_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_non_resource),
        cmocka_unit_test(test_command_and_dry_run),
        cmocka_unit_test(test_what_is_no_dry_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
