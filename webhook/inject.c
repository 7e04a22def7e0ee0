/* SPDX-License-Identifier: Apache-2.0
 * Injection. Operations on what is there come first, by the indexes that it has; then the guard's
 * containers are put at the head, which moves all others.
 */
#include "inject.h"

#include "agentpod.h"

#include <stdio.h>

#define API_ACCESS "kube-api-access-"

/* ---- refusals ---- */

/* Names that are ours, on what is not. */
static void check_names(const struct config *c, struct json_object *pod, struct answer *a)
{
    for (struct pod_walk w = pod_walk(pod); pod_next(&w);) {
        bool init = strcmp(w.name, POD_INIT) == 0, guard = strcmp(w.name, POD_GUARD) == 0;
        const char *image = value_text(w.container, "image"), *ours;
        char where[POD_WHERE_LEN];

        if (!init && !guard)
            continue;
        ours = json_object_get_string(init ? c->init_image.value : c->guard_image.value);
        if (!pod_is_guards(&w) || strcmp(image, ours) != 0)
            answer_refuse(a,
                          "%s.name: \"%s\" is reserved for the guard, and the image %.100s is not "
                          "its image there; rename the container, or leave it out: it is injected",
                          pod_where(&w, where), w.name, image);
    }
}

static bool is_ours(struct json_object *wanted_volumes, const char *name)
{
    return pod_starts_with(name, POD_SECRET) || pod_named(wanted_volumes, name, NULL);
}

static void check_volume_names(struct json_object *pod, struct json_object *wanted,
                               struct answer *a)
{
    struct json_object *volumes = value_at(pod, "spec.volumes");

    for (size_t i = 0; i < value_n(volumes); i++) {
        const char *name = value_text(value_item(volumes, i), "name");

        if (pod_starts_with(name, POD_RESERVED) && !is_ours(wanted, name))
            answer_refuse(a,
                          "spec.volumes[%zu].name: names that begin with \"" POD_RESERVED
                          "\" are reserved for the guard; rename the volume",
                          i);
    }
}

/* ---- volumes ---- */

/* The volume in which ServiceAccount admission has put the pod's own token. */
static bool is_api_access(struct json_object *volume)
{
    return pod_starts_with(value_text(volume, "name"), API_ACCESS) &&
           value_get(volume, "projected");
}

static bool is_api_access_name(struct json_object *pod, const char *name)
{
    struct json_object *v = pod_named(value_at(pod, "spec.volumes"), name, NULL);

    return v && is_api_access(v);
}

/* From the end, so that indexes hold: what must not be there goes, ours become what they have to
 * be; what is missing is added. */
static void patch_volumes(struct json_object *pod, struct json_object *wanted, struct patch *p)
{
    struct json_object *volumes = value_at(pod, "spec.volumes");

    if (!volumes)
        patch_add(p, json_object_new_array(), "/spec/volumes");
    for (size_t i = value_n(volumes); i-- > 0;) {
        struct json_object *v = value_item(volumes, i);
        const char *name = value_text(v, "name");
        struct json_object *canonical = pod_named(wanted, name, NULL);

        if (canonical && !json_object_equal(canonical, v))
            patch_replace(p, json_object_get(canonical), "/spec/volumes/%zu", i);
        else if (!canonical && (is_api_access(v) || pod_starts_with(name, POD_SECRET)))
            patch_remove(p, "/spec/volumes/%zu", i);
    }
    for (size_t i = 0; i < value_n(wanted); i++) {
        struct json_object *canonical = value_item(wanted, i);

        if (!pod_named(volumes, value_text(canonical, "name"), NULL))
            patch_add(p, json_object_get(canonical), "/spec/volumes/-");
    }
}

/* ---- the agent's containers ---- */

static struct json_object *trust_mount(const char *path, const char *sub_path)
{
    struct json_object *m = json_object_new_object();
    bool ok = m && value_set(m, "name", json_object_new_string(POD_TRUST)) &&
              value_set(m, "mountPath", json_object_new_string(path)) &&
              value_set(m, "readOnly", json_object_new_boolean(true));

    if (ok && sub_path)
        ok = value_set(m, "subPath", json_object_new_string(sub_path));
    if (ok)
        return m;
    json_object_put(m);
    return NULL;
}

static bool mounts_path(struct json_object *mounts, const char *path)
{
    for (size_t i = 0; i < value_n(mounts); i++) {
        if (strcmp(value_text(value_item(mounts, i), "mountPath"), path) == 0)
            return true;
    }
    return false;
}

struct agent_patch { /* one container's */
    const struct config *config;
    struct json_object *pod;
    const struct pod_walk *at;
    struct patch *patch;
    bool ssh; /* the namespace has SSH targets */
};

/* The real token's mounts become the guard's directory, at the same place and also below a
 * subPath. */
static void patch_token_mounts(const struct agent_patch *ap, struct json_object *mounts)
{
    for (size_t i = 0; i < value_n(mounts); i++) {
        const char *name = value_text(value_item(mounts, i), "name");
        struct json_object *m;

        if (!is_api_access_name(ap->pod, name))
            continue;
        m = value_copy(value_item(mounts, i));
        if (!value_set(m, "name", json_object_new_string(POD_SA_VOLUME)) ||
            !value_set(m, "readOnly", json_object_new_boolean(true))) {
            json_object_put(m);
            m = NULL;
        }
        patch_replace(ap->patch, m, "/spec/%s/%zu/volumeMounts/%zu", ap->at->list, ap->at->index,
                      i);
    }
}

/* A file of the guard's, at a place where programs of the agent look. */
static void patch_file(const struct agent_patch *ap, const char *path, const char *file)
{
    struct json_object *mounts = value_get(ap->at->container, "volumeMounts");

    if (!mounts_path(mounts, path))
        patch_add(ap->patch, trust_mount(path, file), "/spec/%s/%zu/volumeMounts/-", ap->at->list,
                  ap->at->index);
}

static void patch_mounts(const struct agent_patch *ap)
{
    struct json_object *mounts = value_get(ap->at->container, "volumeMounts");
    struct json_object *files = ap->config->trust_files.value;

    patch_token_mounts(ap, mounts);
    if (!mounts)
        patch_add(ap->patch, json_object_new_array(), "/spec/%s/%zu/volumeMounts", ap->at->list,
                  ap->at->index);
    patch_file(ap, AGENTPOD_TRUST_PATH, NULL);
    for (size_t i = 0; i < value_n(files); i++)
        patch_file(ap, json_object_get_string(value_item(files, i)), "bundle.pem");
    /* The guard is ready, and so the file there, before the agent's containers start. */
    if (ap->ssh)
        patch_file(ap, AGENTPOD_KNOWN_HOSTS, "known_hosts");
}

static void patch_env(const struct agent_patch *ap)
{
    static const struct {
        const char *name, *value;
    } variables[] = {
        {"PGSSLROOTCERT", AGENTPOD_TRUST_PATH "/bundle.pem"},
        {"NODE_EXTRA_CA_CERTS", AGENTPOD_TRUST_PATH "/bundle.pem"},
        {"SSL_CERT_DIR", "/etc/ssl/certs:/etc/pki/tls/certs:" AGENTPOD_TRUST_PATH},
    };
    struct json_object *env = value_get(ap->at->container, "env");
    bool there = env != NULL;

    for (size_t i = 0; i < ARRAY_LEN(variables) && ap->config->environment; i++) {
        if (pod_named(env, variables[i].name, NULL))
            continue;
        if (!there)
            patch_add(ap->patch, json_object_new_array(), "/spec/%s/%zu/env", ap->at->list,
                      ap->at->index);
        there = true;
        patch_add(ap->patch,
                  value_format("{\"name\": \"%s\", \"value\": \"%s\"}", variables[i].name,
                               variables[i].value),
                  "/spec/%s/%zu/env/-", ap->at->list, ap->at->index);
    }
}

/* Adds the path's object when it is not there. */
static void patch_parent(const struct agent_patch *ap, struct json_object *parent, bool list,
                         const char *path)
{
    if (!parent)
        patch_add(ap->patch, list ? json_object_new_array() : json_object_new_object(),
                  "/spec/%s/%zu/%s", ap->at->list, ap->at->index, path);
}

static void patch_capabilities(const struct agent_patch *ap, struct json_object *context)
{
    struct json_object *capabilities = value_get(context, "capabilities");
    struct json_object *drop = value_get(capabilities, "drop");
    bool first = true;

    for (size_t i = 0; i < agentpod_n_drops; i++) {
        if (agentpod_drops(drop, agentpod_drop_names[i]))
            continue;
        if (first) {
            patch_parent(ap, capabilities, false, "securityContext/capabilities");
            patch_parent(ap, drop, true, "securityContext/capabilities/drop");
        }
        first = false;
        patch_add(ap->patch, json_object_new_string(agentpod_drop_names[i]),
                  "/spec/%s/%zu/securityContext/capabilities/drop/-", ap->at->list, ap->at->index);
    }
}

static void patch_security(const struct agent_patch *ap)
{
    struct json_object *context = value_get(ap->at->container, "securityContext");

    patch_parent(ap, context, false, "securityContext");
    if (!value_get(context, "allowPrivilegeEscalation"))
        patch_add(ap->patch, json_object_new_boolean(false),
                  "/spec/%s/%zu/securityContext/allowPrivilegeEscalation", ap->at->list,
                  ap->at->index);
    patch_capabilities(ap, context);
}

static void patch_agents(const struct config *c, struct json_object *pod, bool ssh, struct patch *p)
{
    for (struct pod_walk w = pod_walk(pod); pod_next(&w);) {
        struct agent_patch ap = {c, pod, &w, p, ssh};

        if (pod_is_guards(&w) || strcmp(w.list, "ephemeralContainers") == 0)
            continue;
        patch_mounts(&ap);
        patch_env(&ap);
        patch_security(&ap);
    }
}

/* ---- the guard's containers ---- */

static bool in_place(struct json_object *inits, size_t i, struct json_object *wanted)
{
    struct json_object *found = value_item(inits, i);

    return found && !guard_difference(wanted, found);
}

/* Both are taken out wherever they are, and put at the head. */
static void patch_guards(struct json_object *pod, struct json_object *init,
                         struct json_object *guard, struct patch *p)
{
    struct json_object *inits = value_at(pod, "spec.initContainers");

    if (in_place(inits, 0, init) && in_place(inits, 1, guard))
        return;
    if (!inits)
        patch_add(p, json_object_new_array(), "/spec/initContainers");
    for (size_t i = value_n(inits); i-- > 0;) {
        const char *name = value_text(value_item(inits, i), "name");

        if (strcmp(name, POD_INIT) == 0 || strcmp(name, POD_GUARD) == 0)
            patch_remove(p, "/spec/initContainers/%zu", i);
    }
    patch_add(p, json_object_get(init), "/spec/initContainers/0");
    patch_add(p, json_object_get(guard), "/spec/initContainers/1");
}

/* ---- the pod ---- */

static void patch_pod(struct json_object *pod, struct patch *p)
{
    struct json_object *labels = value_at(pod, "metadata.labels");
    struct json_object *label = value_get(labels, AGENTPOD_LABEL);
    struct json_object *automount = value_at(pod, "spec.automountServiceAccountToken");

    if (!value_get(pod, "metadata"))
        patch_add(p, json_object_new_object(), "/metadata");
    if (!labels)
        patch_add(p, json_object_new_object(), "/metadata/labels");
    if (!label || strcmp(json_object_get_string(label), "true") != 0)
        patch_add(p, json_object_new_string("true"), "/metadata/labels/chaperone.dev~1injected");
    if (!automount || json_object_get_boolean(automount))
        patch_add(p, json_object_new_boolean(false), "/spec/automountServiceAccountToken");
}

static void make_patch(const struct config *c, const struct review *r, const struct guard_ids *ids,
                       const struct secrets *s, struct answer *a)
{
    _cleanup_(value_put) struct json_object *volumes = guard_volumes(c, s->mounted);
    _cleanup_(value_put) struct json_object *init = guard_init_container(c, ids);
    _cleanup_(value_put) struct json_object *guard = guard_container(c, ids, s->mounted);

    if (!volumes || !init || !guard) {
        a->patch.failed = true;
        return;
    }
    check_volume_names(r->object, volumes, a);
    if (a->n_reasons)
        return;
    patch_pod(r->object, &a->patch);
    patch_agents(c, r->object, s->ssh, &a->patch);
    patch_volumes(r->object, volumes, &a->patch);
    patch_guards(r->object, init, guard, &a->patch);
}

void inject_pod(const struct config *c, const struct review *r, const struct secrets *s,
                struct answer *a)
{
    struct guard_ids ids;
    struct error err;

    if (pod_check_shape(r->object, &err) < 0) {
        answer_refuse(a, "%s", err.text);
        return;
    }
    check_names(c, r->object, a);
    agentpod_check_wishes(r->object, a);
    agentpod_check_tokens(c, r->object, a);
    agentpod_check_logins(r->object, s, a);
    /* Anew each time, also when the pod has a guard: what it has there may be its writer's, who
     * knows as which user the image runs. */
    if (guard_ids_choose(c, r->object, r->uid, &ids, &err) < 0)
        answer_refuse(a, "%s", err.text);
    if (a->n_reasons == 0)
        make_patch(c, r, &ids, s, a);
}
