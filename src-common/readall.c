/* SPDX-License-Identifier: Apache-2.0
 * Reading a file that is to fit into memory.
 */
#include "readall.h"

#include <errno.h>
#include <unistd.h>

ssize_t read_all(int fd, void *p, size_t max)
{
    size_t n = 0;

    while (n < max) {
        ssize_t got = read(fd, (char *)p + n, max - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}
