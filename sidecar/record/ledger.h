/* SPDX-License-Identifier: Apache-2.0
 * The ledger of a guard: a record of its own, named guard-…, which says which sessions there were
 * and which of their segments the store has acknowledged. It is cut, signed and uploaded as every
 * record is; with it a bucket that lacks a segment or a session is found out. Each ledger names the
 * one before it. Any thread.
 */
#pragma once

#include "segment.h"

#define LEDGER_PREFIX "guard-"
/* Types of its lines. */
#define LEDGER_START   "guard.start"
#define LEDGER_SESSION "session.seen"
#define LEDGER_SEGMENT "segment.stored"

struct ledger_owner { /* borrowed */
    const char *namespace_, *pod, *version;
};

struct ledger;
/* Begins one. -errno: the spool cannot be written to. */
int ledger_open(struct record_spool *spool, const struct ledger_owner *owner,
                const struct signer *signer, struct ledger **ret, struct error *err) MUST_CHECK;
const char *ledger_name(const struct ledger *l);
void ledger_session(struct ledger *l, const char *session);
/* 0: the segment may be removed from the spool. */
int ledger_segment(struct ledger *l, const struct seal *seal) MUST_CHECK;
/* Writes its end. Nothing may be added any more. */
void ledger_end(struct ledger *l);
void ledger_free(struct ledger *l); /* accepts NULL */

/* For recovery: that ledger ended with this head, and the next one will name it. */
void ledger_remember(int dir_fd, const char *name, const char *head);
