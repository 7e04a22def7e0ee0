/* SPDX-License-Identifier: Apache-2.0
 * What an agent must not see of an object. Secrets' values never; what Mask rules name; what
 * detectors find. Pure; one thread.
 */
#pragma once

#include "sidecar/mask/detect.h"
#include "sidecar/mask/mask.h"
#include "src-common/buffer.h"

#include <json-c/json_object.h>
#include <json-c/json_tokener.h>

#define KUBEMASK_RULES 64

struct kubemask {
    struct policy_view *view; /* a reference: the rules are in it */
    bool secrets; /* the answer is about Secrets, whatever its objects call themselves */
    bool quotes;  /* a failure may quote what is stored */
    struct kube_mask rules[KUBEMASK_RULES];
    size_t n_rules;
    struct detector_set *detectors; /* NULL: none */
    struct detect_scratch *scratch;
    const struct masker *masker;
    enum mask_method methods[DETECTOR_COUNT];
    uint64_t masked;              /* values so far */
    struct json_tokener *tokener; /* used again for each piece */
    struct json_object *copied;   /* whose copy is being masked; NULL: none */
};

/* What stands for a value in data, where only base64 can stand, and elsewhere. */
#define KUBEMASK_BASE64 "KioqKg=="

/* What applies to the answers of a request. Takes a reference to v. More rules than KUBEMASK_RULES:
 * -E2BIG. */
int kubemask_init(struct kubemask *m, struct policy_view *v, const struct kube_act *act,
                  const struct masker *masker) MUST_CHECK;
/* Whether the answers of the request would be masked in the same way with that view. */
bool kubemask_same(const struct kubemask *m, const struct policy_view *v,
                   const struct kube_act *act);
void kubemask_done(struct kubemask *m);
/* Whether Tables may be asked for: their cells show what a path of a Mask rule may name, and those
 * of custom kinds anything. */
bool kubemask_tables(const struct policy_view *v, const struct kube_act *act);
/* Nothing could be masked: answers may pass unread. */
bool kubemask_idle(const struct kubemask *m);
/* For kubecut_feed: one object, event or document in, its masked form out. -EBADMSG: no JSON. */
int kubemask_piece(struct bytes piece, struct buffer *out, void *mask) MUST_CHECK;
/* Masks in place; for bodies that are recorded or shown as well. */
int kubemask_object(struct kubemask *m, struct json_object *o) MUST_CHECK;
