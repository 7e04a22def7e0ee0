/* SPDX-License-Identifier: Apache-2.0
 * A record that is a set of segments in one directory: what a bucket's download is, or a spool
 * that has not been emptied yet. For kubectl-guard and recovery. No threads.
 */
#pragma once

#include "segment.h"

/* Called for each segment that was read whole, with its seal. */
typedef void segments_seal_fn(const struct seal *seal, void *arg);

struct segments_reader {
    const struct trusted_keys *keys; /* NULL or empty: any key will do */
    segment_sink_fn *sink;           /* NULL: only verified */
    void *sink_arg;
    segments_seal_fn *on_seal; /* may be NULL */
    void *seal_arg;
};

/* Reads and verifies all segments of that session in the directory. As record_verify_file: -errno
 * only when files cannot be read. */
int segments_read(const char *dir, const char *session, const struct segments_reader *how,
                  struct record_check *ret, struct error *err) MUST_CHECK;
