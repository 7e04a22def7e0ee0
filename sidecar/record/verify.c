/* SPDX-License-Identifier: Apache-2.0
 * Checks a record that is one file.
 */
#include "checker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define READ_CHUNK ((size_t)64 << 10)

static int check_file(struct checker *v, int fd)
{
    uint8_t chunk[READ_CHUNK];
    int r;

    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return checker_end(v);
        r = checker_feed(v, bytes_of(chunk, (size_t)n));
        if (r != 0)
            return r;
    }
}

int record_verify_fd(int fd, const char *path, struct record_check *ret, struct error *err)
{
    return record_verify_against(fd, path, NULL, ret, err);
}

int record_verify_against(int fd, const char *path, const struct record_heads *heads,
                          struct record_check *ret, struct error *err)
{
    struct checker v;
    int r;

    checker_init(&v, ret);
    v.heads = heads;
    r = check_file(&v, fd);
    checker_done(&v);
    if (r == 0 || !ret->ok)
        return 0;
    ret->ok = ret->sealed = false;
    errno = -r;
    return error_set(err, r, "cannot read %s: %m", path);
}

int record_verify_file(const char *path, struct record_check *ret, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r;

    if (fd < 0) {
        memset(ret, 0, sizeof *ret);
        return error_set(err, -errno, "cannot read %s: %m", path);
    }
    r = record_verify_fd(fd, path, ret, err);
    close(fd);
    return r;
}
