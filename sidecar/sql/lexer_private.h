/* SPDX-License-Identifier: Apache-2.0
 * What the files of the lexer share: classes of bytes, the scan's state, and the small steps.
 * lexer.c walks the tokens, lexer_literal.c knows where quoted things and numbers end.
 */
#pragma once

#include "lexer.h"

/* No token contains these outside quotes, and a shape whose quoted parts do is not made. */
enum mark {
    MARK_KEEP = 0, /* the literal stays */
    MARK_INTEGER,
    MARK_DECIMAL,
    MARK_STRING,
    MARK_BITS,
    MARK_HEX,
    MARK_END,
};

enum byte_class {
    B_BAD = 0, /* begins no token */
    B_SPACE,
    B_WORD,
    B_PREFIX, /* begins a word, or B'' X'' E'' U&'' U&"" */
    B_DIGIT,
    B_DOT,
    B_DOLLAR,
    B_QUOTE,
    B_NAME, /* " */
    B_OPERATOR,
    B_SELF,
    B_OPEN,
    B_CLOSE,
    B_END, /* ; */
};

#define CLASS_MASK 0x0f
#define IN_WORD    0x10 /* continues a word */
#define IN_TAG     0x20 /* continues the tag of a dollar quote */
#define LETTER     (B_WORD | IN_WORD | IN_TAG)
#define PREFIX     (B_PREFIX | IN_WORD | IN_TAG)

/* The last token, as far as the next one's meaning depends on it. */
enum last {
    LAST_OTHER = 0,
    LAST_DISTINCT,
    LAST_UESCAPE,
    LAST_LABELLED,  /* after . or AS any word is a name */
    LAST_PRECISION, /* float and its like */
    LAST_PRECISION_OPEN,
    LAST_BRACKET,
    LAST_LOOKAHEAD, /* NOT, NULLS, WITH, U&: the parser looks at the next token already */
};

struct lexer {
    const uint8_t *at, *end;
    const uint8_t *kept; /* what lies between here and `at` belongs in the shape as it is */
    uint8_t *out;        /* NULL: no shape wanted */
    const struct sql_limits *limits;
    size_t tokens, level, cases;
    size_t by_level; /* integers from this level on may be ordinals; NOT_BY: none */
    enum last last;
    bool first;     /* before the first word of a statement */
    bool normalise; /* this statement's literals get marks */
    bool bad;
    bool ambiguous; /* parser and server would split this text differently */
    const char *too_complex;
};

#define NOT_BY SIZE_MAX

extern const uint8_t lexer_classes[256];

/* Reasons of LEX_BAD for which the parser must not be asked: it would not notice. */
extern const char lexer_reason_ambiguous[], lexer_reason_encoding[], lexer_reason_nul[];

static inline enum byte_class lexer_class(uint8_t c)
{
    return lexer_classes[c] & CLASS_MASK;
}

/* The byte `ahead` places on; 0, which is part of no token, past the end. */
static inline uint8_t lexer_peek(const struct lexer *lx, size_t ahead)
{
    return ahead < (size_t)(lx->end - lx->at) ? lx->at[ahead] : 0;
}

static inline bool lexer_is_digit(uint8_t c)
{
    return lexer_class(c) == B_DIGIT;
}

static inline bool lexer_begins_word(uint8_t c)
{
    return lexer_class(c) == B_WORD || lexer_class(c) == B_PREFIX;
}

static inline void lexer_flush(struct lexer *lx, const uint8_t *until)
{
    size_t n = (size_t)(until - lx->kept);

    if (lx->out) {
        memcpy(lx->out, lx->kept, n);
        lx->out += n;
    }
}

/* Puts one byte in the place of the text from `start` on. */
static inline void lexer_put(struct lexer *lx, const uint8_t *start, uint8_t byte)
{
    lexer_flush(lx, start);
    lx->kept = lx->at;
    if (lx->out)
        *lx->out++ = byte;
}

static inline void lexer_skip_line(struct lexer *lx)
{
    while (lx->at < lx->end && *lx->at != '\n' && *lx->at != '\r')
        lx->at++;
}

static inline bool lexer_at_line_comment(const struct lexer *lx)
{
    return lexer_peek(lx, 0) == '-' && lexer_peek(lx, 1) == '-';
}

/* Each moves from the first byte of a literal behind its last one and puts it, or its mark, into
 * the shape. `start` is where its prefix begins; `at` is at the quote. */
void lexer_string(struct lexer *lx, const uint8_t *start, enum mark mark);
void lexer_escape_string(struct lexer *lx, const uint8_t *start);
void lexer_quoted_name(struct lexer *lx, const uint8_t *start);
void lexer_dollar(struct lexer *lx); /* also parameters: $1 */
void lexer_number(struct lexer *lx);

/* Legal UTF-8, as PostgreSQL has it. */
bool lexer_is_utf8(struct bytes text);
