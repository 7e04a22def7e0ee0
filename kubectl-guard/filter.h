/* SPDX-License-Identifier: Apache-2.0
 * Which sessions, and which of their statements: --since, --namespace, --rule and the others.
 */
#pragma once

#include "recordfile.h"

#define FILTER_OPTIONS                                                                             \
    {"since", 0, "TIME", "from then on: 2h or 30d ago, 2026-11-24, 2026-11-24T17:00:00Z (UTC)"},   \
        {"until", 0, "TIME", "up to then"},                                                        \
        {"namespace", 'n', "NS", "sessions of pods of this namespace (with --from)"},              \
        {"pod", 0, "POD", "sessions of this pod; here and below * stands for anything"},           \
        {"identity", 0, "ID", "sessions of this identity, or of this user"},                       \
        {"target", 0, "TARGET", "sessions with this target"},                                      \
        {"rule", 0, "RULE", "statements that this rule decided on: RULE or POLICY/RULE"},          \
        {"verdict", 0, "V", "statements with this verdict: Allow, Deny or RequireApproval"},       \
    {                                                                                              \
        "text", 0, "TEXT", "statements that contain this text, in upper or lower case"             \
    }

struct filter {
    uint64_t since_us, until_us; /* 0: no bound */
    const char *namespace_, *pod, *identity, *target, *rule, *verdict, *text;
};

/* EXIT_USAGE, said, when an option cannot be understood. */
enum exit_code filter_read(const struct cli *cli, struct filter *ret) MUST_CHECK;
/* Is any of its options given? */
bool filter_any(const struct filter *f);
/* Can a record of that name in that folder match at all? `last_us`: it was not written to after
 * that; 0: not known. Spares a bucket's records from being read. */
bool filter_may(const struct filter *f, const char *dir, const char *session, uint64_t last_us);

/* Describes the opened record: what `sessions -o json` shows of it. From then on recordfile_next
 * gives the lines that match from the beginning: those of statements that do, and those that belong
 * to none. NULL when the session does not match, or has no statement that does. */
struct json_object *filter_apply(const struct filter *f, struct recordfile *file);
