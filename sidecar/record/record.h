/* SPDX-License-Identifier: Apache-2.0
 * The tamper-evident log of one session: DIR/<session id>.jsonl, one JSON object a line,
 *   {"seq":N,"time":"…","type":"…","session":"…",…fields…,"prev":"<hex>","hash":"<hex>"}
 * `hash` is the SHA-256 of the line's bytes up to and without `,"hash":"…"}` plus a closing
 * brace; `prev` is the hash of the line before (64 zeros in the first). Types: session.open,
 * auth, statement, decision, approval, result, data, notice, error, gap, session.close.
 *
 * A record belongs to its session's thread. Lines are formatted and chained in memory by
 * record_begin/record_end and reach the file in record_flush, which the session calls before it
 * forwards what they describe: one write for a whole burst (file.h).
 */
#pragma once

#include "src-common/error.h"
#include "src-common/jsonw.h"

struct record_spool; /* one per process; any thread */
/* Creates the directory (0700) when missing. err says why not. */
int record_spool_open(const char *dir, struct record_spool **ret, struct error *err) MUST_CHECK;
void record_spool_close(struct record_spool *s); /* accepts NULL; all records must be closed */
/* Figures for /metrics and /readyz; any thread. */
uint64_t record_spool_bytes(const struct record_spool *s);    /* written since start */
uint64_t record_spool_failures(const struct record_spool *s); /* writes that failed */
/* False after a failed write, or a failed sync, until one succeeds. */
bool record_spool_healthy(const struct record_spool *s);
/* Why not, for people; empty when it is. */
void record_spool_trouble(const struct record_spool *s, char *ret, size_t size);
struct syncer_figures;
void record_spool_syncs(const struct record_spool *s, struct syncer_figures *ret); /* sync.h */

/* From now on writes fail with -ENOSPC while the spool holds more than `bytes`; 0: no bound. What
 * closes a record is written all the same. */
void record_spool_set_limit(struct record_spool *s, uint64_t bytes);
/* What the directory held when `written` bytes had been written in all (record_spool_bytes). */
void record_spool_measured(struct record_spool *s, uint64_t held, uint64_t written);
/* Writes what sessions that have ended could not write, as far as there is room. Any thread. */
void record_spool_retry(struct record_spool *s);
uint64_t record_spool_held(const struct record_spool *s); /* now; 0 when nobody measures */
int record_spool_dir(const struct record_spool *s);       /* the directory's descriptor */

struct record;
/* Creates the file (O_EXCL, 0600). Nothing is written yet. */
int record_open(struct record_spool *s, const char *session_id, struct record **ret) MUST_CHECK;
/* Goes on with a record that a dead guard left: seq is the next line's number, prev the hash of the
 * last one, with which the file ends. For recovery alone. */
int record_resume(struct record_spool *s, const char *session_id, uint64_t seq, const char prev[64],
                  struct record **ret) MUST_CHECK;

/* Starts a line of that type and returns the buffer to which the caller appends fields with the
 * jsonw_k… functions; the first field's comma is handled. Then record_end. Out of memory shows in
 * record_end. */
struct buffer *record_begin(struct record *r, const char *type);
int record_end(struct record *r) MUST_CHECK;
/* Writes what is pending. 0 or -errno (-ENOSPC, …); on failure the lines stay pending, nothing is
 * lost, and the caller must not forward. Short writes are continued, and a partial line is
 * completed by the next call. */
int record_flush(struct record *r) MUST_CHECK;
/* For `durability: Node`: the first `upto` bytes (record_written) are to be on the disk. 0: it is.
 * -EINPROGRESS: it will be, or will have failed; then done(arg) is called, once, on another thread:
 * it must be quick, and ask again for the answer. Not after record_close. Else -errno, for good: a
 * record that could not be forced to the disk once is not trusted again. Never blocks. */
int record_sync(struct record *r, uint64_t upto, void (*done)(void *arg), void *arg) MUST_CHECK;
/* record_flush, and for a thread that may wait also record_sync when to_disk. */
int record_flush_through(struct record *r, bool to_disk) MUST_CHECK;
uint64_t record_written(const struct record *r); /* bytes flushed so far */
/* Flushes, and looks at how busy the record has been since the last tick: the lines of a busy one
 * are copied into the file (file.h), those of a quiet one written. To be called every 50 to 500 ms
 * while there are lines to flush, and on while record_busy says so. Without ticks it writes. */
int record_tick(struct record *r) MUST_CHECK;
bool record_busy(const struct record *r);
/* Its lines are written though the spool is over its bound: they are what helps to empty it. */
void record_set_unbounded(struct record *r);
size_t record_pending(const struct record *r); /* bytes not yet written */
/* Hash of the last line that was ended, 64 digits and a NUL; until the next line. */
const char *record_head(const struct record *r);
/* Flushes, closes. The session.close line is the caller's. Accepts NULL. */
void record_close(struct record *r);

/* A callback that sees every complete line when it is flushed (live tail). One per process; set
 * before the first session. Runs on the session's thread and must not block. */
typedef void record_tap_fn(const char *session_id, struct bytes line, void *arg);
void record_spool_set_tap(struct record_spool *s, record_tap_fn *fn, void *arg);
/* A second such callback, which is called first (Events). */
void record_spool_set_observer(struct record_spool *s, record_tap_fn *fn, void *arg);

/* ---- reading ---- */

struct record_check {
    uint64_t lines, statements, denied, approvals;
    uint64_t gaps;  /* lines that say that something is missing, or who closed the record */
    uint64_t first; /* number of its first line: 0, or earlier ones are in segments elsewhere */
    uint64_t clock_back; /* lines that claim to be older than the one before */
    uint64_t segments;   /* of which it was read (segments.h) */
    uint64_t bad_seq;    /* sequence number where the chain first breaks, when !ok */
    bool ok;             /* chain intact, sequence without holes */
    bool sealed;         /* ends with session.close */
    char session[64];
    char started[28], ended[28]; /* when its first and its last good line were written */
    char head[65];               /* hash of the last good line */
    char key[65];                /* who signed the last segment; empty: nothing was signed */
    char reason[256];            /* when !ok: what is wrong there */
};
/* What somebody else knows of records: whether that is the hash of that line. */
struct record_heads {
    bool (*fits)(void *arg, const char *session, uint64_t seq, const char *hash);
    void *arg;
};
/* Verifies one file, streaming (bounded memory; a line is at most 64 MiB). -errno only when the
 * file cannot be read; tampering is ret->ok == false. */
int record_verify_file(const char *path, struct record_check *ret, struct error *err) MUST_CHECK;
/* The same of an open file, from where it stands; `path` is for messages. */
int record_verify_fd(int fd, const char *path, struct record_check *ret,
                     struct error *err) MUST_CHECK;
/* The same, compared with what is known of it; heads may be NULL. */
int record_verify_against(int fd, const char *path, const struct record_heads *heads,
                          struct record_check *ret, struct error *err) MUST_CHECK;
