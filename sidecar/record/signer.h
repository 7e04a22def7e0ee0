/* SPDX-License-Identifier: Apache-2.0
 * The guard's key, with which it signs what leaves its spool (Ed25519), and the keys that somebody
 * who verifies trusts. Public keys are written as 64 hex digits, or as PEM files.
 */
#pragma once

#include "chain.h"
#include "src-common/error.h"

#define SIGNER_PUBLIC   32
#define SIGNATURE_BYTES 64

struct signer;
/* The key in DIR/record_key.pem, made when it is missing (0600); without a directory a fresh one,
 * which is gone when the process ends. */
int signer_open(const char *state_dir, struct signer **ret, struct error *err) MUST_CHECK;
void signer_free(struct signer *s); /* accepts NULL */
/* 64 hex digits and a NUL; lives as long as s. */
const char *signer_public(const struct signer *s);
/* The public key as PEM, to be freed; NULL when out of memory. */
char *signer_public_pem(const struct signer *s);
/* Any thread. 0 or -EIO. */
int signer_sign(const struct signer *s, struct bytes text,
                uint8_t ret[static SIGNATURE_BYTES]) MUST_CHECK;
/* Is that the signature of text by the key with these hex digits? */
bool signature_holds(struct bytes text, const char public_hex[static CHAIN_HEX],
                     const uint8_t signature[static SIGNATURE_BYTES]);

#define TRUSTED_KEYS_MAX 64
struct trusted_keys {
    char hex[TRUSTED_KEYS_MAX][CHAIN_HEX + 1];
    size_t n;
};
/* Adds the keys of a file: one or more PEM blocks, or lines of 64 hex digits. */
int trusted_keys_load(const char *path, struct trusted_keys *to, struct error *err) MUST_CHECK;
bool trusted_keys_have(const struct trusted_keys *k, const char *hex);

/* Lower-case hex, two digits a byte, no NUL; and back: false unless all are hex digits. */
void hex_write(const uint8_t *p, size_t n, char *to);
bool hex_read(const char *from, size_t n_bytes, uint8_t *to);
