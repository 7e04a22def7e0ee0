/* SPDX-License-Identifier: Apache-2.0
 * What the lines of records say about a pod, in the words of Events. Runs on the sessions' threads
 * and must be quick: most lines are looked at no further than their type, and no more than so many
 * refusals a second are read.
 */
#pragma once

#include "events.h"

struct story;
struct vigil;
int story_new(struct events *e, struct vigil *v, struct story **ret) MUST_CHECK;
void story_free(struct story *s); /* accepts NULL */
/* A record_tap_fn; arg is the story. */
void story_line(const char *session, struct bytes line, void *arg);
