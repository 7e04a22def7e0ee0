/* SPDX-License-Identifier: Apache-2.0
 * A scan of SQL text that is exactly as careful as PostgreSQL's own lexer (scan.l) about where
 * literals and comments begin and end, for two uses: to refuse what would hurt the parser
 * (nesting, tokens, size) before it sees it, and to give statements that differ only in literal
 * values one cache key, their shape. Assumes standard_conforming_strings = on and UTF-8, which
 * the guard enforces at login. Pure; no allocation but the output buffer.
 */
#pragma once

#include "src-common/buffer.h"

struct sql_limits {
    size_t max_bytes;           /* 1 MiB */
    size_t max_tokens;          /* 100 000 */
    size_t max_nesting;         /* of parentheses, brackets and CASE: 500 */
    size_t max_comment_nesting; /* 32 */
};
extern const struct sql_limits sql_default_limits;

enum lex_result {
    LEX_OK = 0,
    LEX_TOO_COMPLEX, /* over a limit: 54001 (54000 for bytes) */
    LEX_BAD, /* no shape; the parser decides: unterminated literal or comment, unbalanced brackets,
                junk, NUL, bad UTF-8, and what libpg_query and the server would split differently
                (sql_parser_parse refuses the last three itself) */
};

/* Checks the limits and, when `shape` is not NULL, appends the shape: the text with every
 * number, string, bit string and dollar-quoted literal replaced by a mark of its kind, with
 * comments and white space runs reduced to one blank, everything else byte for byte (so that quoted
 * and unquoted identifiers, operators and keywords stay apart). Two texts with equal shapes have
 * parse trees that differ in constant values and locations only. Literals that are not constants in
 * the tree stay as they are: U&"…" identifiers, U&'…' with UESCAPE, E'' strings used with
 * adjacent-line continuation, numbers glued to identifiers, $n parameters … whenever in doubt, keep
 * the text. */
enum lex_result sql_lex(struct bytes sql, const struct sql_limits *limits, struct buffer *shape,
                        const char **ret_reason);
