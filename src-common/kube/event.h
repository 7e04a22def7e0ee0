/* SPDX-License-Identifier: Apache-2.0
 * A watch's stream: one JSON object a line, {"type":…,"object":…}. Pure functions over bytes.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"

struct json_object;

enum watch_type {
    WATCH_ERROR = 0,
    WATCH_ADDED,
    WATCH_MODIFIED,
    WATCH_DELETED,
    WATCH_BOOKMARK,
};

struct watch_event {
    enum watch_type type;
    struct json_object *object; /* owned */
    const char *version;        /* metadata.resourceVersion; points into object; "" for errors */
    int code;                   /* of WATCH_ERROR: as kube_call, -ESTALE for 410 */
};

/* Reads one line. -EBADMSG: no JSON, an unknown type, no object or no resourceVersion; err says
 * which. For WATCH_ERROR err has the server's message. */
int watch_event_decode(struct bytes line, struct watch_event *ret, struct error *err) MUST_CHECK;
void watch_event_done(struct watch_event *e);

/* Cuts the stream into lines. The buffer's maximum is the longest line. */
struct watch_framer {
    struct buffer held;
    size_t looked; /* bytes of held that are known to have no end of line */
};
void watch_framer_init(struct watch_framer *f, size_t max_line);
void watch_framer_done(struct watch_framer *f);
/* Adds what was received. -EMSGSIZE: a line is longer than the maximum. */
int watch_framer_feed(struct watch_framer *f, struct bytes data) MUST_CHECK;
/* The next whole line without its end; empty lines are left out. False: none. Valid until the
 * next call with f. */
bool watch_framer_next(struct watch_framer *f, struct bytes *ret);
