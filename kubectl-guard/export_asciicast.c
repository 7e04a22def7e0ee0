/* SPDX-License-Identifier: Apache-2.0
 * asciicast v2: a header line, then [seconds, "o", text] a line.
 */
#include "export_formats.h"

#include "object.h"
#include "src-common/jsonw.h"
#include "transcript.h"

#include <json-c/json.h>

#define COLUMNS  120
#define ROWS     40
#define IDLE_MAX 5 /* players skip longer pauses */

static void header(FILE *to, const struct recordfile *f, struct json_object *first)
{
    struct buffer b;

    buffer_init(&b, (size_t)1 << 16);
    buffer_printf(&b, "{\"version\":2,\"width\":%d,\"height\":%d", COLUMNS, ROWS);
    jsonw_ku64(&b, "timestamp", object_time_us(object_text(first, "time")) / 1000000);
    buffer_printf(&b, ",\"idle_time_limit\":%d", IDLE_MAX);
    jsonw_kstr(&b, "title", bytes_str(f->check.session));
    buffer_printf(&b, ",\"env\":{\"TERM\":\"xterm-256color\"}}\n");
    fwrite(b.p, 1, buffer_len(&b), to);
    buffer_done(&b);
}

/* A terminal needs \r\n. */
static void event(FILE *to, uint64_t us, struct bytes text, struct buffer *b)
{
    struct buffer crlf;

    buffer_init(&crlf, TRANSCRIPT_MAX);
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '\n')
            buffer_add_u8(&crlf, '\r');
        buffer_add_u8(&crlf, text.p[i]);
    }
    buffer_reset(b, SIZE_MAX);
    buffer_printf(b, "[%llu.%06llu, \"o\", ", (unsigned long long)(us / 1000000),
                  (unsigned long long)(us % 1000000));
    jsonw_str(b, buffer_bytes(&crlf));
    buffer_append(b, "]\n", 2);
    if (!b->failed && !crlf.failed)
        fwrite(b->p + b->start, 1, buffer_len(b), to);
    buffer_done(&crlf);
}

enum exit_code export_asciicast(struct recordfile *f, FILE *to)
{
    struct transcript t = {.style = TRANSCRIPT_PSQL, .color = true};
    struct json_object *line;
    struct buffer out, scratch;
    struct bytes text;
    uint64_t last = 0;
    bool begun = false;

    buffer_init(&out, TRANSCRIPT_MAX);
    buffer_init(&scratch, TRANSCRIPT_MAX);
    while (recordfile_next(f, &text, &line)) {
        uint64_t us = object_time_us(object_text(line, "time"));

        if (!begun)
            header(to, f, line);
        begun = true;
        buffer_reset(&out, SIZE_MAX);
        if (line)
            transcript_line(&t, line, &out);
        us = us > t.start_us ? us - t.start_us : 0;
        last = us > last ? us : last; /* time in a cast never runs backwards */
        if (buffer_len(&out) && !out.failed)
            event(to, last, buffer_bytes(&out), &scratch);
        json_object_put(line);
    }
    buffer_done(&out);
    buffer_done(&scratch);
    if (!begun)
        return cli_fail(EXIT_NO, "%s is empty", f->path);
    return EXIT_DONE;
}
