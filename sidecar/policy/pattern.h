/* SPDX-License-Identifier: Apache-2.0
 * Patterns over names. `*` stands for any run of characters inside one part; parts are joined
 * by dots; a part in double quotes is taken as it is ("" for a quote), so that names with dots,
 * stars or blanks can be written. Names compare byte for byte, as in the catalogue.
 */
#pragma once

#include "place.h"

enum pattern_kind { PATTERN_EXACT = 0, PATTERN_GLOB, PATTERN_ANY };

struct pattern {
    enum pattern_kind kind;
    const char *text;
};

struct name_pattern { /* schema.name */
    struct pattern schema, name;
    bool any_schema; /* written without one: functions only */
};

bool pattern_matches(const struct pattern *p, const char *name);

/* Parsers for tables and lists. */
int pattern_parse_glob(const struct place *at, void *out);     /* struct pattern: one part, no
                                                                  quoting, dots are ordinary */
int pattern_parse_relation(const struct place *at, void *out); /* struct name_pattern */
int pattern_parse_function(const struct place *at, void *out); /* struct name_pattern */
/* schema.relation.column as the three strings of a struct column_mask. A quoted star stays a
 * wildcard there: a mask rather covers too much. */
int pattern_parse_column(const struct place *at, const char *ret[static 3]) MUST_CHECK;
