/* SPDX-License-Identifier: Apache-2.0
 * Result rows as psql prints them.
 */
#include "transcript.h"

#include "object.h"
#include "text.h"

#include <json-c/json.h>

#define CELL_COLUMNS 100
#define MAX_COLUMNS  1700 /* more than PostgreSQL allows */

struct grid {
    size_t columns;
    size_t *widths;
    struct buffer cell; /* scratch */
};

static struct bytes cell_text(struct grid *g, struct json_object *v)
{
    struct json_object *raw = object_get(v, "base64");

    g->cell.start = g->cell.end = 0;
    if (!v)
        text_clean_cut(BYTES("NULL"), CELL_COLUMNS, &g->cell);
    else if (raw)
        text_clean_cut(bytes_str(json_object_get_string(raw)), CELL_COLUMNS, &g->cell);
    else if (json_object_is_type(v, json_type_string))
        text_clean_cut(bytes_of(json_object_get_string(v), (size_t)json_object_get_string_len(v)),
                       CELL_COLUMNS, &g->cell);
    else
        text_clean_cut(bytes_str(json_object_get_string(v)), CELL_COLUMNS, &g->cell);
    return buffer_bytes(&g->cell);
}

/* The column's name, with a star when its values are masked. */
static struct bytes header_text(struct grid *g, struct json_object *result, size_t i)
{
    struct json_object *column = object_at(result, "columns", i);

    g->cell.start = g->cell.end = 0;
    text_clean_cut(object_bytes(column, "name"), CELL_COLUMNS - 1, &g->cell);
    if (object_true(column, "masked"))
        buffer_add_u8(&g->cell, '*');
    return buffer_bytes(&g->cell);
}

static struct json_object *value_at(struct json_object *row, size_t i)
{
    return json_object_is_type(row, json_type_array) && i < json_object_array_length(row)
               ? json_object_array_get_idx(row, i)
               : NULL;
}

static void widen(size_t *width, struct bytes text)
{
    size_t w = text_columns(text);

    *width = w > *width ? w : *width;
}

static void measure(struct grid *g, struct json_object *result)
{
    size_t rows = object_count(result, "rows");

    for (size_t c = 0; c < g->columns; c++)
        widen(&g->widths[c], header_text(g, result, c));
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < g->columns; c++)
            widen(&g->widths[c], cell_text(g, value_at(object_at(result, "rows", r), c)));
}

static void add_cell(const struct grid *g, size_t c, struct bytes text, struct buffer *out)
{
    buffer_printf(out, c ? " | " : " ");
    buffer_add(out, text);
    if (c + 1 < g->columns)
        buffer_printf(out, "%*s", (int)(g->widths[c] - text_columns(text)), "");
}

static void add_line(const struct grid *g, struct buffer *out)
{
    for (size_t c = 0; c < g->columns; c++) {
        if (c)
            buffer_add_u8(out, '+');
        for (size_t i = 0; i < g->widths[c] + 2; i++)
            buffer_add_u8(out, '-');
    }
}

static void add_grid(struct grid *g, struct json_object *result, const char *indent,
                     struct buffer *out)
{
    size_t rows = object_count(result, "rows");

    buffer_printf(out, "%s", indent);
    for (size_t c = 0; c < g->columns; c++)
        add_cell(g, c, header_text(g, result, c), out);
    buffer_printf(out, "\n%s", indent);
    add_line(g, out);
    buffer_add_u8(out, '\n');
    for (size_t r = 0; r < rows; r++) {
        buffer_printf(out, "%s", indent);
        for (size_t c = 0; c < g->columns; c++)
            add_cell(g, c, cell_text(g, value_at(object_at(result, "rows", r), c)), out);
        buffer_add_u8(out, '\n');
    }
}

void transcript_rows(struct json_object *result, const char *indent, struct buffer *out)
{
    struct grid g = {.columns = object_count(result, "columns")};
    size_t rows = object_count(result, "rows");
    int64_t total = object_number(result, "rowCount", (int64_t)rows);

    if (g.columns == 0 || g.columns > MAX_COLUMNS)
        return;
    g.widths = calloc(g.columns, sizeof *g.widths);
    if (!g.widths)
        return;
    buffer_init(&g.cell, (size_t)1 << 20);
    measure(&g, result);
    add_grid(&g, result, indent, out);
    buffer_printf(out, "%s(%lld row%s", indent, (long long)total, total == 1 ? "" : "s");
    if (total > (int64_t)rows)
        buffer_printf(out, ", %zu kept", rows);
    buffer_printf(out, ")\n");
    buffer_done(&g.cell);
    free(g.widths);
}
