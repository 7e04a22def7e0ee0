/* SPDX-License-Identifier: Apache-2.0
 * Puts files into an S3 bucket, with checksums and Object Lock, and knows when they are there. One
 * thread at a time uses it (the uploader's); calls block.
 */
#pragma once

#include "src-common/error.h"

#include <stdatomic.h>

/* As on the command line; the strings must live as long as the store. */
struct s3_config {
    const char *url;         /* s3://BUCKET/PREFIX */
    const char *option;      /* what gave the URL, for messages; NULL: --upload */
    const char *endpoint;    /* http[s]://HOST[:PORT]; NULL: Amazon's for the region */
    const char *region;      /* NULL: us-east-1 */
    const char *lock;        /* Compliance:30d | Governance:12h | …:1y; NULL: none */
    const char *credentials; /* directory: accessKeyId, secretAccessKey, sessionToken, ca.crt */
};

struct s3;
/* Checks the configuration, not the store. -EINVAL: err names the option. */
int s3_new(const struct s3_config *config, struct s3 **ret, struct error *err) MUST_CHECK;
void s3_free(struct s3 *s); /* accepts NULL */

/* Puts the whole file under PREFIX/name and returns 0 when the store has said, with a checksum,
 * that it holds these bytes, now or since an earlier call. An object of that name with other
 * content is not touched. -EACCES: the store refuses us; -EEXIST: that name is taken; -EINVAL: it
 * refuses this object; -EAGAIN: anything that may pass. `*until_ms` (monotonic; 0: no end) cancels.
 */
int s3_put(struct s3 *s, const char *name, int fd, const atomic_uint_fast64_t *until_ms,
           struct error *err) MUST_CHECK;
