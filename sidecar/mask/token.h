/* SPDX-License-Identifier: Apache-2.0
 * The form of a token: "tok_", 26 characters of base32 (130 bits of a keyed hash), 6 characters
 * computed from those, by which a token is told from other text without the key. Private to mask/.
 */
#pragma once

#include "src-common/bytes.h"

#define TOKEN_PREFIX "tok_"
#define TOKEN_BODY   26
#define TOKEN_CHECK  6
#define TOKEN_LEN    (sizeof(TOKEN_PREFIX) - 1 + TOKEN_BODY + TOKEN_CHECK)

/* Writes the token of a hash. */
void token_write(const uint8_t hash[static 32], char out[static TOKEN_LEN]);
/* True when a token begins at `at`, in either case. */
bool token_at(struct bytes t, size_t at);
