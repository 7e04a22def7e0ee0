/* SPDX-License-Identifier: Apache-2.0
 * A pod as it comes in an AdmissionReview: its shape, its containers.
 */
#pragma once

#include "value.h"

#define POD_INIT      "chaperone-init"
#define POD_GUARD     "chaperone"
#define POD_RESERVED  "chaperone-" /* names of volumes that begin so are ours */
#define POD_SA_VOLUME "chaperone-sa"
#define POD_TRUST     "chaperone-trust"
#define POD_SECRET    "chaperone-secret-"
#define POD_SA_PATH   "/var/run/secrets/kubernetes.io/serviceaccount"

/* -EINVAL names the first field of a type that it cannot have. */
int pod_check_shape(struct json_object *pod, struct error *err) MUST_CHECK;

/* Over all containers of a pod: for (struct pod_walk w = pod_walk(pod); pod_next(&w);) … */
struct pod_walk {
    struct json_object *pod;
    size_t list_no, next;
    const char *list; /* "initContainers", "containers", "ephemeralContainers" */
    size_t index;
    struct json_object *container;
    const char *name;
};

struct pod_walk pod_walk(struct json_object *pod);
bool pod_next(struct pod_walk *w);
/* The two containers of the guard, wherever they are. */
bool pod_is_guards(const struct pod_walk *w);

/* "spec.initContainers[2]" */
#define POD_WHERE_LEN 64
const char *pod_where(const struct pod_walk *w, char out[static POD_WHERE_LEN]);

/* The item of a list of objects with that name, and its index; NULL: none. */
struct json_object *pod_named(struct json_object *list, const char *name, size_t *ret_index);
bool pod_starts_with(const char *s, const char *prefix);
