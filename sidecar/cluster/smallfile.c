/* SPDX-License-Identifier: Apache-2.0
 * Reading and replacing small files.
 */
#include "smallfile.h"

#include "src-common/readall.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int smallfile_read(const char *path, size_t max, char **ret, size_t *ret_len, struct error *err)
{
    _cleanup_(free_charp) char *p = malloc(max + 2);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -errno : p ? read_all(fd, p, max + 1) : -ENOMEM;

    if (fd >= 0)
        close(fd);
    if (n < 0)
        return error_set(err, (int)n, "cannot read %.200s: %s", path, strerror((int)-n));
    if ((size_t)n > max)
        return error_set(err, -EFBIG, "%.200s: more than %zu bytes", path, max);
    p[n] = '\0';
    *ret = take(&p);
    *ret_len = (size_t)n;
    return 0;
}

static int write_whole(int fd, struct bytes content)
{
    while (content.len) {
        ssize_t n = write(fd, content.p, content.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        content = bytes_of(content.p + n, content.len - (size_t)n);
    }
    return 0;
}

int smallfile_replace(const char *path, struct bytes content, mode_t mode, struct error *err)
{
    char tmp[PATH_MAX];
    int fd, rc;

    if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
        return error_set(err, -ENAMETOOLONG, "%.200s…: the path is too long", path);
    unlink(tmp); /* of a guard that was killed */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    rc = fd < 0 ? -errno : write_whole(fd, content);
    if (rc == 0 && fchmod(fd, mode) != 0)
        rc = -errno;
    if (fd >= 0 && close(fd) != 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && rename(tmp, path) != 0)
        rc = -errno;
    if (rc && fd >= 0)
        unlink(tmp);
    return rc ? error_set(err, rc, "cannot write %.200s: %s", path, strerror(-rc)) : 0;
}
