/* SPDX-License-Identifier: Apache-2.0
 * Appending to a record's file.
 */
#include "file.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGE      ((size_t)4096)
#define AHEAD     ((size_t)64 << 10) /* of blank lines */
#define XFS_MAGIC 0x58465342

void record_file_init(struct record_file *f, int fd)
{
    *f = (struct record_file){.fd = fd};
}

static ssize_t append_plain(struct record_file *f, const uint8_t *p, size_t n)
{
    ssize_t put;

    do
        put = write(f->fd, p, n);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        return -errno;
    f->end += (uint64_t)put;
    f->size = f->end;
    return put ? put : -EIO;
}

#define NL16  "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"
#define NL256 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16 NL16
#define NL4096                                                                                     \
    NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256 NL256

/* Writes blank lines up to `until`. The kernel has set space
 * aside for all that a write took. */
static int write_ahead(struct record_file *f, uint64_t until)
{
    static char blank[] = NL4096;
    struct iovec v[RECORD_WINDOW / PAGE];

    while (f->size < until) {
        size_t left = (size_t)(until - f->size);
        int n = 0;
        ssize_t put;

        for (; left && n < (int)ARRAY_LEN(v); n++) {
            v[n] = (struct iovec){blank, min_size(left, PAGE)};
            left -= v[n].iov_len;
        }
        put = writev(f->fd, v, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        f->size += (uint64_t)put;
    }
    return 0;
}

static void unmap(struct record_file *f)
{
    if (f->window)
        munmap(f->window, RECORD_WINDOW);
    f->window = NULL;
}

static int move_window(struct record_file *f)
{
    uint64_t at = f->end & ~(PAGE - 1);
    void *p;

    unmap(f);
    p = mmap(NULL, RECORD_WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, (off_t)at);
    if (p == MAP_FAILED)
        return -errno;
    f->window = p;
    f->window_at = at;
    return 0;
}

/* Room for n more bytes in the window. */
static int make_room(struct record_file *f, size_t n)
{
    uint64_t last, from;
    int rc;

    if (f->end + n > f->window_at + RECORD_WINDOW && (rc = move_window(f)) != 0)
        return rc;
    if (f->end + n <= f->size)
        return 0;
    last = f->window_at + RECORD_WINDOW;
    from = f->size & ~(PAGE - 1);
    rc = write_ahead(f, f->end + n + AHEAD < last ? (f->end + n + AHEAD) & ~(PAGE - 1) : last);
    /* One call instead of a page fault for every four statements; without it they just happen. */
    if (rc == 0 && from >= f->window_at)
        (void)madvise(f->window + (from - f->window_at), f->size - from, MADV_POPULATE_WRITE);
    return rc;
}

ssize_t record_file_append(struct record_file *f, const uint8_t *p, size_t n)
{
    uint8_t *to;

    /* What cannot be copied is written: write(2) says what is wrong, and takes what still fits. */
    if (f->window && (n > RECORD_WINDOW - PAGE || make_room(f, n) != 0))
        (void)record_file_settle(f); /* asked again below */
    if (!f->window) {
        int rc = f->size > f->end ? record_file_settle(f) : 0;

        return rc ? rc : append_plain(f, p, n);
    }
    to = f->window + (f->end - f->window_at);
    memcpy(to + 1, p + 1, n - 1);
    __atomic_store_n(to, p[0], __ATOMIC_RELEASE);
    f->end += n;
    return (ssize_t)n;
}

/* Where blocks that were written may be written over without asking for space again. */
static bool overwrites_in_place(int fd)
{
    struct statfs s;

    return fstatfs(fd, &s) == 0 &&
           (s.f_type == EXT4_SUPER_MAGIC || s.f_type == XFS_MAGIC || s.f_type == TMPFS_MAGIC);
}

void record_file_map(struct record_file *f)
{
    if (!f->window && overwrites_in_place(f->fd) && move_window(f) != 0)
        f->window = NULL; /* goes on writing */
}

int record_file_settle(struct record_file *f)
{
    unmap(f);
    if (f->size == f->end)
        return 0;
    if (ftruncate(f->fd, (off_t)f->end) != 0)
        return -errno;
    f->size = f->end;
    return 0;
}

void record_file_close(struct record_file *f)
{
    (void)record_file_settle(f); /* blank lines that stay are no harm */
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}
