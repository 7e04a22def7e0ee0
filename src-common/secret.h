/* SPDX-License-Identifier: Apache-2.0
 * A credential: wiped when released, and with no way to print it.
 */
#pragma once

#include "bytes.h"

struct secret {
    uint8_t *p;
    size_t len;
};

/* Copies len bytes. 0 or -ENOMEM. Memory is locked against swapping when the limit allows. */
int secret_set(struct secret *s, const void *p, size_t len) MUST_CHECK;
/* Wipes and frees. Accepts a zeroed one. */
void secret_done(struct secret *s);
static inline struct bytes secret_bytes(const struct secret *s)
{
    return (struct bytes){s->p, s->len};
}
