/* SPDX-License-Identifier: Apache-2.0
 * Tables as kubectl prints them: upper-case headers, columns aligned with three blanks between.
 * Cells are cleaned on the way in.
 */
#pragma once

#include "src-common/buffer.h"

#include <stdio.h>

struct table {
    size_t n_columns, n_cells;
    char **cells; /* row by row, the header first; cleaned */
    bool failed;
};

/* The headers are a NULL-terminated list. */
void table_init(struct table *t, const char *const *headers);
void table_done(struct table *t);
static inline void table_done_p(struct table *t)
{
    table_done(t);
}
/* The next cell; rows fill from left to right. Empty is shown as "-". */
void table_cell(struct table *t, const char *text);
void table_cell_cut(struct table *t, const char *text, size_t columns);
void table_cellf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prints the rows. */
void table_print(const struct table *t, FILE *to);
