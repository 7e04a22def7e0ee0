/* SPDX-License-Identifier: Apache-2.0
 * What happens to records behind the sessions' backs: recovery at start, the bound on the spool,
 * sealing, uploading. Two threads of its own; sessions are never held up but by the bound.
 */
#pragma once

#include "ledger.h"
#include "record.h"
#include "s3.h"

struct shipper_config { /* copied but for what it points to, which lives longer */
    struct record_spool *spool;
    const char *state; /* directory of the signing key, or NULL: a new key for each start */
    struct ledger_owner owner;
    struct s3_config s3; /* url NULL: records stay in the spool, as they are */
    const char *encrypt_to, *encrypt_to_inline; /* file of certificates, or their text; or NULL */
    uint64_t limit;                             /* bytes in the spool; 0: none */
    size_t segment_bytes;
    unsigned segment_ms;
    bool seal; /* without a store, too: signed segments stay in the spool, with a ledger */
};

struct shipper;
/* Before any session. *ret is NULL when there is nothing to do. err names the option or the file.
 */
int shipper_start(const struct shipper_config *c, struct shipper **ret,
                  struct error *err) MUST_CHECK;
/* Seals and uploads what there is, for at most `ms`; what is left stays in the spool for the next
 * guard there. No session may be left. Accepts NULL. */
void shipper_stop(struct shipper *s, unsigned ms);
/* Nobody asks for its figures any more. Accepts NULL. */
void shipper_free(struct shipper *s);
/* The public key that signs, 64 hex digits; NULL: nothing is signed. Accepts NULL. */
const char *shipper_key(const struct shipper *s);

struct shipper_figures {
    bool uploads;
    uint64_t held, limit; /* bytes in the spool */
    uint64_t stored, stored_bytes, failures, waiting, waiting_bytes, lag_ms, stuck;
    char error[256];
};
void shipper_figures(struct shipper *s, struct shipper_figures *ret); /* accepts NULL */
