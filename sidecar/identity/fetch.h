/* SPDX-License-Identifier: Apache-2.0
 * One small document, over HTTPS or from a file. Blocks.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"

#include <stdatomic.h>

#define FETCH_MAX_BYTES ((size_t)256 << 10)

/* https:// anywhere, http:// only to this machine: what came over the network in clear is no
 * key to trust. */
bool fetch_url_ok(const char *url);

struct fetch_options {
    const char *ca_file;       /* NULL: the system's roots */
    const char *ca_text;       /* PEM, instead of ca_file; NULL: none */
    const char *token_file;    /* NULL: no Authorization header */
    const atomic_bool *cancel; /* once true the fetch ends within a second; NULL: never */
};

/* Appends the body of a 200 answer to out. Redirects are not followed. -EIO with the reason. */
int fetch_url(const char *url, const struct fetch_options *o, struct buffer *out,
              struct error *err) MUST_CHECK;
/* A regular file of at most FETCH_MAX_BYTES. */
int fetch_file(const char *path, struct buffer *out, struct error *err) MUST_CHECK;
