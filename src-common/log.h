/* SPDX-License-Identifier: Apache-2.0
 * One JSON object a line on standard error. Events have constant names ("session.open") and
 * typed fields; statements, credentials and row data never go here: they belong to the record.
 * Any thread.
 */
#pragma once

#include "base.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_U64, LOG_FIELD_I64 } kind;
    const char *str;
    uint64_t u64;
};

#define F_STR(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .str = (v)})
#define F_U64(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_U64, .u64 = (v)})
#define F_I64(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_I64, .u64 = (uint64_t)(v)})

/* Messages below this level are dropped. The default is LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
void log_event(enum log_level level, const char *event, const struct log_field *fields, size_t n);

#define LOG_AT(level, event, ...)                                                                  \
    log_event((level), (event), (const struct log_field[]){__VA_ARGS__},                           \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
