/* SPDX-License-Identifier: Apache-2.0
 * Reads segments that nobody wrote: as they are, and with a seal whose signature holds in front of
 * them, so that what lies behind it is reached. The reader ends with an answer, gives out no more
 * than the seal says, and never calls good what a guard did not write.
 */
#include "sidecar/record/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int count(struct bytes some, void *arg)
{
    *(uint64_t *)arg += some.len;
    return 0;
}

static int read_bytes(const uint8_t *a, size_t n, const uint8_t *b, size_t m, struct seal *ret,
                      uint64_t *got)
{
    struct error err = {""};
    int fd = memfd_create("segment", MFD_CLOEXEC), rc;

    if (fd < 0 || write(fd, a, n) != (ssize_t)n || write(fd, b, m) != (ssize_t)m ||
        lseek(fd, 0, SEEK_SET) != 0)
        abort();
    *got = 0;
    rc = segment_read(fd, count, got, ret, &err);
    close(fd);
    if (rc != 0 && rc != -EBADMSG && rc != -ENOMEM)
        abort();
    if (rc == -EBADMSG && !err.text[0])
        abort();
    return rc;
}

/* A true segment of a few lines: its seal is what is put in front. */
static size_t true_seal(uint8_t *to, size_t size)
{
    static const char lines[] = "{\"seq\":0}\n{\"seq\":1}\n";
    struct seal seal = {.session = "S", .last = 1, .final = true};
    struct signer *signer = NULL;
    int fd = -1;
    ssize_t n = -1;
    char dir[] = "/tmp/segment_fuzz.XXXXXX", path[64];

    memset(seal.prev, '0', CHAIN_HEX);
    memset(seal.head, '1', CHAIN_HEX);
    memset(seal.before, '0', CHAIN_HEX);
    if (!mkdtemp(dir) || signer_open(NULL, &signer, NULL) != 0 ||
        segment_write(AT_FDCWD, strcat(strcpy(path, dir), "/s"), &seal, signer, BYTES(lines),
                      NULL) != 0)
        abort();
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = read(fd, to, size);
    if (n < 12)
        abort();
    close(fd);
    unlink(path);
    rmdir(dir);
    signer_free(signer);
    return 8 + (size_t)(to[4] | to[5] << 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t front[8192];
    static size_t n_front;
    struct seal seal;
    uint64_t got;

    if (size > (size_t)1 << 20)
        return 0;
    if (!n_front)
        n_front = true_seal(front, sizeof front);
    (void)read_bytes(data, size, NULL, 0, &seal, &got);
    if (read_bytes(front, n_front, data, size, &seal, &got) == 0 && got != seal.bytes)
        abort();
    if (got > seal.bytes)
        abort();
    return 0;
}
