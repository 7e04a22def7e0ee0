/* SPDX-License-Identifier: Apache-2.0
 * A session's record as text for people: each line of the record becomes some lines of text.
 * Fields and types it does not know are shown as they are.
 */
#pragma once

#include "transcript_ssh.h"

struct json_object;

enum transcript_style {
    TRANSCRIPT_REPLAY = 0, /* everything, with times and verdicts */
    TRANSCRIPT_PSQL,       /* as a person at the client would have seen it */
};

struct transcript {
    enum transcript_style style;
    bool color;
    bool name_session; /* lines of several sessions are mixed */
    uint64_t start_us; /* of the first line that was rendered */
    char database[64]; /* psql's prompt */
    bool ssh, kube;    /* the session's protocol */
    struct terminal terminal;
};

#define TRANSCRIPT_MAX ((size_t)512 << 20) /* of the text of one line */

/* Appends the text of one line. All of it is safe to print. */
void transcript_line(struct transcript *t, struct json_object *line, struct buffer *out);
/* The result's rows as an aligned table. */
void transcript_rows(struct json_object *result, const char *indent, struct buffer *out);
