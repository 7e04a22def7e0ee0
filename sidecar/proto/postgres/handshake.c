/* SPDX-License-Identifier: Apache-2.0
 * The order of a handshake, and its last part: the upstream's greeting and the catalogue.
 */
#include "handshake.h"

#include "catalog_load.h"
#include "src-common/clock.h"
#include "wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int pghandshake_fail(struct pghandshake *h, const char *sqlstate, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(h->failure, sizeof h->failure, fmt, ap);
    va_end(ap);
    snprintf(h->sqlstate, sizeof h->sqlstate, "%s", sqlstate);
    if (!h->quiet)
        pghandshake_tell(h);
    return -1;
}

void pghandshake_tell(struct pghandshake *h)
{
    struct pgwire_error e = {"FATAL", h->sqlstate, h->failure, NULL, NULL};
    struct buffer out;

    buffer_init(&out, 4096);
    pgwire_add_error(&out, false, &e);
    /* It may be gone already, or be the reason: nothing depends on its hearing this. */
    if (!out.failed &&
        conn_write_all_by(&h->session->client, buffer_bytes(&out), clock_mono_ms() + 1000) != 0)
        h->session->client.eof = true;
    buffer_done(&out);
}

int pghandshake_read(struct pghandshake *h, struct conn *from, bool backend, struct pgwire_msg *ret)
{
    uint8_t header[PGWIRE_HEADER], *body;
    uint32_t len;
    int rc = conn_read_exact_by(from, header, sizeof header, h->deadline_ms);

    if (rc)
        return rc;
    len = get_be32(header + 1);
    if (len < 4 || len > (backend ? 1u << 20 : 1u << 16) + 4)
        return -EBADMSG;
    buffer_reset(&h->in, 64 * 1024);
    buffer_append(&h->in, header, sizeof header);
    body = buffer_reserve(&h->in, len - 4);
    if (!body && len > 4)
        return -ENOMEM;
    if (len > 4)
        rc = conn_read_exact_by(from, body, len - 4, h->deadline_ms);
    if (rc)
        return rc;
    buffer_commit(&h->in, len - 4);
    *ret = (struct pgwire_msg){.type = header[0], .raw = buffer_bytes(&h->in)};
    ret->body = (struct bytes){ret->raw.p + PGWIRE_HEADER, ret->raw.len - PGWIRE_HEADER};
    ret->full_len = ret->raw.len;
    return 0;
}

/* ---- the upstream's greeting ---- */

static int take_parameter(struct pghandshake *h, struct bytes body)
{
    struct cursor c = cursor_over(body);
    struct bytes name = cursor_cstr(&c), value = cursor_cstr(&c);

    if (!cursor_at_end(&c))
        return pghandshake_fail(h, "08P01", "malformed ParameterStatus from the upstream");
    if (bytes_eq_str(name, "client_encoding") && !bytes_eq_str(value, "UTF8"))
        return pghandshake_fail(h, "22023", "the upstream does not offer client_encoding UTF8");
    if (bytes_eq_str(name, "standard_conforming_strings") && !bytes_eq_str(value, "on"))
        return pghandshake_fail(h, "22023", "the upstream has standard_conforming_strings = off");
    pgwire_add_parameter_status(&h->greeting, name, value);
    return 0;
}

static int take_key(struct pghandshake *h, struct bytes body)
{
    if (body.len < 8 || body.len - 4 > PGCANCEL_MAX_KEY)
        return pghandshake_fail(h, "08P01", "malformed BackendKeyData from the upstream");
    h->upstream_key.pid = get_be32(body.p);
    h->upstream_key.key_len = body.len - 4;
    memcpy(h->upstream_key.key, body.p + 4, body.len - 4);
    return 0;
}

/* The upstream's own words for it: no such database, too many connections. */
static int relay_refusal(struct pghandshake *h, struct bytes body)
{
    struct bytes code = pgwire_error_field(body, 'C'), text = pgwire_error_field(body, 'M');
    char sqlstate[6] = "08004";

    if (code.len == 5)
        memcpy(sqlstate, code.p, 5);
    return pghandshake_fail(h, sqlstate, "%.*s", (int)min_size(text.len, 200),
                            (const char *)text.p);
}

/* From AuthenticationOk to ReadyForQuery. */
static int read_greeting(struct pghandshake *h)
{
    for (;;) {
        struct pgwire_msg m;
        int rc = pghandshake_read(h, &h->session->upstream, true, &m);

        if (rc)
            return pghandshake_fail(h, "08006", "upstream: %s", strerror(-rc));
        switch (m.type) {
        case PGWIRE_B_PARAMETER_STATUS:
            rc = take_parameter(h, m.body);
            break;
        case PGWIRE_B_BACKEND_KEY_DATA:
            rc = take_key(h, m.body);
            break;
        case PGWIRE_B_NOTICE:
            buffer_add(&h->greeting, m.raw);
            break;
        case PGWIRE_B_ERROR:
            rc = relay_refusal(h, m.body);
            break;
        case PGWIRE_B_READY_FOR_QUERY:
            return 0;
        default:
            rc = pghandshake_fail(h, "08P01", "unexpected message from the upstream at login");
        }
        if (rc == 0 && h->greeting.failed)
            rc = pghandshake_fail(h, "53200", "the upstream's greeting does not end");
        if (rc)
            return rc;
    }
}

/* ---- what the guard has to know ---- */

static int run_round(struct pghandshake *h, struct pgcollector *c)
{
    while (!c->done && !c->more) {
        struct pgwire_msg m;
        int rc = pghandshake_read(h, &h->session->upstream, true, &m);

        if (rc == 0)
            rc = pgcollector_message(c, &m);
        if (rc)
            return pghandshake_fail(h, "08006", "reading the catalogue: %s", strerror(-rc));
    }
    if (c->failure[0])
        return pghandshake_fail(h, "58000", "reading the catalogue: %s", c->failure);
    return 0;
}

static int collect(struct pghandshake *h, struct pgcollector **ret)
{
    const struct pgcatalog_key whose = {h->session->target->name, h->startup.database,
                                        h->startup.user};
    struct buffer out;
    int rc;

    buffer_init(&out, 1 << 20);
    rc = pgcollector_new(&whose, false, &out, ret);
    while (rc == 0) {
        rc = conn_write_all_by(&h->session->upstream, buffer_bytes(&out), h->deadline_ms);
        if (rc)
            break;
        buffer_reset(&out, 1 << 20);
        rc = run_round(h, *ret);
        if (rc || (*ret)->done) {
            buffer_done(&out);
            return rc;
        }
        rc = pgcollector_more(*ret, &out);
    }
    buffer_done(&out);
    return pghandshake_fail(h, "08006", "reading the catalogue: %s", strerror(-rc));
}

/* The catalogue and the context that verdicts are made in. */
static int learn(struct pghandshake *h)
{
    struct pgcollector *c = NULL;
    struct error err = {""};
    int rc = collect(h, &c);

    if (rc == 0) {
        h->schema_seen = c->schema_seen;
        rc = pgcollector_context(c, h->session, h->startup.database, h->startup.user, &h->context,
                                 &h->search_path, &err);
        if (rc)
            rc = pghandshake_fail(h, "58000", "reading the catalogue: %s", err.text);
    }
    pgcollector_free(c);
    return rc;
}

static int finish_greeting(struct pghandshake *h)
{
    size_t key_len = h->minor >= 2 ? 32 : 4, mark;
    uint8_t key[32];
    uint32_t pid;

    if (h->upstream_key.key_len) {
        if (pgcancel_register(h->session, &h->upstream_key, key_len, &pid, key) != 0)
            return pghandshake_fail(h, "53200", "out of memory");
        mark = pgwire_start(&h->greeting, PGWIRE_B_BACKEND_KEY_DATA);
        buffer_add_be32(&h->greeting, pid);
        buffer_append(&h->greeting, key, key_len);
        pgwire_finish(&h->greeting, mark);
    }
    pgwire_add_ready(&h->greeting, 'I');
    return h->greeting.failed ? pghandshake_fail(h, "53200", "out of memory") : 0;
}

static void record_auth(struct pghandshake *h, bool ok)
{
    struct buffer *b;

    if (!h->session->record)
        return;
    b = record_begin(h->session->record, "auth");
    jsonw_kstr(b, "outcome", bytes_str(ok ? "Accepted" : "Refused"));
    jsonw_kstr(b, "user", bytes_str(h->asked_user));
    if (h->session->target->credentials_secret)
        jsonw_kstr(b, "upstreamUser", bytes_str(h->startup.user));
    if (h->startup.role[0])
        jsonw_kstr(b, "role", bytes_str(h->startup.role));
    jsonw_kstr(b, "database", bytes_str(h->startup.database));
    jsonw_kstr(b, "method", bytes_str(h->method ? h->method : ""));
    jsonw_kstr(b, "identity", bytes_str(session_identity_name(h->session)));
    if (h->session->identity)
        identity_describe(h->session->identity, b);
    jsonw_key(b, "ok");
    buffer_append(b, ok ? "true" : "false", ok ? 4 : 5);
    if (!ok)
        jsonw_kstr(b, "reason", bytes_str(h->failure));
    jsonw_key(b, "tls");
    buffer_printf(b, "{\"client\":%s,\"upstream\":%s}", h->client_tls ? "true" : "false",
                  h->upstream_tls ? "true" : "false");
    if (record_end(h->session->record) != 0)
        atomic_fetch_add(&h->session->guard->counters.record_failures, 1);
}

/* Connects and logs in, one way or the other. */
static int enter(struct pghandshake *h)
{
    if (h->session->target->credentials_secret)
        return pghandshake_inject(h);
    return pghandshake_upstream(h) == 0 ? pghandshake_login(h) : -1;
}

enum pghandshake_result pghandshake_run(struct pghandshake *h, struct session *s)
{
    int rc;

    h->session = s;
    h->deadline_ms = s->deadline_ms;
    buffer_init(&h->in, (1 << 20) + 64);
    buffer_init(&h->greeting, 1 << 20);
    rc = pghandshake_client(h);
    if (rc == 0)
        return PGHANDSHAKE_CANCEL;
    if (rc > 0) {
        memcpy(h->asked_user, h->startup.user, sizeof h->asked_user);
        session_describe(s, h->startup.user, h->startup.database);
        rc = session_record_open(s);
        rc = rc ? pghandshake_fail(h, "58030", "the session cannot be recorded")
                : pghandshake_identify(h);
        if (rc == 0)
            rc = enter(h);
        session_describe(s, h->startup.user, h->startup.database);
        if (rc == 0)
            rc = read_greeting(h);
        if (rc == 0)
            rc = learn(h);
        if (rc == 0)
            rc = finish_greeting(h);
        record_auth(h, rc == 0);
    }
    if (rc == 0 && record_flush(s->record) != 0 && h->context->recording->required)
        rc = pghandshake_fail(h, "58030", "the session cannot be recorded");
    if (rc)
        atomic_fetch_add(&s->guard->counters.auth_failures, 1);
    return rc ? PGHANDSHAKE_FAILED : PGHANDSHAKE_DONE;
}

void pghandshake_done(struct pghandshake *h)
{
    pgcontext_unref(h->context);
    free(h->search_path);
    credential_done(&h->credential);
    buffer_wipe(&h->in);
    buffer_done(&h->greeting);
    explicit_bzero(h, sizeof *h);
}
