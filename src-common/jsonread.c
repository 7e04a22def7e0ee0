/* SPDX-License-Identifier: Apache-2.0
 * json-c gets ASCII: other characters are written as \uXXXX first, which means the same.
 */
#include "jsonread.h"

#include "buffer.h"
#include "utf8.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>

static bool is_ascii(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.p[i] >= 0x80)
            return false;
    return true;
}

static uint32_t code_point(const uint8_t *p, size_t n)
{
    uint32_t c = p[0] & (0xffu >> (n + 1));

    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3fu);
    return c;
}

static void add_escape(struct buffer *out, uint32_t c)
{
    if (c < 0x10000)
        buffer_printf(out, "\\u%04x", (unsigned)c);
    else
        buffer_printf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                      (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
}

/* -EBADMSG for what is not UTF-8, and for a backslash before such a character, which is no escape
 * but would become one. Outside of strings they are as wrong as before. */
static int to_ascii(struct bytes text, struct buffer *out)
{
    bool escaped = false;
    size_t run = 0; /* from here on nothing has been copied */

    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_len(text.p + i, text.len - i);

        if (n == 0 || (n > 1 && escaped))
            return -EBADMSG;
        if (n > 1) {
            buffer_append(out, text.p + run, i - run);
            add_escape(out, code_point(text.p + i, n));
            run = i + n;
        }
        escaped = !escaped && text.p[i] == '\\';
        i += n;
    }
    buffer_append(out, text.p + run, text.len - run);
    return out->failed ? -ENOMEM : 0;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int parse(struct bytes ascii, int depth, struct json_object **ret)
{
    struct json_tokener *t = json_tokener_new_ex(depth);
    enum json_tokener_error e;
    struct json_object *o;
    bool whole;

    if (!t)
        return -ENOMEM;
    json_tokener_set_flags(t, JSON_TOKENER_STRICT);
    o = json_tokener_parse_ex(t, (const char *)ascii.p, (int)ascii.len);
    e = json_tokener_get_error(t);
    whole = json_tokener_get_parse_end(t) == ascii.len;
    if (e == json_tokener_continue) { /* a number at the end is over when something follows */
        o = json_tokener_parse_ex(t, " ", 1);
        e = json_tokener_get_error(t);
        whole = true;
    }
    json_tokener_free(t);
    if (e == json_tokener_success && whole && o) {
        *ret = o;
        return 0;
    }
    json_object_put(o);
    return e == json_tokener_error_depth ? -E2BIG : -EBADMSG;
}

int jsonread_strict(struct bytes text, int depth, struct json_object **ret)
{
    struct buffer ascii;
    int r;

    while (text.len && is_space(text.p[text.len - 1]))
        text.len--;
    if (text.len == 0)
        return -EBADMSG;
    if (text.len > INT_MAX)
        return -E2BIG;
    if (is_ascii(text))
        return parse(text, depth, ret);
    buffer_init(&ascii, INT_MAX);
    r = to_ascii(text, &ascii);
    r = r ? r : parse(buffer_bytes(&ascii), depth, ret);
    buffer_done(&ascii);
    return r;
}
