/* SPDX-License-Identifier: Apache-2.0
 * GuardPolicies, ClusterGuardPolicies and GuardTargets, checked with the guard's own loader. Pure
 * functions.
 */
#pragma once

#include "review.h"
#include "sidecar/policy/policy.h"

/* The object by itself, and together with the GuardTargets of its namespace (a list of objects,
 * NULL: none; those that are invalid themselves are left out). -EINVAL: err says the field and the
 * reason, without a file and a line. What is named and is not there yet goes to `missing` (a list
 * of strings; NULL: not wanted). ret_snapshot may be NULL. */
int policies_load(struct json_object *object, struct json_object *targets,
                  struct json_object *missing, struct policy_snapshot **ret_snapshot,
                  struct error *err) MUST_CHECK;

/* CREATE or UPDATE of one. */
void policies_check(const struct review *r, struct json_object *targets, struct answer *a);
