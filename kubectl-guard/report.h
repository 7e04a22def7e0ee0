/* SPDX-License-Identifier: Apache-2.0
 * The lines of a record as HTML, in their order: a statement's article takes what belongs to it for
 * as long as nothing else comes between.
 */
#pragma once

#include "html.h"

struct report {
    uint64_t start_us; /* of the first line */
    int64_t open;      /* number of the statement whose article is open; -1: none */
    char reason[640];  /* of the last statement: its decision mostly says the same */
};

void report_line(struct report *r, struct json_object *line, struct buffer *out);
/* Closes what is open. */
void report_end(struct report *r, struct buffer *out);
