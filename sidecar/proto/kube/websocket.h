/* SPDX-License-Identifier: Apache-2.0
 * Frames of a WebSocket (RFC 6455), one direction. Only what the Kubernetes clients and servers
 * send: no extensions. Pure.
 */
#pragma once

#include "src-common/buffer.h"

#define WEBSOCKET_FRAME_MAX ((size_t)1 << 20)

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10
};

struct websocket_frame {
    uint8_t opcode;
    bool last; /* of its message */
    uint8_t mask[4];
    struct bytes raw;     /* the whole frame, as it came */
    struct bytes payload; /* as it came: masked when it is a client's */
};

/* The frame at the start of `in`. 1; 0: more is needed; -EBADMSG: reserved bits or opcodes, masking
 * where it must not be or not where it must be, a control frame that is too long; -EMSGSIZE. */
int websocket_frame(struct bytes in, bool from_client, struct websocket_frame *ret) MUST_CHECK;
/* Appends the payload, unmasked. */
void websocket_payload(const struct websocket_frame *f, bool from_client, struct buffer *out);
/* Appends a binary frame, as a server sends it: channel byte and data. */
void websocket_write(struct buffer *out, uint8_t channel, struct bytes data);
