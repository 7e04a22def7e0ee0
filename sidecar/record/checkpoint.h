/* SPDX-License-Identifier: Apache-2.0
 * How far a record in the spool has been cut into segments: SESSION.state beside it, a small JSON
 * object. It is on the disk before the segment gets its name, so a segment that exists under its
 * name is never cut again. Sealer and recovery use it.
 */
#pragma once

#include "segment.h"

struct checkpoint {
    uint64_t offset, seq;       /* of the first byte and line that no segment holds */
    char prev[CHAIN_HEX + 1];   /* the chain there */
    unsigned segment;           /* number of the next segment */
    char before[CHAIN_HEX + 1]; /* digest of the last seal */
    bool sealed;                /* nothing comes behind it */
};

void checkpoint_start(struct checkpoint *c);
/* -ENOENT: there is none, *ret is that of a record that was never cut. -EBADMSG: it is garbage. */
int checkpoint_read(int dir_fd, const char *session, struct checkpoint *ret) MUST_CHECK;
/* On the disk when it returns. -errno. */
int checkpoint_write(int dir_fd, const char *session, const struct checkpoint *c) MUST_CHECK;
void checkpoint_remove(int dir_fd, const char *session);

/* Small files of the spool, replaced as a whole. */
int spoolfile_write(int dir_fd, const char *name, struct bytes content) MUST_CHECK;
/* Up to size - 1 bytes and a NUL. Their number or -errno. */
ssize_t spoolfile_read(int dir_fd, const char *name, char *to, size_t size) MUST_CHECK;
