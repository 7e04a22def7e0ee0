/* SPDX-License-Identifier: Apache-2.0
 * A pod, as somebody wants to create it, to the patch that puts the guard into it
 * (docs/kubernetes.md). A pure function of the request and of the namespace's GuardTargets: a dry
 * run and a real one are the same, and a pod that has all of it already gets an empty patch.
 */
#pragma once

#include "guardpod.h"
#include "review.h"
#include "secrets.h"

/* CREATE of a pod: fills in a->patch, or refuses. */
void inject_pod(const struct config *c, const struct review *r, const struct secrets *s,
                struct answer *a);
