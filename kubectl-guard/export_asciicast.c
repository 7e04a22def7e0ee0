/* SPDX-License-Identifier: Apache-2.0
 * asciicast v2: a header line, then [seconds, "o", text] a line.
 */
#include "export_formats.h"

#include "object.h"
#include "src-common/jsonw.h"
#include "transcript.h"

#include <json-c/json.h>

#define IDLE_MAX 5 /* players skip longer pauses */

static void header(FILE *to, const struct recordfile *f)
{
    struct buffer b;

    buffer_init(&b, (size_t)1 << 16);
    buffer_printf(&b, "{\"version\":2,\"width\":%d,\"height\":%d", CAST_COLUMNS, CAST_ROWS);
    jsonw_ku64(&b, "timestamp", object_time_us(f->check.started) / 1000000);
    buffer_printf(&b, ",\"idle_time_limit\":%d", IDLE_MAX);
    jsonw_kstr(&b, "title", bytes_str(f->check.session));
    buffer_printf(&b, ",\"env\":{\"TERM\":\"xterm-256color\"}}\n");
    fwrite(b.p, 1, buffer_len(&b), to);
    buffer_done(&b);
}

/* A terminal needs \r\n. */
static void add_crlf(struct bytes text, struct buffer *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '\n' && (i == 0 || text.p[i - 1] != '\r'))
            buffer_add_u8(out, '\r');
        buffer_add_u8(out, text.p[i]);
    }
}

bool export_cast(struct recordfile *f, cast_fn *fn, void *arg)
{
    struct transcript t = {.style = TRANSCRIPT_PSQL, .color = true};
    struct json_object *line;
    struct buffer out, crlf;
    struct bytes text;
    uint64_t last = 0;
    bool begun = false;

    buffer_init(&out, TRANSCRIPT_MAX);
    buffer_init(&crlf, TRANSCRIPT_MAX);
    for (; recordfile_next(f, &text, &line); json_object_put(line)) {
        uint64_t us = object_time_us(object_text(line, "time"));

        begun = true;
        buffer_reset(&out, SIZE_MAX);
        buffer_reset(&crlf, SIZE_MAX);
        if (line)
            transcript_line(&t, line, &out);
        us = us > t.start_us ? us - t.start_us : 0;
        last = us > last ? us : last;
        add_crlf(buffer_bytes(&out), &crlf);
        if (buffer_len(&crlf) && !out.failed && !crlf.failed)
            fn(last, buffer_bytes(&crlf), arg);
    }
    buffer_done(&out);
    buffer_done(&crlf);
    return begun;
}

static void event(uint64_t us, struct bytes text, void *arg)
{
    struct buffer b;

    buffer_init(&b, TRANSCRIPT_MAX);
    buffer_printf(&b, "[%llu.%06llu, \"o\", ", (unsigned long long)(us / 1000000),
                  (unsigned long long)(us % 1000000));
    jsonw_str(&b, text);
    buffer_append(&b, "]\n", 2);
    if (!b.failed)
        fwrite(b.p + b.start, 1, buffer_len(&b), arg);
    buffer_done(&b);
}

enum exit_code export_asciicast(struct recordfile *f, const struct export_about *about, FILE *to)
{
    (void)about;
    header(to, f);
    if (!export_cast(f, event, to))
        return cli_fail(EXIT_NO, "%s is empty", f->path);
    return EXIT_DONE;
}
