/* SPDX-License-Identifier: Apache-2.0
 * Inside of the control socket: one service thread owns everything here but the tap's queues,
 * which sessions' threads fill.
 */
#pragma once

#include "control.h"
#include "sidecar/session/registry.h"
#include "src-common/buffer.h"

#include <pthread.h>
#include <stdatomic.h>

struct json_object;

#define CONTROL_MAX_CLIENTS   64
#define CONTROL_LINE_MAX      ((size_t)64 << 10)
#define CONTROL_OUT_MAX       ((size_t)64 << 20) /* one answer to `list` */
#define CONTROL_BACKLOG_MAX   ((size_t)4 << 20)  /* what a watch or tail client may leave unread */
#define CONTROL_IDLE_MS       60000              /* between requests */
#define CONTROL_STALL_MS      30000              /* without reading what was sent */
#define CONTROL_FAREWELL_MS   10000              /* to take the last words before the close */
#define CONTROL_STATEMENT_CUT ((size_t)16 << 10) /* in lists; `show` gives the whole */

/* ---- live tail ---- */

/* One client's queue of record lines. `use` is the service thread's, the rest is under the tap's
 * lock. */
struct tail {
    bool use, overflow;
    char session[64]; /* empty: all */
    struct buffer queue;
};

struct tap {
    pthread_mutex_t lock;
    atomic_uint n_tails; /* sessions look here first */
    struct tail tails[CONTROL_MAX_CLIENTS];
    int wake_fd;
};

int tap_init(struct tap *t, int wake_fd) MUST_CHECK;
void tap_done(struct tap *t);
/* The record_tap_fn; arg is the tap. */
void tap_line(const char *session_id, struct bytes line, void *arg);
/* NULL session: all. NULL when there are too many. */
struct tail *tap_follow(struct tap *t, const char *session);
void tap_unfollow(struct tap *t, struct tail *tail); /* accepts NULL */
/* Moves what is queued into out, once that is empty. False after an overflow. */
bool tap_drain(struct tap *t, struct tail *tail, struct buffer *out);

/* ---- clients ---- */

enum client_role { CLIENT_ASKS = 0, CLIENT_WATCHES, CLIENT_TAILS };

struct client {
    int fd;
    uid_t uid;
    char by[64];
    enum client_role role;
    bool closing; /* close when `out` has gone, or at the deadline */
    bool eof;     /* nothing more comes; what was asked is still answered */
    uint64_t deadline_ms;
    struct tail *tail;
    struct buffer in, out;
};

void client_init(struct client *c, int fd);
void client_done(struct client *c);
/* Each appends one line and counts as the answer. */
void client_error(struct client *c, const char *code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As client_error, and the connection closes behind it. */
void client_farewell(struct client *c, const char *code, const char *text);
/* False: the connection is to be dropped. */
bool client_read(struct client *c) MUST_CHECK;
bool client_write(struct client *c) MUST_CHECK;
/* Takes the next whole line of the input; valid until the next read. */
bool client_take_line(struct client *c, struct bytes *ret);

/* ---- server ---- */

struct seen { /* what watchers were last told of a request */
    char id[APPROVAL_ID_LEN + 1];
    enum approval_phase phase;
    size_t n_decisions;
    uint32_t uses_left;
};

struct control {
    struct control_config config;
    char *path;
    dev_t socket_dev;
    ino_t socket_ino;
    int listen_fd, wake_fd;
    atomic_bool stop;
    pthread_t thread;
    struct tap tap;
    struct client clients[CONTROL_MAX_CLIENTS];
    size_t n_clients;
    uint64_t version; /* of the approvals, as of `seen` */
    struct seen *seen;
    size_t n_seen;
};

/* Answers one request line. */
void control_answer(struct control *c, struct client *client, struct bytes line);
/* Sends every changed request to the watchers, if anything changed since the last call. */
void control_publish(struct control *c);

/* {"id":…,…}: one request. cut: long statements are shortened, and say so. */
void approval_to_json(const struct approval_info *i, bool cut, struct buffer *out);
