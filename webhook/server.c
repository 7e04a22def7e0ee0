/* SPDX-License-Identifier: Apache-2.0
 * The HTTPS server.
 */
#include "server.h"

#include "sidecar/net/address.h"
#include "src-common/clock.h"
#include "src-common/log.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_DAEMONS     4 /* one serves, the others drain */
#define MAX_CONNECTIONS 512u
/* Longer than the API server keeps idle connections (90 s), so that it is the one to close. */
#define IDLE_TIMEOUT_S 120u
#define STACK_BYTES    ((size_t)1 << 20)
#define REPLY_MAX      ((size_t)16 << 20)
#define DRAIN_POLL_MS  20
#define PRIORITIES     "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct daemon {
    struct server *server;
    struct MHD_Daemon *mhd; /* NULL: a free slot */
    atomic_bool draining;
    atomic_uint active; /* requests being worked on */
};

struct server {
    atomic_bool draining; /* all of it */
    struct admit *admit;
    int fd; /* the listening socket, ours all the time */
    struct sockaddr_storage addr;
    struct daemon daemons[MAX_DAEMONS];
    struct daemon *serving; /* NULL: no certificate yet */
};

/* ---- requests ---- */

struct request {
    struct daemon *daemon;
    struct buffer body;
    bool too_long;
};

static enum MHD_Result reply(struct MHD_Connection *c, const struct request *q, unsigned code,
                             const char *type, struct bytes body)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        body.len, (void *)(uintptr_t)(body.len ? body.p : (const uint8_t *)""),
        MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rc;

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (q->too_long || q->daemon->draining || q->daemon->server->draining)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    rc = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result reply_text(struct MHD_Connection *c, const struct request *q, unsigned code,
                                  const char *text)
{
    return reply(c, q, code, "text/plain; charset=utf-8", bytes_str(text));
}

static unsigned status_of(int e)
{
    return e == -EINVAL     ? MHD_HTTP_BAD_REQUEST
           : e == -EMSGSIZE ? MHD_HTTP_CONTENT_TOO_LARGE
                            : MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static enum MHD_Result answer(struct MHD_Connection *c, struct request *q, const char *url)
{
    struct server *s = q->daemon->server;
    struct buffer out;
    struct error err = {{0}};
    enum MHD_Result rc;
    int e;

    buffer_init(&out, REPLY_MAX);
    e = admit_review(s->admit, url, buffer_bytes(&q->body), &out, &err);
    if (e == 0)
        rc = reply(c, q, MHD_HTTP_OK, "application/json", buffer_bytes(&out));
    else
        rc = reply_text(c, q, status_of(e), err.text);
    buffer_done(&out);
    return rc;
}

static enum MHD_Result finish(struct MHD_Connection *c, struct request *q, const char *url,
                              const char *method)
{
    if (!admit_knows(url))
        return reply_text(c, q, MHD_HTTP_NOT_FOUND, "no such path\n");
    if (strcmp(method, "POST") != 0)
        return reply_text(c, q, MHD_HTTP_METHOD_NOT_ALLOWED, "only POST\n");
    if (q->too_long)
        return reply_text(c, q, MHD_HTTP_CONTENT_TOO_LARGE, "the review is too long\n");
    if (q->body.failed)
        return reply_text(c, q, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    return answer(c, q, url);
}

static struct request *request_new(struct daemon *d)
{
    struct request *q = calloc(1, sizeof *q);

    if (!q)
        return NULL;
    q->daemon = d;
    buffer_init(&q->body, REVIEW_MAX_BYTES);
    d->active++;
    return q;
}

/* libmicrohttpd calls this first with the head alone, then for each piece of the body, then with
 * no data at all. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state)
{
    struct request *q = *state;

    (void)version;
    if (!q) {
        *state = request_new(arg);
        return *state ? MHD_YES : MHD_NO;
    }
    if (*size == 0)
        return finish(c, q, url, method);
    if (!q->too_long && buffer_append(&q->body, data, *size) == -ENOBUFS)
        q->too_long = true;
    *size = 0;
    return MHD_YES;
}

static void completed(void *arg, struct MHD_Connection *c, void **state,
                      enum MHD_RequestTerminationCode code)
{
    struct request *q = *state;

    (void)arg, (void)c, (void)code;
    if (!q)
        return;
    q->daemon->active--;
    buffer_done(&q->body);
    free(q);
    *state = NULL;
}

/* ---- listening ---- */

static int open_listener(const struct sockaddr *addr, int *ret_fd, struct error *err)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1,
        zero = 0;
    char text[ADDRESS_TEXT_LEN];

    if (fd < 0)
        return error_set(err, -errno, "--listen: %m");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (addr->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, addr, address_len(addr)) < 0 || listen(fd, 128) < 0) {
        int e = -errno;

        address_text(addr, text);
        close(fd);
        return error_set(err, e, "--listen: cannot listen on %s: %s", text, strerror(-e));
    }
    *ret_fd = fd;
    return 0;
}

int server_new(struct admit *ad, const struct sockaddr *addr, struct server **ret,
               struct error *err)
{
    struct server *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->admit = ad;
    memcpy(&s->addr, addr, address_len(addr));
    rc = open_listener(addr, &s->fd, err);
    if (rc) {
        free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

/* ---- daemons ---- */

static struct MHD_Daemon *start(struct daemon *d, const char *certificate, const char *key)
{
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_POLL | MHD_USE_TLS | MHD_USE_ITC;

    if (d->server->addr.ss_family == AF_INET6)
        flags |= MHD_USE_DUAL_STACK;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, handle, d, MHD_OPTION_LISTEN_SOCKET, d->server->fd,
        MHD_OPTION_HTTPS_MEM_CERT, certificate, MHD_OPTION_HTTPS_MEM_KEY, key,
        MHD_OPTION_HTTPS_PRIORITIES, PRIORITIES, MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
        MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)65536, MHD_OPTION_THREAD_STACK_SIZE,
        STACK_BYTES, MHD_OPTION_END);
}

static unsigned connections(const struct daemon *d)
{
    const union MHD_DaemonInfo *i =
        MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return i ? i->num_connections : 0;
}

static void end(struct daemon *d)
{
    MHD_stop_daemon(d->mhd);
    d->mhd = NULL;
}

void server_tick(struct server *s)
{
    for (size_t i = 0; i < MAX_DAEMONS; i++) {
        struct daemon *d = &s->daemons[i];

        if (d->mhd && d->draining && connections(d) == 0)
            end(d);
    }
}

/* Certificates change every few hours: a slot is free unless connections hang for days. */
static struct daemon *free_slot(struct server *s)
{
    struct daemon *idle = NULL;

    server_tick(s);
    for (size_t i = 0; i < MAX_DAEMONS; i++) {
        struct daemon *d = &s->daemons[i];

        if (!d->mhd)
            return d;
        if (d->draining && (!idle || d->active < idle->active))
            idle = d;
    }
    end(idle);
    return idle;
}

int server_set_certificate(struct server *s, const char *certificate, const char *key,
                           struct error *err)
{
    struct daemon *old = s->serving, *d = free_slot(s);

    d->server = s;
    d->draining = false;
    d->active = 0;
    d->mhd = start(d, certificate, key);
    if (!d->mhd)
        return error_set(err, -EINVAL, "the certificate or its key cannot be used");
    s->serving = d;
    if (old) {
        old->draining = true;
        MHD_quiesce_daemon(old->mhd);
    }
    return 0;
}

static unsigned active(const struct server *s)
{
    unsigned n = 0;

    for (size_t i = 0; i < MAX_DAEMONS; i++)
        n += s->daemons[i].active;
    return n;
}

void server_drain(struct server *s)
{
    s->draining = true;
}

void server_stop(struct server *s, unsigned timeout_ms)
{
    uint64_t until = clock_mono_ms() + timeout_ms;

    if (!s)
        return;
    if (s->serving) {
        s->serving->draining = true;
        MHD_quiesce_daemon(s->serving->mhd);
    }
    while (active(s) > 0 && clock_mono_ms() < until)
        poll(NULL, 0, DRAIN_POLL_MS);
    for (size_t i = 0; i < MAX_DAEMONS; i++) {
        if (s->daemons[i].mhd)
            end(&s->daemons[i]);
    }
    close(s->fd);
    free(s);
}
