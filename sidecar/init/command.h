/* SPDX-License-Identifier: Apache-2.0
 * Runs one of the few tools that chaperone-init needs: found in a fixed list of directories, with
 * a clean environment, input from memory, output to memory, and a deadline.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"

/* Writes the absolute path. -ENOENT when no system directory has an executable of that name. */
int command_find(const char *name, char *path, size_t size) MUST_CHECK;

/* argv[0] is a path of command_find. Standard output and error go to out and errors, which the
 * caller has initialised; more than they hold is dropped. The exit status (0 to 255), or -errno
 * with err when it could not be started, died of a signal or missed the deadline. */
int command_run(char *const argv[], struct bytes input, struct buffer *out, struct buffer *errors,
                struct error *err) MUST_CHECK;
