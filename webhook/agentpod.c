/* SPDX-License-Identifier: Apache-2.0
 * The bypass guard: each rule names the field, what is wrong with it, and what to do.
 */
#include "agentpod.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

/* NET_ADMIN changes the redirection; NET_RAW sends packets that no rule sees; SETUID and SETGID
 * become the guard's user; SYS_PTRACE reads its memory where a process namespace is shared. */
const char *const agentpod_drop_names[] = {"NET_ADMIN", "NET_RAW", "SETUID", "SETGID",
                                           "SYS_PTRACE"};
const size_t agentpod_n_drops = ARRAY_LEN(agentpod_drop_names);

/* ---- the pod ---- */

struct flag_rule {
    const char *path, *why;
};

/* Names of targets and of egress are resolved with the pod's own /etc/hosts and resolv.conf: who
 * writes them would say which address is which target. And its name servers can be spoken to. */
static void check_resolver(struct json_object *pod, struct answer *a)
{
    static const char *const paths[] = {"spec.hostAliases", "spec.dnsConfig.nameservers",
                                        "spec.dnsConfig.searches"};

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (value_n(value_at(pod, paths[i])))
            answer_refuse(a,
                          "%s: not permitted in a guarded pod (it would decide which address a "
                          "policy's host name means); leave it out, and have the cluster's DNS "
                          "know the name",
                          paths[i]);
    }
}

void agentpod_check_pod(struct json_object *pod, struct answer *a)
{
    static const struct flag_rule flags[] = {
        {"spec.hostNetwork", "the pod's traffic would not pass the guard"},
        {"spec.hostPID", "the agent would see the guard's process and those of the node"},
        {"spec.hostIPC", "the agent would share memory with the node"},
        {"spec.shareProcessNamespace", "the agent would see the guard's process and files"},
    };
    struct json_object *volumes = value_at(pod, "spec.volumes");

    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (value_bool(pod, flags[i].path))
            answer_refuse(a, "%s: true is not permitted in a guarded pod (%s); leave it out",
                          flags[i].path, flags[i].why);
    }
    for (size_t i = 0; i < value_n(volumes); i++) {
        struct json_object *v = value_item(volumes, i);

        /* what our own are is compared as a whole */
        if (value_get(v, "hostPath") && !pod_starts_with(value_text(v, "name"), POD_RESERVED))
            answer_refuse(a,
                          "spec.volumes[%zu].hostPath: not permitted in a guarded pod (the node's "
                          "files and sockets lead around the guard); use another kind of volume",
                          i);
    }
    if (strcmp(value_text(pod, "spec.securityContext.seccompProfile.type"), "Unconfined") == 0)
        answer_refuse(a, "spec.securityContext.seccompProfile.type: Unconfined is not permitted in "
                         "a guarded pod; use RuntimeDefault");
    if (strcmp(value_text(pod, "spec.os.name"), "windows") == 0)
        answer_refuse(a, "spec.os.name: the guard runs on Linux only; label another namespace");
    check_resolver(pod, a);
}

/* ---- tokens and logins ---- */

static void check_token_source(const struct config *c, const char *where, struct json_object *token,
                               struct answer *a)
{
    const char *audience = value_text(token, "audience"),
               *store = json_object_get_string(c->token_audience.value);

    if (*store && strcmp(audience, store) == 0) {
        answer_refuse(a,
                      "%s.serviceAccountToken.audience: such a token opens the store of records, "
                      "and is the guard's alone; leave it out",
                      where);
        return;
    }
    if (*audience && !value_has(c->api_audiences.value, audience))
        return;
    answer_refuse(
        a,
        "%s.serviceAccountToken.audience: %s: the token would be one for the API server, "
        "which only the guard may hold; name the audience that it is for, or leave it out",
        where, *audience ? "the API server's" : "none");
}

void agentpod_check_tokens(const struct config *c, struct json_object *pod, struct answer *a)
{
    struct json_object *volumes = value_at(pod, "spec.volumes");

    for (size_t i = 0; i < value_n(volumes); i++) {
        struct json_object *v = value_item(volumes, i);
        struct json_object *sources = value_at(v, "projected.sources");
        const char *name = value_text(v, "name");

        if (pod_starts_with(name, POD_RESERVED) || pod_starts_with(name, "kube-api-access-"))
            continue;
        for (size_t j = 0; j < value_n(sources); j++) {
            struct json_object *token = value_get(value_item(sources, j), "serviceAccountToken");
            char where[GUARD_FIELD_LEN];

            snprintf(where, sizeof where, "spec.volumes[%zu].projected.sources[%zu]", i, j);
            if (token)
                check_token_source(c, where, token, a);
            if (value_get(value_item(sources, j), "podCertificate"))
                answer_refuse(a,
                              "%s.podCertificate: the API server may take such a certificate as a "
                              "login, which only the guard may hold; leave it out",
                              where);
        }
    }
}

static void check_login(const struct secrets *s, const char *secret, const char *where,
                        struct answer *a)
{
    if (secret && value_has(s->logins, secret))
        answer_refuse(a,
                      "%s: the Secret \"%.64s\" is the login of a GuardTarget of this namespace, "
                      "which only the guard may hold; leave it out: the guard logs in",
                      where, secret);
}

static void check_volume_logins(struct json_object *pod, const struct secrets *s, struct answer *a)
{
    struct json_object *volumes = value_at(pod, "spec.volumes");
    char where[GUARD_FIELD_LEN];

    for (size_t i = 0; i < value_n(volumes); i++) {
        struct json_object *v = value_item(volumes, i);
        struct json_object *sources = value_at(v, "projected.sources");

        if (pod_starts_with(value_text(v, "name"), POD_SECRET))
            continue; /* the guard's, and nobody else may mount it */
        snprintf(where, sizeof where, "spec.volumes[%zu].secret.secretName", i);
        check_login(s, value_str(v, "secret.secretName"), where, a);
        for (size_t j = 0; j < value_n(sources); j++) {
            snprintf(where, sizeof where, "spec.volumes[%zu].projected.sources[%zu].secret.name", i,
                     j);
            check_login(s, value_str(value_item(sources, j), "secret.name"), where, a);
        }
    }
}

void agentpod_check_variables(const struct pod_walk *w, const struct secrets *s, struct answer *a)
{
    static const struct {
        const char *list, *path;
    } places[] = {{"env", "valueFrom.secretKeyRef.name"}, {"envFrom", "secretRef.name"}};

    for (size_t p = 0; p < ARRAY_LEN(places); p++) {
        struct json_object *list = value_get(w->container, places[p].list);

        for (size_t i = 0; i < value_n(list); i++) {
            char at[POD_WHERE_LEN], where[2 * GUARD_FIELD_LEN];

            snprintf(where, sizeof where, "%s.%s[%zu].%s", pod_where(w, at), places[p].list, i,
                     places[p].path);
            check_login(s, value_str(value_item(list, i), places[p].path), where, a);
        }
    }
}

void agentpod_check_logins(struct json_object *pod, const struct secrets *s, struct answer *a)
{
    check_volume_logins(pod, s, a);
    for (struct pod_walk w = pod_walk(pod); pod_next(&w);)
        agentpod_check_variables(&w, s, a);
}

/* ---- capabilities ---- */

/* The runtime compares ALL without regard to case, and takes other names as they are. */
bool agentpod_drops(struct json_object *drop, const char *capability)
{
    for (size_t i = 0; i < value_n(drop); i++) {
        const char *name = json_object_get_string(value_item(drop, i));

        if (strcasecmp(name, "ALL") == 0 || strcmp(name, capability) == 0)
            return true;
    }
    return false;
}

static void check_added(struct json_object *context, const char *where, struct answer *a)
{
    struct json_object *add = value_at(context, "capabilities.add");

    for (size_t i = 0; i < value_n(add); i++) {
        const char *name = json_object_get_string(value_item(add, i));

        if (strcmp(name, "NET_BIND_SERVICE") != 0)
            answer_refuse(a,
                          "%s.securityContext.capabilities.add: %.32s is not permitted in a "
                          "guarded pod, only NET_BIND_SERVICE is; leave it out",
                          where, name);
    }
}

static void check_dropped(struct json_object *context, const char *where, struct answer *a)
{
    struct json_object *drop = value_at(context, "capabilities.drop");
    char missing[128] = "";

    for (size_t i = 0; i < agentpod_n_drops; i++) {
        size_t used = strlen(missing);

        if (!agentpod_drops(drop, agentpod_drop_names[i]))
            snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "",
                     agentpod_drop_names[i]);
    }
    if (*missing)
        answer_refuse(a,
                      "%s.securityContext.capabilities.drop: %s has to be there (the agent could "
                      "get around the guard with it); drop it, or ALL",
                      where, missing);
}

/* ---- containers ---- */

#define NO_ESCALATION                                                                              \
    "%s.securityContext.allowPrivilegeEscalation: has to be false in a guarded pod (a setuid "     \
    "program could become the guard's user); set it to false"

/* What somebody asks for. */
static void check_wishes(struct json_object *context, const char *where, struct answer *a)
{
    const char *proc = value_str(context, "procMount");

    if (value_bool(context, "privileged"))
        answer_refuse(a,
                      "%s.securityContext.privileged: not permitted in a guarded pod; leave it out",
                      where);
    if (value_bool(context, "allowPrivilegeEscalation"))
        answer_refuse(a, NO_ESCALATION, where);
    if (proc && strcmp(proc, "Default") != 0)
        answer_refuse(a,
                      "%s.securityContext.procMount: only Default is permitted in a guarded pod; "
                      "leave it out",
                      where);
    if (strcmp(value_text(context, "seccompProfile.type"), "Unconfined") == 0)
        answer_refuse(a,
                      "%s.securityContext.seccompProfile.type: Unconfined is not permitted in a "
                      "guarded pod; use RuntimeDefault",
                      where);
    check_added(context, where, a);
}

/* What injection sets when somebody says nothing. */
static void check_completed(struct json_object *context, const char *where, struct answer *a)
{
    if (!value_get(context, "allowPrivilegeEscalation"))
        answer_refuse(a, NO_ESCALATION, where);
    check_dropped(context, where, a);
}

void agentpod_check_wishes(struct json_object *pod, struct answer *a)
{
    agentpod_check_pod(pod, a);
    for (struct pod_walk w = pod_walk(pod); pod_next(&w);) {
        char where[POD_WHERE_LEN];

        if (!pod_is_guards(&w))
            check_wishes(value_get(w.container, "securityContext"), pod_where(&w, where), a);
    }
}

static void check_run_as(struct json_object *pod, struct json_object *context, const char *where,
                         struct answer *a)
{
    static const char *const fields[] = {"runAsUser", "runAsGroup"};
    struct json_object *pods = value_at(pod, "spec.securityContext");

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!value_get(context, fields[i]) && !value_get(pods, fields[i]))
            answer_refuse(a,
                          "%s.securityContext.%s: required in this cluster (what the image says is "
                          "not known at admission); set it there or in spec.securityContext",
                          where, fields[i]);
    }
}

/* Two volumes are for the agent, to read. */
static void check_mount(struct json_object *mount, const char *where, size_t i, struct answer *a)
{
    const char *name = value_text(mount, "name");
    bool agents = strcmp(name, POD_TRUST) == 0 || strcmp(name, POD_SA_VOLUME) == 0;

    if (!pod_starts_with(name, POD_RESERVED))
        return;
    if (!agents)
        answer_refuse(a,
                      "%s.volumeMounts[%zu].name: the volume \"%.64s\" is the guard's alone; "
                      "leave it out",
                      where, i, name);
    else if (!value_bool(mount, "readOnly"))
        answer_refuse(a,
                      "%s.volumeMounts[%zu].readOnly: only the guard writes to the volume "
                      "\"%.64s\"; set it to true",
                      where, i, name);
}

void agentpod_check_container(const struct config *c, struct json_object *pod,
                              const struct pod_walk *w, struct answer *a)
{
    struct json_object *context = value_get(w->container, "securityContext");
    struct json_object *mounts = value_get(w->container, "volumeMounts");
    const char *shared = value_text(w->container, "targetContainerName");
    char where[POD_WHERE_LEN];

    pod_where(w, where);
    check_wishes(context, where, a);
    check_completed(context, where, a);
    if (c->require_run_as_user)
        check_run_as(pod, context, where, a);
    for (size_t i = 0; i < value_n(mounts); i++)
        check_mount(value_item(mounts, i), where, i, a);
    if (strcmp(shared, POD_GUARD) == 0 || strcmp(shared, POD_INIT) == 0)
        answer_refuse(a,
                      "%s.targetContainerName: the processes of \"%s\" are the guard's alone; name "
                      "another container",
                      where, shared);
}
