/* SPDX-License-Identifier: Apache-2.0
 * Text from agents and databases, made safe to look at. Whatever reaches a terminal from outside
 * goes through text_clean: an escape sequence could repaint what a person is about to approve,
 * and a bidirectional override could show another statement than the one that will run.
 */
#pragma once

#include "src-common/buffer.h"

enum text_mode {
    TEXT_LINE = 0, /* one line: \n, \t and \r are shown as such */
    TEXT_BLOCK,    /* several lines: newlines stay, tabs become four blanks */
};

/* Appends the text with control characters shown as \x1b, bytes that are not UTF-8 as \xff, and
 * formatting or otherwise invisible characters as <U+202E>. */
void text_clean(struct bytes text, enum text_mode mode, struct buffer *out);
/* As text_clean on one line, cut with "…" so that it takes at most `columns`. */
void text_clean_cut(struct bytes text, size_t columns, struct buffer *out);
/* Every line of the cleaned text behind the indent, each ended by a newline. */
void text_clean_indented(struct bytes text, const char *indent, struct buffer *out);
/* JSON text with the same characters as \u202e inside its strings: still the same JSON. */
void text_clean_json(struct bytes json, struct buffer *out);
/* Columns of a terminal that a cleaned text without newlines takes. */
size_t text_columns(struct bytes text);
