/* SPDX-License-Identifier: Apache-2.0
 * Credentials in memory.
 */
#include "secret.h"

#include <errno.h>
#include <sys/mman.h>

int secret_set(struct secret *s, const void *p, size_t len)
{
    uint8_t *copy = calloc(1, len + 1);

    if (!copy)
        return -ENOMEM;
    if (mlock(copy, len + 1) != 0)
        errno = 0; /* best effort: the limit may be zero */
    if (len)
        memcpy(copy, p, len);
    copy[len] = 0;
    secret_done(s);
    *s = (struct secret){copy, len};
    return 0;
}

void secret_done(struct secret *s)
{
    if (s->p) {
        explicit_bzero(s->p, s->len + 1);
        munlock(s->p, s->len + 1);
        free(s->p);
    }
    *s = (struct secret){0};
}
