/* SPDX-License-Identifier: Apache-2.0
 * Admission: the table of paths, and what is asked before a check decides. What cannot be asked is
 * refused.
 */
#include "admit.h"

#include "approval.h"
#include "call.h"
#include "inject.h"
#include "policies.h"
#include "src-common/clock.h"
#include "src-common/log.h"
#include "validate.h"

#include <errno.h>
#include <stdio.h>

/* Within the five seconds that the API server waits. */
#define CALL_TIMEOUT_MS 3500

typedef void admit_fn(struct admit *ad, const struct review *r, struct answer *a);

/* ---- asking ---- */

/* The namespace's GuardTargets. The caller owns the list. */
static int list_targets(struct admit *ad, const char *ns, struct json_object **ret,
                        struct error *err)
{
    const struct kube_place place = {GUARD_API, ns, "guardtargets", NULL, NULL};
    struct kube_reply reply;
    int rc;

    if (!*ns)
        return error_set(err, -EINVAL, "namespace: required");
    rc = call_get(ad->kube, &place, CALL_TIMEOUT_MS, &reply, err);
    if (rc == 0 && !json_object_is_type(value_get(reply.object, "items"), json_type_array))
        rc = error_set(err, -EBADMSG, "the API server's list of GuardTargets has no items");
    if (rc == 0)
        *ret = json_object_get(value_get(reply.object, "items"));
    kube_reply_done(&reply);
    return rc;
}

static int find_secrets(struct admit *ad, const struct review *r, struct secrets *ret,
                        struct answer *a)
{
    _cleanup_(value_put) struct json_object *targets = NULL;
    struct error err;
    int rc = list_targets(ad, r->namespace_, &targets, &err);

    if (rc == 0 && ((rc = secrets_of_targets(targets, ret)) < 0 ||
                    (rc = secrets_add(ret, ad->config->guard_secrets.value)) < 0))
        error_set(&err, rc, "out of memory");
    if (rc)
        answer_refuse(a,
                      "the namespace's GuardTargets cannot be listed, so that the guard's "
                      "secrets are not known (%.300s); try again",
                      err.text);
    return rc;
}

/* ---- pods ---- */

static void mutate_pod(struct admit *ad, const struct review *r, struct answer *a)
{
    struct secrets s = {0};

    if (find_secrets(ad, r, &s, a) == 0)
        inject_pod(ad->config, r, &s, a);
    secrets_done(&s);
}

static void validate_pod(struct admit *ad, const struct review *r, struct answer *a)
{
    struct secrets s = {0};
    bool update = strcmp(r->operation, "UPDATE") == 0;

    if (update && !*r->sub_resource)
        validate_updated_pod(ad->config, r, &s, a); /* brings no container */
    else if (find_secrets(ad, r, &s, a) < 0)
        return;
    else if (update)
        validate_updated_pod(ad->config, r, &s, a);
    else
        validate_created_pod(ad->config, r, &s, a);
    secrets_done(&s);
}

/* ---- CONNECT ---- */

static struct json_object *access_review(const struct review *r, const char *verb)
{
    struct json_object *o =
        value_format("{\"apiVersion\": \"authorization.k8s.io/v1\", \"kind\": "
                     "\"SubjectAccessReview\", \"spec\": {\"resourceAttributes\": {\"group\": "
                     "\"" GUARD_GROUP "\", \"resource\": \"guardsessions\", \"verb\": \"%s\"}}}",
                     verb);
    struct json_object *spec = value_get(o, "spec");
    struct json_object *groups = value_get(r->user, "groups"), *extra = value_get(r->user, "extra");
    bool ok = value_set(value_get(spec, "resourceAttributes"), "namespace",
                        json_object_new_string(r->namespace_)) &&
              value_set(spec, "user", json_object_new_string(r->username)) &&
              value_set(spec, "uid", json_object_new_string(value_text(r->user, "uid")));

    if (ok && groups)
        ok = value_set(spec, "groups", json_object_get(groups));
    if (ok && extra)
        ok = value_set(spec, "extra", json_object_get(extra));
    if (ok)
        return o;
    json_object_put(o);
    return NULL;
}

static void ask_access(struct admit *ad, const struct review *r, const char *verb, struct answer *a)
{
    _cleanup_(value_put) struct json_object *body = access_review(r, verb);
    struct kube_request q = {.method = "POST",
                             .path = "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                             .body = body,
                             .timeout_ms = CALL_TIMEOUT_MS};
    struct kube_reply reply = {0};
    struct error err = {.text = "out of memory"};

    if (!body || kube_call(ad->kube, &q, &reply, &err) < 0)
        answer_refuse(a, "whether you may look into the guard cannot be asked (%.300s); try again",
                      err.text);
    else if (!value_bool(reply.object, "status.allowed"))
        answer_refuse(a,
                      "%.128s cannot %s guardsessions of " GUARD_GROUP " in the namespace "
                      "\"%.64s\"; a Role has to allow it",
                      r->username, verb, r->namespace_);
    kube_reply_done(&reply);
}

static void connect_pod(struct admit *ad, const struct review *r, struct answer *a)
{
    enum connect_need need = validate_connect(r, a);

    if (need == CONNECT_GET || need == CONNECT_DELETE)
        ask_access(ad, r, need == CONNECT_GET ? "get" : "delete", a);
}

/* ---- policies ---- */

static void validate_policy(struct admit *ad, const struct review *r, struct answer *a)
{
    _cleanup_(value_put) struct json_object *targets = NULL;
    struct error err;

    if (strcmp(r->resource, "guardpolicies") == 0 &&
        list_targets(ad, r->namespace_, &targets, &err) < 0) {
        answer_refuse(a, "the namespace's GuardTargets cannot be listed (%.300s); try again",
                      err.text);
        return;
    }
    policies_check(r, targets, a);
}

/* ---- approvals ---- */

/* Whether who decides is a ServiceAccount of a namespace with guards. What cannot be asked counts
 * as one. */
static bool is_guarded_account(struct admit *ad, const struct review *r)
{
    char ns[APPROVAL_NAMESPACE_LEN];
    const struct kube_place place = {"api/v1", NULL, "namespaces", ns, NULL};
    struct json_object *label;
    struct kube_reply reply;
    struct error err;
    bool guarded = true;

    if (strcmp(r->username, ad->username) == 0 || !approval_account_namespace(r->username, ns))
        return false;
    if (call_get(ad->kube, &place, CALL_TIMEOUT_MS, &reply, &err) == 0) {
        label = value_get(value_at(reply.object, "metadata.labels"), ENABLED_LABEL);
        guarded = label && strcmp(json_object_get_string(label), "enabled") == 0;
    } else {
        log_warn("admit.namespace", F_STR("namespace", ns), F_STR("error", err.text));
    }
    kube_reply_done(&reply);
    return guarded;
}

static struct approval_facts facts(struct admit *ad)
{
    return (struct approval_facts){.now_us = clock_wall_us(), .controller = ad->username};
}

static void stamp_approval(struct admit *ad, const struct review *r, struct answer *a)
{
    struct approval_facts f = facts(ad);

    approval_stamp(r, &f, a);
}

static void validate_approval(struct admit *ad, const struct review *r, struct answer *a)
{
    struct approval_facts f = facts(ad);

    if (review_is(r, "CREATE", "")) {
        approval_check_created(r, &f, a);
    } else if (review_is(r, "UPDATE", "")) {
        approval_check_updated(r, a);
    } else {
        f.guarded_account = is_guarded_account(ad, r);
        approval_check_status(r, &f, a);
    }
}

/* ---- paths ---- */

#define POLICY_RESOURCES "guardpolicies clusterguardpolicies guardtargets"

static const struct route {
    const char *path;
    const char *group;
    const char *resources;                     /* names, with blanks between them */
    const char *operations, *sub_resources[2]; /* of sub-resources "" is the object itself */
    admit_fn *fn;
} routes[] = {
    {"/mutate-pod", "", "pods", "CREATE", {""}, mutate_pod},
    {"/validate-pod", "", "pods", "CREATE UPDATE", {"", "ephemeralcontainers"}, validate_pod},
    {"/validate-connect", "", "pods", "CONNECT", {"exec", "attach"}, connect_pod},
    {"/validate-policy", GUARD_GROUP, POLICY_RESOURCES, "CREATE UPDATE", {""}, validate_policy},
    {"/stamp-approval", GUARD_GROUP, "approvalrequests", "UPDATE", {"status"}, stamp_approval},
    {"/validate-approval",
     GUARD_GROUP,
     "approvalrequests",
     "CREATE UPDATE",
     {"", "status"},
     validate_approval},
};

static const struct route *find_route(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    }
    return NULL;
}

bool admit_knows(const char *path)
{
    return find_route(path) != NULL;
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);

    while (*words) {
        size_t len = strcspn(words, " ");

        if (len == n && strncmp(words, word, n) == 0)
            return true;
        words += len;
        words += strspn(words, " ");
    }
    return false;
}

/* A configuration that sends something else here would have it judged by the wrong rules. */
static bool is_for(const struct route *route, const struct review *r)
{
    bool sub = strcmp(r->sub_resource, route->sub_resources[0]) == 0 ||
               (route->sub_resources[1] && strcmp(r->sub_resource, route->sub_resources[1]) == 0);

    return sub && strcmp(r->group, route->group) == 0 && has_word(route->resources, r->resource) &&
           has_word(route->operations, r->operation);
}

static void log_answer(const char *path, const struct review *r, const struct answer *a)
{
    const char *name = *r->name ? r->name : value_text(r->object, "metadata.generateName");

    if (a->allowed)
        log_debug("admit.allowed", F_STR("path", path), F_STR("namespace", r->namespace_),
                  F_STR("name", name), F_STR("operation", r->operation));
    else
        log_info("admit.refused", F_STR("path", path), F_STR("namespace", r->namespace_),
                 F_STR("name", name), F_STR("operation", r->operation), F_STR("user", r->username),
                 F_STR("reason", a->message));
}

int admit_review(struct admit *ad, const char *path, struct bytes body, struct buffer *out,
                 struct error *err)
{
    const struct route *route = find_route(path);
    struct review r = {0};
    struct answer a;
    int rc = route ? review_parse(body, &r, err) : error_set(err, -ENOENT, "no such path");

    if (rc) {
        ad->bad++;
        return rc;
    }
    answer_init(&a);
    if (is_for(route, &r))
        route->fn(ad, &r, &a);
    else
        answer_refuse(&a,
                      "%s is not for %.16s of %.64s/%.32s; see the rules of the webhook's "
                      "configuration",
                      path, r.operation, r.resource, r.sub_resource);
    answer_settle(&a);
    ad->allowed += a.allowed;
    ad->refused += !a.allowed;
    log_answer(path, &r, &a);
    rc = answer_write(&a, r.uid, out);
    if (rc)
        rc = error_set(err, rc, "out of memory");
    answer_done(&a);
    review_done(&r);
    return rc;
}
