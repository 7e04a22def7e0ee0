/* SPDX-License-Identifier: Apache-2.0
 * Scalars are resolved as Kubernetes' YAML reader does (YAML 1.1), except that what other readers
 * take for something else is made a type that no field accepts: yes, on and their like are no
 * strings and neither true nor false; numbers that are not plain decimals are not whole.
 */
#include "scalar.h"

#include <ctype.h>
#include <errno.h>
#include <strings.h>

#define CORE_TAG "tag:yaml.org,2002:"

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

static bool is_null(const char *t)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};

    return is_one_of(t, words);
}

/* 1 true, 0 false, -1 neither. */
static int boolean_of(const char *t)
{
    static const char *const yes[] = {"true", "True", "TRUE", NULL};
    static const char *const no[] = {"false", "False", "FALSE", NULL};

    return is_one_of(t, yes) ? 1 : is_one_of(t, no) ? 0 : -1;
}

static bool is_doubtful(const char *t)
{
    static const char *const words[] = {"y", "n", "yes", "no", "on", "off", NULL};

    for (const char *const *w = words; *w; w++) {
        if (strcasecmp(t, *w) == 0)
            return true;
    }
    return false;
}

/* Digits (and, after 0x, 0o or 0b, their kind), perhaps signed, perhaps with underscores. */
static bool looks_integer(const char *t)
{
    size_t digits = 0;

    t += *t == '+' || *t == '-';
    if (t[0] == '0' && t[1] && strchr("xob", t[1]))
        return isxdigit((unsigned char)t[2]) &&
               strspn(t + 2, "0123456789abcdefABCDEF_") == strlen(t + 2);
    for (; *t; t++) {
        if (isdigit((unsigned char)*t))
            digits++;
        else if (*t != '_')
            return false;
    }
    return digits > 0;
}

/* A plain decimal that fits. Octal, hexadecimal and underscores mean different numbers to
 * different readers. */
static bool is_decimal(const char *t, int64_t *ret)
{
    const char *digits = t + (*t == '-');
    int64_t v;
    char *end;

    if ((digits[0] == '0' && digits[1]) || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    v = strtoll(t, &end, 10);
    if (errno || end == t || *end)
        return false;
    *ret = v;
    return true;
}

static bool is_float(const char *t)
{
    const char *start = t;
    size_t digits = 0;

    t += *t == '+' || *t == '-';
    if (strcasecmp(t, ".inf") == 0 || strcasecmp(start, ".nan") == 0)
        return true;
    for (; isdigit((unsigned char)*t); t++)
        digits++;
    if (*t == '.')
        for (t++; isdigit((unsigned char)*t); t++)
            digits++;
    if (digits && (*t == 'e' || *t == 'E')) {
        t++;
        t += *t == '+' || *t == '-';
        if (!isdigit((unsigned char)*t))
            return false;
        t += strspn(t, "0123456789");
    }
    return digits && *t == 0;
}

static void resolve_plain(struct node *n)
{
    int b = boolean_of(n->text);

    if (is_null(n->text)) {
        n->type = NODE_NULL;
    } else if (b >= 0 || is_doubtful(n->text)) {
        n->type = NODE_BOOL;
        n->number = b;
    } else if (looks_integer(n->text)) {
        n->type = is_decimal(n->text, &n->number) ? NODE_INT : NODE_FLOAT;
    } else if (is_float(n->text)) {
        n->type = NODE_FLOAT;
    }
}

const char *scalar_resolve(struct node *n, const char *tag, bool plain)
{
    static const char *const type_tags[] = {
        [NODE_NULL] = "null", [NODE_BOOL] = "bool", [NODE_INT] = "int", [NODE_FLOAT] = "float"};

    n->type = NODE_STRING;
    if (!tag && plain)
        resolve_plain(n);
    if (!tag)
        return NULL;
    if (strcmp(tag, "!") == 0 || strcmp(tag, CORE_TAG "str") == 0)
        return NULL;
    if (strncmp(tag, CORE_TAG, strlen(CORE_TAG)) != 0)
        return "own tags are not supported";
    resolve_plain(n);
    if (n->type == NODE_STRING || strcmp(tag + strlen(CORE_TAG), type_tags[n->type]) != 0)
        return "the value is not what its tag says, or the tag is not supported";
    return NULL;
}
