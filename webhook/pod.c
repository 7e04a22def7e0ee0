/* SPDX-License-Identifier: Apache-2.0
 * Pods.
 */
#include "pod.h"

#include <errno.h>
#include <stdio.h>

/* Everything that injection or validation looks at. */
#define CONTAINER(list)                                                                            \
    {"spec." list "[]", json_type_object}, {"spec." list "[].name", json_type_string},             \
        {"spec." list "[].image", json_type_string},                                               \
        {"spec." list "[].restartPolicy", json_type_string},                                       \
        {"spec." list "[].targetContainerName", json_type_string},                                 \
        {"spec." list "[].args[]", json_type_string},                                              \
        {"spec." list "[].command[]", json_type_string},                                           \
        {"spec." list "[].env[].name", json_type_string},                                          \
        {"spec." list "[].env[].valueFrom.secretKeyRef.name", json_type_string},                   \
        {"spec." list "[].envFrom[].secretRef.name", json_type_string},                            \
        {"spec." list "[].volumeMounts[].name", json_type_string},                                 \
        {"spec." list "[].volumeMounts[].mountPath", json_type_string},                            \
        {"spec." list "[].volumeMounts[].readOnly", json_type_boolean},                            \
        {"spec." list "[].securityContext", json_type_object},                                     \
        {"spec." list "[].securityContext.privileged", json_type_boolean},                         \
        {"spec." list "[].securityContext.allowPrivilegeEscalation", json_type_boolean},           \
        {"spec." list "[].securityContext.procMount", json_type_string},                           \
        {"spec." list "[].securityContext.runAsUser", json_type_int},                              \
        {"spec." list "[].securityContext.runAsGroup", json_type_int},                             \
        {"spec." list "[].securityContext.seccompProfile.type", json_type_string},                 \
        {"spec." list "[].securityContext.capabilities.add[]", json_type_string},                  \
    {                                                                                              \
        "spec." list "[].securityContext.capabilities.drop[]", json_type_string                    \
    }

static const struct value_shape shapes[] = {
    {"metadata", json_type_object},
    {"metadata.labels", json_type_object},
    {"metadata.annotations", json_type_object},
    {"spec", json_type_object},
    {"spec.hostNetwork", json_type_boolean},
    {"spec.hostPID", json_type_boolean},
    {"spec.hostIPC", json_type_boolean},
    {"spec.shareProcessNamespace", json_type_boolean},
    {"spec.automountServiceAccountToken", json_type_boolean},
    {"spec.os.name", json_type_string},
    {"spec.hostAliases[]", json_type_object},
    {"spec.dnsConfig.nameservers[]", json_type_string},
    {"spec.dnsConfig.searches[]", json_type_string},
    {"spec.securityContext.runAsUser", json_type_int},
    {"spec.securityContext.runAsGroup", json_type_int},
    {"spec.securityContext.fsGroup", json_type_int},
    {"spec.securityContext.supplementalGroups[]", json_type_int},
    {"spec.securityContext.seccompProfile.type", json_type_string},
    {"spec.volumes[].name", json_type_string},
    {"spec.volumes[].hostPath", json_type_object},
    {"spec.volumes[].secret.secretName", json_type_string},
    {"spec.volumes[].projected.sources[].secret.name", json_type_string},
    {"spec.volumes[].projected.sources[].serviceAccountToken", json_type_object},
    {"spec.volumes[].projected.sources[].serviceAccountToken.audience", json_type_string},
    CONTAINER("containers"),
    CONTAINER("initContainers"),
    CONTAINER("ephemeralContainers"),
};

int pod_check_shape(struct json_object *pod, struct error *err)
{
    int rc = value_expect(pod, shapes, ARRAY_LEN(shapes), err);

    if (rc == 0 && !value_n(value_at(pod, "spec.containers")))
        return error_set(err, -EINVAL, "spec.containers: expected at least one container");
    return rc;
}

/* ---- containers ---- */

static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};

struct pod_walk pod_walk(struct json_object *pod)
{
    return (struct pod_walk){.pod = pod};
}

bool pod_next(struct pod_walk *w)
{
    struct json_object *spec = value_get(w->pod, "spec");

    for (; w->list_no < ARRAY_LEN(lists); w->list_no++, w->next = 0) {
        struct json_object *list = value_get(spec, lists[w->list_no]);

        if (w->next >= value_n(list))
            continue;
        w->list = lists[w->list_no];
        w->index = w->next++;
        w->container = value_item(list, w->index);
        w->name = value_text(w->container, "name");
        return true;
    }
    return false;
}

bool pod_is_guards(const struct pod_walk *w)
{
    return w->list_no == 0 && (strcmp(w->name, POD_INIT) == 0 || strcmp(w->name, POD_GUARD) == 0);
}

const char *pod_where(const struct pod_walk *w, char out[static POD_WHERE_LEN])
{
    snprintf(out, POD_WHERE_LEN, "spec.%s[%zu]", w->list, w->index);
    return out;
}

struct json_object *pod_named(struct json_object *list, const char *name, size_t *ret_index)
{
    for (size_t i = 0; i < value_n(list); i++) {
        struct json_object *item = value_item(list, i);

        if (strcmp(value_text(item, "name"), name) != 0)
            continue;
        if (ret_index)
            *ret_index = i;
        return item;
    }
    return NULL;
}

bool pod_starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}
