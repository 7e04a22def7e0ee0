/* SPDX-License-Identifier: Apache-2.0
 * The policies that are in a cluster, read as a guard would read them.
 */
#pragma once

#include "cli.h"

#include "sidecar/policy/policy.h"

struct json_object;

/* GuardTargets and GuardPolicies of the namespace (or all), and the cluster's. EXIT_USAGE when they
 * are not valid together, EXIT_NO or EXIT_UNREACHABLE when they cannot be had; said on stderr. */
enum exit_code clusterpolicies_load(const struct cli *cli, struct policy_snapshot **ret);
/* One YAML text of `lists` (kubectl's List objects): name and spec of each, nothing else. Free it.
 */
char *clusterpolicies_text(struct json_object *const *lists, size_t n);
