/* SPDX-License-Identifier: Apache-2.0
 * What every source file of Chaperone uses: ownership helpers and attributes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* The result carries an error that the caller has to look at. */
#define MUST_CHECK __attribute__((warn_unused_result))

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* A local that is released when it goes out of scope: `_cleanup_(x_free)`, where
 * x_free takes the value. DEFINE_CLEANUP makes the helper that takes its address. */
#define DEFINE_CLEANUP(type, fn)                                                                   \
    static inline void fn##_p(type *p)                                                             \
    {                                                                                              \
        fn(*p);                                                                                    \
    }
#define _cleanup_(fn) __attribute__((cleanup(fn##_p)))

/* Moves a pointer out of a cleaned-up local: `*ret = take(&p);` */
#define take(pp)                                                                                   \
    ({                                                                                             \
        __typeof__(*(pp)) taken_ = *(pp);                                                          \
        *(pp) = NULL;                                                                              \
        taken_;                                                                                    \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline void free_charp(char *p)
{
    free(p);
}
DEFINE_CLEANUP(char *, free_charp)
