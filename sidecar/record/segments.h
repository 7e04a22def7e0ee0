/* SPDX-License-Identifier: Apache-2.0
 * A record that is a set of segments in one directory: what a bucket's download is, a spool
 * that has not been emptied yet, or the bucket itself. For kubectl-guard and recovery. No threads.
 */
#pragma once

#include "segment.h"

/* Where segments are, when it is no directory of this machine's. */
struct segments_place {
    /* One more than the highest number of the session's segments; 0: there are none. -errno. */
    int (*count)(const char *dir, const char *session, unsigned *ret, void *arg, struct error *err);
    /* A descriptor that reads the file from its start and is the caller's; -ENOENT: it is missing;
     * -EBADMSG: somebody changed it; other -errno; with err set. */
    int (*open)(const char *dir, const char *name, void *arg, struct error *err);
    void *arg;
};

/* Called for each segment that was read whole, with its seal. */
typedef void segments_seal_fn(const struct seal *seal, void *arg);

struct segments_reader {
    const struct trusted_keys *keys; /* NULL or empty: any key will do */
    segment_sink_fn *sink;           /* NULL: only verified */
    void *sink_arg;
    segments_seal_fn *on_seal; /* may be NULL */
    void *seal_arg;
    const struct segments_place *place; /* NULL: a directory */
    const struct record_heads *heads;   /* NULL: nobody knows more than the record */
};

/* Reads and verifies all segments of that session in the directory. As record_verify_file: -errno
 * only when files cannot be read. */
int segments_read(const char *dir, const char *session, const struct segments_reader *how,
                  struct record_check *ret, struct error *err) MUST_CHECK;
