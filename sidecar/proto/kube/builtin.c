/* SPDX-License-Identifier: Apache-2.0
 * Built-in refusals.
 */
#include "builtin.h"

#include "member.h"
#include "body.h"
#include "sidecar/mask/mask.h"
#include "mask.h"

#include <json-c/linkhash.h>
#include <string.h>

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool writes(const struct kube_act *a)
{
    return is(a->verb, "create") || is(a->verb, "update") || is(a->verb, "patch") ||
           is(a->verb, "delete") || is(a->verb, "deletecollection");
}

/* ---- by resource ---- */

enum when { WRITES, ANY_VERB };

static const struct {
    const char *group, *resource, *subresource; /* NULL: any */
    enum when when;
    const char *why;
} table[] = {
    {"chaperone.dev", NULL, NULL, WRITES,
     "policies, targets and approvals are not the agent's to change"},
    {"", "serviceaccounts", "token", ANY_VERB,
     "a token of a service account would lead around the guard"},
    {"", "nodes", "proxy", ANY_VERB, "nodes/proxy is a way into every pod of the node"},
    {"", "pods", "ephemeralcontainers", WRITES,
     "ephemeral containers enter a pod beside its guard"},
    {"", "pods", "binding", WRITES, "binding pods to nodes is the scheduler's"},
    {"", "bindings", NULL, WRITES, "binding pods to nodes is the scheduler's"},
    {"admissionregistration.k8s.io", NULL, NULL, WRITES, "admission is what keeps pods guarded"},
    {"certificates.k8s.io", "certificatesigningrequests", NULL, WRITES,
     "a client certificate would lead around the guard"},
    {"apiregistration.k8s.io", "apiservices", NULL, WRITES,
     "an APIService would receive what others send"},
};

static const char *by_resource(const struct kube_act *a)
{
    if (is(a->api_verb, "proxy"))
        return "the old proxy paths are not served any more";
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (is(a->group, table[i].group) &&
            (!table[i].resource || is(a->resource, table[i].resource)) &&
            (!table[i].subresource || is(a->subresource, table[i].subresource)) &&
            (table[i].when == ANY_VERB || writes(a)))
            return table[i].why;
    }
    return NULL;
}

/* ---- namespaces ---- */

/* Only what is plainly elsewhere: the API server takes "x/metadata/labels" for "/metadata/labels",
 * and `move` takes away what it does not call its path. */
static bool patches_labels(struct json_object *patch)
{
    static const char *const harmless[] = {"/metadata/labels/", "/metadata/annotations", "/spec/"};

    for (size_t i = 0; i < json_object_array_length(patch); i++) {
        struct json_object *e = json_object_array_get_idx(patch, i);
        const char *path = kubemember_text(e, "path"), *op = kubemember_text(e, "op");
        bool known = false;

        for (size_t k = 0; k < ARRAY_LEN(harmless); k++)
            known |= starts(path, harmless[k]);
        if (!known || strstr(path, "chaperone.dev") || is(op, "move") || is(op, "copy"))
            return true;
    }
    return false;
}

/* A change of namespaces has to leave the labels alone that say whose pods are guarded. */
static bool touches_labels(const struct builtin_facts *f)
{
    struct json_object *meta = kubemember(f->body, "metadata"),
                       *labels = kubemember(meta, "labels");

    if (f->json_patch)
        return patches_labels(f->body);
    if (json_object_object_get_ex(f->body, "$patch", NULL) ||
        (!meta && json_object_object_get_ex(f->body, "metadata", NULL)))
        return true;
    if (meta && (json_object_object_get_ex(meta, "$patch", NULL) ||
                 json_object_object_get_ex(meta, "$retainKeys", NULL) ||
                 (!labels && json_object_object_get_ex(meta, "labels", NULL))))
        return true;
    if (!labels)
        return false;
    json_object_object_foreach(labels, key, value)
    {
        (void)value;
        if (starts(key, "chaperone.dev/") || key[0] == '$')
            return true;
    }
    return false;
}

static const char *namespaces(const struct builtin_facts *f)
{
    const struct kube_act *a = f->act;

    if (a->group[0] || !is(a->resource, "namespaces") || is(a->verb, "delete") || !writes(a))
        return NULL;
    if (is(a->verb, "update"))
        return "replacing a namespace could take its label chaperone.dev/inject away; use a patch";
    if (f->apply)
        return "server-side apply of a namespace could take its label chaperone.dev/inject away; "
               "use a patch";
    return !f->body || touches_labels(f) ? "the labels chaperone.dev/* say which pods are guarded"
                                         : NULL;
}

/* ---- Secrets ---- */

/* Those that the guard itself works with. */
static bool is_guards_own(const struct builtin_facts *f)
{
    const char *name = f->act->name;

    if (!name[0])
        return false;
    if (starts(name, "chaperone"))
        return true;
    for (size_t i = 0; i < policy_n_targets(f->snapshot); i++) {
        const struct target *t = policy_target_at(f->snapshot, i);

        if ((t->credentials_secret && is(t->credentials_secret, name)) ||
            (t->tls_ca_secret && is(t->tls_ca_secret, name)))
            return true;
    }
    return false;
}

/* `test` asks what a value is, `copy` and `move` take it to where it is not masked. */
static bool asks_values(const struct builtin_facts *f)
{
    for (size_t i = 0; f->json_patch && i < json_object_array_length(f->body); i++) {
        const char *op = kubemember_text(json_object_array_get_idx(f->body, i), "op");

        if (!is(op, "add") && !is(op, "replace") && !is(op, "remove"))
            return true;
    }
    return false;
}

static bool is_masked(const char *key, struct json_object *value, void *arg)
{
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    (void)key, (void)arg;
    return is(text, KUBEMASK_BASE64) || is(text, MASK_REDACTED);
}

static const char *secrets(const struct builtin_facts *f)
{
    const struct kube_act *a = f->act;

    if (a->group[0] || !is(a->resource, "secrets"))
        return NULL;
    if (is_guards_own(f))
        return "this Secret is the guard's own";
    if (!writes(a) || !f->body)
        return NULL;
    if (asks_values(f))
        return "a JSON patch of a Secret may only add, replace and remove";
    if (f->apply && !f->forced)
        return "server-side apply of a Secret tells by its conflicts whether a value is the one "
               "stored; say --force-conflicts";
    if (is(kubemember_text(f->body, "type"), "kubernetes.io/service-account-token"))
        return "a token of a service account would lead around the guard";
    if (kubebody_any(f->body, is_masked, NULL))
        return "the body has masked values, which would overwrite the real ones";
    return NULL;
}

/* What a Mask rule hides is not taken to where it does not look, nor overwritten. */
static const char *masked_objects(const struct builtin_facts *f)
{
    const struct kube_act *a = f->act;

    if (!f->masked || !f->body || !(is(a->verb, "update") || is(a->verb, "patch")))
        return NULL;
    if (asks_values(f))
        return "a JSON patch of an object with masked values may only add, replace and remove";
    if (kubebody_any(f->body, is_masked, NULL))
        return "the body has masked values, which would overwrite the real ones";
    return NULL;
}

/* ---- the kinds of policies ---- */

static const char *kinds_of_policies(const struct builtin_facts *f)
{
    static const char suffix[] = ".chaperone.dev";
    static const char why[] = "without these kinds there is no policy";
    const struct kube_act *a = f->act;
    size_t n = strlen(a->name), m = sizeof suffix - 1;

    if (!is(a->group, "apiextensions.k8s.io") || !is(a->resource, "customresourcedefinitions") ||
        !writes(a))
        return NULL;
    if (is(a->verb, "create"))
        return is(kubemember_text(kubemember(f->body, "spec"), "group"), suffix + 1) ? why : NULL;
    return n == 0 || (n >= m && is(a->name + n - m, suffix)) ? why : NULL;
}

/* ---- into the guard ---- */

static const char *guard_container(const struct builtin_facts *f)
{
    bool enters = is(f->act->subresource, "exec") || is(f->act->subresource, "attach");

    if (f->act->group[0] || !is(f->act->resource, "pods") || !enters || !f->container)
        return NULL;
    return starts(f->container, "chaperone") ? "the guard's own containers are not entered" : NULL;
}

const char *builtin_denies(const struct builtin_facts *f)
{
    const char *why = by_resource(f->act);

    if (!why)
        why = namespaces(f);
    if (!why)
        why = secrets(f);
    if (!why)
        why = masked_objects(f);
    if (!why)
        why = kinds_of_policies(f);
    return why ? why : guard_container(f);
}

/* ---- pods and what makes pods ---- */

static bool makes_pods(const struct kube_act *a)
{
    static const struct {
        const char *group, *resource;
    } kinds[] = {
        {"", "pods"},
        {"", "replicationcontrollers"},
        {"", "podtemplates"},
        {"apps", "deployments"},
        {"apps", "statefulsets"},
        {"apps", "daemonsets"},
        {"apps", "replicasets"},
        {"batch", "jobs"},
        {"batch", "cronjobs"},
    };

    if (a->subresource[0] ||
        !(is(a->verb, "create") || is(a->verb, "update") || is(a->verb, "patch")))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (is(a->group, kinds[i].group) && is(a->resource, kinds[i].resource))
            return true;
    }
    return false;
}

static const struct {
    const char *member, *why;
} risks[] = {
    {"secretKeyRef", "it reads a Secret into the pod"},
    {"secretRef", "it reads a Secret into the pod"},
    {"secretName", "it mounts a Secret"},
    {"secret", "it mounts a Secret"},
    {"hostPath", "it mounts a directory of the node"},
    {"serviceAccountToken", "it mounts a token"},
    {"serviceAccountName", "it names a service account"},
    {"serviceAccount", "it names a service account"},
    {"hostNetwork", "it uses the node's network"},
    {"hostPID", "it sees the node's processes"},
    {"hostIPC", "it shares the node's memory"},
    {"privileged", "it is privileged"},
    {"csi", "it mounts a volume of a driver"},
};

static const char *risk_of(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(risks); i++) {
        if (strlen(risks[i].member) == n && memcmp(risks[i].member, name, n) == 0)
            return risks[i].why;
    }
    return NULL;
}

/* false and null ask for nothing; "default" is what every pod has. */
static bool is_harmless(const char *key, struct json_object *v)
{
    return !v || (json_object_is_type(v, json_type_boolean) && !json_object_get_boolean(v)) ||
           (starts(key, "serviceAccount") && json_object_is_type(v, json_type_string) &&
            is(json_object_get_string(v), "default"));
}

static bool find_risk(const char *key, struct json_object *value, void *arg)
{
    const char **ret = arg;
    const char *why = is_harmless(key, value) ? NULL : risk_of(key, strlen(key));

    if (why)
        *ret = why;
    return why != NULL;
}

static const char *risk_in_pointer(const char *at)
{
    while (*at) {
        size_t n = strcspn(at, "/");
        const char *why = risk_of(at, n);

        if (why)
            return why;
        at += n + (at[n] == '/');
    }
    return NULL;
}

/* The paths of a JSON patch name members as well; what is copied or moved is not to be seen in it.
 */
static const char *risk_in_paths(struct json_object *patch)
{
    for (size_t i = 0; i < json_object_array_length(patch); i++) {
        struct json_object *e = json_object_array_get_idx(patch, i);
        const char *why = risk_in_pointer(kubemember_text(e, "path"));

        if (why)
            return why;
        if (is(kubemember_text(e, "op"), "copy") || is(kubemember_text(e, "op"), "move"))
            return "it copies or moves parts that are not in the patch";
    }
    return NULL;
}

const char *builtin_risk(const struct builtin_facts *f)
{
    const char *why = NULL;

    if (!makes_pods(f->act) || !f->body)
        return NULL;
    (void)kubebody_any(f->body, find_risk, &why);
    return why || !f->json_patch ? why : risk_in_paths(f->body);
}

bool builtin_starts_pods_elsewhere(const struct builtin_facts *f)
{
    return makes_pods(f->act) && !is(f->act->namespace_, f->namespace_);
}

bool builtin_reads_body(const struct kube_act *a)
{
    bool by_name = !a->group[0] && (is(a->resource, "secrets") || is(a->resource, "namespaces"));

    if (is(a->group, "apiextensions.k8s.io") && is(a->resource, "customresourcedefinitions"))
        return is(a->verb, "create");
    return makes_pods(a) || (by_name && writes(a) && !starts(a->verb, "delete"));
}
