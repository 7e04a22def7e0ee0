/* SPDX-License-Identifier: Apache-2.0
 * The built-in target `kubernetes`: the API server of the cluster in which the guard runs.
 */
#pragma once

#include "session/guard.h"

/* Reads KUBERNETES_SERVICE_HOST and _PORT; account_dir has the CA and the guard's token. Sets
 * g->kubernetes; nothing is read of the directory yet. Once per process. -EINVAL. */
int kubernetes_target_start(struct guard *g, const char *account_dir, struct error *err) MUST_CHECK;
