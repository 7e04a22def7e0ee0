/* SPDX-License-Identifier: Apache-2.0
 * From accept to the first ReadyForQuery: encryption on both legs, startup, login, and what the
 * guard has to know before it can judge (schema, search path). On the handshake thread; every
 * wait ends at the session's deadline.
 */
#pragma once

#include "cancel.h"
#include "context.h"
#include "startup.h"

#include <limits.h>

enum pghandshake_result {
    PGHANDSHAKE_FAILED = 0, /* the client has been told; end the session */
    PGHANDSHAKE_DONE,       /* logged in; `greeting` is still to be sent */
    PGHANDSHAKE_CANCEL,     /* it was a CancelRequest, and is dealt with */
};

struct pghandshake {
    struct session *session;
    uint64_t deadline_ms;
    uint8_t raw[PGSTARTUP_MAX]; /* startup message; what startup points into */
    struct pgstartup startup;
    uint16_t minor; /* spoken with the client */
    bool client_tls, upstream_tls;
    struct buffer in;       /* one message from either side */
    struct buffer greeting; /* AuthenticationOk … ReadyForQuery, for the client */
    struct pgcancel_upstream upstream_key;
    const char *method;        /* of the login, for the record */
    struct pgcontext *context; /* counted; what was found out */
    char *search_path;
    uint64_t schema_seen;
    char failure[256]; /* FAILED: why, for session.close */
};

enum pghandshake_result pghandshake_run(struct pghandshake *h, struct session *s);
/* Wipes. What was taken out (context, search_path) is left alone. */
void pghandshake_done(struct pghandshake *h);

/* ---- between the handshake's files ---- */

int pghandshake_fail(struct pghandshake *h, const char *sqlstate, const char *fmt, ...)
    PRINTF_LIKE(3, 4); /* tells the client (FATAL); always -1 */
/* Reads one message into h->in and frames it. */
struct pgwire_msg;
int pghandshake_read(struct pghandshake *h, struct conn *from, bool backend,
                     struct pgwire_msg *ret) MUST_CHECK;
/* The client's leg: encryption and the startup message. 1: go on; 0: a CancelRequest was
 * handled; -1: failed. */
int pghandshake_client(struct pghandshake *h);
/* The upstream's leg: connect, encrypt, send the startup message. */
int pghandshake_upstream(struct pghandshake *h);
/* Login, until AuthenticationOk. */
int pghandshake_login(struct pghandshake *h);
