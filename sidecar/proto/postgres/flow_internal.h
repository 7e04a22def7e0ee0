/* SPDX-License-Identifier: Apache-2.0
 * Shared by the flow's source files only.
 */
#pragma once

#include "flow.h"

/* Sends a frontend message on as it is. */
void pgflow_forward(struct pgflow *f, struct bytes raw);
/* Adds an expected answer; NULL: no memory. */
struct pgpending *pgflow_expect(struct pgflow *f, enum pgpending_kind kind);

enum handled pgflow_on_query(struct pgflow *f, const struct pgwire_msg *m);
enum handled pgflow_on_parse(struct pgflow *f, const struct pgwire_msg *m);
enum handled pgflow_on_bind(struct pgflow *f, const struct pgwire_msg *m);
enum handled pgflow_on_describe(struct pgflow *f, const struct pgwire_msg *m);
enum handled pgflow_on_execute(struct pgflow *f, const struct pgwire_msg *m);

/* What a message will do, prepared statements and cursors that it names included. */
struct pgeffect {
    enum verdict verdict;
    const struct pgverdict *blame; /* the verdict that decided; borrowed */
    const struct pgprepared *runs; /* EXECUTE: what it runs (the last, if several) */
    const char *missing;           /* EXECUTE of a name that does not exist */
    bool touches_masked, mask_originless, reduce_errors, changes_catalog, ends_transaction;
    bool schema_unsure; /* runs behind the undoing of schema changes: see pgflow_effect */
};

/* Gets the verdict on the text of the message at hand into *ret (counted). False: parked. */
bool pgflow_judge(struct pgflow *f, struct bytes text, struct pgverdict **ret);
/* The prepared statement's verdict in the present context. False: parked. */
bool pgflow_judge_prepared(struct pgflow *f, struct pgprepared *p);
/* Works out the effect, and applies what the message does to names, with undo. HANDLED_PARKED:
 * nothing was applied. What the catalogue says about names may be undone before the message runs
 * (DDL, then ROLLBACK without waiting for its answer): with masked columns that is a denial. */
enum handled pgflow_effect(struct pgflow *f, struct bytes text, struct pgverdict *v,
                           struct pgname_undo **undo, struct pgeffect *ret);

/* A statement that needs approval: HANDLED_OK with *ret_go when it may run now; HANDLED_OK
 * without when it was refused; HANDLED_PARKED while people are asked. */
struct pgapproval_subject {
    struct bytes text, parameters_json, parameters_raw;
    const struct pgeffect *effect;
    const uint8_t *types_digest; /* 32 bytes or NULL */
    bool extended;
    const char *kind;
};
enum handled pgflow_approve(struct pgflow *f, const struct pgapproval_subject *s, bool *ret_go);

/* Records and refuses. */
enum handled pgflow_refuse(struct pgflow *f, const struct pgapproval_subject *s,
                           const struct pgdenial *d);

/* Starts a row that is too long to be held: sends its header. 0 or -ENOMEM. */
int pgstream_start(struct pgflow *f, const struct pgwire_msg *m, bool copy) MUST_CHECK;
/* Its bytes, in pieces. -EBADMSG, -ENOMEM, -EIO: end the session, half a row is out. */
int pgstream_feed(struct pgflow *f, struct bytes in, size_t *ret_used) MUST_CHECK;

/* ---- the upstream's side ---- */

/* DDL has run: every session's catalogue is out of date. */
void pgflow_schema_changed(struct pgflow *f);

/* Sends a backend message on as it is. */
void pgflow_pass(struct pgflow *f, struct bytes raw);
/* The upstream broke the protocol, or a row could not be made safe: FATAL. */
enum handled pgflow_violation(struct pgflow *f, const char *what);
void pgflow_copy_in_ended(struct pgflow *f, struct pgpending *e);
enum handled pgflow_on_error(struct pgflow *f, const struct pgwire_msg *m);
enum handled pgflow_on_notice(struct pgflow *f, const struct pgwire_msg *m);
enum handled pgflow_on_notification(struct pgflow *f, const struct pgwire_msg *m);
enum handled pgflow_on_parameter_status(struct pgflow *f, const struct pgwire_msg *m);
