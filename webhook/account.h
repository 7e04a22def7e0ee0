/* SPDX-License-Identifier: Apache-2.0
 * Who we are: what our own service account's token says. The API server checks it, not we.
 */
#pragma once

#include "value.h"

/* The claims of DIR/token (dir NULL: the pod's). The caller owns them. */
int account_claims(const char *dir, struct json_object **ret, struct error *err) MUST_CHECK;
