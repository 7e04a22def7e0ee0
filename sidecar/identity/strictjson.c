/* SPDX-License-Identifier: Apache-2.0
 * The grammar of RFC 8259, and what is refused beyond it.
 */
#include "strictjson.h"

#include "src-common/jsonread.h"
#include "src-common/utf8.h"

#include <errno.h>
#include <json-c/json_tokener.h>

struct scan {
    struct bytes text;
    size_t at;
    const char *reason; /* set: refused */
};

static bool refuse(struct scan *s, const char *reason)
{
    if (!s->reason)
        s->reason = reason;
    return false;
}

static int peek(const struct scan *s)
{
    return s->at < s->text.len ? s->text.p[s->at] : -1;
}

static void skip_space(struct scan *s)
{
    while (peek(s) == ' ' || peek(s) == '\t' || peek(s) == '\n' || peek(s) == '\r')
        s->at++;
}

static bool take_char(struct scan *s, char c)
{
    skip_space(s);
    if (peek(s) != (uint8_t)c)
        return refuse(s, "it is no JSON object");
    s->at++;
    return true;
}

static bool is_hex(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Behind the backslash. */
static bool take_escape(struct scan *s)
{
    int c = peek(s);
    bool zero = true;

    if (c < 0 || !strchr("\"\\/bfnrtu", c))
        return refuse(s, "a string has an unknown escape");
    s->at++;
    for (int i = 0; c == 'u' && i < 4; i++, s->at++) {
        if (!is_hex(peek(s)))
            return refuse(s, "a string has a malformed escape");
        zero &= peek(s) == '0';
    }
    return c == 'u' && zero ? refuse(s, "a string has a NUL") : true;
}

/* *ret is what stands between the quotes. */
static bool take_string(struct scan *s, bool is_name, struct bytes *ret)
{
    size_t start;

    if (!take_char(s, '"'))
        return false;
    start = s->at;
    for (;;) {
        int c = peek(s);

        if (c < 0x20)
            return refuse(s, c < 0 ? "a string does not end" : "a string has a control character");
        s->at++;
        if (c == '"')
            break;
        if (c == '\\' && is_name)
            return refuse(s, "a member's name has an escape");
        if (c == '\\' && !take_escape(s))
            return false;
    }
    *ret = (struct bytes){s->text.p + start, s->at - 1 - start};
    /* json-c's own check lets overlong forms through. */
    return utf8_valid(*ret) ? true : refuse(s, "a string is not UTF-8");
}

static bool take_digits(struct scan *s)
{
    size_t start = s->at;

    while (peek(s) >= '0' && peek(s) <= '9')
        s->at++;
    return s->at > start ? true : refuse(s, "a number is malformed");
}

static bool take_number(struct scan *s)
{
    if (peek(s) == '-')
        s->at++;
    if (peek(s) == '0')
        s->at++;
    else if (!take_digits(s))
        return false;
    if (peek(s) == '.') {
        s->at++;
        if (!take_digits(s))
            return false;
    }
    if (peek(s) != 'e' && peek(s) != 'E')
        return true;
    s->at++;
    if (peek(s) == '+' || peek(s) == '-')
        s->at++;
    return take_digits(s);
}

static bool take_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i]);

        if (s->text.len - s->at >= n && memcmp(s->text.p + s->at, words[i], n) == 0) {
            s->at += n;
            return true;
        }
    }
    return refuse(s, "a value is malformed");
}

static bool take_value(struct scan *s, unsigned depth);

static bool seen_before(const struct bytes *names, size_t n, struct bytes name)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_eq(names[i], name))
            return true;
    return false;
}

static bool take_members(struct scan *s, unsigned depth)
{
    struct bytes names[STRICTJSON_MAX_MEMBERS];
    size_t n = 0;

    do {
        if (n == STRICTJSON_MAX_MEMBERS)
            return refuse(s, "an object has too many members");
        if (!take_string(s, true, &names[n]))
            return false;
        if (seen_before(names, n, names[n]))
            return refuse(s, "a member is there twice");
        n++;
        if (!take_char(s, ':') || !take_value(s, depth))
            return false;
        skip_space(s);
    } while (peek(s) == ',' && s->at++ < s->text.len);
    return take_char(s, '}');
}

static bool take_items(struct scan *s, unsigned depth)
{
    do {
        if (!take_value(s, depth))
            return false;
        skip_space(s);
    } while (peek(s) == ',' && s->at++ < s->text.len);
    return take_char(s, ']');
}

/* Behind the opening bracket. */
static bool take_nested(struct scan *s, unsigned depth, char close)
{
    if (depth == STRICTJSON_MAX_DEPTH)
        return refuse(s, "it is nested too deeply");
    skip_space(s);
    if (peek(s) == close) {
        s->at++;
        return true;
    }
    return close == '}' ? take_members(s, depth + 1) : take_items(s, depth + 1);
}

static bool take_value(struct scan *s, unsigned depth)
{
    struct bytes ignored;
    int c;

    skip_space(s);
    c = peek(s);
    if (c == '{' || c == '[') {
        s->at++;
        return take_nested(s, depth, c == '{' ? '}' : ']');
    }
    if (c == '"')
        return take_string(s, false, &ignored);
    return c == '-' || (c >= '0' && c <= '9') ? take_number(s) : take_word(s);
}

static bool is_strict(struct scan *s)
{
    if (!take_char(s, '{') || !take_nested(s, 0, '}'))
        return false;
    skip_space(s);
    return s->at == s->text.len ? true : refuse(s, "something follows the JSON object");
}

int strictjson_parse(struct bytes text, struct json_object **ret, struct error *err)
{
    struct scan s = {.text = text};
    struct json_object *o = NULL;

    if (text.len > INT32_MAX || !is_strict(&s))
        return error_set(err, -EBADMSG, "%s", s.reason ? s.reason : "it is too long");
    if (jsonread_strict(text, STRICTJSON_MAX_DEPTH + 2, &o) == -ENOMEM)
        return error_set(err, -ENOMEM, "out of memory");
    if (!json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        return error_set(err, -EBADMSG, "it is no JSON object in UTF-8");
    }
    *ret = o;
    return 0;
}

const char *strictjson_string(struct json_object *o, const char *name)
{
    struct json_object *v = NULL;

    if (!json_object_object_get_ex(o, name, &v) || !json_object_is_type(v, json_type_string))
        return NULL;
    return json_object_get_string(v);
}
