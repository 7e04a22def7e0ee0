/* SPDX-License-Identifier: Apache-2.0
 * From accept to the first ReadyForQuery: encryption on both legs, startup, login, and what the
 * guard has to know before it can judge (schema, search path). On the handshake thread; every
 * wait ends at the session's deadline.
 */
#pragma once

#include "cancel.h"
#include "context.h"
#include "sidecar/identity/credential.h"
#include "sidecar/session/session.h"
#include "startup.h"

#include <limits.h>

enum pghandshake_result {
    PGHANDSHAKE_FAILED = 0, /* the client has been told; end the session */
    PGHANDSHAKE_DONE,       /* logged in; `greeting` is still to be sent */
    PGHANDSHAKE_CANCEL,     /* it was a CancelRequest, and is dealt with */
};

struct pgpins { /* how this login was done; the session ends when policy says otherwise */
    char user[64], role[64]; /* pinned; empty: not */
    bool injected;           /* with the target's secret, not the agent's */
    bool at_expiry;          /* ends with its token, at once */
};

struct pghandshake_refusal { /* of the guard's own login: for the log */
    char sqlstate[6], text[256];
};

struct pghandshake {
    struct session *session;
    uint64_t deadline_ms;
    uint8_t raw[PGSTARTUP_MAX]; /* startup message; what startup points into */
    struct pgstartup startup;
    uint16_t minor; /* spoken with the client */
    bool client_tls, upstream_tls;
    char asked_user[64]; /* what the agent called itself; startup.user is whom the upstream sees */
    struct pgpins pins;
    struct credential credential; /* while the guard logs in by itself */
    bool injecting;
    bool quiet; /* a failure is kept, not told yet */
    struct pghandshake_refusal refusal;
    struct buffer in;       /* one message from either side */
    struct buffer greeting; /* AuthenticationOk … ReadyForQuery, for the client */
    struct pgcancel_upstream upstream_key;
    const char *method;        /* of the login, for the record */
    struct pgcontext *context; /* counted; what was found out */
    char *search_path;
    uint64_t schema_seen;
    char sqlstate[6];
    char failure[256]; /* FAILED: why, for session.close */
};

enum pghandshake_result pghandshake_run(struct pghandshake *h, struct session *s);
/* Wipes. What was taken out (context, search_path) is left alone. */
void pghandshake_done(struct pghandshake *h);

/* ---- between the handshake's files ---- */

int pghandshake_fail(struct pghandshake *h, const char *sqlstate, const char *fmt, ...)
    PRINTF_LIKE(3, 4); /* tells the client (FATAL); always -1 */
/* Tells the client what failed while h->quiet was set. */
void pghandshake_tell(struct pghandshake *h);
/* Reads one message into h->in and frames it. */
struct pgwire_msg;
int pghandshake_read(struct pghandshake *h, struct conn *from, bool backend,
                     struct pgwire_msg *ret) MUST_CHECK;
/* The client's leg: encryption and the startup message. 1: go on; 0: a CancelRequest was
 * handled; -1: failed. */
int pghandshake_client(struct pghandshake *h);
/* Takes and checks the agent's token where one is needed, then asks policy. */
int pghandshake_identify(struct pghandshake *h);
/* Does policy still say what it said at login? On a loop: does not block. */
bool pgpins_hold(const struct pgpins *p, const struct session *s, const char *database);
/* The upstream's leg: connect, encrypt, send the startup message. */
int pghandshake_upstream(struct pghandshake *h);
/* Login, until AuthenticationOk. */
int pghandshake_login(struct pghandshake *h);
/* Connects and logs in with the target's secret, until AuthenticationOk. */
int pghandshake_inject(struct pghandshake *h);
/* SCRAM-SHA-256 with that password, where the upstream offers it. */
int pghandshake_scram(struct pghandshake *h, struct bytes mechanisms, struct bytes password);
/* The upstream has answered with an error. Always -1. */
int pghandshake_refused(struct pghandshake *h, const struct pgwire_msg *m);

enum pgauth { /* AuthenticationXXX codes, manual 55.7 */
              PGAUTH_OK = 0,
              PGAUTH_CLEARTEXT = 3,
              PGAUTH_MD5 = 5,
              PGAUTH_SASL = 10,
              PGAUTH_SASL_CONTINUE = 11,
              PGAUTH_SASL_FINAL = 12,
};
