/* SPDX-License-Identifier: Apache-2.0
 * Writes records: lines are chained in memory and leave together, a burst at a time.
 */
#include "record.h"

#include "chain.h"
#include "file.h"
#include "sync.h"
#include "src-common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PENDING_MAX (2 * RECORD_LINE_MAX)
/* Flushes between two ticks: what makes a record a busy one, or a quiet one again. */
#define BUSY_FLUSHES  16
#define QUIET_FLUSHES 4
/* What sessions left unwritten that ended while the disk was full. */
#define LEFT_MAX     ((size_t)64 << 20)
#define LEFT_FILES   512
#define PENDING_KEEP ((size_t)256 << 10) /* memory a quiet record keeps between bursts */

/* Who is shown each line. Set while the ledger's thread writes already. */
struct watcher {
    record_tap_fn *_Atomic fn;
    void *arg;
};

struct record_spool {
    int dir_fd;
    struct syncer *syncer;
    struct watcher tap, observer;
    atomic_uint_fast64_t bytes, failures;
    atomic_uint_fast64_t limit, held_before; /* what is held: bytes + held_before, modulo 2^64 */
    atomic_bool unhealthy;
    pthread_mutex_t left_lock; /* for what follows */
    struct record *left;       /* closed, with lines that are not in the file yet */
    size_t left_bytes;
    atomic_uint n_left;
    atomic_int error; /* -errno of the write that made it so */
};

/* `pending` holds whole lines and, while `open`, the beginning of one at line_at. Its first
 * `written` bytes are in the file already: the part of a line that a short write left behind. */
struct record {
    struct record_spool *spool;
    struct record_file file;
    struct syncfile *sync; /* NULL: nobody asked yet */
    unsigned flushes;      /* since the last tick */
    uint64_t seq;
    struct buffer pending;
    size_t written, line_at;
    bool open, unbounded;
    struct record *next; /* of those that are left */
    char prev[CHAIN_HEX + 1];
    char session[RECORD_SESSION_MAX + 1];
};

static void drop_left(struct record_spool *s);

int record_spool_open(const char *dir, struct record_spool **ret, struct error *err)
{
    struct record_spool *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->dir_fd = -1;
    pthread_mutex_init(&s->left_lock, NULL);
    r = syncer_new(&s->syncer);
    if (r) {
        error_set(err, r, "out of memory");
        goto fail;
    }
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        r = error_set(err, -errno, "cannot create the spool directory %s: %m", dir);
        goto fail;
    }
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0) {
        r = error_set(err, -errno, "cannot open the spool directory %s: %m", dir);
        goto fail;
    }
    if (faccessat(s->dir_fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        r = error_set(err, -errno, "cannot write to the spool directory %s: %m", dir);
        goto fail;
    }
    *ret = s;
    return 0;
fail:
    record_spool_close(s);
    return r;
}

void record_spool_close(struct record_spool *s)
{
    if (!s)
        return;
    record_spool_retry(s);
    drop_left(s);
    pthread_mutex_destroy(&s->left_lock);
    syncer_free(s->syncer);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    free(s);
}

uint64_t record_spool_bytes(const struct record_spool *s)
{
    return atomic_load(&s->bytes);
}

uint64_t record_spool_failures(const struct record_spool *s)
{
    return atomic_load(&s->failures);
}

void record_spool_set_limit(struct record_spool *s, uint64_t bytes)
{
    atomic_store(&s->limit, bytes);
}

void record_spool_measured(struct record_spool *s, uint64_t held, uint64_t written)
{
    atomic_store(&s->held_before, held - written);
}

uint64_t record_spool_held(const struct record_spool *s)
{
    return atomic_load(&s->bytes) + atomic_load(&s->held_before);
}

int record_spool_dir(const struct record_spool *s)
{
    return s->dir_fd;
}

static bool is_full(const struct record_spool *s)
{
    uint64_t limit = atomic_load_explicit(&s->limit, memory_order_relaxed);

    return limit && record_spool_held(s) > limit;
}

bool record_spool_healthy(const struct record_spool *s)
{
    struct syncer_figures n;

    syncer_figures(s->syncer, &n);
    return !atomic_load(&s->unhealthy) && !is_full(s) && !n.failing;
}

void record_spool_trouble(const struct record_spool *s, char *ret, size_t size)
{
    struct syncer_figures n;

    ret[0] = '\0';
    syncer_figures(s->syncer, &n);
    if (is_full(s))
        snprintf(ret, size, "the spool is full: it holds more than --spool-limit");
    else if (atomic_load(&s->unhealthy))
        snprintf(ret, size, "records cannot be written: %s", strerror(-atomic_load(&s->error)));
    else if (n.failing)
        snprintf(ret, size, "records cannot be forced to the disk: %s", strerror(-n.error));
}

void record_spool_syncs(const struct record_spool *s, struct syncer_figures *ret)
{
    syncer_figures(s->syncer, ret);
}

/* The argument first: who sees the function sees it, too. It stays when the function goes. */
static void watcher_set(struct watcher *w, record_tap_fn *fn, void *arg)
{
    if (fn)
        w->arg = arg;
    atomic_store_explicit(&w->fn, fn, memory_order_release);
}

static void watcher_tell(const struct watcher *w, const char *session, struct bytes line)
{
    record_tap_fn *fn = atomic_load_explicit(&w->fn, memory_order_acquire);

    if (fn)
        fn(session, line, w->arg);
}

static bool is_watched(const struct record_spool *s)
{
    return atomic_load_explicit(&s->tap.fn, memory_order_relaxed) ||
           atomic_load_explicit(&s->observer.fn, memory_order_relaxed);
}

void record_spool_set_tap(struct record_spool *s, record_tap_fn *fn, void *arg)
{
    watcher_set(&s->tap, fn, arg);
}

void record_spool_set_observer(struct record_spool *s, record_tap_fn *fn, void *arg)
{
    watcher_set(&s->observer, fn, arg);
}

static void record_free(struct record *r)
{
    syncfile_drop(r->sync);
    record_file_close(&r->file);
    buffer_done(&r->pending);
    free(r);
}

static void note_trouble(struct record_spool *s, int error)
{
    atomic_store(&s->error, error);
    atomic_store(&s->unhealthy, true);
}

static int open_record(struct record_spool *s, const char *session_id, int flags,
                       struct record **ret)
{
    char name[RECORD_SESSION_MAX + sizeof ".jsonl"];
    struct record *r;
    int e, fd;

    if (!chain_session_ok(bytes_str(session_id)))
        return -EINVAL;
    r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->spool = s;
    buffer_init(&r->pending, PENDING_MAX);
    memset(r->prev, '0', CHAIN_HEX);
    memcpy(r->session, session_id, strlen(session_id) + 1);
    snprintf(name, sizeof name, "%s.jsonl", session_id);
    fd = openat(s->dir_fd, name, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    e = -errno;
    record_file_init(&r->file, fd);
    if (fd < 0) {
        atomic_fetch_add(&s->failures, 1);
        record_free(r);
        return e;
    }
    *ret = r;
    return 0;
}

int record_open(struct record_spool *s, const char *session_id, struct record **ret)
{
    record_spool_retry(s);
    if (is_full(s)) {
        atomic_fetch_add(&s->failures, 1);
        return -ENOSPC;
    }
    return open_record(s, session_id, O_CREAT | O_EXCL, ret);
}

int record_resume(struct record_spool *s, const char *session_id, uint64_t seq, const char prev[64],
                  struct record **ret)
{
    int rc = open_record(s, session_id, 0, ret);

    if (rc)
        return rc;
    (*ret)->seq = seq;
    memcpy((*ret)->prev, prev, CHAIN_HEX);
    return 0;
}

/* Takes back a line that was begun and not ended. */
static void drop_open_line(struct record *r)
{
    if (!r->open)
        return;
    r->pending.end = r->pending.start + r->line_at;
    r->pending.failed = false;
    r->open = false;
}

#define ADD(b, literal) buffer_append((b), (literal), sizeof(literal) - 1)

struct buffer *record_begin(struct record *r, const char *type)
{
    struct buffer *b = &r->pending;
    char time[CLOCK_RFC3339_LEN + 1];

    drop_open_line(r);
    r->line_at = buffer_len(b);
    r->open = true;
    clock_rfc3339(clock_wall_us(), time);
    ADD(b, "{\"seq\":");
    jsonw_u64(b, r->seq);
    ADD(b, ",\"time\":\"");
    buffer_append(b, time, CLOCK_RFC3339_LEN);
    ADD(b, "\",\"type\":\"");
    buffer_append(b, type, strlen(type));
    ADD(b, "\",\"session\":\"");
    buffer_append(b, r->session, strlen(r->session));
    ADD(b, "\"");
    return b;
}

/* Appends prev and hash to the open line. */
static int seal_line(struct record *r)
{
    struct buffer *b = &r->pending;
    char hash[CHAIN_HEX];
    struct bytes line;

    ADD(b, CHAIN_PREV);
    buffer_append(b, r->prev, CHAIN_HEX);
    ADD(b, CHAIN_END);
    if (b->failed)
        return -ENOMEM;
    line = bytes_of(b->p + b->start + r->line_at, buffer_len(b) - r->line_at);
    if (line.len > RECORD_LINE_MAX - CHAIN_TAIL_LEN)
        return -E2BIG;
    if (memchr(line.p, '\n', line.len))
        return -EBADMSG;
    chain_hash(line, (struct bytes){0}, hash);
    b->end -= sizeof CHAIN_END - 1;
    ADD(b, CHAIN_HASH);
    buffer_append(b, hash, CHAIN_HEX);
    ADD(b, CHAIN_END "\n");
    if (b->failed)
        return -ENOMEM;
    memcpy(r->prev, hash, CHAIN_HEX);
    return 0;
}

int record_end(struct record *r)
{
    int e;

    if (!r->open)
        return -EINVAL;
    e = seal_line(r);
    if (e != 0) {
        drop_open_line(r);
        return e;
    }
    r->open = false;
    r->seq++;
    return 0;
}

size_t record_pending(const struct record *r)
{
    return (r->open ? r->line_at : buffer_len(&r->pending)) - r->written;
}

const char *record_head(const struct record *r)
{
    return r->prev;
}

/* Shows whole lines that have reached the file to tap and observer, and forgets them. */
static void retire_lines(struct record *r)
{
    const struct record_spool *s = r->spool;
    const uint8_t *p = r->pending.p + r->pending.start, *nl;
    size_t done = 0;

    if (!is_watched(s) && r->written == buffer_len(&r->pending)) {
        done = r->written;
    } else {
        while (done < r->written && (nl = memchr(p + done, '\n', r->written - done))) {
            size_t n = (size_t)(nl - (p + done));

            watcher_tell(&s->observer, r->session, bytes_of(p + done, n));
            watcher_tell(&s->tap, r->session, bytes_of(p + done, n));
            done += n + 1;
        }
    }
    buffer_consume(&r->pending, done);
    r->written -= done;
    if (r->open)
        r->line_at -= done;
    if (buffer_len(&r->pending) == 0 && r->pending.cap > PENDING_KEEP)
        buffer_reset(&r->pending, PENDING_KEEP);
}

static int flush(struct record *r)
{
    int e = 0;

    while (record_pending(r) > 0) {
        const uint8_t *p = r->pending.p + r->pending.start + r->written;
        ssize_t n = is_full(r->spool) && !r->unbounded
                        ? -ENOSPC
                        : record_file_append(&r->file, p, record_pending(r));

        if (n > 0) {
            r->written += (size_t)n;
            atomic_fetch_add(&r->spool->bytes, (uint64_t)n);
            continue;
        }
        e = (int)n;
        atomic_fetch_add(&r->spool->failures, 1);
        if (!is_full(r->spool)) /* which shows by itself, and passes by itself */
            note_trouble(r->spool, e);
        break;
    }
    if (r->written > 0) {
        retire_lines(r);
        if (e == 0)
            atomic_store(&r->spool->unhealthy, false);
    }
    return e;
}

int record_flush(struct record *r)
{
    int e;

    r->flushes++;
    e = flush(r);
    if (e == 0)
        record_spool_retry(r->spool);
    return e;
}

/* ---- what ended while nothing could be written ---- */

/* False: there is too much of it. */
static bool leave(struct record *r)
{
    struct record_spool *s = r->spool;
    size_t n = buffer_len(&r->pending);
    bool ok;

    pthread_mutex_lock(&s->left_lock);
    ok = s->left_bytes + n <= LEFT_MAX && atomic_load(&s->n_left) < LEFT_FILES;
    if (ok) {
        r->next = s->left;
        s->left = r;
        s->left_bytes += n;
        atomic_fetch_add(&s->n_left, 1);
    }
    pthread_mutex_unlock(&s->left_lock);
    return ok;
}

/* Takes the beginning of a line out of the file again: the record ends with a whole one. */
static void give_up(struct record *r)
{
    if (r->written > 0)
        (void)!ftruncate(r->file.fd, (off_t)(r->file.end - r->written));
    record_free(r);
}

void record_spool_retry(struct record_spool *s)
{
    if (atomic_load_explicit(&s->n_left, memory_order_relaxed) == 0 ||
        pthread_mutex_trylock(&s->left_lock) != 0)
        return;
    while (s->left) {
        struct record *r = s->left;
        size_t n = buffer_len(&r->pending);

        if (flush(r) != 0) {
            s->left_bytes -= n - buffer_len(&r->pending);
            break;
        }
        s->left = r->next;
        s->left_bytes -= n;
        atomic_fetch_sub(&s->n_left, 1);
        record_free(r);
    }
    pthread_mutex_unlock(&s->left_lock);
}

static void drop_left(struct record_spool *s)
{
    for (struct record *r; (r = s->left) != NULL;) {
        s->left = r->next;
        give_up(r);
    }
}

/* The file to ask the syncer about. */
static int syncfile_of(struct record *r, struct syncfile **ret)
{
    int rc = 0;

    if (!r->sync)
        rc = syncfile_new(r->spool->syncer, r->file.fd, r->spool->dir_fd, &r->sync);
    *ret = r->sync;
    return rc;
}

int record_sync(struct record *r, uint64_t upto, void (*done)(void *arg), void *arg)
{
    struct syncfile *f;
    int rc = syncfile_of(r, &f);

    if (rc == 0)
        rc = syncfile_ask(f, upto, done, arg);
    if (rc && rc != -EINPROGRESS)
        atomic_fetch_add(&r->spool->failures, 1);
    return rc;
}

int record_flush_through(struct record *r, bool to_disk)
{
    struct syncfile *f;
    int rc = record_flush(r);

    if (rc || !to_disk)
        return rc;
    rc = syncfile_of(r, &f);
    if (rc == 0)
        rc = syncfile_wait(f, r->file.end);
    if (rc)
        atomic_fetch_add(&r->spool->failures, 1);
    return rc;
}

uint64_t record_written(const struct record *r)
{
    return r->file.end;
}

void record_set_unbounded(struct record *r)
{
    r->unbounded = true;
}

int record_tick(struct record *r)
{
    int e = record_flush(r);

    if (r->flushes < QUIET_FLUSHES && record_file_settle(&r->file) != 0)
        atomic_fetch_add(&r->spool->failures, 1);
    if (r->flushes >= BUSY_FLUSHES && r->written == 0)
        record_file_map(&r->file);
    r->flushes = 0;
    return e;
}

bool record_busy(const struct record *r)
{
    return r->file.window != NULL;
}

void record_close(struct record *r)
{
    int e;

    if (!r)
        return;
    drop_open_line(r);
    r->unbounded = true;
    /* The last lines are written, not copied: what ends a session never stands behind a blank. */
    if (record_file_settle(&r->file) != 0)
        atomic_fetch_add(&r->spool->failures, 1);
    /* A failure has been counted. The lines wait for space with those of others. */
    e = record_flush(r);
    if (e == 0) {
        record_free(r);
        return;
    }
    note_trouble(r->spool, e);
    if (!leave(r))
        give_up(r);
}
