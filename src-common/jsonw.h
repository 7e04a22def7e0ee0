/* SPDX-License-Identifier: Apache-2.0
 * Appends JSON text to a buffer. For the hot path, where records are written; whatever reads
 * JSON uses json-c. Failure is the buffer's (`failed`), asked once at the end.
 */
#pragma once

#include "buffer.h"

/* A quoted, escaped JSON string. Bytes that are not UTF-8 become U+FFFD: the line stays
 * valid JSON whatever a peer sends. */
void jsonw_str(struct buffer *b, struct bytes s);
/* Bytes that are no text, as the string "\\x…" in hex: PostgreSQL's way to write bytea. */
void jsonw_bytea(struct buffer *b, struct bytes s);
/* ,"key": (with the comma when something stands before it in this object). The key is
 * written as it is: a constant that needs no escaping. */
void jsonw_key_n(struct buffer *b, const char *key, size_t n);
static inline void jsonw_key(struct buffer *b, const char *key)
{
    jsonw_key_n(b, key, strlen(key)); /* known to the compiler where the key is a constant */
}
void jsonw_u64(struct buffer *b, uint64_t v);

static inline void jsonw_kstr(struct buffer *b, const char *key, struct bytes s)
{
    jsonw_key(b, key);
    jsonw_str(b, s);
}
static inline void jsonw_ku64(struct buffer *b, const char *key, uint64_t v)
{
    jsonw_key(b, key);
    jsonw_u64(b, v);
}
static inline void jsonw_kbool(struct buffer *b, const char *key, bool v)
{
    jsonw_key(b, key);
    buffer_append(b, v ? "true" : "false", v ? 4 : 5);
}
