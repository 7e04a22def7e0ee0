/* SPDX-License-Identifier: Apache-2.0
 * tail, in a cluster, and what it shares with tail at a guard's socket.
 */
#pragma once

#include "cli.h"

#include "transcript.h"

/* Prints one line of a record: `text` as it is for -o json, else `line` for people, behind the
 * pod's name unless that is NULL. */
void tail_print(const struct cli *cli, struct transcript *t, const char *pod, struct bytes text,
                struct json_object *line);
/* cli->args[0] is a session, a pod, or "all". */
enum exit_code tail_pods(const struct cli *cli);
/* Follows the segments of the session cli->args[0] below --from (tail_place.c). */
enum exit_code tail_place(const struct cli *cli);
