/* SPDX-License-Identifier: Apache-2.0
 * What Events say about the records themselves: where the ledger's chain stands (an anchor that who
 * holds the records cannot move), and when records cannot be written or do not leave. Asked now and
 * then by the sender of Events; says each change once, and none more often than twice a minute.
 */
#pragma once

#include "events.h"

struct vigil;
int vigil_new(struct events *e, struct guard *g, struct vigil **ret) MUST_CHECK;
void vigil_free(struct vigil *v); /* accepts NULL */
/* A line of the ledger has been written; on any thread. */
void vigil_line(struct vigil *v, const char *ledger, struct bytes line);
/* Looks, and says what there is to be said. Returns milliseconds until it wants to look again. */
uint64_t vigil_look(struct vigil *v, uint64_t now_ms);
