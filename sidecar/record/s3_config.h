/* SPDX-License-Identifier: Apache-2.0
 * What the options about the object store mean. Used by s3.c.
 */
#pragma once

#include "s3.h"

#include <limits.h>

struct s3_settings {
    char bucket[64], prefix[256];
    char origin[352];    /* scheme, host and port */
    char base_path[128]; /* of the endpoint; mostly empty */
    char host[328];      /* as in the header; with the bucket's name when virtual */
    bool virtual_host;   /* the bucket is in the host's name, not in the path */
    char region[64];
    const char *lock_mode; /* COMPLIANCE, GOVERNANCE or NULL */
    uint64_t lock_seconds;
    char sse[16], sse_key[256]; /* AES256 or aws:kms; empty: not asked for */
    const char *credentials;    /* NULL: there is a role */
    char ca_file[PATH_MAX];
};

int s3_settings_parse(const struct s3_config *c, struct s3_settings *ret,
                      struct error *err) MUST_CHECK;

#define S3_TOKEN_MAX 4096
struct s3_credentials {
    char access_key[160], secret_key[160], session_token[S3_TOKEN_MAX];
};
/* Can they be sent as they are? */
bool s3_text_ok(const char *s);
/* Read for each request: a mounted Secret changes. -EACCES: err names the file. */
int s3_credentials_read(const struct s3_settings *s, struct s3_credentials *ret,
                        struct error *err) MUST_CHECK;
void s3_credentials_wipe(struct s3_credentials *c);
