/* SPDX-License-Identifier: Apache-2.0
 * The thread that looks after the spool: measures what it holds, and cuts records into segments
 * when they have grown, aged or ended. Sessions do not know of it.
 */
#pragma once

#include "cutter.h"
#include "ledger.h"

struct sealer_config { /* what it points to lives longer */
    struct record_spool *spool;
    struct signer *signer; /* NULL: it only measures */
    struct ledger *ledger;
    bool stays; /* there is no store: segments stay, and the ledger speaks of those in the spool */
    size_t segment_bytes;
    unsigned segment_ms; /* how old the first line in no segment may become */
};

struct sealer;
int sealer_start(const struct sealer_config *c, struct sealer **ret, struct error *err) MUST_CHECK;
/* Cuts all that there is, now. No session may be left. */
void sealer_finish(struct sealer *s);
void sealer_stop(struct sealer *s); /* accepts NULL */
/* Records whose chain does not hold, or that cannot be cut. */
unsigned sealer_stuck(struct sealer *s);
