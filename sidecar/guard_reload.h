/* SPDX-License-Identifier: Apache-2.0
 * Watches the policy directory and puts what changed in force.
 */
#pragma once

#include "session/guard.h"

struct reload;
/* Loads the policies (an invalid set is an error now) and starts watching. */
int reload_start(struct guard *g, const char *dir, struct reload **ret,
                 struct error *err) MUST_CHECK;
void reload_stop(struct reload *r); /* accepts NULL */
