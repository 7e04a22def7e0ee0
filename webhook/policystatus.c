/* SPDX-License-Identifier: Apache-2.0
 * Policy status.
 */
#include "policystatus.h"

#include "policies.h"
#include "sidecar/policy/model.h"
#include "src-common/log.h"

#include <errno.h>
#include <stdio.h>

#define MAX_LABELS 256

const struct policystatus_kind policystatus_policy = {"GuardPolicy", "guardpolicies"};
const struct policystatus_kind policystatus_cluster_policy = {"ClusterGuardPolicy",
                                                              "clusterguardpolicies"};
const struct policystatus_kind policystatus_target = {"GuardTarget", "guardtargets"};

struct condition {
    const char *type, *status, *reason;
    char message[1024];
};

/* ---- Accepted ---- */

static struct json_object *with_kind(const struct policystatus_kind *kind,
                                     struct json_object *object)
{
    struct json_object *o = value_copy(object);

    if (value_set(o, "kind", json_object_new_string(kind->kind)) &&
        value_set(o, "apiVersion", json_object_new_string("chaperone.dev/v1alpha1")))
        return o;
    json_object_put(o);
    return NULL;
}

static struct json_object *of_namespace(struct json_object *list, const char *ns)
{
    struct json_object *ret = json_object_new_array();

    for (size_t i = 0; i < value_n(list) && ret; i++) {
        struct json_object *o = value_item(list, i);

        if (strcmp(value_text(o, "metadata.namespace"), ns) == 0)
            json_object_array_add(ret, json_object_get(o));
    }
    return ret;
}

static void say_missing(struct json_object *missing, struct condition *c)
{
    size_t used = 0;

    for (size_t i = 0; i < value_n(missing) && used < sizeof c->message - 1; i++)
        used += (size_t)snprintf(c->message + used, sizeof c->message - used, "%s%.300s",
                                 used ? "; " : "", json_object_get_string(value_item(missing, i)));
}

static void accepted(const struct policystatus_kind *kind, struct json_object *object,
                     const struct policystatus_world *w, struct policy_snapshot **ret,
                     struct condition *c)
{
    _cleanup_(value_put) struct json_object *o = with_kind(kind, object);
    _cleanup_(value_put) struct json_object *missing = json_object_new_array();
    _cleanup_(value_put) struct json_object *targets =
        of_namespace(w->targets, value_text(object, "metadata.namespace"));
    struct error err = {.text = "out of memory"};

    *c = (struct condition){"Accepted", "True", "Valid", "valid"};
    if (!o || policies_load(o, targets, missing, ret, &err) < 0) {
        c->status = "False";
        c->reason = "Invalid";
        snprintf(c->message, sizeof c->message, "%s", err.text);
    } else if (value_n(missing)) {
        c->reason = "TargetsMissing";
        say_missing(missing, c);
    }
}

/* ---- Enforced ---- */

struct count {
    size_t all, current, unknown;
};

/* Subjects with groups or claims select agents by their tokens, which only their guards see: such a
 * policy is for any guard of the namespace. */
static bool needs_token(const struct policy *p)
{
    const struct subject *s = p->subjects.items;

    for (size_t i = 0; i < p->subjects.n; i++) {
        if (s[i].groups.n || s[i].claims.n)
            return true;
    }
    return false;
}

static bool selects(const struct policy_snapshot *s, struct json_object *pod)
{
    const char *labels[2 * MAX_LABELS + 1] = {0};
    struct json_object *map = value_get(pod, "labels");
    struct agent agent = {.namespace_ = value_text(pod, "namespace"),
                          .pod = value_text(pod, "name"),
                          .service_account = value_text(pod, "account"),
                          .labels = labels};
    size_t n = 0;

    if (map) {
        json_object_object_foreach(map, key, value)
        {
            if (n + 2 < ARRAY_LEN(labels)) {
                labels[n++] = key;
                labels[n++] = json_object_get_string(value);
            }
        }
    }
    for (size_t i = 0; i < s->n_policies; i++) {
        if (policy_selects(s->policies[i], &agent) || needs_token(s->policies[i]))
            return true;
    }
    return false;
}

static bool has_generation(struct json_object *answer, struct json_object *object)
{
    struct json_object *objects = value_get(answer, "objects");
    const char *uid = value_text(object, "metadata.uid");

    for (size_t i = 0; i < value_n(objects); i++) {
        struct json_object *o = value_item(objects, i);

        if (strcmp(value_text(o, "uid"), uid) == 0)
            return value_int(o, "generation", -1) == value_int(object, "metadata.generation", 0);
    }
    return false;
}

static struct count count_guards(struct json_object *object, const struct policy_snapshot *s,
                                 const struct policystatus_world *w)
{
    const char *ns = value_text(object, "metadata.namespace");
    struct count n = {0};

    for (size_t i = 0; i < value_n(w->pods); i++) {
        struct json_object *pod = value_item(w->pods, i), *answer;

        if (*ns && strcmp(ns, value_text(pod, "namespace")) != 0)
            continue;
        if (s->n_policies && !selects(s, pod))
            continue;
        answer = value_get(w->answers, value_text(pod, "uid"));
        n.all++;
        n.unknown += answer == NULL;
        n.current += answer && has_generation(answer, object);
    }
    return n;
}

static void enforced(struct json_object *object, const struct policy_snapshot *s,
                     const struct policystatus_world *w, struct condition *c)
{
    struct count n = {0};

    *c = (struct condition){.type = "Enforced", .status = "False", .reason = "Invalid"};
    if (!s) {
        snprintf(c->message, sizeof c->message,
                 "not valid; guards keep the last valid one for a "
                 "while, and then refuse everything");
        return;
    }
    n = count_guards(object, s, w);
    snprintf(c->message, sizeof c->message, "%zu of %zu running guards have it", n.current, n.all);
    if (n.all == 0) {
        c->status = "Unknown";
        c->reason = "NoGuards";
        snprintf(c->message, sizeof c->message, "no running guard that it is for");
    } else if (n.current == n.all) {
        c->status = "True";
        c->reason = "Current";
    } else if (n.unknown && n.current + n.unknown == n.all) {
        c->status = "Unknown";
        c->reason = "NotAnswering";
    } else {
        c->reason = "Pending";
    }
}

/* ---- status ---- */

static struct json_object *condition_of(struct json_object *object, const char *type)
{
    struct json_object *list = value_at(object, "status.conditions");

    for (size_t i = 0; i < value_n(list); i++) {
        if (strcmp(value_text(value_item(list, i), "type"), type) == 0)
            return value_item(list, i);
    }
    return NULL;
}

static struct json_object *make_condition(struct json_object *object, const struct condition *c,
                                          const char *now)
{
    struct json_object *o = json_object_new_object(), *old = condition_of(object, c->type);
    bool same = old && strcmp(value_text(old, "status"), c->status) == 0;
    const char *since = same ? value_text(old, "lastTransitionTime") : now;

    if (o && value_set(o, "type", json_object_new_string(c->type)) &&
        value_set(o, "status", json_object_new_string(c->status)) &&
        value_set(o, "reason", json_object_new_string(c->reason)) &&
        value_set(o, "message", json_object_new_string(c->message)) &&
        value_set(o, "observedGeneration",
                  json_object_new_int64(value_int(object, "metadata.generation", 0))) &&
        value_set(o, "lastTransitionTime", json_object_new_string(since)))
        return o;
    json_object_put(o);
    return NULL;
}

struct json_object *policystatus_make(const struct policystatus_kind *kind,
                                      struct json_object *object,
                                      const struct policystatus_world *w)
{
    _cleanup_(policy_snapshot_unref) struct policy_snapshot *s = NULL;
    struct json_object *status = json_object_new_object(), *list = json_object_new_array();
    struct condition conditions[2];
    bool ok = value_set(status, "observedGeneration",
                        json_object_new_int64(value_int(object, "metadata.generation", 0))) &&
              value_set(status, "conditions", list);

    accepted(kind, object, w, &s, &conditions[0]);
    enforced(object, s, w, &conditions[1]);
    for (size_t i = 0; i < ARRAY_LEN(conditions) && ok; i++) {
        struct json_object *c = make_condition(object, &conditions[i], w->now);

        ok = c && json_object_array_add(list, c) == 0;
    }
    if (ok)
        return status;
    json_object_put(status);
    return NULL;
}

/* ---- writing ---- */

static int write_status(struct kube *k, const struct policystatus_kind *kind,
                        struct json_object *object, struct json_object *status, struct error *err)
{
    const char *ns = value_text(object, "metadata.namespace");
    const struct kube_place place = {GUARD_API, *ns ? ns : NULL, kind->resource,
                                     value_text(object, "metadata.name"), "status"};
    struct json_object *body = json_object_new_object();
    const struct call c = {"PATCH", KUBE_MERGE_PATCH, &place, body};
    int rc;

    value_set(body, "status", json_object_get(status));
    rc = call_send(k, &c, NULL, err);
    json_object_put(body);
    return rc == -ENOENT ? 0 : rc; /* deleted meanwhile */
}

static bool is_pending(struct json_object *status)
{
    struct json_object *enforced_condition = value_item(value_get(status, "conditions"), 1);

    return strcmp(value_text(enforced_condition, "reason"), "Pending") == 0 ||
           strcmp(value_text(enforced_condition, "reason"), "NotAnswering") == 0;
}

size_t policystatus_run(struct kube *k, const struct policystatus_kind *kind,
                        struct json_object *objects, const struct policystatus_world *w,
                        bool *settled)
{
    size_t failed = 0;

    for (size_t i = 0; i < value_n(objects); i++) {
        struct json_object *o = value_item(objects, i);
        _cleanup_(value_put) struct json_object *status = policystatus_make(kind, o, w);
        struct error err = {.text = "out of memory"};
        int rc = 0;

        if (is_pending(status))
            *settled = false;
        if (!status)
            rc = -ENOMEM;
        else if (!json_object_equal(status, value_get(o, "status")))
            rc = write_status(k, kind, o, status, &err);
        if (rc)
            log_warn("controller.status", F_STR("kind", kind->kind),
                     F_STR("namespace", value_text(o, "metadata.namespace")),
                     F_STR("name", value_text(o, "metadata.name")), F_STR("error", err.text));
        failed += rc != 0;
    }
    return failed;
}
