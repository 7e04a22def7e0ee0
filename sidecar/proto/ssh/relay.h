/* SPDX-License-Identifier: Apache-2.0
 * One SSH session: both legs and the channels between them. Everything here belongs to the
 * session's thread. libssh's callbacks only put bytes into buffers and set flags; whatever sends is
 * done by the loop (sshrelay_run), outside of them, so that nothing is entered twice.
 */
#pragma once

#include "leg.h"
#include "output.h"
#include "sidecar/mask/detect.h"
#include "sidecar/session/session.h"
#include "src-common/arena.h"
#include "src-common/secret.h"

#include <libssh/callbacks.h>
#include <libssh/server.h>

#define SSHRELAY_CHANNELS   32 /* open at once */
#define SSHRELAY_ENV_MAX    32
#define SSHRELAY_REQUESTS   64                  /* of one channel before it runs */
#define SSHRELAY_ASKED      64                  /* of a target, of us */
#define SSHRELAY_STATEMENTS 1000000             /* of one session */
#define SSHRELAY_QUEUE      ((size_t)320 << 10) /* held for one direction of one channel */
#define SSHRELAY_CHUNK      ((size_t)64 << 10)  /* written at once */

enum channel_kind {
    CHANNEL_NONE = 0, /* nothing asked yet */
    CHANNEL_EXEC,
    CHANNEL_SHELL,
    CHANNEL_SFTP,
    CHANNEL_FORWARD,
};

/* What is done next with a channel, in this order. */
enum channel_state {
    CHANNEL_FRESH = 0, /* opened by the agent; pty and env are collected */
    CHANNEL_HELD,      /* a person is asked */
    CHANNEL_OPEN_UP,   /* the target's channel is being opened */
    CHANNEL_ENV_UP,
    CHANNEL_PTY_UP,
    CHANNEL_START_UP,
    CHANNEL_RUNNING,
    CHANNEL_REFUSED, /* what is left to tell the agent is in `err` and exit_status */
    CHANNEL_DONE,    /* closed on our side; waits for the agent's close */
};

struct channel_env {
    char *name, *value;
};

struct sshfile;

struct channel {
    struct channel *next;
    struct sshrelay *relay;
    ssh_channel agent, target; /* target NULL: not opened */
    enum channel_kind kind;
    enum channel_state state;
    ssh_message pending; /* the request that waits for our answer */
    bool answered;       /* it was answered while a person was asked */
    uint32_t n;          /* number of its statement in the record */
    char *text;          /* command, or destination of a forwarding */
    uint16_t port;
    uint64_t started_ms;

    bool pty;
    char term[64];
    int columns, rows, px_width, px_height;
    struct channel_env env[SSHRELAY_ENV_MAX];
    unsigned n_env, env_sent, requests;

    struct sshflow in, out, err; /* agent→target; target→agent */
    struct sshfile *file;        /* CHANNEL_SFTP: what decodes both directions */
    bool agent_eof, agent_closed, target_eof, target_closed;
    bool unrecorded; /* the record failed under it: only the guard's own words are passed on */
    bool target_eof_sent, agent_eof_sent, exit_sent, close_passed;
    bool agent_sized, target_sized; /* sshleg_write */
    bool in_read;    /* a read of ours is under way: the callback keeps its hands off */
    int exit_status; /* -1: none */
    char exit_signal[32];
    bool exit_core;
    char signals[8][16]; /* from the agent, to be passed on */
    unsigned n_signals;
    bool resized;

    bool asking; /* a person: about the request (CHANNEL_HELD), or about an operation of sftp */
    uint32_t asking_n;
    char approval_id[APPROVAL_ID_LEN + 1];
    bool agent_forward_asked; /* to be recorded; libssh wants no answer */

    struct ssh_channel_callbacks_struct agent_cb, target_cb;
};

struct sshrelay {
    struct session *session;
    bool dirty; /* a callback brought something that no poll will show */
    bool flooded;
    struct policy_view *view;
    struct policy_snapshot *snapshot; /* of view */
    struct sshleg agent, target;
    struct sshleg_refused refused;
    unsigned target_asked; /* for channels and the like */
    char user[256], target_user[256];
    char pinned_user[256];  /* by policy: whom the guard logs in as */
    bool token_by_policy;   /* identity.requireToken */
    bool at_expiry;         /* the session ends with the token, to the second */
    struct secret password; /* the agent's, when it is relayed */
    struct channel *channels;
    unsigned n_channels;
    uint32_t n;         /* statements so far */
    struct arena arena; /* of the request that is being decided */
    struct detect_scratch *scratch;
    struct buffer scratch_buffer;
    uint64_t last_keepalive_ms;
    bool ending;
    char end_reason[160];
};

/* ---- agent.c, target.c: logging in ---- */

/* Key exchange with the agent; blocks until the session's deadline. */
int sshrelay_meet_agent(struct sshrelay *r, struct error *err) MUST_CHECK;
/* Key exchange and login of the agent; calls sshrelay_login_target before it says yes. Blocks until
 * the session's deadline. -errno with a reason for the record and the agent. */
int sshrelay_login_agent(struct sshrelay *r, struct error *err) MUST_CHECK;
/* Connects, checks the host key, logs in. -EACCES: the target refused the login. */
int sshrelay_login_target(struct sshrelay *r, struct error *err) MUST_CHECK;
/* Whether policy lets this agent come here, and what it pins; makes r->view. Again after policy
 * changed. -EACCES with the reason. */
int sshrelay_admit(struct sshrelay *r, struct error *err) MUST_CHECK;
/* Lets both legs work for a moment; -ETIMEDOUT, -ECANCELED (killed), -ECONNRESET. */
int sshrelay_wait_login(struct sshrelay *r, struct sshleg *l, struct error *err) MUST_CHECK;

/* ---- relay.c ---- */

/* From login to end. */
void sshrelay_run(struct sshrelay *r);
void sshrelay_end(struct sshrelay *r, const char *reason);

/* ---- request.c: what the agent asks for ---- */

/* Answers what libssh has queued. */
void sshrelay_take_messages(struct sshrelay *r);
/* Judges one act. A stale policy or a record that cannot be written is a Deny. */
void sshrelay_decide(struct sshrelay *r, const struct ssh_act *act, struct decision *d);
/* Judges what the channel asked for (kind, text) and goes on, holds or refuses. Again after policy
 * changed under a held request. */
void sshchannel_judge(struct channel *c);
/* What was asked for: exec, shell, sftp, forward, or nothing yet. */
const char *sshchannel_kind(const struct channel *c);
/* The channel's request is permitted: on towards the target. */
void sshchannel_permit(struct channel *c);
/* A line for the agent at once, before what is answered next. */
void sshchannel_tell(struct channel *c, const char *line);
/* Tells the agent why not: a line on stderr, exit status 126, end of the channel. */
void sshchannel_refuse(struct channel *c, const char *why);

/* ---- channel.c ---- */

struct channel *sshchannel_find(struct sshrelay *r, ssh_channel agent);
/* Takes the channel over; NULL when out of memory. */
struct channel *sshchannel_new(struct sshrelay *r, ssh_channel agent);
void sshchannel_free(struct channel *c);
/* Moves bytes and states as far as they go now. */
void sshchannel_pump(struct channel *c);
/* Both ends are closed, nothing is left to be done. */
bool sshchannel_over(const struct channel *c);
/* Ends it from our side (kill, failure of the record). */
void sshchannel_abort(struct channel *c, const char *why);

/* ---- approve.c ---- */

enum asked { ASKED_REFUSED = 0, ASKED_WAIT, ASKED_GRANTED };
/* Asks people about the channel's request number n, or an operation in it. ASKED_REFUSED: nobody
 * could be asked, or it takes a ticket; `why` says so and it has been recorded. */
enum asked sshchannel_ask(struct channel *c, uint32_t n, const struct decision *d,
                          struct bytes text, char why[static 300]);
/* Looks whether the answer has come. */
void sshchannel_answer(struct channel *c);
void sshchannel_withdraw(struct channel *c);

/* ---- journal.c: the record ---- */

/* outcome: Accepted, Refused, Expired; why: NULL for the first. */
void journal_auth(struct sshrelay *r, const char *method, const char *outcome, const char *why);
/* A request and its verdict; kind: what docs/ssh.md calls it. d NULL: the guard's own refusal, with
 * that reason. */
void journal_statement(struct sshrelay *r, uint32_t n, const char *kind, struct bytes text,
                       const struct decision *d, const char *reason);
void journal_decision(struct sshrelay *r, uint32_t n, const char *kind, const struct decision *d,
                      const char *reason);
void journal_approval(struct sshrelay *r, uint32_t n, const char *id, const char *phase);
void journal_notice(struct sshrelay *r, uint32_t n, const char *message);
void journal_error(struct sshrelay *r, uint32_t n, const char *message, bool upstream);
void journal_data(struct sshrelay *r, uint32_t n, const char *stream, struct bytes data);
/* The end of a channel: how, how much. */
void journal_result(struct channel *c);
/* Flushes. False: it cannot be recorded, and has to be: nothing may be forwarded. */
bool journal_flush(struct sshrelay *r);
/* The same for what goes to the target: as durable as the policy says. May wait for the disk. */
bool journal_commit(struct sshrelay *r);
