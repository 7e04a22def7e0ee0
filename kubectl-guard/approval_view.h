/* SPDX-License-Identifier: Apache-2.0
 * Requests for approval, shown.
 */
#pragma once

#include "cli.h"

#include "src-common/buffer.h"

#include <stdio.h>

struct json_object;

/* One request, whole, as `show` prints it. */
void approval_view_print(const struct cli *cli, struct json_object *approval);
/* "2 different people of group dba; a reason", cleaned. */
void approval_view_needs(struct json_object *approval, struct buffer *out);
/* "8s", "4m", "3h": since then, or until then; "-" when the time is not known. */
void approval_view_age(const char *rfc3339, bool until, char out[static 16]);
/* Prints what came of a decision; `answer` is {"approval": …}. */
enum exit_code approval_view_decided(const struct cli *cli, const char *command,
                                     struct json_object *answer);
/* Sends the decision, to a guard or to the cluster, and prints what came of it. `fields` is taken
 * over. */
enum exit_code approval_view_decide(const struct cli *cli, const char *command,
                                    struct json_object *fields);
