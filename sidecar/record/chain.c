/* SPDX-License-Identifier: Apache-2.0
 * Hashing of record lines.
 */
#include "chain.h"

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

bool chain_hash(EVP_MD_CTX *ctx, const EVP_MD *md, struct bytes a, struct bytes b,
                char ret[static CHAIN_HEX])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!EVP_DigestInit_ex(ctx, md, NULL) || !EVP_DigestUpdate(ctx, a.p, a.len) ||
        (b.len && !EVP_DigestUpdate(ctx, b.p, b.len)) || !EVP_DigestFinal_ex(ctx, raw, &n) ||
        n * 2 != CHAIN_HEX)
        return false;
    for (unsigned i = 0; i < n; i++) {
        ret[2 * i] = hex[raw[i] >> 4];
        ret[2 * i + 1] = hex[raw[i] & 15];
    }
    return true;
}
