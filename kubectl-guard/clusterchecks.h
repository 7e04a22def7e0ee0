/* SPDX-License-Identifier: Apache-2.0
 * What has to be in order in a cluster, besides the guards.
 */
#pragma once

#include "cli.h"

/* Adds {check, ok, detail} to the array for each. What may not be looked at has no `ok`.
 * EXIT_UNREACHABLE, said on stderr, when the API server does not answer. */
enum exit_code clusterchecks_run(const struct cli *cli, struct json_object *checks);
void clusterchecks_add(struct json_object *checks, const char *check, bool ok, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* What cannot be looked at. */
void clusterchecks_unknown(struct json_object *checks, const char *check, const char *why);
