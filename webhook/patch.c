/* SPDX-License-Identifier: Apache-2.0
 * JSON patches.
 */
#include "patch.h"

#include <stdarg.h>
#include <stdio.h>

void patch_init(struct patch *p)
{
    p->operations = json_object_new_array();
    p->failed = !p->operations;
}

void patch_done(struct patch *p)
{
    json_object_put(p->operations);
    p->operations = NULL;
}

static void operation(struct patch *p, const char *op, struct json_object *value, const char *fmt,
                      va_list args)
{
    struct json_object *o = json_object_new_object();
    char *path = NULL;
    bool remove = strcmp(op, "remove") == 0, ok;

    ok = vasprintf(&path, fmt, args) >= 0;
    ok = ok && o && value_set(o, "op", json_object_new_string(op)) &&
         value_set(o, "path", json_object_new_string(path));
    if (ok && !remove)
        ok = value_set(o, "value", json_object_get(value));
    ok = ok && !p->failed && json_object_array_add(p->operations, json_object_get(o)) == 0;
    if (!ok)
        p->failed = true;
    json_object_put(value);
    json_object_put(o);
    free(path);
}

void patch_add(struct patch *p, struct json_object *value, const char *path, ...)
{
    va_list args;

    va_start(args, path);
    operation(p, "add", value, path, args);
    va_end(args);
}

void patch_replace(struct patch *p, struct json_object *value, const char *path, ...)
{
    va_list args;

    va_start(args, path);
    operation(p, "replace", value, path, args);
    va_end(args);
}

void patch_remove(struct patch *p, const char *path, ...)
{
    va_list args;

    va_start(args, path);
    operation(p, "remove", NULL, path, args);
    va_end(args);
}

const char *patch_key(const char *key, char out[static PATCH_KEY_MAX])
{
    size_t n = 0;

    for (; *key && n + 3 < PATCH_KEY_MAX; key++) {
        if (*key == '~' || *key == '/') {
            out[n++] = '~';
            out[n++] = *key == '~' ? '0' : '1';
        } else {
            out[n++] = *key;
        }
    }
    out[n] = 0;
    return out;
}
