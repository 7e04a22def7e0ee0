/* SPDX-License-Identifier: Apache-2.0
 * What a watch has told us about one kind of object, cut down to what the controller needs.
 */
#pragma once

#include "src-common/kube/watch.h"
#include "value.h"

/* What is kept of an object: a new value, or NULL to leave the object out. On the watch's thread.
 */
typedef struct json_object *store_keep_fn(struct json_object *object);

struct store_config {
    struct kube *kube;
    struct kube_place place;
    const char *label_selector;
    store_keep_fn *keep;
    void (*changed)(void *arg); /* on the watch's thread */
    void *arg;
};

struct store;
int store_start(const struct store_config *c, struct store **ret, struct error *err) MUST_CHECK;
void store_stop(struct store *s); /* accepts NULL */
/* A list of copies, the caller's own; NULL before the first list has come. Any thread. */
struct json_object *store_copy(struct store *s);
