/* SPDX-License-Identifier: Apache-2.0
 * Answers of the guard's own, as the API server would write them.
 */
#include "guard.h"

#include <stdio.h>

static const struct {
    unsigned code;
    const char *phrase, *reason; /* of HTTP; metav1.StatusReason */
} codes[] = {
    {400, "Bad Request", "BadRequest"},
    {401, "Unauthorized", "Unauthorized"},
    {403, "Forbidden", "Forbidden"},
    {406, "Not Acceptable", "NotAcceptable"},
    {413, "Request Entity Too Large", "RequestEntityTooLarge"},
    {415, "Unsupported Media Type", "UnsupportedMediaType"},
    {431, "Request Header Fields Too Large", "RequestEntityTooLarge"},
    {502, "Bad Gateway", "InternalError"},
    {503, "Service Unavailable", "ServiceUnavailable"},
    {504, "Gateway Timeout", "Timeout"},
};

static size_t find(unsigned code)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i].code == code)
            return i;
    }
    return 0;
}

static void write_status(struct buffer *b, size_t i, const char *message)
{
    buffer_add_u8(b, '{');
    jsonw_kstr(b, "kind", BYTES("Status"));
    jsonw_kstr(b, "apiVersion", BYTES("v1"));
    jsonw_key(b, "metadata");
    buffer_append(b, "{}", 2);
    jsonw_kstr(b, "status", BYTES("Failure"));
    jsonw_kstr(b, "message", bytes_str(message));
    jsonw_kstr(b, "reason", bytes_str(codes[i].reason));
    jsonw_ku64(b, "code", codes[i].code);
    buffer_append(b, "}\n", 2);
}

int kubeguard_reply(struct kubeguard *g, unsigned code, const char *message, bool close)
{
    size_t i = find(code);
    struct buffer body, out;
    char text[1100];
    bool head = g->running && bytes_eq_str(g->running->head.method, "HEAD");
    int rc;

    buffer_init(&body, 16384);
    buffer_init(&out, 32768);
    snprintf(text, sizeof text, "chaperone: %s", message);
    write_status(&body, i, text);
    buffer_printf(&out, "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\n", code,
                  codes[i].phrase);
    if (code == 401)
        buffer_printf(&out, "WWW-Authenticate: Bearer realm=\"chaperone\"\r\n");
    buffer_printf(&out, "Content-Length: %zu\r\n%s\r\n", buffer_len(&body),
                  close ? "Connection: close\r\n" : "");
    if (!head)
        buffer_add(&out, buffer_bytes(&body));
    rc = body.failed || out.failed ? -1 : kubeio_write(g, &g->agent, buffer_bytes(&out));
    buffer_done(&body);
    buffer_done(&out);
    return rc ? rc : close ? -1 : 0;
}
