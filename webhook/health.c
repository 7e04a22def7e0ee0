/* SPDX-License-Identifier: Apache-2.0
 * Status: /livez, /readyz and /metrics over plain HTTP.
 */
#include "server.h"

#include "sidecar/net/address.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>

struct health_server {
    struct health health;
    struct MHD_Daemon *mhd;
};

static enum MHD_Result reply(struct MHD_Connection *c, unsigned code, const char *type,
                             const struct buffer *b)
{
    struct bytes body = buffer_bytes(b);
    struct MHD_Response *r = MHD_create_response_from_buffer(
        body.len, (void *)(uintptr_t)(body.len ? body.p : (const uint8_t *)""),
        MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rc;

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    rc = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return rc;
}

static unsigned write_page(const struct health *h, const char *url, struct buffer *b,
                           const char **type)
{
    if (strcmp(url, "/livez") == 0) {
        buffer_printf(b, "ok\n");
    } else if (strcmp(url, "/readyz") == 0) {
        if (!h->ready(b, h->arg))
            return MHD_HTTP_SERVICE_UNAVAILABLE;
        buffer_printf(b, "ok\n");
    } else if (strcmp(url, "/metrics") == 0) {
        *type = "text/plain; version=0.0.4; charset=utf-8";
        h->metrics(b, h->arg);
    } else {
        buffer_printf(b, "there are /livez, /readyz and /metrics\n");
        return MHD_HTTP_NOT_FOUND;
    }
    return MHD_HTTP_OK;
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state)
{
    struct health_server *s = arg;
    const char *type = "text/plain; charset=utf-8";
    unsigned code = MHD_HTTP_METHOD_NOT_ALLOWED;
    enum MHD_Result rc;
    struct buffer b;

    (void)version, (void)data, (void)size, (void)state;
    buffer_init(&b, 65536);
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        code = write_page(&s->health, url, &b, &type);
    rc = reply(c, code, type, &b);
    buffer_done(&b);
    return rc;
}

int health_start(const struct health *h, const struct sockaddr *addr, struct health_server **ret,
                 struct error *err)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL;
    struct health_server *s = calloc(1, sizeof *s);
    char text[ADDRESS_TEXT_LEN];

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->health = *h;
    if (addr->sa_family == AF_INET6)
        flags |= MHD_USE_DUAL_STACK;
    s->mhd =
        MHD_start_daemon(flags, address_port(addr), NULL, NULL, handle, s, MHD_OPTION_SOCK_ADDR,
                         addr, MHD_OPTION_CONNECTION_LIMIT, 32u, MHD_OPTION_CONNECTION_TIMEOUT, 10u,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384, MHD_OPTION_END);
    if (!s->mhd) {
        free(s);
        address_text(addr, text);
        return error_set(err, -EADDRINUSE, "--status: cannot listen on %s", text);
    }
    *ret = s;
    return 0;
}

void health_stop(struct health_server *s)
{
    if (!s)
        return;
    MHD_stop_daemon(s->mhd);
    free(s);
}
