/* SPDX-License-Identifier: Apache-2.0
 * Whose tokens the guard trusts: put in force at start, and again when the file changes.
 */
#pragma once

#include "session/guard.h"

struct issuerswatch;

/* Loads; an error ends the start. With a file also starts the thread that looks at it every second
 * (*ret NULL otherwise). A file that becomes wrong: the last good list stays in force as long as
 * policies do (policy_stale_after_ms), then no token is taken. */
int issuerswatch_start(struct guard *g, const struct issuers_origin *from,
                       struct issuerswatch **ret, struct error *err) MUST_CHECK;
void issuerswatch_stop(struct issuerswatch *w); /* accepts NULL */
