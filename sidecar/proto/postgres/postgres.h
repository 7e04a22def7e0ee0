/* SPDX-License-Identifier: Apache-2.0
 * The PostgreSQL protocol, as the table of protocols sees it.
 */
#pragma once

#include "sidecar/session/session.h"

extern const struct proto_ops postgres_ops;
