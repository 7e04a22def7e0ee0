/* SPDX-License-Identifier: Apache-2.0
 * What a request is, in the API server's words: verb, group, version, resource, subresource,
 * namespace, name. The rules are those of the API server itself, so that policy judges the request
 * that will run. Pure.
 */
#pragma once

#include "kubepath.h"
#include "sidecar/policy/statement.h"

/* Fills verb, group and so on; strings are the path's, static, or the arena's. What the body says
 * (dry_run of a DELETE, hazards) is not known yet. -EBADMSG: the API server would not know either,
 * or parameters that decide are there twice. */
int attributes_derive(struct bytes method, const struct kubepath *path, struct arena *arena,
                      struct kube_act *ret, struct error *err) MUST_CHECK;
