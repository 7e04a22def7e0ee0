/* SPDX-License-Identifier: Apache-2.0
 * Puts files into an S3 bucket, with checksums and Object Lock, and knows when they are there. One
 * thread at a time uses it (the uploader's); calls block.
 */
#pragma once

#include "src-common/error.h"

#include <stdatomic.h>
#include <stdint.h>

/* As on the command line; the strings must live as long as the store. */
struct s3_config {
    const char *url;         /* s3://BUCKET/PREFIX */
    const char *option;      /* what gave the URL, for messages; NULL: --upload */
    const char *endpoint;    /* http[s]://HOST[:PORT]; NULL: Amazon's for the region */
    const char *region;      /* NULL: us-east-1 */
    const char *lock;        /* Compliance:30d | Governance:12h | …:1y; NULL: none */
    const char *credentials; /* directory: accessKeyId, secretAccessKey, sessionToken, ca.crt */
    const char *style;       /* path | virtual; NULL: path */
    const char *sse;         /* AES256 | aws:kms | aws:kms:KEY; NULL: as the bucket has it */
    /* Instead of keys: a role, whose keys a security token service gives for a token. */
    const char *role, *token; /* its ARN; file */
    const char *sts;          /* http[s]://HOST[:PORT][/]; NULL: Amazon's for the region */
    const char *session;      /* how the service is to call us; NULL: chaperone */
    uint64_t rate;            /* bytes a second; 0: as fast as it goes */
};

struct s3;
/* Checks the configuration, not the store. -EINVAL: err names the option. */
int s3_new(const struct s3_config *config, struct s3 **ret, struct error *err) MUST_CHECK;
void s3_free(struct s3 *s); /* accepts NULL */

/* Puts the whole file under PREFIX/name and returns 0 when the store has said, with a checksum,
 * that it holds these bytes, now or since an earlier call. An object of that name with other
 * content is not touched. -EACCES: the store refuses us; -EEXIST: that name is taken; -EINVAL: it
 * refuses this object, or holds it without the encryption asked for; -EAGAIN: anything that may
 * pass. `*until_ms` (monotonic; 0: no end) cancels; while it is set the rate does not count. */
int s3_put(struct s3 *s, const char *name, int fd, const atomic_uint_fast64_t *until_ms,
           struct error *err) MUST_CHECK;
