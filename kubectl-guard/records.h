/* SPDX-License-Identifier: Apache-2.0
 * Which records a command is about: --from (or --spool) and the words behind it.
 */
#pragma once

#include "bucket.h"
#include "filter.h"

/* Rows for the tables of options. */
#define RECORDS_OPTIONS                                                                            \
    {"from", 0, "PLACE", "where records are: s3://BUCKET/PREFIX or a directory"},                  \
        {"spool", 0, "DIR", "the same, of a directory"},                                           \
        {"decrypt-key", 0, "FILE", "an auditor's private key, for encrypted records"},             \
        BUCKET_OPTIONS

/* What --from or --spool names; NULL when neither is given. */
const char *records_from(const struct cli *cli);
/* The path of a record: of a file, of one of its segments, of FOLDER/SESSION; below what --from
 * names also of a session wherever it is. To be freed; NULL with err set. */
char *records_find(const struct cli *cli, const char *name, struct error *err) MUST_CHECK;

/* Called with each record that matches, opened; `about` describes it. The highest code counts. */
typedef enum exit_code records_fn(struct recordfile *f, struct json_object *about, void *arg);
/* The records that the command's words name, or all below --from but guards' ledgers. What cannot
 * be read is said, and the others go on. EXIT_NO: none of the named ones matches. */
enum exit_code records_each(const struct cli *cli, const struct filter *filter, records_fn *fn,
                            void *arg);
