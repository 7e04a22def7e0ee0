/* SPDX-License-Identifier: Apache-2.0
 * JSON lines on standard error.
 */
#include "log.h"

#include "clock.h"
#include "jsonw.h"

#include <unistd.h>

static enum log_level threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    threshold = level;
}

void log_event(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char time[CLOCK_RFC3339_LEN + 1];
    struct buffer b;

    if (level < threshold)
        return;
    buffer_init(&b, 16384);
    clock_rfc3339(clock_wall_us(), time);
    buffer_add_u8(&b, '{');
    jsonw_kstr(&b, "time", bytes_str(time));
    jsonw_kstr(&b, "level", bytes_str(names[level]));
    jsonw_kstr(&b, "event", bytes_str(event));
    for (size_t i = 0; i < n; i++) {
        if (fields[i].kind == LOG_FIELD_STR) {
            jsonw_kstr(&b, fields[i].key, bytes_str(fields[i].str));
        } else if (fields[i].kind == LOG_FIELD_I64 && (int64_t)fields[i].u64 < 0) {
            jsonw_key(&b, fields[i].key);
            buffer_printf(&b, "%lld", (long long)fields[i].u64);
        } else {
            jsonw_ku64(&b, fields[i].key, fields[i].u64);
        }
    }
    buffer_append(&b, "}\n", 2);
    /* One write a line, so that lines of threads do not mix. Nothing to do if it fails. */
    if (!b.failed)
        (void)!write(STDERR_FILENO, b.p, buffer_len(&b));
    buffer_done(&b);
}
