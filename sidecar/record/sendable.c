/* SPDX-License-Identifier: Apache-2.0
 * Envelopes in the spool.
 */
#include "sendable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNFINISHED ".envelope.tmp" /* the uploader makes one at a time; others pass over it */

static void envelope_name(const char *name, char ret[static SENT_NAME_MAX])
{
    snprintf(ret, SENT_NAME_MAX, "%.*s" ENVELOPE_SUFFIX, SEGMENT_NAME_MAX, name);
}

static int write_envelope(int dir_fd, int from, const char *name, const struct envelope_to *to,
                          struct error *err)
{
    int fd =
        openat(dir_fd, UNFINISHED, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = fd < 0 ? error_set(err, -errno, "the spool cannot be written to: %m")
                    : envelope_encrypt(from, fd, to, err);

    if (rc == 0 && fsync(fd) != 0)
        rc = error_set(err, -errno, "the spool cannot be written to: %m");
    if (fd >= 0)
        close(fd);
    if (rc == 0 && renameat(dir_fd, UNFINISHED, dir_fd, name) != 0)
        rc = error_set(err, -errno, "the spool cannot be written to: %m");
    if (rc)
        (void)!unlinkat(dir_fd, UNFINISHED, 0);
    return rc;
}

int sendable_name(int dir_fd, const char *name, const struct envelope_to *to,
                  char ret[static SENT_NAME_MAX], struct error *err)
{
    size_t n = strlen(name);
    struct stat st;
    int fd, rc;

    snprintf(ret, SENT_NAME_MAX, "%s", name);
    if (!to || (n > 4 && strcmp(name + n - 4, ".pub") == 0))
        return 0;
    fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = error_set(err, -EINVAL, "%s cannot be read: %m", name);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    if (st.st_size == 0) {
        close(fd);
        return 0;
    }
    envelope_name(name, ret);
    rc = faccessat(dir_fd, ret, F_OK, AT_SYMLINK_NOFOLLOW) == 0
             ? 0
             : write_envelope(dir_fd, fd, ret, to, err);
    close(fd);
    return rc ? -EAGAIN : 0;
}

void sendable_done(int dir_fd, const char *name)
{
    char envelope[SENT_NAME_MAX];

    envelope_name(name, envelope);
    (void)!unlinkat(dir_fd, envelope, 0);
}

void sendable_clean(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    char plain[SENT_NAME_MAX];
    struct dirent *e;

    (void)!unlinkat(dir_fd, UNFINISHED, 0);
    while (d && (e = readdir(d)) != NULL)
        if (envelope_plain_name(e->d_name, sizeof plain, plain) &&
            faccessat(dir_fd, plain, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
            (void)!unlinkat(dir_fd, e->d_name, 0);
    if (d)
        closedir(d);
    else if (fd >= 0)
        close(fd);
}
