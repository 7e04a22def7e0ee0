/* SPDX-License-Identifier: Apache-2.0
 * Small files of the spool.
 */
#include "checkpoint.h"

#include "src-common/buffer.h"
#include "src-common/jsonread.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

#define STATE_MAX 1024

int spoolfile_write(int dir_fd, const char *name, struct bytes content)
{
    char temp[SEGMENT_NAME_MAX + 8];
    int fd, rc = 0;

    snprintf(temp, sizeof temp, "%s.new", name);
    fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (write(fd, content.p, content.len) != (ssize_t)content.len || fsync(fd) != 0)
        rc = errno ? -errno : -EIO;
    close(fd);
    if (rc == 0 && renameat(dir_fd, temp, dir_fd, name) != 0)
        rc = -errno;
    if (rc)
        (void)!unlinkat(dir_fd, temp, 0);
    return rc;
}

ssize_t spoolfile_read(int dir_fd, const char *name, char *to, size_t size)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, to, size - 1);
    if (n < 0)
        n = -errno;
    else
        to[n] = '\0';
    close(fd);
    return n;
}

static void state_name(const char *session, char ret[static SEGMENT_NAME_MAX])
{
    snprintf(ret, SEGMENT_NAME_MAX, "%.63s.state", session);
}

void checkpoint_start(struct checkpoint *c)
{
    memset(c, 0, sizeof *c);
    memset(c->prev, '0', CHAIN_HEX);
    memset(c->before, '0', CHAIN_HEX);
}

static bool text(struct json_object *o, const char *key, char ret[static CHAIN_HEX + 1])
{
    struct json_object *v;
    const char *s = json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : NULL;

    if (!s || strlen(s) != CHAIN_HEX)
        return false;
    memcpy(ret, s, CHAIN_HEX + 1);
    return true;
}

static bool number(struct json_object *o, const char *key, uint64_t *ret)
{
    struct json_object *v;

    if (!json_object_object_get_ex(o, key, &v) || json_object_get_int64(v) < 0)
        return false;
    *ret = (uint64_t)json_object_get_int64(v);
    return true;
}

int checkpoint_read(int dir_fd, const char *session, struct checkpoint *ret)
{
    char name[SEGMENT_NAME_MAX], content[STATE_MAX];
    struct json_object *o = NULL, *sealed;
    struct checkpoint c = {0};
    uint64_t segment = 0;
    ssize_t n;
    bool ok;

    checkpoint_start(ret);
    state_name(session, name);
    n = spoolfile_read(dir_fd, name, content, sizeof content);
    if (n < 0)
        return (int)n;
    ok = jsonread_strict(bytes_of(content, (size_t)n), 2, &o) == 0 &&
         number(o, "offset", &c.offset) && number(o, "seq", &c.seq) && text(o, "prev", c.prev) &&
         number(o, "segment", &segment) && segment <= SEGMENT_MAX && text(o, "before", c.before) &&
         json_object_object_get_ex(o, "sealed", &sealed);
    if (ok) {
        c.segment = (unsigned)segment;
        c.sealed = json_object_get_boolean(sealed);
        *ret = c;
    }
    json_object_put(o);
    return ok ? 0 : -EBADMSG;
}

int checkpoint_write(int dir_fd, const char *session, const struct checkpoint *c)
{
    char name[SEGMENT_NAME_MAX];
    struct buffer b;
    int rc;

    state_name(session, name);
    buffer_init(&b, STATE_MAX);
    buffer_printf(&b,
                  "{\"offset\":%llu,\"seq\":%llu,\"prev\":\"%s\",\"segment\":%u,"
                  "\"before\":\"%s\",\"sealed\":%s}\n",
                  (unsigned long long)c->offset, (unsigned long long)c->seq, c->prev, c->segment,
                  c->before, c->sealed ? "true" : "false");
    rc = b.failed ? -ENOMEM : spoolfile_write(dir_fd, name, buffer_bytes(&b));
    buffer_done(&b);
    return rc;
}

void checkpoint_remove(int dir_fd, const char *session)
{
    char name[SEGMENT_NAME_MAX];

    state_name(session, name);
    (void)!unlinkat(dir_fd, name, 0);
}
