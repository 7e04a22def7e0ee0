/* SPDX-License-Identifier: Apache-2.0
 * Reading a file that is to fit into memory.
 */
#pragma once

#include "base.h"

#include <sys/types.h>

/* Reads until the end, or max bytes, whichever comes first; continues after signals. Their number,
 * or -errno. Blocks as read(2) does. */
ssize_t read_all(int fd, void *p, size_t max) MUST_CHECK;
