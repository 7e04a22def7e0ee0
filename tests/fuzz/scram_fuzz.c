/* SPDX-License-Identifier: Apache-2.0
 * What a hostile server answers in SCRAM: server-first and server-final, parted by a NUL. A '@' in
 * server-first stands for the client's nonce. No server that does not know the password is
 * believed.
 */
#include "sidecar/proto/postgres/scram.h"

#include <stdlib.h>

static void fill_nonce(const struct scram_client *c, struct bytes text, struct buffer *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '@')
            buffer_append(out, c->nonce, strlen(c->nonce));
        else
            buffer_add_u8(out, text.p[i]);
    }
}

/* PBKDF2 dear enough to starve the fuzzer teaches nothing. */
static bool too_dear(struct bytes text)
{
    const uint8_t *i = memmem(text.p, text.len, ",i=", 3);

    return i && strtoul((const char *)i + 3, NULL, 10) > 500;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, 0, size);
    struct bytes first = {data, nul ? (size_t)(nul - data) : size};
    struct bytes final = {nul ? nul + 1 : data + size, nul ? size - first.len - 1 : 0};
    struct buffer out, server_first;
    struct scram_client c;
    struct error err = {""};

    buffer_init(&out, 1 << 20);
    buffer_init(&server_first, 1 << 20);
    if (size > 16384 || scram_client_init(&c) != 0)
        return 0;
    if (scram_client_first(&c, BYTES("secret"), &out) != 0)
        abort();
    fill_nonce(&c, first, &server_first);
    buffer_add_u8(&server_first, 0); /* for strtoul in too_dear */
    server_first.end--;
    if (!too_dear(buffer_bytes(&server_first)) &&
        scram_client_final(&c, BYTES("secret"), buffer_bytes(&server_first), &out, &err) == 0 &&
        scram_client_verify(&c, final) == 0)
        abort();
    scram_client_done(&c);
    buffer_done(&out);
    buffer_done(&server_first);
    return 0;
}
