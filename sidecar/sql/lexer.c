/* SPDX-License-Identifier: Apache-2.0
 * Statement text to shape, by the token rules of PostgreSQL 15.
 *
 * Why equal shapes mean equal trees: the grammar sees kinds of tokens, and of tokens other than
 * literals also the text. A shape keeps that text, so equal shapes are equal token sequences; a
 * literal's value then only ends up in its A_Const. The exceptions are few, and there the
 * literal stays in the shape:
 *   - every statement that does not begin with SELECT, VALUES, WITH, INSERT, UPDATE, DELETE or
 * MERGE (options, bodies of functions, passwords, file names, FETCH counts, SET values);
 *   - integers after ORDER BY, GROUP BY or DISTINCT ON, up to the end of that parenthesis level:
 *     they may number a result column;
 *   - an integer after `[`, which may bound an array type, and the precisions of float(n),
 *     current_time(n) and its like, which choose a type or stand in a field of their own;
 *   - U&'…' and U&"…" and the string after UESCAPE; E'…' with numeric escapes (they can fail) or
 *     continued on another line.
 * An integer that does not fit 32 bits is a decimal to the grammar and gets that mark.
 */
#include "lexer.h"

#include "lexer_private.h"

const struct sql_limits sql_default_limits = {
    .max_bytes = (size_t)1 << 20,
    .max_tokens = 100000,
    .max_nesting = 500,
    .max_comment_nesting = 32,
};

const char lexer_reason_ambiguous[] = "a string is continued behind a comment";
const char lexer_reason_encoding[] = "invalid byte sequence for encoding \"UTF8\"";
const char lexer_reason_nul[] = "statement contains a NUL byte";

/* ---- blanks ---- */

/* At the opening. Comments nest. */
static void skip_comment(struct lexer *lx)
{
    size_t depth = 0;

    do {
        uint8_t c = lexer_peek(lx, 0), next = lexer_peek(lx, 1);

        if (c == '/' && next == '*') {
            depth++;
            lx->at += 2;
        } else if (c == '*' && next == '/') {
            depth--;
            lx->at += 2;
        } else {
            lx->at++;
        }
        if (depth > lx->limits->max_comment_nesting) {
            lx->too_complex = "comments are nested too deep";
            return;
        }
    } while (depth > 0 && lx->at < lx->end);
    lx->bad |= depth > 0;
}

static inline bool at_comment(const struct lexer *lx)
{
    return lexer_at_line_comment(lx) || (lexer_peek(lx, 0) == '/' && lexer_peek(lx, 1) == '*');
}

/* White space and comments: one blank in the shape. Where libpg_query looks ahead it takes a
 * comment for the next token, which makes `NOT comment IN` an error: not the same as `NOT IN`. */
static void scan_blank(struct lexer *lx)
{
    const uint8_t *start = lx->at;
    bool comment = false;

    for (;;) {
        if (lexer_class(lexer_peek(lx, 0)) == B_SPACE) {
            lx->at++;
            continue;
        }
        if (!at_comment(lx) || lx->too_complex)
            break;
        comment = true;
        if (*lx->at == '-')
            lexer_skip_line(lx);
        else
            skip_comment(lx);
    }
    lx->bad |= comment && (lx->last == LAST_LOOKAHEAD || lx->last == LAST_UESCAPE);
    if (lx->at - start != 1 || *start != ' ')
        lexer_put(lx, start, ' ');
}

/* ---- words ---- */

/* `lower` has the same length as the word. */
static bool word_is(const uint8_t *word, const char *lower)
{
    for (; *lower; word++, lower++) {
        uint8_t c = *word;

        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != (uint8_t)*lower)
            return false;
    }
    return true;
}

static bool begins_normalised(const uint8_t *word, size_t len)
{
    switch (len) {
    case 4:
        return word_is(word, "with");
    case 5:
        return word_is(word, "merge");
    case 6:
        return word_is(word, "select") || word_is(word, "insert") || word_is(word, "update") ||
               word_is(word, "delete") || word_is(word, "values");
    default:
        return false;
    }
}

static bool is_precision(const uint8_t *word, size_t len)
{
    switch (len) {
    case 5:
        return word_is(word, "float");
    case 9:
        return word_is(word, "localtime");
    case 12:
        return word_is(word, "current_time");
    case 14:
        return word_is(word, "localtimestamp");
    case 17:
        return word_is(word, "current_timestamp");
    default:
        return false;
    }
}

static void note_by(struct lexer *lx)
{
    if (lx->by_level == NOT_BY)
        lx->by_level = lx->level;
}

static void check_nesting(struct lexer *lx)
{
    if (lx->level + lx->cases > lx->limits->max_nesting)
        lx->too_complex = "expressions or queries are nested too deep";
}

/* What the word changes for later tokens. A word that is really a name may be taken for the
 * keyword: that keeps more literals, never fewer. */
static enum last word_meaning(struct lexer *lx, const uint8_t *word, size_t len)
{
    switch (len) {
    case 2:
        if (word_is(word, "by") || (lx->last == LAST_DISTINCT && word_is(word, "on")))
            note_by(lx);
        return word_is(word, "as") ? LAST_LABELLED : LAST_OTHER;
    case 3:
        if (lx->cases > 0 && lx->last != LAST_LABELLED && word_is(word, "end"))
            lx->cases--;
        return word_is(word, "not") ? LAST_LOOKAHEAD : LAST_OTHER;
    case 4:
        if (word_is(word, "case")) {
            lx->cases++;
            check_nesting(lx);
        }
        return word_is(word, "with") ? LAST_LOOKAHEAD : LAST_OTHER;
    case 5:
        if (word_is(word, "nulls"))
            return LAST_LOOKAHEAD;
        return is_precision(word, len) ? LAST_PRECISION : LAST_OTHER;
    case 7:
        return word_is(word, "uescape") ? LAST_UESCAPE : LAST_OTHER;
    case 8:
        return word_is(word, "distinct") ? LAST_DISTINCT : LAST_OTHER;
    default:
        return is_precision(word, len) ? LAST_PRECISION : LAST_OTHER;
    }
}

static void scan_word(struct lexer *lx)
{
    const uint8_t *start = lx->at;
    size_t len;

    while (lx->at < lx->end && (lexer_classes[*lx->at] & IN_WORD))
        lx->at++;
    len = (size_t)(lx->at - start);
    if (lx->first) {
        lx->first = false;
        lx->normalise = begins_normalised(start, len);
    }
    lx->last = word_meaning(lx, start, len);
}

/* At a letter that may announce a literal. */
static void scan_prefix(struct lexer *lx)
{
    const uint8_t *start = lx->at;
    uint8_t letter = *start | 0x20;
    uint8_t next = lexer_peek(lx, 1), after = lexer_peek(lx, 2);

    if (letter == 'u' && next == '&' && (after == '\'' || after == '"')) {
        lx->at += 2;
        if (after == '"')
            lexer_quoted_name(lx, start);
        else
            lexer_string(lx, start, MARK_KEEP);
        lx->last = LAST_LOOKAHEAD;
    } else if (letter == 'u' || next != '\'') {
        scan_word(lx);
    } else {
        lx->at++;
        if (letter == 'e')
            lexer_escape_string(lx, start);
        else
            lexer_string(lx, start, letter == 'b' ? MARK_BITS : MARK_HEX);
    }
}

/* ---- single bytes ---- */

static void scan_open(struct lexer *lx)
{
    bool precision = lx->last == LAST_PRECISION;

    lx->last = LAST_OTHER;
    if (*lx->at++ == '[') {
        lx->last = LAST_BRACKET;
        lx->first = false;
    } else if (precision) {
        lx->last = LAST_PRECISION_OPEN;
    }
    lx->level++;
    check_nesting(lx);
}

static void scan_close(struct lexer *lx)
{
    lx->at++;
    lx->last = LAST_OTHER;
    if (lx->level == 0) {
        lx->bad = true;
        return;
    }
    lx->level--;
    if (lx->by_level != NOT_BY && lx->level < lx->by_level)
        lx->by_level = NOT_BY;
}

static void begin_statement(struct lexer *lx)
{
    lx->first = true;
    lx->normalise = false;
    lx->by_level = NOT_BY;
    lx->last = LAST_OTHER;
}

static void scan_token(struct lexer *lx)
{
    enum byte_class class = lexer_class(*lx->at);

    lx->tokens++;
    if (class != B_WORD && class != B_PREFIX && class != B_OPEN)
        lx->first = false;
    switch (class) {
    case B_WORD:
        scan_word(lx);
        break;
    case B_PREFIX:
        scan_prefix(lx);
        lx->first = false;
        break;
    case B_DIGIT:
        lexer_number(lx);
        break;
    case B_DOT:
        if (lexer_is_digit(lexer_peek(lx, 1))) {
            lexer_number(lx);
            break;
        }
        lx->at += lexer_peek(lx, 1) == '.' ? 2 : 1; /* `..` is a token: 1...5 ends in .5 */
        lx->last = LAST_LABELLED;
        break;
    case B_DOLLAR:
        lexer_dollar(lx);
        break;
    case B_QUOTE:
        lexer_string(lx, lx->at, MARK_STRING);
        break;
    case B_NAME:
        lexer_quoted_name(lx, lx->at);
        break;
    case B_OPEN:
        scan_open(lx);
        break;
    case B_CLOSE:
        scan_close(lx);
        break;
    case B_END:
        lx->at++;
        begin_statement(lx);
        break;
    case B_BAD:
        lx->bad = true;
        lx->at++;
        break;
    case B_SPACE:
    case B_OPERATOR:
    case B_SELF:
        lx->at++;
        lx->last = LAST_OTHER;
        break;
    }
}

static void scan_all(struct lexer *lx)
{
    begin_statement(lx);
    while (lx->at < lx->end && !lx->too_complex) {
        enum byte_class class = lexer_class(*lx->at);

        if (class == B_SPACE || (class == B_OPERATOR && at_comment(lx)))
            scan_blank(lx);
        else
            scan_token(lx);
        if (lx->tokens > lx->limits->max_tokens)
            lx->too_complex = "statement has too many words";
    }
    lexer_flush(lx, lx->at);
    lx->bad |= lx->level > 0;
}

static const char *why_bad(const struct lexer *lx, struct bytes sql)
{
    if (memchr(sql.p, 0, sql.len))
        return lexer_reason_nul;
    if (!lexer_is_utf8(sql))
        return lexer_reason_encoding;
    if (lx->ambiguous)
        return lexer_reason_ambiguous;
    return lx->bad ? "text cannot be split into tokens" : NULL;
}

enum lex_result sql_lex(struct bytes sql, const struct sql_limits *limits, struct buffer *shape,
                        const char **ret_reason)
{
    struct lexer lx = {.at = sql.p, .end = sql.p + sql.len, .kept = sql.p, .limits = limits};
    uint8_t *out = NULL;

    if (sql.len > limits->max_bytes) {
        *ret_reason = "statement is too long";
        return LEX_TOO_COMPLEX;
    }
    if (sql.len == 0)
        return LEX_OK;
    if (shape) {
        out = buffer_reserve(shape, sql.len);
        lx.bad = !out;
        lx.out = out;
    }
    scan_all(&lx);
    if (lx.too_complex) {
        *ret_reason = lx.too_complex;
        return LEX_TOO_COMPLEX;
    }
    *ret_reason = why_bad(&lx, sql);
    if (*ret_reason)
        return LEX_BAD;
    if (out)
        buffer_commit(shape, (size_t)(lx.out - out));
    return LEX_OK;
}
