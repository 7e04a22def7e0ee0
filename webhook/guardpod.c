/* SPDX-License-Identifier: Apache-2.0
 * The guard's containers and volumes.
 */
#include "guardpod.h"

#include <openssl/sha.h>
#include <stdio.h>

#define VOLUME_NAME_LEN 64
#define STORE_TOKEN     "chaperone-store-token"

/* ---- volumes ---- */

static const char fixed_volumes[] =
    "[{\"name\": \"chaperone-run\", \"emptyDir\": {\"medium\": \"Memory\"}},"
    " {\"name\": \"chaperone-spool\", \"emptyDir\": {\"sizeLimit\": %s}},"
    " {\"name\": \"" POD_TRUST "\", \"emptyDir\": {\"medium\": \"Memory\"}},"
    " {\"name\": \"" POD_SA_VOLUME "\", \"emptyDir\": {\"medium\": \"Memory\"}},"
    " {\"name\": \"chaperone-real-sa\", \"projected\": {\"defaultMode\": 420, \"sources\": ["
    "   {\"serviceAccountToken\": {\"expirationSeconds\": 3607, \"path\": \"token\"}},"
    "   {\"configMap\": {\"name\": \"kube-root-ca.crt\","
    "     \"items\": [{\"key\": \"ca.crt\", \"path\": \"ca.crt\"}]}},"
    "   {\"downwardAPI\": {\"items\": [{\"path\": \"namespace\","
    "     \"fieldRef\": {\"apiVersion\": \"v1\", \"fieldPath\": \"metadata.namespace\"}}]}}]}},"
    " {\"name\": \"chaperone-agent-token\", \"projected\": {\"defaultMode\": 420, \"sources\": ["
    "   {\"serviceAccountToken\": {\"audience\": \"chaperone\", \"expirationSeconds\": 600,"
    "     \"path\": \"token\"}}]}},"
    " {\"name\": \"chaperone-pod\", \"downwardAPI\": {\"defaultMode\": 420,"
    "   \"items\": [{\"path\": \"labels\","
    "     \"fieldRef\": {\"apiVersion\": \"v1\", \"fieldPath\": \"metadata.labels\"}}]}}]";

/* A volume's name is a DNS label; a Secret's may have dots and be longer. */
static void secret_volume_name(const char *secret, char out[static VOLUME_NAME_LEN])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    int n = snprintf(out, VOLUME_NAME_LEN, POD_SECRET "%s", secret);

    if (n < VOLUME_NAME_LEN && !strchr(secret, '.'))
        return;
    SHA256((const uint8_t *)secret, strlen(secret), digest);
    n = snprintf(out, VOLUME_NAME_LEN, POD_SECRET "x");
    for (size_t i = 0; i < 16; i++)
        n += snprintf(out + n, VOLUME_NAME_LEN - (size_t)n, "%02x", digest[i]);
}

static bool has_store_token(const struct config *c)
{
    return *json_object_get_string(c->token_audience.value);
}

/* A token that the store's token service takes, and that no other volume of a pod may have. */
static bool add_store_token(const struct config *c, struct json_object *volumes)
{
    struct json_object *v =
        value_format("{\"name\": \"" STORE_TOKEN "\", \"projected\": {\"defaultMode\": 420,"
                     " \"sources\": [{\"serviceAccountToken\": {\"audience\": %s,"
                     " \"expirationSeconds\": 3600, \"path\": \"token\"}}]}}",
                     c->token_audience.json);

    if (v && json_object_array_add(volumes, v) == 0)
        return true;
    json_object_put(v);
    return false;
}

struct json_object *guard_volumes(const struct config *c, struct json_object *secrets)
{
    struct json_object *volumes = value_format(fixed_volumes, c->spool_limit.json);

    if (volumes && has_store_token(c) && !add_store_token(c, volumes)) {
        json_object_put(volumes);
        return NULL;
    }

    for (size_t i = 0; i < value_n(secrets) && volumes; i++) {
        struct json_object *secret = value_item(secrets, i), *v;
        char name[VOLUME_NAME_LEN];

        secret_volume_name(json_object_get_string(secret), name);
        v = value_format("{\"name\": \"%s\", \"secret\": {\"secretName\": %s, \"optional\": true, "
                         "\"defaultMode\": 420}}",
                         name, value_quote(secret));
        if (!v || json_object_array_add(volumes, v) < 0) {
            json_object_put(v);
            json_object_put(volumes);
            return NULL;
        }
    }
    return volumes;
}

struct json_object *guard_secrets_of(struct json_object *pod)
{
    struct json_object *volumes = value_at(pod, "spec.volumes"), *ret = json_object_new_array();

    for (size_t i = 0; i < value_n(volumes) && ret; i++) {
        struct json_object *v = value_item(volumes, i);
        const char *secret = value_str(v, "secret.secretName");

        if (secret && pod_starts_with(value_text(v, "name"), POD_SECRET))
            json_object_array_add(ret, json_object_new_string(secret));
    }
    return ret;
}

/* ---- containers ---- */

#define CONFINED                                                                                   \
    "\"allowPrivilegeEscalation\": false, \"readOnlyRootFilesystem\": true, \"privileged\": "      \
    "false, "                                                                                      \
    "\"seccompProfile\": {\"type\": \"RuntimeDefault\"}"
#define COMMON                                                                                     \
    "\"image\": %s, \"imagePullPolicy\": %s, \"resources\": %s,"                                   \
    "\"terminationMessagePath\": \"/dev/termination-log\","                                        \
    "\"terminationMessagePolicy\": \"FallbackToLogsOnError\","
#define PROBE(path, period, failures)                                                              \
    "{\"httpGet\": {\"path\": \"" path "\", \"port\": 15020, \"scheme\": \"HTTP\"},"               \
    " \"periodSeconds\": " period ", \"failureThreshold\": " failures                              \
    ", \"timeoutSeconds\": 2, \"successThreshold\": 1}"
#define FIELD_ENV(name, path)                                                                      \
    "{\"name\": \"" name "\", \"valueFrom\": {\"fieldRef\": {\"apiVersion\": \"v1\", "             \
    "\"fieldPath\": \"" path "\"}}}"
#define MOUNT(volume, path) "{\"name\": \"" volume "\", \"mountPath\": \"" path "\"}"
#define MOUNT_RO(volume, path)                                                                     \
    "{\"name\": \"" volume "\", \"mountPath\": \"" path "\", \"readOnly\": true}"

static const char init_container[] =
    "{\"name\": \"" POD_INIT "\"," COMMON "\"command\": [\"/chaperone-init\"],"
    "\"args\": [\"--capture\", \"15001\", \"--uid\", \"%u\", \"--gid\", \"%u\"],"
    "\"securityContext\": {" CONFINED ", \"runAsUser\": 0, \"runAsGroup\": 0,"
    " \"runAsNonRoot\": false, \"capabilities\": {\"add\": [\"NET_ADMIN\"], \"drop\": [\"ALL\"]}}}";

static const char guard_template[] =
    "{\"name\": \"" POD_GUARD "\"," COMMON "\"restartPolicy\": \"Always\","
    "\"command\": [\"/chaperone-sidecar\"],"
    "\"args\": [\"--kubernetes\", \"--capture\", \"15001\", \"--spool\","
    " \"/var/lib/chaperone/spool\", \"--state\", \"/run/chaperone\", \"--control\","
    " \"/run/chaperone/control.sock\", \"--status\", \"[::]:15020\", \"--trust\", \"/trust\","
    " \"--secrets\", \"/etc/chaperone/secrets\", \"--namespace\", \"$(POD_NAMESPACE)\","
    " \"--pod\", \"$(POD_NAME)\", \"--pod-uid\", \"$(POD_UID)\", \"--service-account\","
    " \"$(SERVICE_ACCOUNT)\", \"--labels-file\", \"/etc/chaperone/pod/labels\","
    " \"--agent-token\", \"/var/run/secrets/chaperone/token\"],"
    "\"env\": [" FIELD_ENV("POD_NAMESPACE", "metadata.namespace") "," FIELD_ENV("POD_NAME",
                                                                                "metada"
                                                                                "ta."
                                                                                "name") "," FIELD_ENV("POD_UID", "metadata.uid") "," FIELD_ENV("SERVICE_ACCOUNT", "spec.serviceAccountName") "],"
                                                                                                                                                                                             "\"startupProbe\": " PROBE("/readyz", "1", "60") ","
                                                                                                                                                                                                                                              "\"livenessProbe\": " PROBE("/livez", "10", "6") ","
                                                                                                                                                                                                                                                                                               "\"securityContext\": {" CONFINED ", \"runAsUser\": %u, \"runAsGroup\": %u,"
                                                                                                                                                                                                                                                                                               " \"runAsNonRoot\": true, \"capabilities\": "
                                                                                                                                                                                                                                                                                               "{\"drop\": [\"ALL\"]}},"
                                                                                                                                                                                                                                                                                               "\"volumeMounts\": [" MOUNT("chaperone-run", "/run/chaperone") "," MOUNT("chaperone-spool", "/var/lib/chaperone/spool") "," MOUNT(POD_TRUST,
                                                                                                                                                                                                                                                                                                                                                                                                                                 "/trust") "," MOUNT(POD_SA_VOLUME, "/trust/"
                                                                                                                                                                                                                                                                                                                                                                                                                                                                    "serviceaccount") "," MOUNT_RO("chaperone-real-sa",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   POD_SA_PATH) "," MOUNT_RO("chaperone-agent-token", "/var/run/secrets/chaperone") "," MOUNT_RO("chaperone-pod",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                 "/etc/chaperone/pod") "]}";

struct json_object *guard_init_container(const struct config *c, const struct guard_ids *ids)
{
    return value_format(init_container, c->init_image.json, c->pull_policy.json,
                        c->init_resources.json, ids->uid, ids->gid);
}

static bool add_args(const struct config *c, struct json_object *container)
{
    struct json_object *args = value_get(container, "args"), *more = c->guard_args.value;
    const char *issuers = json_object_get_string(c->issuers.value);

    if (*issuers && (json_object_array_add(args, json_object_new_string("--issuers-inline")) < 0 ||
                     json_object_array_add(args, json_object_new_string(issuers)) < 0))
        return false;
    for (size_t i = 0; i < value_n(more); i++) {
        const char *arg = json_object_get_string(value_item(more, i));

        if (json_object_array_add(args, json_object_new_string(arg)) < 0)
            return false;
    }
    return true;
}

static bool add_mount(struct json_object *mounts, const char *name, const char *path)
{
    struct json_object *m = json_object_new_object();

    if (value_set(m, "name", json_object_new_string(name)) &&
        value_set(m, "mountPath", json_object_new_string(path)) &&
        value_set(m, "readOnly", json_object_new_boolean(true)) &&
        json_object_array_add(mounts, m) == 0)
        return true;
    json_object_put(m);
    return false;
}

static bool add_mounts(const struct config *c, struct json_object *container,
                       struct json_object *secrets)
{
    struct json_object *mounts = value_get(container, "volumeMounts");

    if (has_store_token(c) && !add_mount(mounts, STORE_TOKEN, "/var/run/secrets/chaperone-store"))
        return false;
    for (size_t i = 0; i < value_n(secrets); i++) {
        const char *secret = json_object_get_string(value_item(secrets, i));
        char name[VOLUME_NAME_LEN], path[320];

        secret_volume_name(secret, name);
        snprintf(path, sizeof path, "/etc/chaperone/secrets/%.253s", secret);
        if (!add_mount(mounts, name, path))
            return false;
    }
    return true;
}

struct json_object *guard_container(const struct config *c, const struct guard_ids *ids,
                                    struct json_object *secrets)
{
    struct json_object *o = value_format(guard_template, c->guard_image.json, c->pull_policy.json,
                                         c->guard_resources.json, ids->uid, ids->gid);

    if (o && add_args(c, o) && add_mounts(c, o, secrets))
        return o;
    json_object_put(o);
    return NULL;
}

/* ---- comparing ---- */

/* Not ours to say; none of them lets anything run in the container or reach into it. (The path of
 * the termination message does: an empty file is mounted there, over resolv.conf for one.) */
static bool is_tolerated(const char *key)
{
    static const char *const keys[] = {"resources", "resizePolicy", "terminationMessagePolicy"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i], key) == 0)
            return true;
    }
    return false;
}

const char *guard_difference(struct json_object *wanted, struct json_object *found)
{
    if (!json_object_is_type(wanted, json_type_object) ||
        !json_object_is_type(found, json_type_object))
        return "name";
    json_object_object_foreach(wanted, key, value)
    {
        if (!is_tolerated(key) && !json_object_equal(value, value_get(found, key)))
            return key;
    }
    json_object_object_foreach(found, other, unused)
    {
        if (unused && !is_tolerated(other) && !value_get(wanted, other))
            return other;
    }
    return NULL;
}
