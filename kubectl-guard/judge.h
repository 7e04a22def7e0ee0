/* SPDX-License-Identifier: Apache-2.0
 * What policies would say about SQL, without a guard and without a database; and what they are
 * asked about other protocols begins with.
 */
#pragma once

#include "cli.h"

#include "sidecar/policy/policy.h"
#include "sidecar/sql/analyze.h"

struct judge_question {
    struct policy_snapshot *policies;
    struct agent agent;
    const char *target;             /* NULL: the only one there is */
    const char *database;           /* or NULL */
    const char *const *search_path; /* NULL or empty: public */
    struct bytes sql;
};

/* What is said. Everything lives until judge_done. */
struct judgement {
    struct arena arena;
    struct policy_view *view;
    const struct target *target;
    struct sql_message message;
    struct decision *decisions; /* one per statement */
    struct decision whole;      /* of the message: what the guard would do */
    bool unparsable;            /* `whole` says why */
};

/* The target (of that protocol) and what holds for the agent there: the rest is zero. -ENOENT no
 * such target; -ENOMEM. judge_done in any case. */
int judge_begin(const struct judge_question *q, enum target_protocol p, struct judgement *ret,
                struct error *err) MUST_CHECK;
/* 0; -ENOENT no such target; -ENOMEM. SQL that cannot be parsed is an answer (Deny), not an error.
 */
int judge_sql(const struct judge_question *q, struct judgement *ret, struct error *err) MUST_CHECK;
void judge_done(struct judgement *j);
/* The namespace that all targets are in, or "default": for whoever names none. Lives as long as the
 * policies. */
const char *judge_default_namespace(const struct policy_snapshot *policies);
const char *judge_verdict_name(enum verdict v);

/* Calls visit for each column mask that covers a column of one of the statement's relations. */
void judge_masks(const struct judgement *j, const struct sql_statement *s,
                 void (*visit)(const struct column_mask *m, void *arg), void *arg);
const char *judge_mask_name(enum mask_method m);
