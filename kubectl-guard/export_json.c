/* SPDX-License-Identifier: Apache-2.0
 * One JSON document: what the verification found, and all lines; of several sessions, one such
 * document behind the other, as jq reads them.
 */
#include "export_formats.h"

#include "object.h"
#include "src-common/jsonw.h"

#include <json-c/json.h>

enum exit_code export_json(struct recordfile *f, const struct export_about *about, FILE *to)
{
    const struct record_check *c = &f->check;
    struct json_object *line;
    struct bytes text;
    struct buffer b;
    const char *sep = "\n";

    (void)about;
    buffer_init(&b, (size_t)1 << 16);
    buffer_printf(&b, "{\"verdict\":\"%s\"", recordfile_verdict(c));
    jsonw_kstr(&b, "session", bytes_str(c->session));
    jsonw_kstr(&b, "head", bytes_str(c->head));
    if (!c->ok) {
        jsonw_ku64(&b, "badSeq", c->bad_seq);
        jsonw_kstr(&b, "reason", bytes_str(c->reason));
    }
    buffer_printf(&b, f->only ? ",\"partial\":true,\"lines\":[" : ",\"lines\":[");
    fwrite(b.p, 1, buffer_len(&b), to);
    buffer_done(&b);
    while (recordfile_next(f, &text, &line)) {
        if (line) { /* what is no JSON cannot stand in a document */
            fputs(sep, to);
            fwrite(text.p, 1, text.len, to);
            sep = ",\n";
        }
        json_object_put(line);
    }
    fputs("\n]}\n", to);
    return EXIT_DONE;
}
