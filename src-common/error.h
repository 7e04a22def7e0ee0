/* SPDX-License-Identifier: Apache-2.0
 * A reason that a person reads. Functions that fail for reasons an operator can mend take a
 * `struct error *` last; it may be NULL. They still return a negative errno value.
 */
#pragma once

#include "base.h"

struct error {
    char text[640];
};

/* Writes the text (cut at its size) and returns `code`, so that a failing function can say
 * `return error_set(err, -EINVAL, "…")`. */
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "what: " in front of the text. Returns code. */
int error_prefix(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
