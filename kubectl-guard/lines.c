/* SPDX-License-Identifier: Apache-2.0
 * Reads lines.
 */
#include "lines.h"

#include <errno.h>
#include <unistd.h>

#define READ_CHUNK ((size_t)64 << 10)

void lines_init(struct lines *l, int fd)
{
    l->fd = fd;
    l->given = 0;
    buffer_init(&l->in, LINES_MAX);
}

void lines_done(struct lines *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    buffer_done(&l->in);
}

/* 1: more is there; 0: the end; -errno. */
static int read_more(struct lines *l)
{
    uint8_t *to = buffer_reserve(&l->in, READ_CHUNK);
    ssize_t n;

    if (!to)
        return -ENOBUFS;
    do
        n = read(l->fd, to, READ_CHUNK);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    buffer_commit(&l->in, (size_t)n);
    return n > 0;
}

int lines_next(struct lines *l, struct bytes *ret)
{
    *ret = (struct bytes){0};
    buffer_consume(&l->in, l->given);
    l->given = 0;
    for (size_t from = 0;;) {
        struct bytes all = buffer_bytes(&l->in);
        const uint8_t *nl = all.len > from ? memchr(all.p + from, '\n', all.len - from) : NULL;
        int r;

        if (nl) {
            *ret = bytes_of(all.p, (size_t)(nl - all.p));
            l->given = ret->len + 1;
            return 1;
        }
        from = all.len;
        r = read_more(l);
        if (r > 0)
            continue;
        if (r == 0 && all.len)
            *ret = buffer_bytes(&l->in);
        return r;
    }
}
