/* SPDX-License-Identifier: Apache-2.0
 * Calls to the API server by place rather than by path, and names of what is asked for.
 */
#pragma once

#include "src-common/kube/kube.h"
#include "value.h"

#define GUARD_GROUP   "chaperone.dev"
#define GUARD_API     "apis/chaperone.dev/v1alpha1"
#define ENABLED_LABEL "chaperone.dev/inject" /* of namespaces: "enabled" */

/* As kube_call. timeout_ms 0: its default. `reply` is set whatever happens. */
int call_get(struct kube *k, const struct kube_place *place, unsigned timeout_ms,
             struct kube_reply *reply, struct error *err) MUST_CHECK;
/* A list's items; the caller owns it. label_selector NULL: all. */
int call_list(struct kube *k, const struct kube_place *place, const char *label_selector,
              struct json_object **ret, struct error *err) MUST_CHECK;
/* POST, PUT, DELETE, PATCH. The body is borrowed and may be NULL; the content type is JSON when
 * NULL. Whoever does not want the reply gives NULL. */
struct call {
    const char *method, *content_type;
    const struct kube_place *place;
    struct json_object *body;
};
int call_send(struct kube *k, const struct call *c, struct kube_reply *reply,
              struct error *err) MUST_CHECK;
