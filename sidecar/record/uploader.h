/* SPDX-License-Identifier: Apache-2.0
 * The thread that carries finished files of the spool (segments, the guard's public key, damaged
 * records) to the object store, oldest first, and removes each when the store has acknowledged it.
 * While the store fails it waits, 1 s at first and up to a minute, and nothing is removed.
 */
#pragma once

#include "envelope.h"
#include "ledger.h"
#include "s3.h"

struct uploader_config { /* what it points to lives longer */
    struct record_spool *spool;
    struct ledger *ledger;
    struct s3 *store;
    const char *folder;           /* under the prefix: NAMESPACE/POD */
    const struct envelope_to *to; /* NULL: what is uploaded is not encrypted here */
    uint64_t rate;                /* bytes a second, on the average; 0: no bound */
};

struct uploader;
int uploader_start(const struct uploader_config *c, struct uploader **ret,
                   struct error *err) MUST_CHECK;
/* Waits until nothing is left to upload, at most until then (monotonic, ms). Tries at once. */
bool uploader_drain(struct uploader *u, uint64_t until_ms);
void uploader_stop(struct uploader *u); /* accepts NULL */

struct uploader_counters {
    uint64_t stored, stored_bytes, failures; /* since start */
    uint64_t waiting, waiting_bytes;         /* files */
    uint64_t lag_ms;                         /* age of the oldest of them */
    char error[256]; /* the last failure; empty: the store takes what we send */
};
void uploader_counters(struct uploader *u, struct uploader_counters *ret);
