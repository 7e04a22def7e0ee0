/* SPDX-License-Identifier: Apache-2.0
 * ApprovalRequests of a cluster, in the shape in which a guard's control socket gives its requests:
 * what shows them does not have to know where they come from.
 */
#pragma once

#include "cli.h"

struct json_object;

/* The request in the control socket's shape, with `namespace`, `users`, `uses` and
 * `validForSeconds`. A missing status is Pending. The caller puts it. NULL: out of memory. */
struct json_object *approvalrequest_view(struct json_object *object);
/* {"approvals": [...]}, the newest last. Failures are said on stderr, here and below. */
enum exit_code approvalrequest_list(const struct cli *cli, struct json_object **ret);
/* {"approval": {...}}. The ID may be the beginning of exactly one. */
enum exit_code approvalrequest_show(const struct cli *cli, const char *id,
                                    struct json_object **ret);
/* Adds one decision, for exactly this ID, and tells what came of it. `fields` are those of the
 * control socket's approve and deny (reason, uses, forSeconds); taken over. */
enum exit_code approvalrequest_decide(const struct cli *cli, const char *command,
                                      struct json_object *fields);
/* Prints changes as they come, until interrupted. */
enum exit_code approvalrequest_watch(const struct cli *cli,
                                     void (*print)(const struct cli *cli,
                                                   struct json_object *view));
/* The ID alone of "approvalrequest.chaperone.dev/ID", as `list -o name` prints it. */
const char *approvalrequest_id(const char *word);
