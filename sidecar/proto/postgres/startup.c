/* SPDX-License-Identifier: Apache-2.0
 * Startup messages.
 */
#include "startup.h"

#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

/* Settings that change how results look, how long things may take, or nothing at all. Every
 * other one is refused: `options` and most settings can redirect names, roles or plans.
 * search_path is harmless here, for the guard asks the upstream what came of it. */
static const char *const permitted[] = {
    "application_name",
    "client_min_messages",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "extra_float_digits",
    "bytea_output",
    "geqo",
    "jit",
    "search_path",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "default_transaction_deferrable",
    "tcp_user_timeout",
    "xmloption",
};

static bool is_permitted(struct bytes key)
{
    for (size_t i = 0; i < ARRAY_LEN(permitted); i++)
        if (key.len == strlen(permitted[i]) &&
            strncasecmp((const char *)key.p, permitted[i], key.len) == 0)
            return true;
    return false;
}

static bool key_is(struct bytes key, const char *name)
{
    return key.len == strlen(name) && strncasecmp((const char *)key.p, name, key.len) == 0;
}

static bool value_is_one_of(struct bytes value, const char *const *words)
{
    for (; *words; words++)
        if (key_is(value, *words))
            return true;
    return false;
}

static int set_name(char out[static 64], struct bytes value, const char *what, struct error *err)
{
    if (out[0])
        return error_set(err, -EBADMSG, "startup parameter \"%s\" is given twice", what);
    if (value.len == 0 || value.len > 63)
        return error_set(err, -EBADMSG, "startup parameter \"%s\" must have 1 to 63 bytes", what);
    memcpy(out, value.p, value.len);
    out[value.len] = '\0';
    return 0;
}

static int refuse(struct bytes key, const char *why, struct error *err)
{
    return error_set(
        err, -EACCES, "startup parameter \"%.*s\" is not permitted through the guard%s%s",
        (int)min_size(key.len, 63), (const char *)key.p, why ? ": " : "", why ? why : "");
}

static int take_parameter(struct pgstartup *s, struct bytes key, struct bytes value,
                          struct error *err)
{
    static const char *const utf8[] = {"UTF8", "UTF-8", "UNICODE", NULL};
    static const char *const off[] = {"false", "off", "no", "0", "f", "n", NULL};

    if (key_is(key, "user"))
        return set_name(s->user, value, "user", err);
    if (key_is(key, "database"))
        return set_name(s->database, value, "database", err);
    if (key_is(key, "client_encoding")) {
        if (value.len >= 2 && value.p[0] == '\'' && value.p[value.len - 1] == '\'')
            value = (struct bytes){value.p + 1, value.len - 2}; /* asyncpg quotes it */
        return value_is_one_of(value, utf8) ? 0 : refuse(key, "only UTF8", err);
    }
    if (key_is(key, "replication"))
        return value_is_one_of(value, off) ? 0 : refuse(key, "replication is denied", err);
    if (key.len > 5 && memcmp(key.p, "_pq_.", 5) == 0) {
        if (s->n_options < PGSTARTUP_MAX_KEYS)
            s->options[s->n_options++] = key;
        return 0;
    }
    if (!is_permitted(key))
        return refuse(key, key_is(key, "options") ? "use SET, or name the setting by itself" : NULL,
                      err);
    for (size_t i = 0; i < s->n_settings; i++)
        if (s->settings[i].key.len == key.len &&
            strncasecmp((const char *)s->settings[i].key.p, (const char *)key.p, key.len) == 0)
            return error_set(err, -EBADMSG, "startup parameter \"%.*s\" is given twice",
                             (int)key.len, (const char *)key.p);
    if (s->n_settings == PGSTARTUP_MAX_KEYS)
        return error_set(err, -EBADMSG, "too many startup parameters");
    s->settings[s->n_settings].key = key;
    s->settings[s->n_settings++].value = value;
    return 0;
}

int pgstartup_parse(struct bytes body, uint16_t minor, struct pgstartup *ret, struct error *err)
{
    struct cursor c = cursor_over(body);

    *ret = (struct pgstartup){.minor = minor};
    for (;;) {
        struct bytes key = cursor_cstr(&c), value;
        int rc;

        if (c.bad)
            return error_set(err, -EBADMSG, "malformed startup message");
        if (key.len == 0)
            break;
        value = cursor_cstr(&c);
        if (c.bad)
            return error_set(err, -EBADMSG, "malformed startup message");
        rc = take_parameter(ret, key, value, err);
        if (rc)
            return rc;
    }
    if (!cursor_at_end(&c))
        return error_set(err, -EBADMSG, "malformed startup message");
    if (!ret->user[0])
        return error_set(err, -EBADMSG, "startup parameter \"user\" is missing");
    if (!ret->database[0])
        memcpy(ret->database, ret->user, sizeof ret->database);
    return 0;
}

static void add_pair(struct buffer *out, struct bytes key, struct bytes value)
{
    buffer_add(out, key);
    buffer_add_u8(out, 0);
    buffer_add(out, value);
    buffer_add_u8(out, 0);
}

int pgstartup_build(const struct pgstartup *s, uint16_t minor, struct buffer *out)
{
    size_t at = buffer_len(out);

    buffer_add_be32(out, 0);
    buffer_add_be32(out, 3u << 16 | minor);
    add_pair(out, BYTES("user"), bytes_str(s->user));
    add_pair(out, BYTES("database"), bytes_str(s->database));
    for (size_t i = 0; i < s->n_settings; i++)
        add_pair(out, s->settings[i].key, s->settings[i].value);
    if (s->role[0])
        add_pair(out, BYTES("role"), bytes_str(s->role));
    add_pair(out, BYTES("client_encoding"), BYTES("UTF8"));
    add_pair(out, BYTES("standard_conforming_strings"), BYTES("on"));
    buffer_add_u8(out, 0);
    if (out->failed)
        return -ENOMEM;
    put_be32(out->p + out->start + at, (uint32_t)(buffer_len(out) - at));
    return 0;
}

/* 3.1 was never used (the version after 3.0 is 3.2). */
uint16_t pgstartup_negotiate(const struct pgstartup *s, bool *ret_tell)
{
    uint16_t speak = s->minor >= 2 ? 2 : 0;

    *ret_tell = speak != s->minor || s->n_options;
    return speak;
}

void pgstartup_add_negotiate(const struct pgstartup *s, uint16_t minor, struct buffer *out)
{
    size_t mark = pgwire_start(out, PGWIRE_B_NEGOTIATE_VERSION);

    buffer_add_be32(out, 3u << 16 | minor);
    buffer_add_be32(out, (uint32_t)s->n_options);
    for (size_t i = 0; i < s->n_options; i++) {
        buffer_add(out, s->options[i]);
        buffer_add_u8(out, 0);
    }
    pgwire_finish(out, mark);
}
