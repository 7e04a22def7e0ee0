/* SPDX-License-Identifier: Apache-2.0
 * The pod's labels as the downward API writes them into a file: key="value" lines, the value
 * quoted as Go does. The file is replaced when labels change.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#define LABELS_MAX      1000
#define LABELS_FILE_MAX ((size_t)256 << 10) /* the API server's limit on metadata */

/* key, value, key, value, …, NULL, in one allocation: free it. -EINVAL: a line is none. */
int labels_parse(struct bytes text, const char *const **ret, struct error *err) MUST_CHECK;

/* Follows a file. Zeroed to begin with, but for path. */
struct labels_file {
    const char *path;
    char *text; /* as it was last parsed */
    size_t len;
};
/* Reads the file. 1: *ret has the new labels; 0: nothing changed; -errno: it cannot be read or
 * parsed, err says why. */
int labels_look(struct labels_file *f, const char *const **ret, struct error *err) MUST_CHECK;
void labels_done(struct labels_file *f);
