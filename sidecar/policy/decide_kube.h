/* SPDX-License-Identifier: Apache-2.0
 * Which rules speak about a request to an API server. Private to policy/.
 */
#pragma once

#include "model.h"
#include "ruleindex.h"

/* What one policy says about the request; adds to what is in ret. */
void policy_kube_opinion(const struct policy *policy, const char *target,
                         const struct kube_act *act, struct opinion *ret);
