/* SPDX-License-Identifier: Apache-2.0
 * What an identity may do, in all: explain without a statement.
 */
#pragma once

#include "cli.h"

#include "sidecar/policy/policy.h"

/* Prints for each target (NULL: all of the agent's namespace) which policies select the agent and
 * what they say. EXIT_NO when none does anywhere. */
enum exit_code explain_agent(const struct cli *cli, const struct policy_snapshot *policies,
                             const struct agent *agent, const char *target);
