/* SPDX-License-Identifier: Apache-2.0
 * The guard's user and group: never the agent's.
 */
#include "guardpod.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>

#define MIN_ID    10000u
#define MAX_ID    65000u
#define MAX_TRIES 1000

/* ---- what the pod uses ---- */

static bool is_id(struct json_object *v, uint32_t id)
{
    return json_object_is_type(v, json_type_int) && json_object_get_int64(v) == id;
}

static bool context_uses(struct json_object *context, uint32_t id, const char **ret)
{
    static const char *const fields[] = {"runAsUser", "runAsGroup", "fsGroup"};
    struct json_object *groups = value_get(context, "supplementalGroups");

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        *ret = fields[i];
        if (is_id(value_get(context, fields[i]), id))
            return true;
    }
    *ret = "supplementalGroups";
    for (size_t i = 0; i < value_n(groups); i++) {
        if (is_id(value_item(groups, i), id))
            return true;
    }
    return false;
}

static bool pod_uses(struct json_object *pod, uint32_t id, char out[static GUARD_FIELD_LEN])
{
    const char *field;

    if (context_uses(value_at(pod, "spec.securityContext"), id, &field)) {
        snprintf(out, GUARD_FIELD_LEN, "spec.securityContext.%s", field);
        return true;
    }
    for (struct pod_walk w = pod_walk(pod); pod_next(&w);) {
        char where[POD_WHERE_LEN];

        if (pod_is_guards(&w) ||
            !context_uses(value_get(w.container, "securityContext"), id, &field))
            continue;
        snprintf(out, GUARD_FIELD_LEN, "%s.securityContext.%s", pod_where(&w, where), field);
        return true;
    }
    return false;
}

const char *guard_ids_used(struct json_object *pod, const struct guard_ids *ids,
                           char out[static GUARD_FIELD_LEN])
{
    return pod_uses(pod, ids->uid, out) || pod_uses(pod, ids->gid, out) ? out : NULL;
}

/* ---- choosing ---- */

/* The same seed gives the same numbers: a dry run tells what will be. */
static uint32_t derive(const char *seed, char what, uint32_t round)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char text[512];
    int n = snprintf(text, sizeof text, "%c %u %.480s", what, round, seed);

    SHA256((const uint8_t *)text, (size_t)n, digest);
    return MIN_ID + (uint32_t)(get_be64(digest) % (MAX_ID - MIN_ID + 1));
}

static bool derive_free(struct json_object *pod, const char *seed, char what, uint32_t *ret)
{
    char field[GUARD_FIELD_LEN];

    for (uint32_t round = 0; round < MAX_TRIES; round++) {
        *ret = derive(seed, what, round);
        if (!pod_uses(pod, *ret, field))
            return true;
    }
    return false;
}

int guard_ids_choose(const struct config *c, struct json_object *pod, const char *seed,
                     struct guard_ids *ret, struct error *err)
{
    struct guard_ids ids = {c->guard_uid, c->guard_gid};
    char field[GUARD_FIELD_LEN];

    if (ids.uid && guard_ids_used(pod, &ids, field))
        return error_set(err, -EINVAL,
                         "%s: %u and %u are the guard's user and group in every pod of this "
                         "cluster; choose another number",
                         field, ids.uid, ids.gid);
    if (!ids.uid &&
        (!derive_free(pod, seed, 'u', &ids.uid) || !derive_free(pod, seed, 'g', &ids.gid)))
        return error_set(err, -EINVAL, "spec: the pod uses too many users and groups");
    *ret = ids;
    return 0;
}

/* ---- reading ---- */

static uint32_t argument(struct json_object *args, const char *option)
{
    for (size_t i = 0; i + 1 < value_n(args); i++) {
        const char *value = json_object_get_string(value_item(args, i + 1));

        if (strcmp(json_object_get_string(value_item(args, i)), option) != 0)
            continue;
        if (!*value || strlen(value) > 5 || strspn(value, "0123456789") != strlen(value))
            return 0;
        return (uint32_t)strtoul(value, NULL, 10);
    }
    return 0;
}

static bool could_be(const struct config *c, const struct guard_ids *ids)
{
    if (c->guard_uid)
        return ids->uid == c->guard_uid && ids->gid == c->guard_gid;
    return ids->uid >= MIN_ID && ids->uid <= MAX_ID && ids->gid >= MIN_ID && ids->gid <= MAX_ID;
}

bool guard_ids_read(const struct config *c, struct json_object *pod, struct guard_ids *ret)
{
    struct json_object *inits = value_at(pod, "spec.initContainers");
    struct json_object *args = value_get(pod_named(inits, POD_INIT, NULL), "args");
    struct json_object *guard = pod_named(inits, POD_GUARD, NULL);
    struct guard_ids ids = {argument(args, "--uid"), argument(args, "--gid")};

    if (!guard || !could_be(c, &ids) ||
        value_int(guard, "securityContext.runAsUser", 0) != ids.uid ||
        value_int(guard, "securityContext.runAsGroup", 0) != ids.gid)
        return false;
    *ret = ids;
    return true;
}
