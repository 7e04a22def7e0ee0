/* SPDX-License-Identifier: Apache-2.0
 * Small files, read and replaced as a whole: what Kubernetes mounts, and what we write for the
 * agent.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#include <sys/types.h>

/* *ret has a NUL behind its end and is the caller's to free. -EFBIG: more than max bytes. */
int smallfile_read(const char *path, size_t max, char **ret, size_t *ret_len,
                   struct error *err) MUST_CHECK;
/* Another process sees the old content or the new, never a part. The mode is exact. */
int smallfile_replace(const char *path, struct bytes content, mode_t mode,
                      struct error *err) MUST_CHECK;
