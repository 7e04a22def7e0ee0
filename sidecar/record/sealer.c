/* SPDX-License-Identifier: Apache-2.0
 * Looks over the spool, once a second.
 */
#include "sealer.h"

#include "src-common/clock.h"
#include "src-common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS  1000
#define STUCK_MS 30000 /* what was half copied is whole long before */

/* A record that is being cut. */
struct track {
    struct track *next;
    char session[RECORD_SESSION_MAX + 1];
    struct checkpoint at;
    uint64_t since_ms; /* when a line that is in no segment was first seen; 0: there is none */
    uint64_t bad_ms;   /* since when it cannot be cut */
    bool seen, said;
};

struct sealer {
    struct sealer_config c;
    struct cutter cutter;
    struct track *tracks;
    pthread_t thread;
    pthread_mutex_t lock, pass; /* pass: one at a time looks over the spool */
    pthread_cond_t wake;
    bool running, stop;
    atomic_uint stuck;
};

/* ---- tracks ---- */

static struct track *find(struct sealer *s, const char *session)
{
    struct track *t = s->tracks;

    while (t && strcmp(t->session, session) != 0)
        t = t->next;
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    snprintf(t->session, sizeof t->session, "%s", session);
    if (checkpoint_read(s->cutter.dir_fd, session, &t->at) != 0)
        checkpoint_start(&t->at);
    t->next = s->tracks;
    s->tracks = t;
    if (strcmp(session, ledger_name(s->c.ledger)) != 0)
        ledger_session(s->c.ledger, session);
    return t;
}

static void forget_unseen(struct sealer *s)
{
    for (struct track **p = &s->tracks; *p;) {
        struct track *t = *p;

        if (!t->seen) {
            *p = t->next;
            free(t);
            continue;
        }
        t->seen = false;
        p = &t->next;
    }
}

/* ---- cutting ---- */

static void complain(struct track *t, const struct error *err)
{
    uint64_t now = clock_mono_ms();

    if (!t->bad_ms)
        t->bad_ms = now;
    if (now - t->bad_ms < STUCK_MS || t->said)
        return;
    t->said = true;
    log_error("records.stuck", F_STR("session", t->session), F_STR("reason", err->text));
}

/* The ledger speaks of segments that were stored: it goes after them. */
static unsigned age_limit(const struct sealer *s, const struct track *t)
{
    bool ledger = strncmp(t->session, LEDGER_PREFIX, sizeof LEDGER_PREFIX - 1) == 0;

    return ledger ? 2 * s->c.segment_ms : s->c.segment_ms;
}

static void look_at(struct sealer *s, const char *session, bool all)
{
    struct track *t = find(s, session);
    struct error err = {""};
    struct cutter_view view;
    uint64_t now = clock_mono_ms();
    bool old;
    int rc;

    if (!t)
        return;
    t->seen = true;
    if (cutter_look(&s->cutter, session, &t->at, &view) != 0)
        return;
    if (!view.any && !t->at.sealed) {
        t->since_ms = 0;
        return;
    }
    t->since_ms = t->since_ms ? t->since_ms : now;
    old = all || now - t->since_ms >= age_limit(s, t);
    if (!old && !view.ended && !t->at.sealed && view.bytes < s->cutter.segment_bytes)
        return;
    rc = cutter_cut(&s->cutter, session, &t->at, old || view.ended, &err);
    if (rc < 0) {
        complain(t, &err);
        return;
    }
    t->since_ms = t->bad_ms = 0;
    t->said = false;
}

/* ---- the pass ---- */

static bool session_of(const char *file, char ret[static RECORD_SESSION_MAX + 1])
{
    size_t n = strlen(file), tail = sizeof ".jsonl" - 1;

    if (n <= tail || n - tail > RECORD_SESSION_MAX || strcmp(file + n - tail, ".jsonl") != 0)
        return false;
    memcpy(ret, file, n - tail);
    ret[n - tail] = '\0';
    return true;
}

static DIR *open_spool(const struct sealer *s)
{
    int fd = openat(s->cutter.dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? NULL : fdopendir(fd);
}

static void measure(struct sealer *s)
{
    uint64_t written = record_spool_bytes(s->c.spool), held = 0;
    DIR *d = open_spool(s);
    struct dirent *e;
    struct stat st;

    if (!d)
        return;
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            held += (uint64_t)st.st_blocks * 512;
    closedir(d);
    record_spool_measured(s->c.spool, held, written);
}

static void cut_all(struct sealer *s, bool all)
{
    char session[RECORD_SESSION_MAX + 1];
    DIR *d = open_spool(s);
    unsigned stuck = 0;
    struct dirent *e;

    if (!d)
        return;
    while ((e = readdir(d)) != NULL)
        if (session_of(e->d_name, session))
            look_at(s, session, all);
    closedir(d);
    forget_unseen(s);
    for (struct track *t = s->tracks; t; t = t->next)
        stuck += t->said;
    atomic_store(&s->stuck, stuck);
}

static void pass(struct sealer *s, bool all)
{
    record_spool_retry(s->c.spool);
    pthread_mutex_lock(&s->pass);
    if (s->c.signer)
        cut_all(s, all);
    measure(s);
    pthread_mutex_unlock(&s->pass);
}

static void *sealer_main(void *arg)
{
    struct sealer *s = arg;
    struct timespec until;

    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        pthread_mutex_unlock(&s->lock);
        pass(s, false);
        pthread_mutex_lock(&s->lock);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += LOOK_MS / 1000;
        if (!s->stop)
            pthread_cond_timedwait(&s->wake, &s->lock, &until);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- life ---- */

int sealer_start(const struct sealer_config *c, struct sealer **ret, struct error *err)
{
    struct sealer *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->c = *c;
    s->cutter = (struct cutter){.dir_fd = record_spool_dir(c->spool),
                                .signer = c->signer,
                                .segment_bytes = c->segment_bytes,
                                .ledger = c->stays ? c->ledger : NULL};
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->pass, NULL);
    pthread_cond_init(&s->wake, NULL);
    rc = -pthread_create(&s->thread, NULL, sealer_main, s);
    s->running = rc == 0;
    if (rc) {
        sealer_stop(s);
        return error_set(err, rc, "cannot start the sealer: %s", strerror(-rc));
    }
    *ret = s;
    return 0;
}

void sealer_finish(struct sealer *s)
{
    pass(s, true);
}

void sealer_stop(struct sealer *s)
{
    if (!s)
        return;
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (struct track *t; (t = s->tracks) != NULL;) {
        s->tracks = t->next;
        free(t);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->pass);
    pthread_cond_destroy(&s->wake);
    free(s);
}

unsigned sealer_stuck(struct sealer *s)
{
    return atomic_load(&s->stuck);
}
