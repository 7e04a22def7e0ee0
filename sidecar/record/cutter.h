/* SPDX-License-Identifier: Apache-2.0
 * Cuts records of the spool into segments, without help from the sessions that write them: it reads
 * the whole lines that are in the file, checks their chain, and seals them. What has been cut is
 * given back to the file system: as a hole in the front of a record that goes on, as the file when
 * the record has ended. Blocks on the disk; the sealer's thread.
 */
#pragma once

#include "checkpoint.h"
#include "ledger.h"
#include "signer.h"

struct cutter {
    int dir_fd;
    const struct signer *signer;
    size_t segment_bytes;  /* of lines, uncompressed: where a segment ends */
    struct ledger *ledger; /* NULL: the uploader tells it of segments */
};

/* Cuts what is there; with `rest` also what does not fill a segment. 0: done, perhaps with nothing;
 * 1: the record has ended and its file is gone; -EBADMSG: the chain does not hold at the first line
 * behind *at; -errno. */
int cutter_cut(const struct cutter *c, const char *session, struct checkpoint *at, bool rest,
               struct error *err) MUST_CHECK;

/* How the record stands behind the checkpoint. */
struct cutter_view {
    uint64_t bytes; /* of the file behind it, at most: perhaps blank lines */
    bool any;       /* a line begins there */
    bool ended;     /* and session.close is in sight */
};
int cutter_look(const struct cutter *c, const char *session, const struct checkpoint *at,
                struct cutter_view *ret) MUST_CHECK;
