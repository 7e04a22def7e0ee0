/* SPDX-License-Identifier: Apache-2.0
 * Targets of requests.
 */
#include "kubepath.h"

#include "src-common/utf8.h"

#include <errno.h>

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986, pchar without percent; what some servers treat as a separator (;) is not in it. */
static bool is_path_char(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (c && strchr("-._~!$&'()*+,=:@", c));
}

/* Encoded forms of what has a meaning in a path, or of what needs no encoding, are somebody's
 * attempt to be read in two ways. ':' and '@' are encoded by careful clients. */
static bool may_be_encoded(uint8_t c)
{
    return c > 0x20 && c != 0x7f && c != '/' && c != '\\' && c != '%' && c != ';' && c != '.' &&
           c != '?' && c != '#' &&
           !((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' ||
             c == '_' || c == '~');
}

static int decode_segment(struct bytes s, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];

        if (c == '%') {
            int hi = i + 1 < s.len ? hex(s.p[i + 1]) : -1;
            int lo = i + 2 < s.len ? hex(s.p[i + 2]) : -1;

            if (hi < 0 || lo < 0)
                return -EBADMSG;
            c = (uint8_t)(hi << 4 | lo);
            if (!may_be_encoded(c))
                return -EBADMSG;
            i += 2;
        } else if (!is_path_char(c)) {
            return -EBADMSG;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    if (n == 0 || strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        return -EBADMSG;
    for (size_t i = 0; i < n;) {
        size_t step = utf8_len((const uint8_t *)out + i, n - i);

        if (!step)
            return -EBADMSG;
        i += step;
    }
    return 0;
}

static int parse_path(struct bytes path, struct arena *arena, struct kubepath *ret,
                      struct error *err)
{
    size_t at = 1;

    if (path.len == 0 || path.p[0] != '/')
        return error_set(err, -EBADMSG, "the path does not begin with '/'");
    while (at < path.len) {
        const uint8_t *slash = memchr(path.p + at, '/', path.len - at);
        size_t n = slash ? (size_t)(slash - path.p) - at : path.len - at;
        char *text = arena_alloc(arena, n + 1);

        if (!text)
            return error_set(err, -ENOMEM, "out of memory");
        if (ret->n == KUBEPATH_SEGMENTS || decode_segment(bytes_of(path.p + at, n), text) != 0)
            return error_set(err, -EBADMSG,
                             "the path is not canonical (empty or dot segments, characters that "
                             "have to be or must not be encoded)");
        ret->segments[ret->n++] = text;
        at += n + 1;
        ret->trailing_slash = slash && at == path.len;
    }
    return 0;
}

/* application/x-www-form-urlencoded, as Go reads it; where Go would leave a pair out, -EBADMSG. */
static int decode_query(struct bytes s, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];

        if (c == ';' || c == '#')
            return -EBADMSG;
        if (c == '%') {
            int hi = i + 1 < s.len ? hex(s.p[i + 1]) : -1;
            int lo = i + 2 < s.len ? hex(s.p[i + 2]) : -1;

            if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
                return -EBADMSG;
            c = (uint8_t)(hi << 4 | lo);
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return 0;
}

static int parse_pair(struct bytes pair, struct arena *arena, struct kubepath *ret)
{
    const uint8_t *eq = memchr(pair.p, '=', pair.len);
    size_t n = eq ? (size_t)(eq - pair.p) : pair.len;
    char *key = arena_alloc(arena, n + 1), *value = arena_alloc(arena, pair.len - n + 1);

    if (!key || !value)
        return -ENOMEM;
    if (ret->n_query == KUBEPATH_PAIRS || decode_query(bytes_of(pair.p, n), key) != 0 ||
        decode_query(bytes_of(pair.p + n + (eq != NULL), pair.len - n - (eq != NULL)), value) != 0)
        return -EBADMSG;
    ret->query[ret->n_query].key = key;
    ret->query[ret->n_query++].value = value;
    return 0;
}

static int parse_query(struct bytes query, struct arena *arena, struct kubepath *ret,
                       struct error *err)
{
    while (query.len) {
        const uint8_t *amp = memchr(query.p, '&', query.len);
        size_t n = amp ? (size_t)(amp - query.p) : query.len;
        int rc = n ? parse_pair(bytes_of(query.p, n), arena, ret) : 0;

        if (rc)
            return error_set(err, rc, "the query cannot be read, or has more than %d pairs",
                             KUBEPATH_PAIRS);
        n += amp != NULL;
        query.p += n;
        query.len -= n;
    }
    return 0;
}

int kubepath_parse(struct bytes target, struct arena *arena, struct kubepath *ret,
                   struct error *err)
{
    const uint8_t *mark = memchr(target.p, '?', target.len);
    struct bytes path = {target.p, mark ? (size_t)(mark - target.p) : target.len};
    struct bytes query = {path.p + path.len + (mark != NULL),
                          target.len - path.len - (mark != NULL)};
    int rc;

    *ret = (struct kubepath){.text = arena_strndup(arena, path.p, path.len),
                             .query_text = arena_strndup(arena, query.p, query.len)};
    if (!ret->text || !ret->query_text)
        return error_set(err, -ENOMEM, "out of memory");
    rc = parse_path(path, arena, ret, err);
    return rc ? rc : parse_query(query, arena, ret, err);
}

const char *kubepath_query(const struct kubepath *p, const char *key, size_t *ret_n)
{
    const char *found = NULL;
    size_t n = 0;

    for (size_t i = 0; i < p->n_query; i++) {
        if (strcmp(p->query[i].key, key) != 0)
            continue;
        if (!n++)
            found = p->query[i].value;
    }
    if (ret_n)
        *ret_n = n;
    return found;
}
