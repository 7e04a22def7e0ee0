/* SPDX-License-Identifier: Apache-2.0
 * Bytes of an agent as the guard reads requests: head, body, path, attributes. Whatever is taken
 * ends where the head says, and cutting the input in two changes nothing.
 */
#include "sidecar/proto/kube/attributes.h"
#include "sidecar/proto/kube/head.h"
#include "sidecar/proto/kube/headers.h"

/* Payload bytes and how it ended, fed in two parts. */
static int decode(const struct http_head *h, struct bytes body, size_t at, size_t *ret_n,
                  bool *ended)
{
    struct http_body b;

    *ret_n = 0;
    *ended = false;
    http_body_init(&b, h);
    for (int part = 0; part < 2; part++) {
        struct bytes in = part ? bytes_of(body.p + at, body.len - at) : bytes_of(body.p, at), run;

        do {
            int rc = http_body_next(&b, &in, &run);

            if (rc)
                return rc;
            *ret_n += run.len;
        } while (run.len);
    }
    *ended = http_body_ended(&b);
    return 0;
}

static void check_body(const struct http_head *h, struct bytes body)
{
    size_t whole, cut;
    bool ended, cut_ended;
    int rc = decode(h, body, body.len, &whole, &ended);

    for (size_t at = 0; at < body.len && at < 64; at++) {
        if (decode(h, body, at, &cut, &cut_ended) != rc ||
            (rc == 0 && (cut != whole || ended != cut_ended)))
            abort();
    }
    if (rc == 0 && h->framing == HTTP_LENGTH && whole > h->length)
        abort();
}

static void check_target(const struct http_head *h)
{
    struct kubepath path;
    struct kube_act act;
    struct arena arena;
    struct error err = {""};

    arena_init(&arena, 1 << 20);
    if (kubepath_parse(h->target, &arena, &path, &err) == 0 &&
        attributes_derive(h->method, &path, &arena, &act, &err) == 0) {
        if (!act.verb || (act.resource[0] && act.discovery) || strchr(act.resource, '/'))
            abort();
    } else if (!err.text[0]) {
        abort();
    }
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head h;
    ssize_t n = http_head_find(bytes_of(data, size));
    struct error err = {""};
    struct bytes token;

    if (n <= 0)
        return 0;
    (void)!http_parse_response(bytes_of(data, (size_t)n), false, &h, &err);
    err.text[0] = '\0';
    if (http_parse_request(bytes_of(data, (size_t)n), &h, &err) != 0) {
        if (!err.text[0])
            abort();
        return 0;
    }
    (void)!kubeheaders_check(&h, &err);
    (void)!kubeheaders_token(&h, &token, &err);
    check_body(&h, bytes_of(data + n, size - (size_t)n));
    check_target(&h);
    return 0;
}
