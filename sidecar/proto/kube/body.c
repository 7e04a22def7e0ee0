/* SPDX-License-Identifier: Apache-2.0
 * Bodies of requests.
 */
#include "body.h"

#include "src-common/jsonread.h"
#include "src-common/utf8.h"

#include <errno.h>
#include <json-c/linkhash.h>

#define MAX_DEPTH 100

/* Members as they are written: each has one colon outside of strings. -1: something that json-c
 * might read in another way than the API server does. */
static long count_written(struct bytes text)
{
    static const char between[] = "{}[],0123456789+-.eEtrufalsn \t\r\n";
    bool in_string = false;
    long n = 0;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.p[i];

        if (c == '\\' && in_string) {
            if (text.len - i > 5 && memcmp(text.p + i, "\\u0000", 6) == 0)
                return -1;
            i++;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (c == ':' && !in_string) {
            n++;
        } else if (in_string ? c < 0x20 : !c || !strchr(between, c)) {
            return -1;
        }
    }
    return in_string ? -1 : n;
}

static long count_read(struct json_object *o)
{
    long n = 0;

    if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, key, value)
        {
            (void)key;
            n += 1 + count_read(value);
        }
    } else if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o); i++)
            n += count_read(json_object_array_get_idx(o, i));
    }
    return n;
}

static int read_json(struct bytes text, struct json_object **ret, struct error *err)
{
    struct json_object *o = NULL;
    int rc = jsonread_strict(text, MAX_DEPTH, &o);

    if (rc == -ENOMEM)
        return error_set(err, rc, "out of memory");
    if (rc || !json_object_is_type(o, *text.p == '[' ? json_type_array : json_type_object)) {
        json_object_put(o);
        return error_set(err, -EBADMSG, "the body is no JSON object (or list, for a JSON patch)");
    }
    *ret = o;
    return 0;
}

int kubebody_parse(struct bytes text, struct json_object **ret, struct error *err)
{
    struct json_object *o = NULL;
    long written;
    int rc;

    while (text.len && strchr(" \t\r\n", text.p[text.len - 1]) && text.p[text.len - 1])
        text.len--;
    while (text.len && strchr(" \t\r\n", text.p[0]) && text.p[0])
        text.p++, text.len--;
    if (text.len == 0 || text.len > KUBEBODY_MAX)
        return error_set(err, -EBADMSG, "the body is empty or too long");
    written = count_written(text);
    if (!utf8_valid(text) || written < 0)
        return error_set(err, -EBADMSG,
                         "the body has control characters or is not UTF-8; send JSON");
    rc = read_json(text, &o, err);
    if (rc)
        return rc;
    if (count_read(o) != written) {
        json_object_put(o);
        return error_set(err, -EBADMSG, "the body has a member twice in one object");
    }
    *ret = o;
    return 0;
}

bool kubebody_any(struct json_object *o,
                  bool (*visit)(const char *key, struct json_object *value, void *arg), void *arg)
{
    if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, key, value)
        {
            if (visit(key, value, arg) || kubebody_any(value, visit, arg))
                return true;
        }
    } else if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o); i++) {
            if (kubebody_any(json_object_array_get_idx(o, i), visit, arg))
                return true;
        }
    }
    return false;
}
