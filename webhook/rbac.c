/* SPDX-License-Identifier: Apache-2.0
 * Roles of guards. Every replica may do this at once: what exists already, or has changed under
 * one's hands, is looked at again in the next round.
 */
#include "rbac.h"

#include "src-common/log.h"

#include <errno.h>
#include <stdio.h>

#define RBAC_API   "apis/rbac.authorization.k8s.io/v1"
#define RBAC_GROUP "rbac.authorization.k8s.io"
#define OWNER      "chaperone-guard-owner"
#define NAME       "chaperone-guard"
#define MANAGED    "app.kubernetes.io/managed-by=chaperone-webhook"
#define LABELS                                                                                     \
    "\"labels\": {\"app.kubernetes.io/managed-by\": \"chaperone-webhook\", "                       \
    "\"chaperone.dev/namespace\": \"%s\"}"
#define OWNERS                                                                                     \
    "\"ownerReferences\": [{\"apiVersion\": \"" RBAC_GROUP "/v1\", \"kind\": \"ClusterRole\", "    \
    "\"name\": \"" OWNER "\", \"uid\": \"%s\"}]"
#define SUBJECTS                                                                                   \
    "\"subjects\": [{\"apiGroup\": \"" RBAC_GROUP "\", \"kind\": \"Group\", "                      \
    "\"name\": \"system:serviceaccounts:%s\"}]"
#define ROLE_REF(kind, name)                                                                       \
    "\"roleRef\": {\"apiGroup\": \"" RBAC_GROUP "\", \"kind\": \"" kind "\", \"name\": \"" name    \
    "\"}"

/* ---- what has to be ---- */

static struct json_object *role(const char *ns, const char *owner_uid)
{
    return value_format(
        "{\"apiVersion\": \"" RBAC_GROUP "/v1\", \"kind\": \"Role\", "
        "\"metadata\": {\"name\": \"" NAME "\", \"namespace\": \"%s\", " LABELS ", " OWNERS "},"
        "\"rules\": ["
        "{\"apiGroups\": [\"chaperone.dev\"], \"resources\": [\"guardpolicies\", \"guardtargets\"],"
        " \"verbs\": [\"get\", \"list\", \"watch\"]},"
        "{\"apiGroups\": [\"chaperone.dev\"], \"resources\": [\"approvalrequests\"],"
        " \"verbs\": [\"create\", \"get\", \"list\", \"watch\"]},"
        "{\"apiGroups\": [\"chaperone.dev\"], \"resources\": [\"approvalrequests/status\"],"
        " \"verbs\": [\"patch\"]},"
        "{\"apiGroups\": [\"events.k8s.io\"], \"resources\": [\"events\"],"
        " \"verbs\": [\"create\", \"patch\"]}]}",
        ns, ns, owner_uid);
}

static struct json_object *role_binding(const char *ns, const char *owner_uid)
{
    return value_format("{\"apiVersion\": \"" RBAC_GROUP "/v1\", \"kind\": \"RoleBinding\", "
                        "\"metadata\": {\"name\": \"" NAME "\", \"namespace\": \"%s\", " LABELS
                        ", " OWNERS "}, " SUBJECTS ", " ROLE_REF("Role", NAME) "}",
                        ns, ns, owner_uid, ns);
}

static struct json_object *cluster_binding(const char *ns, const char *owner_uid)
{
    return value_format("{\"apiVersion\": \"" RBAC_GROUP "/v1\", \"kind\": \"ClusterRoleBinding\", "
                        "\"metadata\": {\"name\": \"" NAME "-%s\", " LABELS ", " OWNERS
                        "}, " SUBJECTS ", " ROLE_REF("ClusterRole", OWNER) "}",
                        ns, ns, owner_uid, ns);
}

static const struct kind {
    const char *resource;
    bool namespaced;
    struct json_object *(*make)(const char *ns, const char *owner_uid);
} kinds[] = {
    {"roles", true, role},
    {"rolebindings", true, role_binding},
    {"clusterrolebindings", false, cluster_binding},
};

/* ---- one object ---- */

static struct kube_place place_of(const struct kind *kind, struct json_object *o, bool named)
{
    return (struct kube_place){RBAC_API,
                               kind->namespaced ? value_text(o, "metadata.namespace") : NULL,
                               kind->resource, named ? value_text(o, "metadata.name") : NULL, NULL};
}

static struct json_object *find(struct json_object *list, struct json_object *wanted)
{
    for (size_t i = 0; i < value_n(list); i++) {
        struct json_object *o = value_item(list, i);

        if (strcmp(value_text(o, "metadata.name"), value_text(wanted, "metadata.name")) == 0 &&
            strcmp(value_text(o, "metadata.namespace"), value_text(wanted, "metadata.namespace")) ==
                0)
            return o;
    }
    return NULL;
}

static bool is_same(struct json_object *wanted, struct json_object *found)
{
    static const char *const fields[] = {"rules", "subjects", "roleRef",
                                         "metadata.ownerReferences"};

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!json_object_equal(value_at(wanted, fields[i]), value_at(found, fields[i])))
            return false;
    }
    return true;
}

static int delete_object(struct kube *k, const struct kind *kind, struct json_object *o,
                         struct error *err)
{
    const struct kube_place place = place_of(kind, o, true);
    const struct call c = {"DELETE", NULL, &place, NULL};
    int rc = call_send(k, &c, NULL, err);

    return rc == -ENOENT ? 0 : rc;
}

/* A binding's roleRef cannot be changed, only made anew. */
static int ensure(struct kube *k, const struct kind *kind, struct json_object *wanted,
                  struct json_object *found, struct error *err)
{
    const struct kube_place all = place_of(kind, wanted, false), one = place_of(kind, wanted, true);
    const struct call create = {"POST", NULL, &all, wanted}, put = {"PUT", NULL, &one, wanted};
    bool anew =
        found && !json_object_equal(value_get(wanted, "roleRef"), value_get(found, "roleRef"));
    int rc = 0;

    if (found && is_same(wanted, found))
        return 0;
    if (anew)
        rc = delete_object(k, kind, found, err);
    if (rc == 0)
        rc = call_send(k, found && !anew ? &put : &create, NULL, err);
    if (rc == 0)
        log_info("controller.rbac", F_STR("resource", kind->resource),
                 F_STR("namespace", value_text(wanted, "metadata.namespace")),
                 F_STR("name", value_text(wanted, "metadata.name")));
    if (rc == -EEXIST) /* another replica; or somebody's own without our label: taken over */
        rc = call_send(k, &put, NULL, err);
    return rc;
}

/* ---- all ---- */

static const char *namespace_of(struct json_object *o)
{
    struct json_object *label =
        value_get(value_at(o, "metadata.labels"), "chaperone.dev/namespace");

    return json_object_is_type(label, json_type_string) ? json_object_get_string(label) : "";
}

static void keep_first(int rc, const struct error *e, int *first, struct error *err)
{
    if (rc && !*first) {
        *first = rc;
        *err = *e;
    }
}

static int remove_stale(struct kube *k, const struct kind *kind, struct json_object *list,
                        struct json_object *namespaces, struct error *err)
{
    int first = 0;

    for (size_t i = 0; i < value_n(list); i++) {
        struct json_object *o = value_item(list, i);
        struct error e;
        int rc;

        if (value_has(namespaces, namespace_of(o)))
            continue;
        rc = delete_object(k, kind, o, &e);
        if (rc == 0)
            log_info("controller.rbac.removed", F_STR("resource", kind->resource),
                     F_STR("namespace", namespace_of(o)));
        keep_first(rc, &e, &first, err);
    }
    return first;
}

static int reconcile_kind(struct kube *k, const struct kind *kind, struct json_object *namespaces,
                          const char *owner_uid, struct error *err)
{
    const struct kube_place all = {RBAC_API, NULL, kind->resource, NULL, NULL};
    _cleanup_(value_put) struct json_object *list = NULL;
    struct error e;
    int first = call_list(k, &all, MANAGED, &list, err), rc;

    if (first)
        return first;
    for (size_t i = 0; i < value_n(namespaces); i++) {
        _cleanup_(value_put) struct json_object *wanted =
            kind->make(json_object_get_string(value_item(namespaces, i)), owner_uid);

        rc = wanted ? ensure(k, kind, wanted, find(list, wanted), &e)
                    : error_set(&e, -ENOMEM, "out of memory");
        keep_first(rc, &e, &first, err);
    }
    rc = remove_stale(k, kind, list, namespaces, &e);
    keep_first(rc, &e, &first, err);
    return first;
}

int rbac_reconcile(struct kube *k, struct json_object *namespaces, struct error *err)
{
    const struct kube_place owner = {RBAC_API, NULL, "clusterroles", OWNER, NULL};
    struct kube_reply reply;
    struct error e;
    int first = call_get(k, &owner, 0, &reply, err);

    for (size_t i = 0; i < ARRAY_LEN(kinds) && (first == 0 || i > 0); i++) {
        int rc =
            reconcile_kind(k, &kinds[i], namespaces, value_text(reply.object, "metadata.uid"), &e);

        keep_first(rc, &e, &first, err);
    }
    kube_reply_done(&reply);
    return first;
}
