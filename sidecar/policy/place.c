/* SPDX-License-Identifier: Apache-2.0
 * Places: what is wrong and where; mappings, lists and scalars.
 */
#include "place.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define MAX_NAME  253
#define MAX_LABEL 63

/* ---- errors ---- */

/* "spec.rules[2].sql"; at most n bytes, cut at the end. Returns its length. */
static size_t path_text(const struct place *at, char *out, size_t n)
{
    size_t used;
    int more;

    if (!at->up) {
        *out = 0;
        return 0;
    }
    used = path_text(at->up, out, n);
    if (at->key)
        more = snprintf(out + used, n - used, "%s%.64s", used ? "." : "", at->key);
    else
        more = snprintf(out + used, n - used, "[%zu]", at->index);
    return min_size(used + (size_t)(more > 0 ? more : 0), n - 1);
}

static int say(const struct place *at, const char *field, const char *fmt, va_list args)
{
    char path[300], text[280];
    size_t used = path_text(at, path, sizeof path);

    if (field)
        snprintf(path + used, sizeof path - used, "%s%.64s", used ? "." : "", field);
    vsnprintf(text, sizeof text, fmt, args);
    return error_set(at->loader->err, -EINVAL, "%s:%u: %s: %s", at->loader->file, at->node->line,
                     path[0] ? path : "document", text);
}

int place_error(const struct place *at, const char *fmt, ...)
{
    va_list args;
    int rc;

    va_start(args, fmt);
    rc = say(at, NULL, fmt, args);
    va_end(args);
    return rc;
}

int place_missing(const struct place *at, const char *field, const char *fmt, ...)
{
    va_list args;
    int rc;

    va_start(args, fmt);
    rc = say(at, field, fmt, args);
    va_end(args);
    return rc;
}

int place_no_memory(const struct place *at)
{
    return error_set(at->loader->err, -ENOMEM, "%s: out of memory", at->loader->file);
}

int place_expected(const struct place *at, const char *what)
{
    const struct node *n = at->node;

    if (n->type == NODE_NULL)
        return place_error(at, "expected %s, found nothing", what);
    if (n->type < NODE_STRING)
        return place_error(at, "expected %s, found %s (%.40s)%s", what, node_type_name(n->type),
                           n->text, strstr(what, "a string") ? "; put it in quotes" : "");
    return place_error(at, "expected %s, found %s", what, node_type_name(n->type));
}

int place_expect(const struct place *at, enum node_type type)
{
    return at->node->type == type ? 0 : place_expected(at, node_type_name(type));
}

int place_unknown(const struct place *at, const char *thing, const struct suggestion *s)
{
    if (s->best)
        return place_error(at, "unknown %s '%.64s' (did you mean %s?)", thing, s->wrong, s->best);
    return place_error(at, "unknown %s '%.64s'", thing, s->wrong);
}

/* ---- mappings ---- */

static const struct field *find_field(const struct field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    }
    return NULL;
}

static int unknown_field(const struct place *at, const struct node *key, const struct field *fields,
                         size_t n)
{
    struct suggestion s = suggestion_for(key->text);
    /* the key's own line */
    struct place here = {.up = at, .key = key->text, .node = key, .loader = at->loader};

    for (size_t i = 0; i < n; i++) {
        if (!fields[i].refused)
            suggestion_offer(&s, fields[i].name);
    }
    if (s.best)
        return place_error(&here, "unknown field (did you mean %s?)", s.best);
    return place_error(&here, "unknown field");
}

static int parse_field(const struct place *at, const struct node_item *item, const struct field *f,
                       void *out)
{
    struct place child = {
        .up = at, .key = item->key->text, .node = item->value, .loader = at->loader};

    if (!f->refused)
        return f->parse(&child, (char *)out + f->offset);
    child.node = item->key;
    return place_error(&child, "%s", f->refused);
}

int place_fields(const struct place *at, const struct field *fields, size_t n, void *out)
{
    int rc = place_expect(at, NODE_MAP);

    if (rc)
        return rc;
    for (const struct node_item *i = at->node->items; i; i = i->next) {
        const struct field *f = find_field(fields, n, i->key->text);

        if (!f)
            return unknown_field(at, i->key, fields, n);
        if ((rc = parse_field(at, i, f, out)))
            return rc;
    }
    for (size_t i = 0; i < n; i++) {
        struct place found;

        if (fields[i].required && !place_find(at, fields[i].name, &found))
            return place_missing(at, fields[i].name, "required");
    }
    return 0;
}

const struct node *place_find(const struct place *at, const char *key, struct place *ret)
{
    if (at->node->type != NODE_MAP)
        return NULL;
    for (const struct node_item *i = at->node->items; i; i = i->next) {
        if (strcmp(i->key->text, key) == 0) {
            *ret = (struct place){
                .up = at, .key = i->key->text, .node = i->value, .loader = at->loader};
            return i->value;
        }
    }
    return NULL;
}

/* ---- lists ---- */

int place_array(const struct place *at, const struct array_of *of, struct array *ret)
{
    struct array a = {0};
    int rc = place_expect(at, NODE_LIST);

    if (rc)
        return rc;
    if (at->node->n == 0 && !of->may_be_empty)
        return place_error(at, "an empty list says nothing; leave the field out or fill it");
    a.items = arena_alloc(at->loader->arena, (at->node->n + 1) * of->item_size);
    if (!a.items)
        return place_no_memory(at);
    for (const struct node_item *i = at->node->items; i; i = i->next) {
        struct place child = {.up = at, .index = a.n, .node = i->value, .loader = at->loader};

        if ((rc = of->parse(&child, (char *)a.items + a.n * of->item_size)))
            return rc;
        a.n++;
    }
    *ret = a;
    return 0;
}

/* ---- scalars ---- */

int place_word(const struct place *at, const char *thing, const struct word *words, size_t n,
               unsigned *ret)
{
    struct suggestion s;
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    s = suggestion_for(at->node->text);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(words[i].name, at->node->text) == 0) {
            *ret = words[i].value;
            return 0;
        }
        suggestion_offer(&s, words[i].name);
    }
    return place_unknown(at, thing, &s);
}

int place_text(const struct place *at, const char **ret)
{
    const char *text;
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    if (!*at->node->text)
        return place_error(at, "must not be empty");
    for (const char *t = at->node->text; *t; t++) {
        if ((unsigned char)*t < 0x20 || *t == 0x7f)
            return place_error(at, "contains a control character");
    }
    text = arena_strdup(at->loader->arena, at->node->text);
    if (!text)
        return place_no_memory(at);
    *ret = text;
    return 0;
}

int place_number(const struct place *at, int64_t min, int64_t max, int64_t *ret)
{
    int rc = place_expect(at, NODE_INT);

    if (rc)
        return rc;
    if (at->node->number < min || at->node->number > max)
        return place_error(at, "must be between %lld and %lld", (long long)min, (long long)max);
    *ret = at->node->number;
    return 0;
}

/* ---- parsers for tables ---- */

int place_parse_bool(const struct place *at, void *out)
{
    bool *ret = out;
    int rc = place_expect(at, NODE_BOOL);

    if (rc == 0 && at->node->number < 0)
        return place_error(at,
                           "'%s' means different things to different readers; write true or "
                           "false",
                           at->node->text);
    if (rc == 0)
        *ret = at->node->number == 1;
    return rc;
}

int place_parse_string(const struct place *at, void *out)
{
    return place_text(at, out);
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Lower-case letters, digits and '-', the ends alphanumeric; `dots` between such labels. */
static bool is_dns_name(const char *s, size_t max, bool dots)
{
    size_t n = strlen(s);

    if (n == 0 || n > max || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
        return false;
    for (size_t i = 1; i + 1 < n; i++) {
        bool at_edge = !is_alnum(s[i - 1]) || !is_alnum(s[i + 1]);

        if (is_alnum(s[i]) || s[i] == '-')
            continue;
        if (!dots || s[i] != '.' || at_edge)
            return false;
    }
    return true;
}

int place_parse_label(const struct place *at, void *out)
{
    int rc = place_expect(at, NODE_STRING);

    if (rc == 0 && !is_dns_name(at->node->text, MAX_LABEL, false))
        return place_error(at,
                           "'%.64s' is not a name: lower-case letters, digits and '-', at "
                           "most %d",
                           at->node->text, MAX_LABEL);
    return rc ? rc : place_text(at, out);
}

int place_parse_name(const struct place *at, void *out)
{
    int rc = place_expect(at, NODE_STRING);

    if (rc == 0 && !is_dns_name(at->node->text, MAX_NAME, true))
        return place_error(at,
                           "'%.64s' is not a name: lower-case letters, digits, '-' and '.', "
                           "at most %d",
                           at->node->text, MAX_NAME);
    return rc ? rc : place_text(at, out);
}

int place_parse_ignored(const struct place *at, void *out)
{
    (void)at;
    (void)out;
    return 0;
}

int place_parse_strings(const struct place *at, void *out)
{
    static const struct array_of strings = {sizeof(const char *), place_parse_string, false};

    return place_array(at, &strings, out);
}
