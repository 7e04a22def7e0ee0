/* SPDX-License-Identifier: Apache-2.0
 * Literals: where they end, and whether a mark may stand for them.
 */
#include "lexer.h"

#include "lexer_private.h"

/* Quoted text that stays in the shape must not look like marks. */
static void keep_quoted(struct lexer *lx, const uint8_t *start)
{
    for (const uint8_t *p = start; p < lx->at; p++)
        lx->bad |= *p < MARK_END;
}

static void put_literal(struct lexer *lx, const uint8_t *start, enum mark mark)
{
    if (lx->normalise && mark != MARK_KEEP)
        lexer_put(lx, start, (uint8_t)mark);
    else
        keep_quoted(lx, start);
    lx->last = LAST_OTHER;
}

/* Behind a closing quote: a string goes on when white space with a line end in it leads to
 * another quote. Moves behind that quote. PostgreSQL also permits line comments there, libpg_query
 * does not: for it a new string begins, in which backslashes may mean something else, so that
 * the two can disagree on where the statement ends. Such text is not for parsing. */
static bool continues(struct lexer *lx)
{
    const uint8_t *back = lx->at;
    bool line_end = false, comment = false;

    for (;;) {
        uint8_t c = lexer_peek(lx, 0);

        if (lexer_class(c) == B_SPACE) {
            line_end |= c == '\n' || c == '\r';
            lx->at++;
        } else if (lexer_at_line_comment(lx)) {
            lexer_skip_line(lx);
            comment = true;
        } else {
            break;
        }
    }
    if (line_end && lexer_peek(lx, 0) == '\'') {
        lx->at++;
        lx->ambiguous |= comment;
        return true;
    }
    lx->at = back;
    return false;
}

/* From behind the opening quote to behind the closing one. */
static void skip_bits(struct lexer *lx)
{
    while (lx->at < lx->end) {
        if (*lx->at++ == '\'')
            return;
    }
    lx->bad = true;
}

/* As skip_bits; a doubled quote is one quote of the content. */
static void skip_plain(struct lexer *lx, uint8_t quote)
{
    for (;;) {
        const uint8_t *q = memchr(lx->at, quote, (size_t)(lx->end - lx->at));

        if (!q) {
            lx->at = lx->end;
            lx->bad = true;
            return;
        }
        lx->at = q + 1;
        if (lexer_peek(lx, 0) != quote)
            return;
        lx->at++;
    }
}

/* As skip_plain, with backslashes. False when an escape is one that can be wrong. */
static bool skip_escaped(struct lexer *lx)
{
    bool simple = true;

    while (lx->at < lx->end) {
        uint8_t c = *lx->at++;

        if (c == '\\' && lx->at < lx->end) {
            c = *lx->at++;
            simple = simple && !lexer_is_digit(c) && c != 'x' && c != 'u' && c != 'U';
        } else if (c == '\'') {
            if (lexer_peek(lx, 0) != '\'')
                return simple;
            lx->at++;
        }
    }
    lx->bad = true;
    return false;
}

/* At the opening quote of what `start` began. */
void lexer_string(struct lexer *lx, const uint8_t *start, enum mark mark)
{
    lx->at++;
    do {
        if (mark == MARK_BITS || mark == MARK_HEX)
            skip_bits(lx);
        else
            skip_plain(lx, '\'');
    } while (continues(lx));
    put_literal(lx, start, lx->last == LAST_UESCAPE ? MARK_KEEP : mark);
}

void lexer_escape_string(struct lexer *lx, const uint8_t *start)
{
    enum mark mark = lx->last == LAST_UESCAPE ? MARK_KEEP : MARK_STRING;

    lx->at++;
    if (!skip_escaped(lx))
        mark = MARK_KEEP;
    while (continues(lx)) {
        mark = MARK_KEEP;
        skip_escaped(lx);
    }
    put_literal(lx, start, mark);
}

void lexer_quoted_name(struct lexer *lx, const uint8_t *start)
{
    lx->at++;
    skip_plain(lx, '"');
    keep_quoted(lx, start);
    lx->last = LAST_OTHER;
}

/* At a `$` that begins no parameter. */
static void scan_dollar_string(struct lexer *lx, const uint8_t *start)
{
    size_t tag = 1;
    const uint8_t *close;

    if (lexer_begins_word(lexer_peek(lx, tag))) {
        while (lexer_classes[lexer_peek(lx, tag)] & IN_TAG)
            tag++;
    }
    lx->at += tag;
    if (lexer_peek(lx, 0) != '$') {
        lx->bad = true;
        return;
    }
    lx->at++;
    close = memmem(lx->at, (size_t)(lx->end - lx->at), start, tag + 1);
    lx->bad |= !close;
    lx->at = close ? close + tag + 1 : lx->end;
    put_literal(lx, start, lx->last == LAST_UESCAPE ? MARK_KEEP : MARK_STRING);
}

void lexer_dollar(struct lexer *lx)
{
    if (!lexer_is_digit(lexer_peek(lx, 1))) {
        scan_dollar_string(lx, lx->at);
        return;
    }
    lx->at++;
    while (lexer_is_digit(lexer_peek(lx, 0)))
        lx->at++;
    lx->bad |= lexer_begins_word(lexer_peek(lx, 0));
    lx->last = LAST_OTHER;
}

static void skip_digits(struct lexer *lx)
{
    while (lexer_is_digit(lexer_peek(lx, 0)))
        lx->at++;
}

static bool fits_integer(const uint8_t *p, const uint8_t *end)
{
    uint64_t v = 0;

    for (; p < end && v <= INT32_MAX; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    return v <= INT32_MAX;
}

static bool integer_is_kept(const struct lexer *lx)
{
    return lx->level >= lx->by_level || lx->last == LAST_BRACKET || lx->last == LAST_PRECISION_OPEN;
}

/* At a digit, or at a point that a digit follows. */
void lexer_number(struct lexer *lx)
{
    const uint8_t *start = lx->at;
    enum mark mark = MARK_DECIMAL;
    size_t sign;

    skip_digits(lx);
    if (lexer_peek(lx, 0) == '.' && (lexer_peek(lx, 1) != '.' || lx->at == start)) {
        lx->at++;
        skip_digits(lx);
    } else {
        mark = fits_integer(start, lx->at) ? MARK_INTEGER : MARK_DECIMAL;
    }
    if ((lexer_peek(lx, 0) | 0x20) == 'e') {
        sign = lexer_peek(lx, 1) == '+' || lexer_peek(lx, 1) == '-';
        mark = MARK_DECIMAL;
        if (lexer_is_digit(lexer_peek(lx, 1 + sign))) {
            lx->at += 1 + sign;
            skip_digits(lx);
        }
    }
    lx->bad |= lexer_begins_word(lexer_peek(lx, 0)); /* junk after a number */
    if (mark == MARK_INTEGER && integer_is_kept(lx))
        mark = MARK_KEEP;
    put_literal(lx, start, mark);
}
