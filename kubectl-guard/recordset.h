/* SPDX-License-Identifier: Apache-2.0
 * The records of a directory, and what the guards' ledgers say should be there.
 */
#pragma once

#include "recordfile.h"

#include "sidecar/record/segments.h"

struct recordset {
    struct json_object *seen;    /* "DIR/SESSION" -> head; "DIR/SESSION.000012" -> digest */
    struct json_object *ledgers; /* "DIR" -> array of sessions that are ledgers */
    uint64_t last_us;            /* when the record that is visited was last stored; 0: not known */
};

void recordset_init(struct recordset *s);
void recordset_done(struct recordset *s);
/* Empties it: what is one folder's says nothing about the next one's. */
void recordset_forget(struct recordset *s);

/* Called once for each record: `path` for the reader of messages; session is NULL for a file. */
typedef void recordset_fn(const char *path, const char *dir, const char *session, void *arg);
/* The records below a directory, or the one that the path names, each once. -errno. */
int recordset_walk(struct recordset *s, const char *path, recordset_fn *fn, void *arg,
                   struct error *err) MUST_CHECK;

/* Notes what was verified. */
void recordset_seal(struct recordset *s, const char *dir, const struct seal *seal);
void recordset_record(struct recordset *s, const char *dir, const struct record_check *c);
/* Says of each segment and session that a ledger names whether it is missing; number of complaints.
 * Only for directories that were walked whole. */
typedef void recordset_complain_fn(const char *text, void *arg);
size_t recordset_compare(struct recordset *s, const struct cli *cli, recordset_complain_fn *fn,
                         void *arg);
