/* SPDX-License-Identifier: Apache-2.0
 * WebSocket frames.
 */
#include "websocket.h"

#include <errno.h>

static bool is_known(uint8_t opcode)
{
    return opcode <= WEBSOCKET_BINARY || (opcode >= WEBSOCKET_CLOSE && opcode <= WEBSOCKET_PONG);
}

/* Length of the payload; *at moves behind it. -EAGAIN: more is needed. */
static int payload_length(struct bytes in, size_t *at, uint64_t *ret)
{
    uint8_t small = in.p[1] & 0x7f;
    size_t n = small == 127 ? 8 : small == 126 ? 2 : 0;

    *ret = small;
    if (in.len < 2 + n)
        return -EAGAIN;
    if (n == 2)
        *ret = get_be16(in.p + 2);
    else if (n == 8)
        *ret = get_be64(in.p + 2);
    *at = 2 + n;
    /* RFC 6455, 5.2: the shortest form only. */
    return (n == 2 && *ret < 126) || (n == 8 && *ret < 65536) ? -EBADMSG : 0;
}

int websocket_frame(struct bytes in, bool from_client, struct websocket_frame *ret)
{
    struct websocket_frame f = {0};
    uint64_t len;
    size_t at;
    int rc;

    if (in.len < 2)
        return 0;
    f.opcode = in.p[0] & 0x0f;
    f.last = in.p[0] & 0x80;
    if ((in.p[0] & 0x70) || !is_known(f.opcode) || !(in.p[1] & 0x80) == from_client)
        return -EBADMSG;
    rc = payload_length(in, &at, &len);
    if (rc)
        return rc == -EAGAIN ? 0 : rc;
    if (f.opcode >= WEBSOCKET_CLOSE && (len > 125 || !f.last))
        return -EBADMSG;
    if (len > WEBSOCKET_FRAME_MAX)
        return -EMSGSIZE;
    if (in.len - at < (from_client ? 4 : 0) + len)
        return 0;
    if (from_client) {
        memcpy(f.mask, in.p + at, 4);
        at += 4;
    }
    f.payload = bytes_of(in.p + at, (size_t)len);
    f.raw = bytes_of(in.p, at + (size_t)len);
    *ret = f;
    return 1;
}

void websocket_payload(const struct websocket_frame *f, bool from_client, struct buffer *out)
{
    uint8_t *to = buffer_reserve(out, f->payload.len);

    if (!to)
        return;
    for (size_t i = 0; i < f->payload.len; i++)
        to[i] = from_client ? f->payload.p[i] ^ f->mask[i & 3] : f->payload.p[i];
    buffer_commit(out, f->payload.len);
}

void websocket_write(struct buffer *out, uint8_t channel, struct bytes data)
{
    size_t n = data.len + 1;

    buffer_add_u8(out, 0x80 | WEBSOCKET_BINARY);
    if (n < 126) {
        buffer_add_u8(out, (uint8_t)n);
    } else if (n < 65536) {
        buffer_add_u8(out, 126);
        buffer_add_be16(out, (uint16_t)n);
    } else {
        buffer_add_u8(out, 127);
        buffer_add_be32(out, 0);
        buffer_add_be32(out, (uint32_t)n);
    }
    buffer_add_u8(out, channel);
    buffer_add(out, data);
}
