/* SPDX-License-Identifier: Apache-2.0
 * Scalars are resolved as Kubernetes' YAML reader does (YAML 1.1), with one difference: words
 * that only 1.1 takes for true or false (yes, on, …) are refused instead of guessed at.
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
    char *end;

    if ((digits[0] == '0' && digits[1]) || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    *ret = strtoll(t, &end, 10);
    return errno == 0 && end != t && *end == 0;
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

static const char *resolve_plain(struct node *n)
{
    int b = boolean_of(n->text);

    if (is_null(n->text)) {
        n->type = NODE_NULL;
    } else if (b >= 0) {
        n->type = NODE_BOOL;
        n->number = b;
    } else if (is_doubtful(n->text)) {
        return "this word is true or false to some readers and a string to others; write true, "
               "false or put it in quotes";
    } else if (looks_integer(n->text)) {
        n->type = NODE_INT;
        if (!is_decimal(n->text, &n->number))
            return "this number is not a plain decimal in range; if it is a string, put it in "
                   "quotes";
    } else if (is_float(n->text)) {
        n->type = NODE_FLOAT;
    }
    return NULL;
}

const char *scalar_resolve(struct node *n, const char *tag, bool plain)
{
    static const char *const type_tags[] = {
        [NODE_NULL] = "null", [NODE_BOOL] = "bool", [NODE_INT] = "int", [NODE_FLOAT] = "float"};
    const char *why;

    n->type = NODE_STRING;
    if (!tag)
        return plain ? resolve_plain(n) : NULL;
    if (strcmp(tag, "!") == 0 || strcmp(tag, CORE_TAG "str") == 0)
        return NULL;
    if (strncmp(tag, CORE_TAG, strlen(CORE_TAG)) != 0)
        return "own tags are not supported";
    if ((why = resolve_plain(n)))
        return why;
    if (n->type == NODE_STRING || strcmp(tag + strlen(CORE_TAG), type_tags[n->type]) != 0)
        return "the value is not what its tag says, or the tag is not supported";
    return NULL;
}
