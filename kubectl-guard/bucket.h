/* SPDX-License-Identifier: Apache-2.0
 * Records in a bucket. Paths into it are s3://BUCKET/KEY; which store that is, and who asks it, say
 * the options --s3-… and what the AWS CLI reads: the environment, ~/.aws. One bucket at a time, one
 * thread; calls block, and try again what may pass.
 */
#pragma once

#include "cli.h"

#include "sidecar/record/s3_config.h"
#include "src-common/buffer.h"

/* The options of commands that read buckets; rows for their tables. */
#define BUCKET_OPTIONS                                                                             \
    {"s3-endpoint", 0, "URL", "http[s]://HOST[:PORT] (AWS_ENDPOINT_URL_S3; default: Amazon's)"},   \
        {"s3-region", 0, "R", "the bucket's region (AWS_REGION, ~/.aws/config; us-east-1)"},       \
        {"s3-ca", 0, "FILE", "certificates of the store's authority (AWS_CA_BUNDLE)"},             \
        {"s3-credentials", 0, "DIR", "accessKeyId, secretAccessKey, as the guard has them"},       \
    {                                                                                              \
        "s3-profile", 0, "NAME", "of ~/.aws/credentials and ~/.aws/config (AWS_PROFILE)"           \
    }

bool bucket_is(const char *path);
/* The options are those of this command; to be called once, before the others. */
void bucket_init(const struct cli *cli);

/* The object's content in a file without a name, at its start; the caller's. -ENOENT: there is
 * none; else -errno, and err says what the store said. */
int bucket_open(const char *path, struct error *err) MUST_CHECK;

struct bucket_entry {
    const char *name; /* without the folder; valid during the call */
    bool folder;
    uint64_t changed_us; /* since 1970, by the store's clock; 0 of folders */
};
typedef void bucket_entry_fn(const struct bucket_entry *e, void *arg);
/* What lies directly in the folder and begins with `begin`, in no particular order. */
int bucket_list(const char *folder, const char *begin, bucket_entry_fn *fn, void *arg,
                struct error *err) MUST_CHECK;

/* ---- bucket_login.c ---- */

/* What the AWS CLI would take, from environment and files. */
struct bucket_login {
    struct s3_credentials keys;
    char from[512]; /* where the keys were found */
    char region[64], endpoint[288], ca_file[PATH_MAX];
};
/* -ENOENT: no keys anywhere; err says where they were looked for. */
int bucket_login_read(const struct cli *cli, struct bucket_login *ret,
                      struct error *err) MUST_CHECK;

/* ---- bucket_http.c ---- */

struct bucket_request {
    const struct s3_settings *to;
    const struct bucket_login *login;
    const char *path, *query; /* encoded; query may be NULL */
    int fd;                   /* where the content goes, or -1: into `text` */
    struct buffer *text;
};
/* One GET, tried again when the failure may pass. -ENOENT, -EACCES, -EIO; err says why. */
int bucket_get(const struct bucket_request *r, struct error *err) MUST_CHECK;

/* ---- bucket_xml.c ---- */

/* The text of the next <name>…</name> at or behind *at, decoded; false when there is none or it
 * does not fit. Moves *at behind it. Enough for what object stores answer. */
bool bucket_xml_next(struct bytes *at, const char *name, char *to, size_t size);
