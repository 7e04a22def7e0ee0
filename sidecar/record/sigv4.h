/* SPDX-License-Identifier: Apache-2.0
 * AWS Signature Version 4, as S3 wants it. libcurl has its own, which
 * in the version of Debian 12 (7.88) leaves headers with the same prefix unsorted and does not
 * encode paths (curl issues 9717, 13754): a lock or a checksum that is not signed is worth nothing.
 * Pure.
 */
#pragma once

#include "chain.h"

struct sigv4_header {
    const char *name, *value; /* name in lower case */
};

struct sigv4 {
    const char *method, *path; /* path is encoded already */
    const char *query;         /* encoded, sorted, with every `=`; NULL: none */
    const char *region, *access_key, *secret_key;
    const char *date;                   /* 20261124T151714Z */
    const char *payload;                /* SHA-256 of the body, hex */
    const struct sigv4_header *headers; /* sorted by name; with host, x-amz-date and
                                           x-amz-content-sha256 */
    size_t n_headers;
};

#define SIGV4_MAX 1024
/* The value of the Authorization header. 0, or -E2BIG when something is too long. */
int sigv4_authorization(const struct sigv4 *s, char ret[static SIGV4_MAX]) MUST_CHECK;
/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ and the slash. False when it does not fit. */
bool sigv4_encode_path(const char *path, char *to, size_t size);
