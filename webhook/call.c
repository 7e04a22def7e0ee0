/* SPDX-License-Identifier: Apache-2.0
 * Calls to the API server.
 */
#include "call.h"

#include <errno.h>

static int make_path(const struct kube_place *place, const char *label_selector,
                     struct buffer *path, struct error *err)
{
    int rc = kube_path(place, path);

    if (rc == 0 && label_selector)
        kube_query(path, "labelSelector", label_selector);
    if (rc == 0)
        rc = buffer_append(path, "", 1);
    return rc ? error_set(err, rc, "'%.64s' makes no path", place->name ? place->name : "") : 0;
}

struct question {
    const struct kube_place *place;
    const char *label_selector; /* NULL: none */
    struct kube_request request;
};

static int send_request(struct kube *k, struct question *q, struct kube_reply *reply,
                        struct error *err)
{
    struct buffer path;
    int rc;

    buffer_init(&path, KUBE_PATH_MAX + 1);
    rc = make_path(q->place, q->label_selector, &path, err);
    if (rc == 0) {
        q->request.path = (const char *)buffer_bytes(&path).p;
        rc = kube_call(k, &q->request, reply, err);
    }
    buffer_done(&path);
    return rc;
}

int call_get(struct kube *k, const struct kube_place *place, unsigned timeout_ms,
             struct kube_reply *reply, struct error *err)
{
    struct question q = {.place = place, .request = {.method = "GET", .timeout_ms = timeout_ms}};

    memset(reply, 0, sizeof *reply);
    return send_request(k, &q, reply, err);
}

#define LIST_MAX ((size_t)64 << 20)

int call_list(struct kube *k, const struct kube_place *place, const char *label_selector,
              struct json_object **ret, struct error *err)
{
    struct question q = {.place = place,
                         .label_selector = label_selector,
                         .request = {.method = "GET", .max_reply = LIST_MAX}};
    struct kube_reply reply = {0};
    int rc = send_request(k, &q, &reply, err);

    if (rc == 0 && !json_object_is_type(value_get(reply.object, "items"), json_type_array))
        rc = error_set(err, -EBADMSG, "the list of %.64s has no items", place->resource);
    if (rc == 0)
        *ret = json_object_get(value_get(reply.object, "items"));
    kube_reply_done(&reply);
    return rc;
}

int call_send(struct kube *k, const struct call *c, struct kube_reply *reply, struct error *err)
{
    struct question q = {
        .place = c->place,
        .request = {.method = c->method, .content_type = c->content_type, .body = c->body}};
    struct kube_reply own = {0};
    int rc;

    if (reply)
        memset(reply, 0, sizeof *reply);
    rc = send_request(k, &q, reply ? reply : &own, err);
    kube_reply_done(&own);
    return rc;
}
