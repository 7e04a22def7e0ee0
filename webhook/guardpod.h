/* SPDX-License-Identifier: Apache-2.0
 * The guard's part of a pod as it has to be (docs/kubernetes.md): containers, volumes, user and
 * group. Injection writes it, validation compares with it. Pure functions.
 *
 * Everything that the API server would fill in by itself is written out, so that what comes back
 * compares equal.
 */
#pragma once

#include "config.h"
#include "pod.h"

struct guard_ids {
    uint32_t uid, gid;
};

/* Of a hash over `seed` (the request's uid), from 10000 to 65000, none that the pod uses itself; or
 * the fixed ones of the configuration. -EINVAL when the pod uses the fixed ones. */
int guard_ids_choose(const struct config *c, struct json_object *pod, const char *seed,
                     struct guard_ids *ret, struct error *err) MUST_CHECK;
/* What the pod's own two containers say, when they agree and are ones that could have been
 * chosen. */
bool guard_ids_read(const struct config *c, struct json_object *pod, struct guard_ids *ret);
/* Where the pod uses one of the guard's ids itself: the field; NULL: nowhere. */
#define GUARD_FIELD_LEN 96
const char *guard_ids_used(struct json_object *pod, const struct guard_ids *ids,
                           char out[static GUARD_FIELD_LEN]);

/* All NULL when out of memory; the caller owns them. */
struct json_object *guard_init_container(const struct config *c, const struct guard_ids *ids);
/* `secrets`: a list of the names of Secrets. */
struct json_object *guard_container(const struct config *c, const struct guard_ids *ids,
                                    struct json_object *secrets);
/* A list of volumes. */
struct json_object *guard_volumes(const struct config *c, struct json_object *secrets);

/* The Secrets that the guard's container of this pod mounts, by its volumes. A list. */
struct json_object *guard_secrets_of(struct json_object *pod);

/* The first field in which the pod's container differs from what it has to be; NULL: none.
 * Resources are left out: LimitRanges and autoscalers may change them. */
const char *guard_difference(struct json_object *wanted, struct json_object *found);
