/* SPDX-License-Identifier: Apache-2.0
 * A watch's stream. The first byte says how large the pieces are; however it is cut, the same
 * lines come out, and what decodes has an object and, unless it is an error, a version.
 */
#include "src-common/kube/event.h"

#define MAX_LINE 4096

const char *const fuzz_dictionary[] = {"{\"type\":\"ADDED\",\"object\":{\"metadata\":{",
                                       "\"resourceVersion\":\"1\"",
                                       "\"type\":\"BOOKMARK\"",
                                       "\"type\":\"ERROR\"",
                                       "\"code\":410",
                                       "}}}\n",
                                       "\r\n",
                                       NULL};

static void decode(struct bytes line)
{
    struct watch_event e;
    struct error err = {""};

    if (watch_event_decode(line, &e, &err) != 0) {
        if (!err.text[0])
            abort();
        return;
    }
    if (!e.object || !e.version || (e.type == WATCH_ERROR ? e.code >= 0 : !e.version[0]))
        abort();
    watch_event_done(&e);
}

/* The number of lines, each mixed into *sum. */
static size_t frame(struct bytes data, size_t piece, uint64_t *sum)
{
    struct watch_framer f;
    struct bytes line;
    size_t n = 0;

    watch_framer_init(&f, MAX_LINE);
    while (data.len) {
        size_t take = min_size(piece, data.len);

        if (watch_framer_feed(&f, bytes_of(data.p, take)) != 0)
            break;
        data = bytes_of(data.p + take, data.len - take);
        while (watch_framer_next(&f, &line)) {
            if (memchr(line.p, '\n', line.len))
                abort();
            for (size_t i = 0; i < line.len; i++)
                *sum = *sum * 31 + line.p[i];
            if (piece != 1)
                decode(line);
            n++;
        }
    }
    watch_framer_done(&f);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole = 0, cut = 0;
    struct bytes rest;

    if (size < 1)
        return 0;
    rest = bytes_of(data + 1, size - 1);
    if (rest.len > MAX_LINE) { /* whether a line is too long depends on the cut */
        (void)frame(rest, 1 + data[0], &whole);
        return 0;
    }
    if (frame(rest, rest.len, &whole) != frame(rest, 1, &cut) || whole != cut)
        abort();
    return 0;
}
