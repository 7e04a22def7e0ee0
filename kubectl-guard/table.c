/* SPDX-License-Identifier: Apache-2.0
 * Aligned tables.
 */
#include "table.h"

#include "text.h"

#include <stdarg.h>

#define CELL_MAX ((size_t)1 << 20)
#define GAP      3

void table_init(struct table *t, const char *const *headers)
{
    memset(t, 0, sizeof *t);
    for (size_t i = 0; headers[i]; i++)
        table_cell(t, headers[i]);
    t->n_columns = t->n_cells;
}

void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    memset(t, 0, sizeof *t);
}

void table_cell_cut(struct table *t, const char *text, size_t columns)
{
    struct buffer b;
    char **cells = reallocarray(t->cells, t->n_cells + 1, sizeof *cells);

    if (!cells) {
        t->failed = true;
        return;
    }
    t->cells = cells;
    buffer_init(&b, CELL_MAX);
    text_clean_cut(bytes_str(text && text[0] ? text : "-"), columns, &b);
    buffer_add_u8(&b, '\0');
    t->failed = t->failed || b.failed;
    t->cells[t->n_cells++] = b.failed ? NULL : strdup((const char *)b.p);
    buffer_done(&b);
}

void table_cell(struct table *t, const char *text)
{
    table_cell_cut(t, text, 1000);
}

void table_cellf(struct table *t, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    table_cell(t, text);
}

static size_t column_width(const struct table *t, size_t column)
{
    size_t width = 0;

    for (size_t i = column; i < t->n_cells; i += t->n_columns) {
        size_t w = text_columns(bytes_str(t->cells[i]));

        width = w > width ? w : width;
    }
    return width;
}

void table_print(const struct table *t, FILE *to)
{
    size_t *widths = calloc(t->n_columns + 1, sizeof *widths);

    for (size_t c = 0; widths && c < t->n_columns; c++)
        widths[c] = column_width(t, c);
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t c = i % t->n_columns;
        const char *cell = t->cells[i] ? t->cells[i] : "?";
        bool last = c + 1 == t->n_columns;

        fputs(cell, to);
        if (last)
            fputc('\n', to);
        else if (widths)
            fprintf(to, "%*s", (int)(widths[c] - text_columns(bytes_str(cell)) + GAP), "");
        else
            fputc('\t', to);
    }
    free(widths);
}
