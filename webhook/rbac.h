/* SPDX-License-Identifier: Apache-2.0
 * What guards may do in each enabled namespace (docs/kubernetes.md, The guard's service account).
 */
#pragma once

#include "call.h"

/* Makes, mends and removes, so that exactly the namespaces of the list (of names) have it. Goes on
 * after a failure and returns the first; err is that one's. */
int rbac_reconcile(struct kube *k, struct json_object *namespaces, struct error *err) MUST_CHECK;
