/* SPDX-License-Identifier: Apache-2.0
 * Reasons that a person reads.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return code;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}

int error_prefix(struct error *err, int code, const char *fmt, ...)
{
    char what[256];
    struct error old;
    va_list ap;

    if (!err)
        return code;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    old = *err;
    snprintf(err->text, sizeof err->text, "%s: %.*s", what,
             (int)(sizeof err->text - sizeof what - 2), old.text);
    return code;
}
