/* SPDX-License-Identifier: Apache-2.0
 * From a path and a body to an answer: reads the review, asks the API server for what the check
 * needs to know, and lets the check decide. Any thread; blocks for calls to the API server.
 */
#pragma once

#include "config.h"
#include "review.h"
#include "src-common/kube/kube.h"

#include <stdatomic.h>

struct admit {
    const struct config *config;
    struct kube *kube;
    const char *username; /* our own */
    atomic_ullong allowed, refused, bad;
};

/* True when there is such a path. */
bool admit_knows(const char *path);
/* The AdmissionReview to send back. -EINVAL, -EMSGSIZE: it was none: HTTP 400; err says why. */
int admit_review(struct admit *ad, const char *path, struct bytes body, struct buffer *out,
                 struct error *err) MUST_CHECK;
