/* SPDX-License-Identifier: Apache-2.0
 * SFTP messages of any bytes: what parses is written again and parses to the same; canonical paths
 * stay canonical.
 */
#include "sidecar/proto/ssh/sftpwire.h"

#include <stdint.h>

const char *const fuzz_dictionary[] = {"..",
                                       "/../",
                                       "./",
                                       "//",
                                       "posix-rename@openssh.com",
                                       "hardlink@openssh.com",
                                       "limits@openssh.com",
                                       NULL};

static void check_path(struct bytes path)
{
    char once[SFTPWIRE_PATH], twice[SFTPWIRE_PATH];

    if ((path.len && memchr(path.p, 0, path.len)) || sftpwire_canonical(path, "/home/x", once) != 0)
        return;
    if (once[0] != '/' || strstr(once, "//") || strstr(once, "/../") || strstr(once, "/./"))
        __builtin_trap();
    if (sftpwire_canonical(bytes_str(once), "/", twice) != 0 || strcmp(once, twice) != 0)
        __builtin_trap();
}

static void check_again(const struct sftp_request *q)
{
    char path[SFTPWIRE_PATH] = "/a", path2[SFTPWIRE_PATH] = "/b";
    struct sftp_request again;
    struct buffer out;
    struct bytes body;
    bool one = q->op->shape != SHAPE_HANDLE && q->op->shape != SHAPE_HARMLESS;
    bool two = q->op->shape == SHAPE_TWO || q->op->shape == SHAPE_SYMLINK;

    buffer_init(&out, 2 * SFTPWIRE_MAX);
    sftpwire_add_request(&out, q, one ? path : NULL, two ? path2 : NULL);
    if (sftpwire_frame(buffer_bytes(&out), &body) == 1 &&
        (sftpwire_parse(body, &again) != 0 || again.op != q->op || again.id != q->id ||
         again.flags != q->flags || !bytes_eq(again.tail, q->tail)))
        __builtin_trap();
    buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sftp_request q;
    struct bytes body;

    if (sftpwire_frame(bytes_of(data, size), &body) == 1 && sftpwire_parse(body, &q) == 0 && q.op &&
        q.op->shape != SHAPE_INIT) {
        check_path(q.path);
        check_path(q.path2);
        check_again(&q);
    }
    check_path(bytes_of(data, size < 5000 ? size : 5000));
    return 0;
}
