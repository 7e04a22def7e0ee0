/* SPDX-License-Identifier: Apache-2.0
 * SCRAM-SHA-256, the client's side (RFC 5802, RFC 7677; manual 55.3.1), without channel binding.
 * Pure.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"

struct scram_client {
    char nonce[33];
    struct buffer
        auth_message; /* client-first-bare "," server-first "," client-final-without-proof */
    uint8_t server_signature[32];
};

int scram_client_init(struct scram_client *c) MUST_CHECK;
void scram_client_done(struct scram_client *c); /* wipes */
/* Appends client-first-message. */
int scram_client_first(struct scram_client *c, struct bytes password,
                       struct buffer *out) MUST_CHECK;
/* Takes server-first-message, appends client-final-message. -EPROTO: the server breaks the
 * protocol, or asks for more work than 200 000 iterations. */
int scram_client_final(struct scram_client *c, struct bytes password, struct bytes server_first,
                       struct buffer *out, struct error *err) MUST_CHECK;
/* Checks server-final-message: that the server knows the password too. 0 or -EPROTO. */
int scram_client_verify(const struct scram_client *c, struct bytes server_final) MUST_CHECK;
