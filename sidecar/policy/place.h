/* SPDX-License-Identifier: Apache-2.0
 * A node and the way to it, and parsing by tables: each kind of object is a table of fields,
 * each field a name and a parser. Whatever is wrong is said as "FILE:LINE: FIELD: reason" with
 * the field's whole path, and the first thing that is wrong ends the load.
 *
 * A parser takes a place and writes what it found to `out`; it returns 0, -EINVAL or -ENOMEM
 * with the loader's error set. What it allocates lives in the loader's arena.
 */
#pragma once

#include "words.h"
#include "yaml.h"

struct policy_snapshot;

struct loader {
    const char *file;    /* in the arena: objects keep it */
    struct arena *arena; /* the snapshot's */
    struct policy_snapshot *snapshot;
    struct error *err;
};

struct place {
    const struct place *up; /* NULL: the document */
    const char *key;        /* in a mapping; NULL: number `index` of a list */
    size_t index;
    const struct node *node;
    struct loader *loader;
};

typedef int place_parser(const struct place *at, void *out);

int place_error(const struct place *at, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
/* As place_error, for a field that is not there. */
int place_missing(const struct place *at, const char *field, const char *fmt, ...)
    PRINTF_LIKE(3, 4) MUST_CHECK;
int place_no_memory(const struct place *at) MUST_CHECK;

/* "expected WHAT, found …" */
int place_expected(const struct place *at, const char *what) MUST_CHECK;
int place_expect(const struct place *at, enum node_type type) MUST_CHECK;
/* "unknown THING 'x' (did you mean y?)" */
int place_unknown(const struct place *at, const char *thing, const struct suggestion *s) MUST_CHECK;

/* ---- mappings ---- */

struct field {
    const char *name;
    place_parser *parse;
    size_t offset; /* of the member that the parser writes */
    bool required;
    const char *refused; /* instead of `parse`: why this field cannot be here */
};

/* Each field of the mapping is found in the table and parsed into (char *)out + offset. */
int place_fields(const struct place *at, const struct field *fields, size_t n,
                 void *out) MUST_CHECK;
/* The value of a key, or NULL. The place is written to `ret`, which refers to `at`. */
const struct node *place_find(const struct place *at, const char *key, struct place *ret);

/* ---- lists ---- */

struct array {
    void *items; /* n of them and a zeroed one: lists of pointers end with NULL */
    size_t n;
};

struct array_of {
    size_t item_size;
    place_parser *parse;
    bool may_be_empty;
};

int place_array(const struct place *at, const struct array_of *of, struct array *ret) MUST_CHECK;

/* ---- scalars ---- */

struct word {
    const char *name;
    unsigned value;
};

/* Out of a fixed set of words; `thing` names what they are ("mode"). */
int place_word(const struct place *at, const char *thing, const struct word *words, size_t n,
               unsigned *ret) MUST_CHECK;
/* A string that is not empty; copied to the arena. */
int place_text(const struct place *at, const char **ret) MUST_CHECK;
int place_number(const struct place *at, int64_t min, int64_t max, int64_t *ret) MUST_CHECK;

/* ---- parsers for tables ---- */

int place_parse_bool(const struct place *at, void *out);    /* bool */
int place_parse_string(const struct place *at, void *out);  /* const char *; place_text */
int place_parse_label(const struct place *at, void *out);   /* const char *: DNS label */
int place_parse_name(const struct place *at, void *out);    /* const char *: DNS subdomain */
int place_parse_ignored(const struct place *at, void *out); /* anything; writes nothing */
int place_parse_strings(const struct place *at, void *out); /* struct array of const char * */
