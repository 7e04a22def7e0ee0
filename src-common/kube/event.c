/* SPDX-License-Identifier: Apache-2.0
 * Lines and events of a watch.
 */
#include "event.h"

#include "internal.h"

#include <errno.h>
#include <json-c/json.h>

static const char *const type_names[] = {"ERROR", "ADDED", "MODIFIED", "DELETED", "BOOKMARK"};

static int read_error(struct watch_event *e, struct error *err)
{
    struct json_object *o = e->object;

    e->code = kube_status_errno((int)kube_get_int(o, "code"), kube_get_str(o, "reason"));
    if (e->code == 0)
        e->code = -EIO;
    e->version = "";
    error_set(err, 0, "the API server ends the watch: %s: %.400s", kube_get_str(o, "reason"),
              kube_get_str(o, "message"));
    return 0;
}

static int fill(struct json_object *whole, struct watch_event *e, struct error *err)
{
    const char *type = kube_get_str(whole, "type");
    struct json_object *o = kube_get(whole, "object");
    size_t i = 0;

    while (i < ARRAY_LEN(type_names) && strcmp(type_names[i], type) != 0)
        i++;
    if (i == ARRAY_LEN(type_names))
        return error_set(err, -EBADMSG, "a watch event of the unknown type '%.40s'", type);
    if (!json_object_is_type(o, json_type_object))
        return error_set(err, -EBADMSG, "a watch event without an object");
    *e = (struct watch_event){.type = (enum watch_type)i, .object = json_object_get(o)};
    if (e->type == WATCH_ERROR)
        return read_error(e, err);
    e->version = kube_get_str(o, "metadata.resourceVersion");
    if (!e->version[0]) {
        watch_event_done(e);
        return error_set(err, -EBADMSG, "a watch event without a resourceVersion");
    }
    return 0;
}

int watch_event_decode(struct bytes line, struct watch_event *ret, struct error *err)
{
    struct json_object *whole = NULL;
    struct watch_event e;
    int rc = kube_parse(line, &whole);

    if (rc)
        return error_set(err, rc, "a watch event that is no JSON");
    rc = fill(whole, &e, err);
    json_object_put(whole);
    if (rc == 0)
        *ret = e;
    return rc;
}

void watch_event_done(struct watch_event *e)
{
    json_object_put(e->object);
    *e = (struct watch_event){0};
}

void watch_framer_init(struct watch_framer *f, size_t max_line)
{
    buffer_init(&f->held, max_line);
    f->looked = 0;
}

void watch_framer_done(struct watch_framer *f)
{
    buffer_wipe(&f->held);
    f->looked = 0;
}

/* More than one line may come at once: only what has no end yet counts against the maximum. */
int watch_framer_feed(struct watch_framer *f, struct bytes data)
{
    return buffer_add(&f->held, data) == 0 ? 0 : -EMSGSIZE;
}

bool watch_framer_next(struct watch_framer *f, struct bytes *ret)
{
    for (;;) {
        struct bytes all = buffer_bytes(&f->held);
        const uint8_t *end =
            all.len > f->looked ? memchr(all.p + f->looked, '\n', all.len - f->looked) : NULL;
        struct bytes line;

        if (!end) {
            f->looked = all.len;
            return false;
        }
        line = bytes_of(all.p, (size_t)(end - all.p));
        buffer_consume(&f->held, line.len + 1);
        f->looked = 0;
        if (line.len && line.p[line.len - 1] == '\r')
            line.len--;
        if (line.len) {
            *ret = line;
            return true;
        }
    }
}
