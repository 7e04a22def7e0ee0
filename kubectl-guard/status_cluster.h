/* SPDX-License-Identifier: Apache-2.0
 * status, in a cluster: what an operator looks at first when something is wrong.
 */
#pragma once

#include "cli.h"

enum exit_code status_cluster(const struct cli *cli);
