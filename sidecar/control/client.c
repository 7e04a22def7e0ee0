/* SPDX-License-Identifier: Apache-2.0
 * One connection to the control socket: who it is, and its two bounded buffers.
 */
#include "server.h"

#include "src-common/clock.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel's word for who connected, "uid:0(root)". */
static void identify(struct client *c)
{
    struct ucred cred = {.uid = (uid_t)-1};
    socklen_t len = sizeof cred;
    struct passwd pw, *found = NULL;
    char text[4096];

    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || len != sizeof cred)
        cred.uid = (uid_t)-1;
    c->uid = cred.uid;
    if (cred.uid != (uid_t)-1 && getpwuid_r(cred.uid, &pw, text, sizeof text, &found) == 0 &&
        found && strlen(pw.pw_name) < sizeof c->by - sizeof "uid:4294967295()")
        snprintf(c->by, sizeof c->by, "uid:%u(%s)", (unsigned)cred.uid, pw.pw_name);
    else
        snprintf(c->by, sizeof c->by, "uid:%u", (unsigned)cred.uid);
}

void client_init(struct client *c, int fd)
{
    memset(c, 0, sizeof *c);
    c->fd = fd;
    c->deadline_ms = clock_mono_ms() + CONTROL_IDLE_MS;
    buffer_init(&c->in, CONTROL_LINE_MAX + 1);
    buffer_init(&c->out, CONTROL_OUT_MAX);
    identify(c);
}

void client_done(struct client *c)
{
    close(c->fd);
    buffer_done(&c->in);
    buffer_done(&c->out);
}

void client_error(struct client *c, const char *code, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buffer_add_u8(&c->out, '{');
    jsonw_kstr(&c->out, "error", bytes_str(text));
    jsonw_kstr(&c->out, "code", bytes_str(code));
    buffer_append(&c->out, "}\n", 2);
}

void client_farewell(struct client *c, const char *code, const char *text)
{
    client_error(c, code, "%s", text);
    c->closing = true;
    c->deadline_ms = clock_mono_ms() + CONTROL_FAREWELL_MS;
}

bool client_read(struct client *c)
{
    size_t room = c->in.max - buffer_len(&c->in);
    uint8_t *to;
    ssize_t n;

    if (room == 0 || c->eof)
        return true;
    to = buffer_reserve(&c->in, room);
    if (!to)
        return false;
    n = recv(c->fd, to, room, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        c->eof = true;
        return true;
    }
    buffer_commit(&c->in, (size_t)n);
    return true;
}

bool client_write(struct client *c)
{
    while (buffer_len(&c->out)) {
        struct bytes b = buffer_bytes(&c->out);
        ssize_t n = send(c->fd, b.p, b.len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        buffer_consume(&c->out, (size_t)n);
        if (!c->closing)
            c->deadline_ms =
                clock_mono_ms() + (c->role == CLIENT_ASKS ? CONTROL_IDLE_MS : CONTROL_STALL_MS);
    }
    if (c->out.cap > CONTROL_LINE_MAX)
        buffer_reset(&c->out, CONTROL_LINE_MAX);
    return !c->closing;
}

bool client_take_line(struct client *c, struct bytes *ret)
{
    struct bytes all = buffer_bytes(&c->in);
    const uint8_t *nl = all.len ? memchr(all.p, '\n', all.len) : NULL;

    if (!nl) {
        if (all.len > CONTROL_LINE_MAX)
            client_farewell(c, "Invalid", "the request is too long: at most 64 KiB a line");
        return false;
    }
    *ret = bytes_of(all.p, (size_t)(nl - all.p));
    buffer_consume(&c->in, ret->len + 1);
    return true;
}
