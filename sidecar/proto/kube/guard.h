/* SPDX-License-Identifier: Apache-2.0
 * One connection of an agent to an API server: requests one after the other, each judged, forwarded
 * on a connection of our own, and its answer masked. All of it belongs to the session's thread.
 */
#pragma once

#include "attributes.h"
#include "head.h"
#include "mask.h"
#include "sidecar/session/session.h"
#include "src-common/secret.h"

#include <json-c/json_object.h>

#define KUBEGUARD_CHUNK ((size_t)64 << 10) /* read at once */

struct kubeleg {
    struct conn *conn; /* the session's */
    struct buffer in;
};

struct kuberequest {
    uint32_t n; /* in the record */
    struct http_head head;
    struct kubepath path;
    struct kube_act act;
    const char *line;         /* method and target, for people */
    struct json_object *body; /* NULL: none */
    const char *body_text;    /* what is forwarded */
    size_t body_len;
    bool json_patch, websocket;
    bool spdy;                   /* wants to become what is not spoken here */
    bool protobuf;               /* the body is, and was not looked into */
    const struct kubemask *mask; /* of the answer that is being relayed; NULL: none is yet */
    uint64_t started_ms;
};

struct kubeguard {
    struct session *session;
    struct policy_view *view;
    struct kubeleg agent, upstream;
    const char *secrets_dir;
    struct identity *identity; /* of the newest token; NULL: there was none */
    uint8_t token_digest[32];
    struct secret token;   /* ours, for the API server */
    struct secret relayed; /* the agent's, when the guard has no credentials */
    uint64_t token_read_ms;
    uint8_t login_digest[32]; /* of the credential that is used */
    uint64_t looked_ms;       /* when the inbox was last seen to */
    bool at_expiry, approval_came;
    bool admitted; /* policy lets whoever it is come here; or why not: */
    char not_admitted[sizeof(struct error)];
    uint32_t n;
    struct arena arena; /* of the request */
    struct kuberequest *running;
    bool ending;
    char end_reason[200];
    uint64_t recorded; /* bytes of the answer that is being recorded */
};

/* ---- io.c ---- */

#define KUBEIO_AGENT    1
#define KUBEIO_UPSTREAM 2
#define KUBEIO_GONE     4 /* the agent closed its connection */

void kubeguard_end(struct kubeguard *g, const char *reason);
/* Waits for legs (bits) to become readable, at most so long; takes what the inbox has. Bits; 0:
 * time is over, or the inbox came; -ECANCELED: the session ends. */
int kubeio_wait(struct kubeguard *g, unsigned legs, int timeout_ms) MUST_CHECK;
/* Reads some more into the leg's buffer. 1; 0: end of the stream; -ETIMEDOUT, -ECANCELED, -errno.
 * While it waits for the upstream it notices when the agent leaves: -ECONNRESET. */
int kubeio_fill(struct kubeguard *g, struct kubeleg *l, int timeout_ms) MUST_CHECK;
/* Reads what is there already, as far as the leg has room; nothing is waited for. What went wrong
 * shows in the next kubeio_fill. */
void kubeio_top_up(struct kubeleg *l);
int kubeio_write(struct kubeguard *g, struct kubeleg *l, struct bytes b) MUST_CHECK;
/* Connects, TLS, credentials; nothing when it is connected already. */
int kubeupstream_ready(struct kubeguard *g, struct error *err) MUST_CHECK;
void kubeupstream_close(struct kubeguard *g);
/* Whether the Secret is another one than the connection was opened with. */
bool kubeupstream_rotated(struct kubeguard *g);

/* ---- identify.c ---- */

/* Who asks: the token of the request. -EACCES: 401, with the reason. */
int kubeguard_identify(struct kubeguard *g, const struct http_head *h,
                       struct error *err) MUST_CHECK;
/* Makes g->view of the policy in force. -EACCES with the reason: nobody may come here. */
int kubeguard_admit(struct kubeguard *g, struct error *err) MUST_CHECK;
/* A new policy is in force: what runs has to be permitted still. */
void kubeguard_policy_changed(struct kubeguard *g);

/* ---- request.c ---- */

/* Reads, judges, forwards one request. 0: the next may come; otherwise the connection ends. */
int kubeguard_serve(struct kubeguard *g) MUST_CHECK;
void kubeguard_decide(struct kubeguard *g, const struct kube_act *act, struct decision *d);

/* ---- reply.c ---- */

/* A metav1.Status to the agent. */
int kubeguard_reply(struct kubeguard *g, unsigned code, const char *message, bool close) MUST_CHECK;

/* ---- exchange.c ---- */

/* Sends the request upstream and relays the answer. */
int kubeguard_exchange(struct kubeguard *g, struct kuberequest *r) MUST_CHECK;
/* The object as it is now, for those who decide: a GET of the request's path without its query. The
 * caller puts it; NULL when it cannot be had. */
struct json_object *kubeguard_fetch(struct kubeguard *g, const struct kuberequest *r);
/* The head of the answer, parsed in the arena. */
int kubeguard_send(struct kubeguard *g, struct kuberequest *r, struct error *err) MUST_CHECK;
int kubeguard_read_head(struct kubeguard *g, struct kuberequest *r, struct http_head *ret,
                        struct error *err) MUST_CHECK;

/* ---- upgrade.c ---- */

/* After the request's 101: until both ends are closed. */
int kubeguard_tunnel(struct kubeguard *g, struct kuberequest *r, struct bytes protocol) MUST_CHECK;

/* ---- approve.c ---- */

/* Asks people. 0: go on; otherwise the agent was told. */
int kubeguard_ask(struct kubeguard *g, struct kuberequest *r, const struct decision *d,
                  bool *ret_go_on) MUST_CHECK;

/* ---- journal.c ---- */

/* outcome: Accepted, Refused, Expired; why: NULL for the first. */
void kubejournal_auth(struct kubeguard *g, const char *outcome, const char *why);
/* reason: of a refusal, or NULL. d NULL: the guard's own. */
void kubejournal_statement(struct kubeguard *g, struct kuberequest *r, const struct decision *d,
                           const char *reason);
void kubejournal_malformed(struct kubeguard *g, const char *what, const char *reason);
void kubejournal_decision(struct kubeguard *g, const struct kuberequest *r,
                          const struct decision *d, const char *reason);
void kubejournal_approval(struct kubeguard *g, uint32_t n, const char *id, const char *phase);
void kubejournal_data(struct kubeguard *g, uint32_t n, const char *stream, struct bytes data);
struct kubejournal_end {
    unsigned status;
    uint64_t bytes, bytes_in, masked;
    int exit_status; /* -1: none */
    const char *error;
};
void kubejournal_result(struct kubeguard *g, struct kuberequest *r,
                        const struct kubejournal_end *e);
/* Flushes. False: it cannot be recorded, and has to be: nothing may be forwarded. */
bool kubejournal_flush(struct kubeguard *g);
/* The same for what goes to the API server: as durable as the policy says. May wait for the disk.
 */
bool kubejournal_commit(struct kubeguard *g);
