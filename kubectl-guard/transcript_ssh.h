/* SPDX-License-Identifier: Apache-2.0
 * What SSH sessions need to be shown: contents of data lines, and a terminal's output made
 * harmless.
 */
#pragma once

#include "src-common/buffer.h"

struct json_object;

/* Appends the bytes of a data line, whether `text` or `base64`. 0, or -1 when they cannot be read.
 */
int transcript_content(struct json_object *line, struct buffer *out);

struct terminal { /* between two calls: sequences may be cut anywhere */
    enum {
        TERMINAL_TEXT = 0,
        TERMINAL_ESCAPE,
        TERMINAL_CSI,
        TERMINAL_STRING,
        TERMINAL_CHARSET
    } state;
    bool escaped; /* in a string: ESC was the last */
    bool lead;    /* 0xc2 was the last: the first half of a C1 control, or of a letter */
    size_t n;
    uint8_t sequence[64];
};

/* Appends the text alone, for where there is no terminal: \r\n as \n, and no sequences at all. */
void terminal_plain(struct terminal *t, struct bytes in, struct buffer *out);
/* Appends what only draws: text and cursor movements, nothing that a terminal answers or keeps. */
void terminal_filter(struct terminal *t, struct bytes in, struct buffer *out);
