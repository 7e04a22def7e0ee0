/* SPDX-License-Identifier: Apache-2.0
 * Startup messages: whatever is accepted can be rebuilt, and what is rebuilt has no setting that
 * is not permitted.
 */
#include "sidecar/proto/postgres/startup.h"

#include "src-common/cursor.h"

#include <stdlib.h>
#include <strings.h>

static bool forbidden(struct bytes key)
{
    static const char *const never[] = {"options", "replication", "role", "session_authorization"};

    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (key.len == strlen(never[i]) && strncasecmp((const char *)key.p, never[i], key.len) == 0)
            return true;
    return key.len > 5 && memcmp(key.p, "_pq_.", 5) == 0;
}

static void check_rebuilt(struct bytes message, const struct pgstartup *s)
{
    struct cursor c = cursor_over(message);
    unsigned encodings = 0, users = 0;

    if (cursor_be32(&c) != message.len || cursor_be32(&c) >> 16 != 3)
        abort();
    for (;;) {
        struct bytes key = cursor_cstr(&c), value;

        if (c.bad)
            abort();
        if (key.len == 0)
            break;
        value = cursor_cstr(&c);
        if (forbidden(key))
            abort();
        if (bytes_eq_str(key, "client_encoding") &&
            (++encodings > 1 || !bytes_eq_str(value, "UTF8")))
            abort();
        if (bytes_eq_str(key, "user") && (++users > 1 || !bytes_eq_str(value, s->user)))
            abort();
    }
    if (!cursor_at_end(&c) || encodings != 1 || users != 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {""};
    struct pgstartup s;
    struct buffer out;
    uint16_t minor;
    bool tell;

    if (size < 2 || size > PGSTARTUP_MAX)
        return 0;
    if (pgstartup_parse(bytes_of(data + 2, size - 2), get_be16(data), &s, &err) != 0)
        return 0;
    buffer_init(&out, 1 << 16);
    minor = pgstartup_negotiate(&s, &tell);
    if (minor != 0 && minor != 2)
        abort();
    if (pgstartup_build(&s, minor, &out) != 0)
        abort();
    check_rebuilt(buffer_bytes(&out), &s);
    pgstartup_add_negotiate(&s, minor, &out);
    buffer_done(&out);
    return 0;
}
