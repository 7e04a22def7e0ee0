/* SPDX-License-Identifier: Apache-2.0
 * Differences between objects.
 */
#include "difference.h"

#include <json-c/linkhash.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX 200
#define TOTAL_MAX ((size_t)8 << 10)
#define DEPTH_MAX 40
#define PLAIN     (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

struct path { /* from the outermost member inwards */
    char text[512];
    size_t n;
    unsigned depth;
    bool merges;
};

static void compare(struct path *p, struct json_object *now, struct json_object *wanted,
                    struct buffer *out);

static void add_value(struct json_object *o, struct buffer *out)
{
    const char *text = json_object_to_json_string_ext(o, PLAIN);
    size_t n = text ? strlen(text) : 0;

    buffer_append(out, text, min_size(n, VALUE_MAX));
    if (n > VALUE_MAX)
        buffer_printf(out, "... (%zu bytes)", n);
}

static void line(const struct path *p, struct json_object *now, bool there,
                 struct json_object *wanted, struct buffer *out)
{
    if (buffer_len(out) > TOTAL_MAX)
        return;
    buffer_printf(out, "%s: ", p->text);
    if (there)
        add_value(now, out);
    else
        buffer_printf(out, "(none)");
    buffer_printf(out, " -> ");
    if (wanted)
        add_value(wanted, out);
    else
        buffer_printf(out, "(removed)");
    buffer_printf(out, buffer_len(out) > TOTAL_MAX ? "\n(more is not shown)\n" : "\n");
}

static void step(struct path *p, const char *format, const char *name, size_t i)
{
    char text[300];
    size_t n;

    if (name)
        snprintf(text, sizeof text, format, name);
    else
        snprintf(text, sizeof text, format, i);
    n = min_size(strlen(text), sizeof p->text - 1 - p->n);
    memcpy(p->text + p->n, text, n);
    p->n += n;
    p->text[p->n] = '\0';
    p->depth++;
}

static void back(struct path *p, size_t n)
{
    p->n = n;
    p->text[n] = '\0';
    p->depth--;
}

static void members(struct path *p, struct json_object *now, struct json_object *wanted,
                    struct buffer *out)
{
    json_object_object_foreach(wanted, key, value)
    {
        struct json_object *old = NULL;
        bool there = json_object_object_get_ex(now, key, &old);
        size_t n = p->n;

        step(p, strpbrk(key, "./") ? "['%.200s']" : ".%.200s", key, 0);
        if (there && old && value)
            compare(p, old, value, out);
        else if (there || value)
            line(p, old, there, value, out);
        back(p, n);
    }
}

static void elements(struct path *p, struct json_object *now, struct json_object *wanted,
                     struct buffer *out)
{
    for (size_t i = 0; i < json_object_array_length(wanted); i++) {
        size_t n = p->n;

        step(p, "[%zu]", NULL, i);
        compare(p, json_object_array_get_idx(now, i), json_object_array_get_idx(wanted, i), out);
        back(p, n);
    }
}

static const char *name_of(struct json_object *o)
{
    struct json_object *name = NULL;

    return json_object_is_type(o, json_type_object) &&
                   json_object_object_get_ex(o, "name", &name) &&
                   json_object_is_type(name, json_type_string)
               ? json_object_get_string(name)
               : NULL;
}

static bool have_names(struct json_object *list)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        if (!name_of(json_object_array_get_idx(list, i)))
            return false;
    }
    return true;
}

static struct json_object *find(struct json_object *list, const char *name)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *e = json_object_array_get_idx(list, i);

        if (strcmp(name_of(e), name) == 0)
            return e;
    }
    return NULL;
}

/* What the list has beside these stays. */
static void named(struct path *p, struct json_object *now, struct json_object *wanted,
                  struct buffer *out)
{
    for (size_t i = 0; i < json_object_array_length(wanted); i++) {
        struct json_object *e = json_object_array_get_idx(wanted, i), *old = find(now, name_of(e));
        size_t n = p->n;

        step(p, "[%.200s]", name_of(e), 0);
        if (old)
            compare(p, old, e, out);
        else
            line(p, NULL, false, e, out);
        back(p, n);
    }
}

static void compare(struct path *p, struct json_object *now, struct json_object *wanted,
                    struct buffer *out)
{
    bool lists =
        json_object_is_type(now, json_type_array) && json_object_is_type(wanted, json_type_array);

    if (json_object_equal(now, wanted))
        return;
    if (p->depth < DEPTH_MAX && json_object_is_type(now, json_type_object) &&
        json_object_is_type(wanted, json_type_object))
        members(p, now, wanted, out);
    else if (p->depth < DEPTH_MAX && lists && p->merges && have_names(now) && have_names(wanted))
        named(p, now, wanted, out);
    else if (p->depth < DEPTH_MAX && lists &&
             json_object_array_length(now) == json_object_array_length(wanted))
        elements(p, now, wanted, out);
    else
        line(p, now, true, wanted, out);
}

void kubedifference_write(struct json_object *now, struct json_object *wanted, bool merges,
                          struct buffer *out)
{
    struct path p = {"", 0, 0, merges};

    compare(&p, now, wanted, out);
}
