/* SPDX-License-Identifier: Apache-2.0
 * The form of a token.
 */
#include "token.h"
#include "chars.h"

#include "src-common/siphash.h"

#define PREFIX_LEN (sizeof(TOKEN_PREFIX) - 1)

static const char alphabet[33] = "abcdefghijklmnopqrstuvwxyz234567";

static void write_base32(const uint8_t *bits, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        size_t bit = i * 5;
        unsigned pair = (unsigned)bits[bit / 8] << 8 | bits[bit / 8 + 1];

        out[i] = alphabet[pair >> (11 - bit % 8) & 31];
    }
}

/* A checksum, not a secret: anyone may make a string that passes for a token. */
static void write_check(const char body[static TOKEN_BODY], char out[static TOKEN_CHECK])
{
    static const struct siphash_key key = {0x6368617065726f6eu, 0x65746f6b656e0001u};
    uint8_t bits[8];

    put_be32(bits, (uint32_t)(siphash13(&key, bytes_of(body, TOKEN_BODY)) >> 32));
    put_be32(bits + 4, 0);
    write_base32(bits, TOKEN_CHECK, out);
}

void token_write(const uint8_t hash[static 32], char out[static TOKEN_LEN])
{
    memcpy(out, TOKEN_PREFIX, PREFIX_LEN);
    write_base32(hash, TOKEN_BODY, out + PREFIX_LEN);
    write_check(out + PREFIX_LEN, out + PREFIX_LEN + TOKEN_BODY);
}

bool token_at(struct bytes t, size_t at)
{
    char body[TOKEN_BODY + TOKEN_CHECK], check[TOKEN_CHECK];

    if (!word_at(t, at, TOKEN_PREFIX) || t.len - at < TOKEN_LEN)
        return false;
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)char_lower(t.p[at + PREFIX_LEN + i]);
    write_check(body, check);
    return memcmp(body + TOKEN_BODY, check, sizeof check) == 0;
}
