/* SPDX-License-Identifier: Apache-2.0
 * Result rows: what to do with each column, and doing it. A plan is made from a RowDescription
 * and says for each column whether it passes, is masked, or is searched for values. Pure but for
 * the counters; the session's thread only.
 */
#pragma once

#include "context.h"
#include "wire.h"

enum column_action { COLUMN_PASS = 0, COLUMN_SCAN, COLUMN_MASK };

/* How a type's values can be replaced. */
enum column_type {
    COLUMN_TYPE_OPAQUE = 0, /* only by NULL */
    COLUMN_TYPE_TEXT,       /* by any text, in both formats */
    COLUMN_TYPE_JSON,
    COLUMN_TYPE_JSONB,
    COLUMN_TYPE_COMPOUND, /* arrays, records: matches inside the text form can be replaced; binary
                             by NULL */
    COLUMN_TYPE_INTEGER8, /* can hold a card number */
    COLUMN_TYPE_HARMLESS, /* too small or too regular to hold a secret: never searched */
};

struct rowplan_column {
    uint32_t table_oid, type_oid;
    int16_t attribute;
    int16_t format; /* 0 text, 1 binary */
    enum column_type type;
    enum column_action action;
    enum mask_method method;
    const char *rule;  /* of the mask; lives as long as the context */
    struct bytes name; /* in the plan */
};

struct rowplan {
    unsigned refs;
    bool any_mask, any_scan;
    bool any_binary;           /* some column's values are searched in a form that has no anchors */
    struct pgcontext *context; /* counted */
    struct buffer names;
    struct buffer json; /* the columns as the record shows them */
    uint16_t n;
    struct rowplan_column columns[];
};

/* `strict`: columns without origin are masked (the statement's masked columns may reach them). */
int rowplan_new(struct pgcontext *c, struct bytes row_description, bool strict,
                struct rowplan **ret) MUST_CHECK;
/* The same columns in other formats, as Bind asks for them. */
int rowplan_with_formats(struct rowplan *p, struct bytes formats, uint16_t n_formats,
                         struct rowplan **ret) MUST_CHECK;
struct rowplan *rowplan_ref(struct rowplan *p);
void rowplan_unref(struct rowplan *p); /* accepts NULL */

/* Working memory of a session's results. */
struct row_scratch {
    struct detect_scratch *detect;
    struct buffer cell;
    bool clean;             /* no anchor lies in the row at hand: its texts need no search */
    uint64_t masked_values; /* counts */
};

/* Appends the DataRow message with masks applied. -EBADMSG when the row does not fit the plan;
 * -ENOMEM, -EIO: nothing may be sent. */
int row_rewrite(const struct rowplan *p, struct row_scratch *scratch, struct bytes body,
                struct buffer *out) MUST_CHECK;

/* Appends a text with values replaced (error texts, COPY rows); as it is when there is no detector.
 */
int row_mask_text(const struct pgcontext *c, struct row_scratch *scratch, struct bytes text,
                  struct buffer *out) MUST_CHECK;

/* Appends the row as a JSON array of strings and nulls, for the record. */
void row_to_record(const struct rowplan *p, struct bytes body, struct buffer *out);
/* Appends the columns as a JSON array of {"name","masked"}. */
void rowplan_to_record(struct rowplan *p, struct buffer *out);
