/* SPDX-License-Identifier: Apache-2.0
 * Parsing and matching of name patterns.
 */
#include "pattern.h"

#include <errno.h>

#define MAX_PATTERN 255

struct part { /* while parsing */
    char text[MAX_PATTERN + 1];
    size_t n;
    bool wild;
};

/* ---- matching ---- */

/* One star is remembered at a time: the last one tried makes going back to earlier ones needless,
 * so the time is at most the product of the lengths. */
static bool glob_matches(const char *p, const char *s)
{
    const char *star = NULL, *retry = NULL;

    while (*s) {
        if (*p == '*') {
            star = ++p;
            retry = s;
        } else if (*p == *s) {
            p++;
            s++;
        } else if (star) {
            p = star;
            s = ++retry;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return *p == 0;
}

bool pattern_matches(const struct pattern *p, const char *name)
{
    switch (p->kind) {
    case PATTERN_EXACT:
        return p->text && strcmp(p->text, name) == 0;
    case PATTERN_GLOB:
        return glob_matches(p->text, name);
    case PATTERN_ANY:
        return true;
    }
    return false;
}

/* ---- parsing ---- */

static void part_add(struct part *part, char c)
{
    part->text[part->n++] = c;
}

static int parse_quoted(const struct place *at, const char **t, struct part *part)
{
    for ((*t)++; **t; (*t)++) {
        if (**t == '"' && *++*t != '"')
            return 0;
        part_add(part, **t);
    }
    return place_error(at, "a double quote is not closed");
}

/* In names without quotes. Operators are names of functions too; their signs are allowed there. */
static bool is_bare(char c, bool function)
{
    if ((unsigned char)c >= 0x80 || (c >= '0' && c <= '9'))
        return true;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return strchr(function ? "_$-+/<>=~!@#%^&|`? " : "_$-", c) != NULL;
}

static int parse_bare(const struct place *at, const char **t, struct part *part, bool function)
{
    for (; **t && **t != '.'; (*t)++) {
        if (**t != '*' && !is_bare(**t, function))
            return place_error(at, "'%c' needs double quotes around the name; only * is a wildcard",
                               **t);
        part_add(part, **t);
        part->wild |= **t == '*';
    }
    return 0;
}

/* Splits at dots outside quotes. *ret_n: how many parts there are, at most max. */
static int parse_parts(const struct place *at, struct part *parts, size_t max, bool function,
                       size_t *ret_n)
{
    const char *t = at->node->text;
    size_t n = 0;
    int rc;

    if ((rc = place_expect(at, NODE_STRING)))
        return rc;
    if (strlen(t) > MAX_PATTERN)
        return place_error(at, "longer than %d bytes", MAX_PATTERN);
    for (;; t++) {
        if (n == max)
            return place_error(at,
                               "'%.80s' has too many parts; write names with dots in double "
                               "quotes",
                               at->node->text);
        rc = *t == '"' ? parse_quoted(at, &t, &parts[n]) : parse_bare(at, &t, &parts[n], function);
        if (rc)
            return rc;
        if (parts[n].n == 0)
            return place_error(at, "'%.80s' has an empty part", at->node->text);
        n++;
        if (*t && *t != '.')
            return place_error(at, "expected a dot after the quoted name in '%.80s'",
                               at->node->text);
        if (!*t)
            break;
    }
    *ret_n = n;
    return 0;
}

static int pattern_from(const struct place *at, const struct part *part, struct pattern *ret)
{
    struct pattern p = {.kind = part->wild ? PATTERN_GLOB : PATTERN_EXACT};

    if (part->wild && strspn(part->text, "*") == part->n)
        p.kind = PATTERN_ANY;
    p.text = arena_strndup(at->loader->arena, part->text, part->n);
    if (!p.text)
        return place_no_memory(at);
    *ret = p;
    return 0;
}

int pattern_parse_glob(const struct place *at, void *out)
{
    struct part part = {0};
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    if (!*at->node->text)
        return place_error(at, "must not be empty");
    if (strlen(at->node->text) > MAX_PATTERN)
        return place_error(at, "longer than %d bytes", MAX_PATTERN);
    for (const char *t = at->node->text; *t; t++) {
        part_add(&part, *t);
        part.wild |= *t == '*';
    }
    return pattern_from(at, &part, out);
}

int pattern_parse_relation(const struct place *at, void *out)
{
    struct part parts[2] = {0};
    struct name_pattern *ret = out;
    size_t n = 0;
    int rc = parse_parts(at, parts, 2, false, &n);

    if (rc)
        return rc;
    if (n == 1)
        return place_error(at, "expected schema.relation; for any schema write \"*.%.64s\"",
                           at->node->text);
    if ((rc = pattern_from(at, &parts[0], &ret->schema)))
        return rc;
    return pattern_from(at, &parts[1], &ret->name);
}

int pattern_parse_function(const struct place *at, void *out)
{
    struct part parts[2] = {0};
    struct name_pattern *ret = out;
    size_t n = 0, len;
    int rc = parse_parts(at, parts, 2, true, &n);

    if (rc)
        return rc;
    len = strlen(at->node->text);
    if (at->node->text[0] == ' ' || at->node->text[len - 1] == ' ')
        return place_error(at, "begins or ends with a blank");
    if (n == 1) {
        ret->any_schema = true;
        ret->schema.kind = PATTERN_ANY;
        ret->schema.text = "*";
        return pattern_from(at, &parts[0], &ret->name);
    }
    if ((rc = pattern_from(at, &parts[0], &ret->schema)))
        return rc;
    return pattern_from(at, &parts[1], &ret->name);
}

int pattern_parse_column(const struct place *at, const char *ret[static 3])
{
    struct part parts[3] = {0};
    size_t n = 0;
    int rc = parse_parts(at, parts, 3, false, &n);

    if (rc)
        return rc;
    if (n != 3)
        return place_error(at, "expected schema.relation.column, as in \"public.users.email\"");
    for (size_t i = 0; i < 3; i++) {
        ret[i] = arena_strndup(at->loader->arena, parts[i].text, parts[i].n);
        if (!ret[i])
            return place_no_memory(at);
    }
    return 0;
}
