/* SPDX-License-Identifier: Apache-2.0
 * Headers of both legs.
 */
#include "headers.h"

#include <errno.h>
#include <strings.h>

static bool starts(struct bytes text, const char *with)
{
    size_t n = strlen(with);

    return text.len >= n && strncasecmp((const char *)text.p, with, n) == 0;
}

static bool visit_protocol(struct bytes e, void *arg)
{
    (void)arg;
    return !starts(e, "base64url.bearer.authorization.k8s.io.");
}

int kubeheaders_check(const struct http_head *h, struct error *err)
{
    for (size_t i = 0; i < h->n; i++) {
        struct bytes name = h->headers[i].name;

        if (starts(name, "impersonate-"))
            return error_set(err, -EACCES, "impersonation is not for agents (%.*s)",
                             (int)min_size(name.len, 40), (const char *)name.p);
        if (starts(name, "x-remote-"))
            return error_set(err, -EACCES, "the header %.*s is a front proxy's",
                             (int)min_size(name.len, 40), (const char *)name.p);
    }
    if (!http_list(http_header(h, "sec-websocket-protocol"), visit_protocol, NULL))
        return error_set(err, -EACCES,
                         "a token as a WebSocket subprotocol is not taken; use Authorization");
    if (http_header(h, "content-encoding").len)
        return error_set(err, -EACCES, "bodies are not taken compressed");
    return 0;
}

int kubeheaders_token(const struct http_head *h, struct bytes *ret, struct error *err)
{
    struct bytes v = http_header(h, "authorization");

    *ret = (struct bytes){0};
    if (!v.p)
        return 0;
    if (!starts(v, "bearer "))
        return error_set(err, -EACCES, "Authorization is no bearer token");
    v.p += 7;
    v.len -= 7;
    while (v.len && v.p[0] == ' ')
        v.p++, v.len--;
    *ret = v;
    return v.len ? 0 : error_set(err, -EACCES, "the bearer token is empty");
}

/* ---- Accept ---- */

struct accept {
    struct buffer *out;
    bool any_text, tables, some;
};

static void add(struct accept *a, struct bytes element)
{
    if (a->some)
        buffer_append(a->out, ", ", 2);
    buffer_add(a->out, element);
    a->some = true;
}

/* One parameter "as", and that for metadata. The API server takes the last of several. */
static bool asks_metadata(struct bytes e)
{
    static const char *const forms[] = {"as=PartialObjectMetadata", "as=PartialObjectMetadataList"};
    unsigned n = 0, known = 0;

    while (e.len) {
        const uint8_t *end = memchr(e.p, ';', e.len);
        struct bytes param = {e.p, end ? (size_t)(end - e.p) : e.len};

        e.p += param.len + (end != NULL);
        e.len -= param.len + (end != NULL);
        while (param.len && (param.p[0] == ' ' || param.p[0] == '\t'))
            param.p++, param.len--;
        n += starts(param, "as");
        known += bytes_eq_str(param, forms[0]) || bytes_eq_str(param, forms[1]);
    }
    return n == 1 && known == 1;
}

static bool visit_range(struct bytes e, void *arg)
{
    struct accept *a = arg;
    const uint8_t *end = memchr(e.p, ';', e.len);
    struct bytes type = {e.p, end ? (size_t)(end - e.p) : e.len};

    while (type.len && type.p[type.len - 1] == ' ')
        type.len--;
    if (http_is(type, "application/json"))
        add(a, a->tables || asks_metadata(e) ? e : type);
    else if (http_is(type, "*/*") || http_is(type, "application/*"))
        add(a, a->any_text ? type : BYTES("application/json"));
    else if (a->any_text && starts(type, "text/"))
        add(a, e);
    return true;
}

int kubeheaders_accept(const struct http_head *h, const struct kube_act *act, bool tables,
                       struct buffer *out, struct error *err)
{
    struct bytes v = http_header(h, "accept");
    struct accept a = {out,
                       !act->resource[0] || strcmp(act->subresource, "log") == 0 ||
                           strcmp(act->subresource, "proxy") == 0,
                       tables, false};

    if (act->discovery && v.len) { /* nothing to be masked, and some of it is protobuf alone */
        buffer_add(out, v);
        return 0;
    }
    if (!v.p || !v.len) {
        add(&a, a.any_text ? BYTES("*/*") : BYTES("application/json"));
        return 0;
    }
    http_list(v, visit_range, &a);
    return a.some ? 0
                  : error_set(err, -EPROTONOSUPPORT,
                              "the guard reads answers, and that in JSON only: accept "
                              "application/json (clients: contentType application/json)");
}

/* ---- WebSocket ---- */

struct protocols {
    struct buffer *out;
    bool streams, some;
};

static bool visit_offer(struct bytes e, void *arg)
{
    static const char *const streams[] = {"v5.channel.k8s.io", "v4.channel.k8s.io"};
    static const char *const forward[] = {"SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"};
    struct protocols *p = arg;

    for (size_t i = 0; i < 2; i++) {
        if (!http_is(e, p->streams ? streams[i] : forward[i]))
            continue;
        if (p->some)
            buffer_append(p->out, ", ", 2);
        buffer_add(p->out, e);
        p->some = true;
    }
    return true;
}

int kubeheaders_protocols(const struct http_head *h, const char *subresource, struct buffer *out,
                          struct error *err)
{
    struct protocols p = {out, strcmp(subresource, "portforward") != 0, false};

    http_list(http_header(h, "sec-websocket-protocol"), visit_offer, &p);
    return p.some
               ? 0
               : error_set(err, -EPROTONOSUPPORT,
                           "none of the WebSocket subprotocols offered is spoken here; for %s: %s",
                           subresource,
                           p.streams ? "v5.channel.k8s.io, v4.channel.k8s.io"
                                     : "SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io");
}

/* ---- what passes ---- */

static const char *const from_agent[] = {"user-agent", "content-type", "if-none-match",
                                         "if-modified-since", NULL};
static const char *const of_websocket[] = {"sec-websocket-key", "sec-websocket-version",
                                           "sec-websocket-accept", "sec-websocket-protocol", NULL};
static const char *const from_server[] = {
    "content-type",  "cache-control", "warning",  "audit-id", "retry-after", "etag",
    "last-modified", "date",          "location", "allow",    "vary",        NULL};

static bool listed(struct bytes name, const char *const *list)
{
    for (; *list; list++) {
        if (http_is(name, *list))
            return true;
    }
    return false;
}

static void pass(const struct http_head *h, const char *const *list, struct buffer *out)
{
    for (size_t i = 0; i < h->n; i++) {
        if (!listed(h->headers[i].name, list) &&
            !(list == from_server && starts(h->headers[i].name, "x-kubernetes-pf-")))
            continue;
        buffer_add(out, h->headers[i].name);
        buffer_append(out, ": ", 2);
        buffer_add(out, h->headers[i].value);
        buffer_append(out, "\r\n", 2);
    }
}

void kubeheaders_request(const struct http_head *h, bool websocket, struct buffer *out)
{
    static const char *const keys[] = {"sec-websocket-key", "sec-websocket-version", NULL};

    pass(h, from_agent, out);
    if (websocket)
        pass(h, keys, out);
}

void kubeheaders_response(const struct http_head *h, bool websocket, struct buffer *out)
{
    pass(h, from_server, out);
    if (websocket)
        pass(h, of_websocket, out);
}
