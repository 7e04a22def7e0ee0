/* SPDX-License-Identifier: Apache-2.0
 * Lines from a file or a socket, with a limit on their length.
 */
#pragma once

#include "src-common/buffer.h"

#define LINES_MAX ((size_t)128 << 20)

struct lines {
    int fd; /* owned */
    struct buffer in;
    size_t given; /* length of the line that was given out last, with its newline */
};

void lines_init(struct lines *l, int fd);
void lines_done(struct lines *l);
/* 1: a line, without its newline, valid until the next call; 0: the end (of an unfinished last line
 * *ret has what there is, else p is NULL); -errno, -ENOBUFS for a line that is too long. */
int lines_next(struct lines *l, struct bytes *ret) MUST_CHECK;
