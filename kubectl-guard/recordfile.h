/* SPDX-License-Identifier: Apache-2.0
 * A finished record, read line by line.
 */
#pragma once

#include "cli.h"
#include "lines.h"

#include "sidecar/record/chain.h"
#include "sidecar/record/record.h"

#include <limits.h>

struct recordfile {
    char *path;
    struct lines lines;
    struct record_check check; /* verified before the first line is given out */
    uint8_t *only;             /* a bit for each statement: of which lines are given; NULL: all */
    size_t n_only;             /* bits */
};

/* Does the path name a record that is segments in a directory: one of them, or DIR/SESSION? Then
 * their directory and session. */
bool recordfile_segments(const char *path, char dir[static PATH_MAX],
                         char session[static RECORD_SESSION_MAX + 1]);
/* Verifies a record that is one file, and gives a descriptor at its start. -errno, with err set,
 * when it cannot be read. */
int recordfile_check(const char *path, int *ret_fd, struct record_check *ret,
                     struct error *err) MUST_CHECK;
/* Opens and verifies. `name` is a file, one of its segments, or with --from a session's name.
 * EXIT_UNREACHABLE, said on stderr, when it cannot be read; a record that was tampered with is
 * opened all the same.
 */
enum exit_code recordfile_open(const struct cli *cli, const char *name,
                               struct recordfile *ret) MUST_CHECK;
void recordfile_close(struct recordfile *f);
/* Back to the first line. */
bool recordfile_rewind(struct recordfile *f);
/* False at the end. The text is valid until the next call; the object is the caller's. A line that
 * is no JSON gives NULL for the object. */
bool recordfile_next(struct recordfile *f, struct bytes *ret_text, struct json_object **ret_object);
/* "OK", "UNSEALED" or "TAMPERED". */
const char *recordfile_verdict(const struct record_check *c);
/* Says on stderr what is wrong with it, if anything; EXIT_NO when it was tampered with. */
enum exit_code recordfile_warn(const struct recordfile *f);
