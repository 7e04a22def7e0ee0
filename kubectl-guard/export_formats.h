/* SPDX-License-Identifier: Apache-2.0
 * The formats of `export`: each reads a record to its end and writes it. With formats that hold
 * more than one session, one is written behind the other.
 */
#pragma once

#include "recordfile.h"

#include <stdio.h>

struct export_about {
    struct json_object *session; /* as filter_apply describes it */
    size_t n;                    /* how many were written before */
};
typedef enum exit_code export_fn(struct recordfile *f, const struct export_about *about, FILE *to);

export_fn export_html, export_asciicast, export_json, export_csv;
/* ---- asciicast, for the report as well ---- */

#define CAST_COLUMNS 120
#define CAST_ROWS    40

/* A piece of a terminal's output, `us` after the session's start, never running backwards. */
typedef void cast_fn(uint64_t us, struct bytes text, void *arg);
/* All of them; reads the record to its end. False: it is empty. */
bool export_cast(struct recordfile *f, cast_fn *fn, void *arg);
