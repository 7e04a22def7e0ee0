/* SPDX-License-Identifier: Apache-2.0
 * Neutralises text from outside.
 */
#include "text.h"

#include <stdio.h>
#include <wchar.h>

struct range {
    uint32_t from, to;
};

/* Unicode's format characters (Cf), separators that break or widen lines, fillers that show
 * nothing, variation selectors, odd blanks, noncharacters' planes. Sorted. */
static const struct range invisible[] = {
    {0x0080, 0x00a0},   {0x00ad, 0x00ad},   {0x034f, 0x034f},   {0x0600, 0x0605},
    {0x061c, 0x061c},   {0x06dd, 0x06dd},   {0x070f, 0x070f},   {0x0890, 0x0891},
    {0x08e2, 0x08e2},   {0x115f, 0x1160},   {0x1680, 0x1680},   {0x17b4, 0x17b5},
    {0x180b, 0x180f},   {0x2000, 0x200f},   {0x2028, 0x202f},   {0x205f, 0x206f},
    {0x2800, 0x2800},   {0x3000, 0x3000},   {0x3164, 0x3164},   {0xfe00, 0xfe0f},
    {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},
    {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},
    {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

static bool is_invisible(uint32_t c)
{
    size_t lo = 0, hi = ARRAY_LEN(invisible);

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (c > invisible[mid].to)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < ARRAY_LEN(invisible) && c >= invisible[lo].from;
}

/* Length of the valid UTF-8 sequence at the front and its code point, or 0. */
static size_t decode(struct bytes s, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t c = s.p[0];
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    uint32_t v;

    if (n == 0 || n > s.len)
        return 0;
    v = n == 1 ? c : c & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (s.p[i] & 0x3fu);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return 0;
    *ret = v;
    return n;
}

static void add_str(struct buffer *out, const char *s)
{
    buffer_append(out, s, strlen(s));
}

static void clean_control(uint8_t c, enum text_mode mode, struct buffer *out)
{
    if (c == '\n')
        add_str(out, mode == TEXT_BLOCK ? "\n" : "\\n");
    else if (c == '\t')
        add_str(out, mode == TEXT_BLOCK ? "    " : "\\t");
    else if (c == '\r' && mode == TEXT_LINE)
        add_str(out, "\\r");
    else
        buffer_printf(out, "\\x%02x", c);
}

/* Cleans one character from the front; returns the bytes it took. */
static size_t clean_one(struct bytes s, enum text_mode mode, struct buffer *out)
{
    uint32_t c = 0;
    size_t n = decode(s, &c);

    if (n == 0) {
        buffer_printf(out, "\\x%02x", s.p[0]);
        return 1;
    }
    if (c < 0x20 || c == 0x7f)
        clean_control((uint8_t)c, mode, out);
    else if (c >= 0x80 && is_invisible(c))
        buffer_printf(out, "<U+%04X>", (unsigned)c);
    else
        buffer_append(out, s.p, n);
    return n;
}

void text_clean(struct bytes text, enum text_mode mode, struct buffer *out)
{
    for (size_t i = 0; i < text.len;)
        i += clean_one(bytes_of(text.p + i, text.len - i), mode, out);
}

size_t text_columns(struct bytes text)
{
    size_t columns = 0;

    for (size_t i = 0; i < text.len;) {
        uint32_t c = 0;
        size_t n = decode(bytes_of(text.p + i, text.len - i), &c);
        int w = n > 1 ? wcwidth((wchar_t)c) : 1;

        columns += w < 0 ? 1 : (size_t)w;
        i += n ? n : 1;
    }
    return columns;
}

void text_clean_json(struct bytes json, struct buffer *out)
{
    for (size_t i = 0; i < json.len;) {
        uint32_t c = 0;
        size_t n = decode(bytes_of(json.p + i, json.len - i), &c);

        if (n == 0)
            add_str(out, "\\ufffd");
        else if (c < 0x7f || !(c == 0x7f || is_invisible(c)))
            buffer_append(out, json.p + i, n);
        else if (c < 0x10000)
            buffer_printf(out, "\\u%04x", (unsigned)c);
        else
            buffer_printf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                          (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
        i += n ? n : 1;
    }
}

void text_clean_cut(struct bytes text, size_t columns, struct buffer *out)
{
    size_t taken = 0, fits = buffer_len(out); /* fits: where "…" still has a column */

    for (size_t i = 0; i < text.len;) {
        size_t at = buffer_len(out), w;

        i += clean_one(bytes_of(text.p + i, text.len - i), TEXT_LINE, out);
        if (out->failed)
            return;
        w = text_columns(bytes_of(out->p + out->start + at, buffer_len(out) - at));
        if (taken + w > columns) {
            out->end = out->start + fits;
            add_str(out, "…");
            return;
        }
        taken += w;
        if (taken < columns)
            fits = buffer_len(out);
    }
}

void text_clean_indented(struct bytes text, const char *indent, struct buffer *out)
{
    while (text.len && text.p[text.len - 1] == '\n')
        text.len--;
    for (;;) {
        const uint8_t *nl = text.len ? memchr(text.p, '\n', text.len) : NULL;
        size_t n = nl ? (size_t)(nl - text.p) : text.len;

        add_str(out, indent);
        text_clean(bytes_of(text.p, n), TEXT_BLOCK, out);
        buffer_add_u8(out, '\n');
        if (!nl)
            return;
        text = bytes_of(nl + 1, text.len - n - 1);
    }
}
