/* SPDX-License-Identifier: Apache-2.0
 * The text of an exec request, read as a POSIX shell would read it (XCU 2.2, 2.3, 2.9). Only what
 * is understood completely becomes a command that an argv rule may permit; everything else is
 * searched for harm, but permitted by no argv. Pure: no I/O, any thread.
 */
#pragma once

#include "sidecar/policy/statement.h"
#include "src-common/arena.h"

#define COMMAND_TEXT_MAX ((size_t)64 << 10)
#define COMMANDS_MAX     512  /* in one text; more is unreadable */
#define COMMAND_WORDS    4096 /* in one text */

/* Fills request, text, plain, commands, unreadable and hazards of ret, all in the arena. A NUL or a
 * text longer than COMMAND_TEXT_MAX is unreadable. -ENOMEM. */
int command_parse(struct bytes text, struct arena *arena, struct ssh_act *ret) MUST_CHECK;

/* ---- between command.c and hazard.c ---- */

struct pipeline_part {
    struct ssh_command command;
    bool reads_pipe; /* from the part before */
};

/* Hazards of the commands, of which those that read a pipe follow what they read from. */
unsigned hazards_of(const struct pipeline_part *parts, size_t n);
/* What can be recognised in a text that could not be read: every word might be a command. */
unsigned hazards_in_text(struct bytes text);
/* True when the command runs the words that follow its options: sudo, env, xargs … */
bool command_is_wrapper(const char *name);
/* The name without its directory. */
const char *command_base(const char *path);
