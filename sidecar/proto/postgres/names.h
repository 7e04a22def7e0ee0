/* SPDX-License-Identifier: Apache-2.0
 * Prepared statements and portals of one session, as the upstream has them. SQL and wire names
 * are one space (PREPARE and Parse; DECLARE and Bind). A change takes effect when its message is
 * forwarded, so that what follows in a pipeline finds it, and is undone when the upstream turns
 * out to have failed or skipped it. The session's thread only.
 */
#pragma once

#include "context.h"
#include "rows.h"

/* What Execute and EXECUTE will run. Shared by the name table, portals and pending messages. */
struct pgprepared {
    unsigned refs;
    char *text; /* the message that made it, to be judged anew under a new context; stands behind */
    size_t text_len;
    struct pgverdict *verdict; /* may be of an older context: compare context_serial */
    struct rowplan *plan;      /* result columns, formats unknown; NULL: not described yet */
    uint64_t plan_serial;      /* context it was made in */
    uint8_t types_digest[32];  /* of the declared parameter types */
};

struct pgportal {
    unsigned refs;
    struct pgprepared *prepared;
    struct rowplan *plan;       /* with formats; NULL: not known */
    bool declared;              /* by DECLARE: may outlive the transaction (WITH HOLD) */
    uint32_t n;                 /* number of the statement in the record */
    bool no_rows;               /* NoData */
    uint64_t policy_generation; /* under which it was decided, and approved */
};

struct pgprepared *pgprepared_new(struct bytes text, struct pgverdict *v); /* NULL: no memory */
struct pgprepared *pgprepared_ref(struct pgprepared *p);
void pgprepared_unref(struct pgprepared *p);                /* accepts NULL */
struct pgportal *pgportal_new(struct pgprepared *prepared); /* takes a reference of its own */
struct pgportal *pgportal_ref(struct pgportal *p);
void pgportal_unref(struct pgportal *p); /* accepts NULL */

enum pgname_kind { PGNAME_PREPARED = 0, PGNAME_PORTAL };

struct pgname_slot;
struct pgnames {
    struct pgname_slot *buckets[2][64];
    size_t n[2];
    size_t bytes; /* of prepared statements: texts and verdicts */
};
#define PGNAMES_MAX       10000       /* of each kind */
#define PGNAMES_MAX_BYTES (32u << 20) /* of prepared statements, in all */

struct pgname_undo; /* list of old states, newest first */

void pgnames_done(struct pgnames *t);
void *pgnames_get(const struct pgnames *t, enum pgname_kind kind, struct bytes name);
/* Binds the name to value (a reference is taken; NULL removes the name) and puts the old state in
 * front of *undo. -ENOMEM, -E2BIG past the limits. */
int pgnames_set(struct pgnames *t, enum pgname_kind kind, struct bytes name, void *value,
                struct pgname_undo **undo) MUST_CHECK;
/* Removes all names of a kind, with undo. */
int pgnames_clear(struct pgnames *t, enum pgname_kind kind, struct pgname_undo **undo) MUST_CHECK;
/* Forgets portals that a transaction's end has closed. */
void pgnames_transaction_ended(struct pgnames *t);
/* Takes out of *undo the names that a message forwarded later (its list is `later`) has changed
 * since: they keep their state, and what that message would go back to is what ours would. */
void pgname_undo_hand_on(struct pgname_undo **undo, struct pgname_undo *later);
/* Puts the old states back and frees the list. */
void pgname_undo_apply(struct pgnames *t, struct pgname_undo *undo);
/* Makes of the list one that forgets its names: what they stand for is not known any more. */
void pgname_undo_blank(struct pgname_undo *undo);
void pgname_undo_free(struct pgname_undo *undo);
