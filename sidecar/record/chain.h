/* SPDX-License-Identifier: Apache-2.0
 * The shape of a record's line, shared by the writer and the verifier:
 *   {"seq":N,"time":"…","type":"…","session":"…" fields ,"prev":"<64>","hash":"<64>"}
 * Everything but the fields is at a fixed place, so that the chain can be checked over bytes,
 * before any JSON parser has seen a line that somebody else may have written.
 */
#pragma once

#include "src-common/bytes.h"

#define CHAIN_HEX      64 /* a SHA-256 in lower-case hex */
#define CHAIN_PREV     ",\"prev\":\""
#define CHAIN_HASH     "\",\"hash\":\""
#define CHAIN_END      "\"}"
#define CHAIN_TAIL_LEN (sizeof(CHAIN_PREV CHAIN_HASH CHAIN_END) - 1 + 2 * CHAIN_HEX)
#define CHAIN_HASHED_OFF                                                                           \
    (sizeof(CHAIN_HASH CHAIN_END) - 2 + CHAIN_HEX) /* from the end to ,"hash" */

#define RECORD_LINE_MAX    ((size_t)64 << 20)
#define RECORD_SESSION_MAX 63

/* A session id that is safe as a file name: letters, digits, '-', '_', and '.' not in front. */
bool chain_session_ok(struct bytes id);

/* SHA-256 of two runs (the second may be empty), as 64 hex digits without a NUL. */
void chain_hash(struct bytes a, struct bytes b, char ret[static CHAIN_HEX]);
