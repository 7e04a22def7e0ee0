/* SPDX-License-Identifier: Apache-2.0
 * One intercepted connection. session_accept() makes it; at any time one thread, its handshake
 * thread or its loop, is the only one to read, write and end it. Others may only post to its
 * inbox (kill, approval decided, policy changed, job done) and so hold counted references.
 *   owns     client, upstream (until a relay takes them over), record
 *   shares   snapshot: one counted reference, swapped between messages
 *   borrows  guard, target (lives as long as snapshot), ops
 */
#pragma once

#include "guard.h"
#include "registry.h"
#include "sidecar/net/conn.h"
#include "sidecar/net/listener.h"

enum inbox {
    INBOX_KILL = 1 << 0,
    INBOX_POLICY = 1 << 1,
    INBOX_APPROVAL = 1 << 2,
    INBOX_JOB = 1 << 3,
    INBOX_CANCEL = 1 << 4, /* the client asked to cancel what is running */
    INBOX_STOP = 1 << 5,   /* the guard is ending */
    INBOX_SYNCED = 1 << 6, /* what the record holds is on the disk, or will not be */
};

struct session;
struct proto_ops;

struct session {
    char id[SESSION_ID_LEN + 1];
    struct guard *guard;
    struct listener_origin origin;
    struct identity *identity; /* of a verified token, set at login, once; NULL: there was none */
    struct policy_snapshot *snapshot;
    const struct target *target; /* NULL: egress */
    char target_name[128];       /* for showing: target itself is swapped with the snapshot */
    char target_address[ADDRESS_TEXT_LEN];
    char peer[ADDRESS_TEXT_LEN];
    struct conn client, upstream;
    struct record *record;
    const struct proto_ops *ops;
    void *proto;       /* the protocol's own state */
    struct loop *loop; /* NULL while on the handshake thread */
    uint64_t started_us;
    uint64_t deadline_ms; /* of the handshake */
    bool over_limit;      /* refuse politely */

    _Atomic unsigned refs;
    _Atomic uint64_t statements, denied, bytes_to_client, bytes_to_upstream;

    pthread_mutex_t lock; /* for what follows */
    unsigned inbox;
    bool inbox_posted;
    int wake_fd; /* of a session that keeps its thread: readable when something was posted; or -1 */
    struct loop_task inbox_task;
    char kill_reason[128];
    char user[64], database[64], state[32]; /* for `sessions` */

    struct session *prev, *next; /* registry's list, under its lock */
    bool registered;
};

struct proto_ops {
    const char *name;
    /* On the handshake thread: connects, logs in, and hands the session to a loop
     * (session_to_loop) or ends it (session_end). Errors have been told to the client. */
    void (*run)(struct session *s);
    /* On the session's loop: something was posted. */
    void (*inbox)(struct session *s, unsigned what);
};

/* listener_accept_fn; arg is the guard. Makes the session and its handshake thread. */
void session_accept(int fd, const struct listener_origin *origin, void *arg);

struct session *session_ref(struct session *s);
void session_unref(struct session *s);

/* Posts to the inbox. Any thread that holds a reference. */
void session_post(struct session *s, enum inbox what);
/* For a session that stays on its thread: from here on s->wake_fd becomes readable when something
 * is posted, and session_take gives what was. -errno. */
int session_keep_thread(struct session *s) MUST_CHECK;
unsigned session_take(struct session *s);
/* Moves the session to one of the guard's loops: `start` runs there. The caller's thread must not
 * touch it any more. */
void session_to_loop(struct session *s, struct loop_task *start);
/* Writes session.close and closes the record and the connections. The session leaves the
 * registry; its owner's reference is dropped. */
void session_end(struct session *s, const char *reason);

/* Whether the policy in force would relay bytes to the same destination, for a session that is
 * doing so. Any thread that holds a reference; may block: names are resolved. */
bool session_still_permitted(const struct session *s);
/* The session is that identity's from here on; takes over the reference. Before the session has a
 * loop, at most once. */
void session_identify(struct session *s, struct identity *id);
/* The pod's agent as it is now, with what the token adds. Borrows from the session. */
struct agent session_agent(const struct session *s);
/* Who the session is, for records and approvals: the token's name or the pod's account. */
const char *session_identity_name(const struct session *s);

/* Opens the upstream connection. err is for the client and the record. */
int session_connect(struct session *s, struct error *err) MUST_CHECK;
/* Host name or address for verifying the upstream's certificate. */
const char *session_upstream_host(const struct session *s);
/* Appends session.open and flushes; -errno when it cannot be recorded. */
int session_record_open(struct session *s) MUST_CHECK;
void session_describe(struct session *s, const char *user, const char *database);
void session_set_state(struct session *s, const char *state);

/* For the registry. */
void registry_add(struct session *s);
void registry_remove(struct session *s);
unsigned registry_count(void);
/* Posts to all sessions. */
void registry_post_all(enum inbox what);
/* Waits until no session is left, at most that long. True when none is. */
bool registry_wait_empty(unsigned timeout_ms);
