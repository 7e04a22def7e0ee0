/* SPDX-License-Identifier: Apache-2.0
 * SFTP messages.
 */
#include "sftpwire.h"

#include "sidecar/policy/statement.h"

#include <errno.h>

#define R SSH_ACCESS_READ
#define W SSH_ACCESS_WRITE
#define D SSH_ACCESS_DELETE

static const struct sftp_op ops[] = {
    {FXP_INIT, NULL, "init", SHAPE_INIT, 0, 0},
    {FXP_OPEN, NULL, "open", SHAPE_PATH, 0, 0},
    {FXP_CLOSE, NULL, "close", SHAPE_HANDLE, 0, 0},
    {FXP_READ, NULL, "read", SHAPE_HANDLE, R, 0},
    {FXP_WRITE, NULL, "write", SHAPE_HANDLE, W, 0},
    {FXP_LSTAT, NULL, "lstat", SHAPE_LINK, 0, 0},
    {FXP_FSTAT, NULL, "fstat", SHAPE_HANDLE, 0, 0},
    {FXP_SETSTAT, NULL, "setstat", SHAPE_PATH, W, 0},
    {FXP_FSETSTAT, NULL, "fsetstat", SHAPE_HANDLE, W, 0},
    {FXP_OPENDIR, NULL, "opendir", SHAPE_PATH, R, 0},
    {FXP_READDIR, NULL, "readdir", SHAPE_HANDLE, 0, 0},
    {FXP_REMOVE, NULL, "remove", SHAPE_LINK, D, 0},
    {FXP_MKDIR, NULL, "mkdir", SHAPE_LINK, W, 0},
    {FXP_RMDIR, NULL, "rmdir", SHAPE_LINK, D, 0},
    {FXP_REALPATH, NULL, "realpath", SHAPE_PATH, 0, 0},
    {FXP_STAT, NULL, "stat", SHAPE_PATH, 0, 0},
    {FXP_RENAME, NULL, "rename", SHAPE_TWO, W | D, W},
    {FXP_READLINK, NULL, "readlink", SHAPE_LINK, R, 0},
    {FXP_SYMLINK, NULL, "symlink", SHAPE_SYMLINK, 0, W},
    {FXP_EXTENDED, "posix-rename@openssh.com", "posix-rename", SHAPE_TWO, W | D, W | D},
    {FXP_EXTENDED, "hardlink@openssh.com", "hardlink", SHAPE_TWO, R | W, W},
    {FXP_EXTENDED, "lsetstat@openssh.com", "lsetstat", SHAPE_LINK, W, 0},
    {FXP_EXTENDED, "statvfs@openssh.com", "statvfs", SHAPE_PATH, 0, 0},
    {FXP_EXTENDED, "fstatvfs@openssh.com", "fstatvfs", SHAPE_HANDLE, 0, 0},
    {FXP_EXTENDED, "fsync@openssh.com", "fsync", SHAPE_HANDLE, W, 0},
    {FXP_EXTENDED, "limits@openssh.com", "limits", SHAPE_HARMLESS, 0, 0},
};

#undef R
#undef W
#undef D

int sftpwire_frame(struct bytes in, struct bytes *ret_body)
{
    size_t n;

    if (in.len < 4)
        return 0;
    n = get_be32(in.p);
    if (n == 0 || n > SFTPWIRE_MAX)
        return -EBADMSG;
    if (in.len - 4 < n)
        return 0;
    *ret_body = bytes_of(in.p + 4, n);
    return 1;
}

static struct bytes string(struct cursor *c)
{
    return cursor_take(c, cursor_be32(c));
}

static uint64_t be64(struct cursor *c)
{
    struct bytes b = cursor_take(c, 8);

    return b.p ? get_be64(b.p) : 0;
}

void sftpwire_skip_attributes(struct cursor *c)
{
    uint32_t flags = cursor_be32(c);

    cursor_take(c, flags & 1 ? 8 : 0);
    cursor_take(c, flags & 2 ? 8 : 0);
    cursor_take(c, flags & 4 ? 4 : 0);
    cursor_take(c, flags & 8 ? 8 : 0);
    if (flags & ~0x8000000fu)
        c->bad = true;
    if (!(flags & 0x80000000u))
        return;
    for (uint32_t n = cursor_be32(c); n > 0 && !c->bad; n--) {
        string(c);
        string(c);
    }
}

static const struct sftp_op *find_op(uint8_t type, struct bytes extension)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (ops[i].type == type && (!ops[i].extension || bytes_eq_str(extension, ops[i].extension)))
            return &ops[i];
    }
    return NULL;
}

bool sftpwire_knows_extension(struct bytes name)
{
    return find_op(FXP_EXTENDED, name) != NULL;
}

static void parse_tail(struct cursor *c, struct sftp_request *q)
{
    switch (q->type) {
    case FXP_OPEN:
        q->flags = cursor_be32(c);
        sftpwire_skip_attributes(c);
        break;
    case FXP_MKDIR:
    case FXP_SETSTAT:
    case FXP_FSETSTAT:
        sftpwire_skip_attributes(c);
        break;
    case FXP_READ:
        q->offset = be64(c);
        q->length = cursor_be32(c);
        break;
    case FXP_WRITE:
        q->offset = be64(c);
        q->length = (uint32_t)string(c).len;
        break;
    case FXP_EXTENDED:
        if (q->op->shape == SHAPE_LINK) /* lsetstat */
            sftpwire_skip_attributes(c);
        break;
    default:
        break;
    }
}

static bool bad_path(struct bytes path)
{
    return path.len >= SFTPWIRE_PATH || (path.len && memchr(path.p, 0, path.len));
}

int sftpwire_parse(struct bytes body, struct sftp_request *ret)
{
    struct cursor c = cursor_over(body);
    struct sftp_request q = {.type = cursor_u8(&c)};
    const uint8_t *tail;

    q.id = cursor_be32(&c);
    if (q.type == FXP_EXTENDED)
        q.extension = string(&c);
    q.op = c.bad ? NULL : find_op(q.type, q.extension);
    if (c.bad)
        return -EBADMSG;
    *ret = q;
    if (!q.op || q.op->shape == SHAPE_INIT) /* extensions of INIT are not looked at */
        return 0;
    if (q.op->shape == SHAPE_HANDLE)
        q.handle = string(&c);
    else if (q.op->shape != SHAPE_HARMLESS)
        q.path = string(&c);
    if (q.op->shape == SHAPE_TWO || q.op->shape == SHAPE_SYMLINK)
        q.path2 = string(&c);
    tail = c.at;
    parse_tail(&c, &q);
    if (!cursor_at_end(&c) || bad_path(q.path) || bad_path(q.path2) || q.handle.len > 256)
        return -EBADMSG;
    q.tail = bytes_of(tail, (size_t)(c.end - tail));
    *ret = q;
    return 0;
}

/* ---- paths ---- */

static size_t up(const char *out, size_t at)
{
    while (at > 0 && out[at - 1] != '/')
        at--;
    return at > 0 ? at - 1 : 0;
}

static int add_parts(struct bytes path, char *out, size_t *at)
{
    for (size_t i = 0; i < path.len;) {
        size_t n = 0;

        while (i + n < path.len && path.p[i + n] != '/')
            n++;
        if (n == 2 && memcmp(path.p + i, "..", 2) == 0) {
            *at = up(out, *at);
        } else if (n > 0 && !(n == 1 && path.p[i] == '.')) {
            if (n + 2 > SFTPWIRE_PATH - *at)
                return -ENAMETOOLONG;
            out[(*at)++] = '/';
            memcpy(out + *at, path.p + i, n);
            *at += n;
        }
        i += n + 1;
    }
    return 0;
}

int sftpwire_canonical(struct bytes path, const char *home, char out[static SFTPWIRE_PATH])
{
    size_t at = 0;
    int rc = 0;

    if (path.len == 0 || path.p[0] != '/')
        rc = add_parts(bytes_str(home), out, &at);
    if (rc == 0)
        rc = add_parts(path, out, &at);
    if (rc)
        return rc;
    if (at == 0)
        out[at++] = '/';
    out[at] = '\0';
    return 0;
}

/* ---- writing ---- */

size_t sftpwire_start(struct buffer *out, uint8_t type)
{
    size_t mark = buffer_len(out);

    buffer_add_be32(out, 0);
    buffer_add_u8(out, type);
    return mark;
}

void sftpwire_finish(struct buffer *out, size_t mark)
{
    if (!out->failed)
        put_be32(out->p + out->start + mark, (uint32_t)(buffer_len(out) - mark - 4));
}

void sftpwire_add_string(struct buffer *out, struct bytes s)
{
    buffer_add_be32(out, (uint32_t)s.len);
    buffer_add(out, s);
}

static void add_be64(struct buffer *out, uint64_t v)
{
    buffer_add_be32(out, (uint32_t)(v >> 32));
    buffer_add_be32(out, (uint32_t)v);
}

void sftpwire_add_status(struct buffer *out, uint32_t id, enum sftp_status code,
                         const char *message)
{
    size_t mark = sftpwire_start(out, FXP_STATUS);

    buffer_add_be32(out, id);
    buffer_add_be32(out, code);
    sftpwire_add_string(out, bytes_str(message));
    sftpwire_add_string(out, BYTES("en"));
    sftpwire_finish(out, mark);
}

void sftpwire_add_realpath(struct buffer *out, uint32_t id, const char *path)
{
    size_t mark = sftpwire_start(out, FXP_REALPATH);

    buffer_add_be32(out, id);
    sftpwire_add_string(out, bytes_str(path));
    sftpwire_finish(out, mark);
}

void sftpwire_add_request(struct buffer *out, const struct sftp_request *q, const char *path,
                          const char *path2)
{
    size_t mark = sftpwire_start(out, q->type);

    buffer_add_be32(out, q->id);
    if (q->type == FXP_EXTENDED)
        sftpwire_add_string(out, q->extension);
    if (q->op->shape == SHAPE_HANDLE)
        sftpwire_add_string(out, q->handle);
    if (path)
        sftpwire_add_string(out, bytes_str(path));
    if (path2)
        sftpwire_add_string(out, bytes_str(path2));
    buffer_add(out, q->tail);
    sftpwire_finish(out, mark);
}

void sftpwire_add_read(struct buffer *out, const struct sftp_request *q, uint64_t offset,
                       uint32_t length)
{
    size_t mark = sftpwire_start(out, FXP_READ);

    buffer_add_be32(out, q->id);
    sftpwire_add_string(out, q->handle);
    add_be64(out, offset);
    buffer_add_be32(out, length);
    sftpwire_finish(out, mark);
}
