/* SPDX-License-Identifier: Apache-2.0
 * The file under a record. What was appended is the kernel's: it survives this process.
 *
 * A quiet record is written with write(2). A busy one is mapped: blank lines are written ahead, so
 * that a full disk is an error of write and never a fault, and lines are then copied over them
 * without a system call. Whoever reads the file meanwhile finds blank lines at its end;
 * record_file_settle cuts them off. The first byte of a batch is stored last: a batch that a
 * killed process left half copied does not begin (docs/records.md).
 */
#pragma once

#include "src-common/bytes.h"

#include <sys/types.h>

#define RECORD_WINDOW ((size_t)256 << 10) /* a batch that is copied is shorter than this */

struct record_file {
    int fd;        /* open for reading and appending */
    uint64_t end;  /* bytes of lines */
    uint64_t size; /* with the blank lines behind them; == end when not mapped */
    uint8_t *window;
    uint64_t window_at; /* file offset of the window, at a page's border */
};

void record_file_init(struct record_file *f, int fd);
/* Bytes taken, at least one and perhaps fewer than n; -errno. Whole lines that are taken while
 * mapped are taken all or not at all. */
ssize_t record_file_append(struct record_file *f, const uint8_t *p, size_t n);
/* From now on copies instead of writing, where the file system is one on which that cannot fail
 * (ext4, XFS, tmpfs); elsewhere nothing changes. What is appended next begins a line. */
void record_file_map(struct record_file *f);
/* Cuts the blank lines off, and writes again. -errno: they are still there, and are cut off before
 * anything is appended. */
int record_file_settle(struct record_file *f);
void record_file_close(struct record_file *f);
