/* SPDX-License-Identifier: Apache-2.0
 * Hashing of record lines.
 */
/* The EVP interface allocates for every digest; a busy session makes two a statement. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "chain.h"

#include <openssl/sha.h>

static bool session_char(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_' || c == '.';
}

bool chain_session_ok(struct bytes id)
{
    if (id.len == 0 || id.len > RECORD_SESSION_MAX || id.p[0] == '.')
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!session_char(id.p[i]))
            return false;
    return true;
}

void chain_hash(struct bytes a, struct bytes b, char ret[static CHAIN_HEX])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t raw[SHA256_DIGEST_LENGTH];
    SHA256_CTX ctx;

    SHA256_Init(&ctx);
    SHA256_Update(&ctx, a.p, a.len);
    SHA256_Update(&ctx, b.p, b.len);
    SHA256_Final(raw, &ctx);
    for (size_t i = 0; i < sizeof raw; i++) {
        ret[2 * i] = hex[raw[i] >> 4];
        ret[2 * i + 1] = hex[raw[i] & 15];
    }
}
