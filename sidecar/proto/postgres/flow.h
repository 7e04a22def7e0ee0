/* SPDX-License-Identifier: Apache-2.0
 * One established PostgreSQL session: messages to verdicts. Both directions come in as bytes, in
 * any pieces; what goes out is queued in the relay. No I/O happens here: when a message cannot
 * be decided yet the flow parks on it, says why, and is resumed. The session's thread only.
 *
 * Every message that is forwarded leaves an entry in `pending`; the upstream's answers are
 * matched with it in order. That is how a row finds the masks of its statement, and how names
 * that the upstream refused are taken back.
 */
#pragma once

#include "names.h"
#include "sidecar/net/relay.h"
#include "sidecar/session/session.h"

enum pgpark {
    PGPARK_NONE = 0,
    PGPARK_JUDGE,    /* the text is to be parsed: park_text */
    PGPARK_CONTEXT,  /* policy changed: a new context is to be built */
    PGPARK_CATALOG,  /* the catalogue is to be read anew, when the session is quiet */
    PGPARK_APPROVAL, /* a person is asked: ask */
    PGPARK_QUEUE,    /* too many answers are outstanding */
};

enum pgpending_kind {
    PGPENDING_QUERY,
    PGPENDING_PARSE,
    PGPENDING_BIND,
    PGPENDING_DESCRIBE_STATEMENT,
    PGPENDING_DESCRIBE_PORTAL,
    PGPENDING_EXECUTE,
    PGPENDING_CLOSE,
    PGPENDING_SYNC,
};

/* A refusal that waits for its turn. */
struct pgdenial {
    char sqlstate[6];
    char message[512];
    char detail[320];
    char hint[128];
};

struct pgpending {
    enum pgpending_kind kind;
    bool hidden; /* ours: the client gets none of the answer */
    bool touches_masked, mask_originless, reduce_errors, changes_catalog, ends_transaction;
    bool copy_in;       /* in COPY … FROM STDIN now */
    uint32_t n;         /* statement number in the record; 0: none */
    unsigned completed; /* statements of a Query that have completed */
    struct pgname_undo *undo;
    struct pgprepared *prepared; /* of Parse, Describe */
    struct pgportal *portal;     /* of Bind, Describe, Execute */
    struct pgdenial *denial;     /* poisoned: the upstream's error is replaced by this */
};

struct pgqueue { /* ring */
    struct pgpending *p;
    size_t cap, first, n;
};
struct pgpending *pgqueue_push(struct pgqueue *q); /* zeroed; NULL: no memory */
struct pgpending *pgqueue_at(struct pgqueue *q, size_t i);
void pgqueue_pop(struct pgqueue *q);
void pgqueue_done(struct pgqueue *q);
#define PGQUEUE_HIGH 16384
#define PGQUEUE_LOW  4096

/* The result that is arriving, for the record. */
struct pgresult {
    bool open;
    uint32_t n;
    uint64_t rows, bytes, started_us;
    bool truncated;
    bool copy_binary; /* COPY … (FORMAT binary) */
    enum { PGCOPY_NONE = 0, PGCOPY_TO_CLIENT, PGCOPY_FROM_CLIENT } copy;
    struct rowplan *plan; /* of the rows now coming; NULL: none */
    struct buffer json;   /* rows, as a JSON array without its end; COPY: the data */
};

/* A row that is masked while it passes (flow_stream.c). */
struct pgstream {
    size_t left; /* bytes of the message still to come; 0: no such row now */
    bool copy;   /* CopyData: one text without cells */
    int state;
    unsigned column;
    uint8_t head[4]; /* a count or length that was split */
    unsigned head_n;
    size_t cell_left;
    bool cell_start;
    struct detect_stream *detect;
    uint64_t detect_serial; /* of the context whose detectors it uses */
};

/* How far a burst of rows has been searched for values: no anchor begins between the place where
 * the search last started and `clean_to`. Each byte is looked at once, however many rows there are.
 */
struct pgscan {
    const struct detector_set *detectors; /* borrowed; NULL: not begun */
    struct bytes chunk;                   /* empty: none */
    const uint8_t *clean_to;              /* the next anchor, or the chunk's end */
};

struct pgflow {
    struct session *session;
    struct relay *relay;
    struct record *record;
    struct pgcontext *context; /* counted */
    char user[64], database[64];
    char *search_path; /* newline-separated, as the context was built with */

    struct pgnames names;
    struct pgqueue pending;
    uint8_t tx_status; /* 'I', 'T', 'E': of the last ReadyForQuery */
    bool batch_open;   /* extended messages were forwarded since the last Sync */
    bool skip_to_sync; /* refused in the extended protocol: discard until Sync */
    bool copy_in;      /* the upstream reads CopyData from us */
    uint32_t n;        /* statements so far */

    enum pgpark park;
    struct bytes park_text;    /* PGPARK_JUDGE: to be copied before the call that parked returns */
    struct pgverdict *judged;  /* what came of it: used once by the message that asked */
    bool refreshed;            /* the catalogue has been read anew for the message at hand */
    uint64_t schema_seen;      /* pgcatalog_changes() when the catalogue was read */
    bool schema_changed_in_tx; /* DDL has run in the transaction at hand */
    bool schema_undone;        /* perhaps, since the catalogue was read: its end was sent */
    uint64_t unknown_at_ms;

    /* PGPARK_APPROVAL */
    char approval_id[APPROVAL_ID_LEN + 1];
    enum approval_phase approval_phase; /* PENDING while waiting */
    bool approval_decided;
    uint8_t approval_digest[32];
    uint32_t approval_n;

    /* reading the catalogue: answers go to the collector, not to the client */
    struct pgcollector *collector;

    struct buffer c_partial, s_partial; /* a message that is not complete yet */
    bool borrowable;                    /* the message at hand lies in the relay's chunk */
    bool s_borrowable;                  /* the same for the upstream */
    struct pgscan scan;                 /* of the upstream's chunk at hand */
    struct pgprepared *park_prepared;   /* PGPARK_JUDGE is for this one; counted */
    size_t c_pass, c_discard,
        s_pass; /* bytes of a message that are passed on, or dropped, unseen */
    struct row_scratch scratch;
    struct rowplan *last_plan;      /* the next RowDescription is often the same */
    struct buffer last_description; /* that last_plan was made from; then one byte: strict */
    struct buffer work, shape;
    struct pgresult result;
    struct pgstream stream;
    const char *end_reason; /* set when the session is over */
};

/* All zero but for what the caller knows. The flow takes over the context's reference. */
int pgflow_init(struct pgflow *f, struct session *s, struct relay *relay,
                struct pgcontext *context) MUST_CHECK;
void pgflow_done(struct pgflow *f);

/* Bytes from the client or the upstream. Consumes all (what waits is kept in c_partial). */
void pgflow_from_client(struct pgflow *f, struct bytes chunk);
void pgflow_from_upstream(struct pgflow *f, struct bytes chunk);
/* Goes on with what the client sent, after a park has been dealt with. */
void pgflow_resume(struct pgflow *f);
/* Nothing is outstanding and the client is at a message border outside a batch. */
bool pgflow_quiet(const struct pgflow *f);
/* Tells the client why and ends: FATAL. */
void pgflow_fatal(struct pgflow *f, const char *sqlstate, const char *message);

/* ---- between the flow's files ---- */

enum handled { HANDLED_PARKED = 0, HANDLED_OK, HANDLED_FATAL };

void pgflow_record_statement(struct pgflow *f, uint32_t n, const char *kind, struct bytes text,
                             struct bytes parameters_json, const struct pgverdict *v,
                             const struct pgdenial *denied);
void pgflow_record_decision(struct pgflow *f, uint32_t n, const struct pgverdict *v,
                            const struct pgdenial *d);
void pgflow_record_approval(struct pgflow *f, const char *phase);
void pgflow_record_error(struct pgflow *f, uint32_t n, struct bytes body, bool notice);
void pgresult_row(struct pgflow *f, struct bytes body);
void pgresult_open(struct pgflow *f, uint32_t n, struct rowplan *plan);
/* COPY data, either way, as the agent saw or sent it. */
void pgresult_copy(struct pgflow *f, struct bytes data);
void pgresult_close(struct pgflow *f, struct bytes tag, bool suspended);

void pgflow_describe_denial(const struct pgflow *f, const struct pgverdict *v, uint32_t n,
                            struct pgdenial *ret);
void pgflow_say_denied(struct pgflow *f, const struct pgdenial *d);
/* Refuses the message at hand. `extended`: until Sync. */
enum handled pgflow_deny(struct pgflow *f, bool extended, const struct pgdenial *d);
/* The upstream has answered (part of) the first pending entry. */
void pgflow_drop_pending(struct pgflow *f, bool undo);
