/* SPDX-License-Identifier: Apache-2.0
 * Group commit.
 */
#include "sync.h"

#include "src-common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Journals take the commits of several files together; more threads than that only queue there. */
#define THREADS 4

struct syncer {
    pthread_mutex_t lock; /* for all of this, and for the files */
    pthread_cond_t work, progress;
    struct syncfile *first, *last; /* that wait */
    pthread_t threads[THREADS];
    unsigned n_threads;
    bool stop;
    struct syncer_figures n;
};

struct syncfile {
    struct syncer *syncer;
    struct syncfile *next;
    int fd, dir_fd; /* dir_fd: -1 once it has been forced */
    uint64_t wanted, synced;
    int failed; /* -errno, for good */
    bool queued, running, dropped;
    syncfile_done_fn *done;
    void *arg;
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void free_file(struct syncfile *f)
{
    if (f->dir_fd >= 0)
        close(f->dir_fd);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

/* Under the lock. */
static void enqueue(struct syncfile *f)
{
    struct syncer *s = f->syncer;

    if (f->queued || f->running)
        return;
    f->queued = true;
    f->next = NULL;
    if (s->last)
        s->last->next = f;
    else
        s->first = f;
    s->last = f;
    s->n.waiting++;
    pthread_cond_signal(&s->work);
}

static struct syncfile *dequeue(struct syncer *s)
{
    struct syncfile *f = s->first;

    s->first = f->next;
    if (!s->first)
        s->last = NULL;
    s->n.waiting--;
    f->queued = false;
    return f;
}

static int force(struct syncfile *f)
{
    if (fdatasync(f->fd) != 0)
        return -errno;
    if (f->dir_fd < 0)
        return 0;
    if (fsync(f->dir_fd) != 0)
        return -errno;
    close(f->dir_fd);
    f->dir_fd = -1;
    return 0;
}

static void note(struct syncer *s, int rc)
{
    if (rc && !s->n.failing)
        log_error("records.sync_failed", F_STR("reason", strerror(-rc)));
    s->n.failing = rc != 0;
    s->n.error = rc;
    s->n.syncs++;
}

static void tell(struct syncfile *f)
{
    syncfile_done_fn *done = take(&f->done);

    if (done)
        done(f->arg);
    pthread_cond_broadcast(&f->syncer->progress);
}

/* Under the lock, which it leaves for the call. */
static void serve(struct syncer *s, struct syncfile *f)
{
    uint64_t upto = f->wanted, began = now_us();
    int rc;

    if (f->dropped) {
        free_file(f);
        return;
    }
    f->running = true;
    pthread_mutex_unlock(&s->lock);
    rc = force(f);
    pthread_mutex_lock(&s->lock);
    f->running = false;
    s->n.busy_us += now_us() - began;
    note(s, rc);
    if (f->dropped) {
        free_file(f);
        return;
    }
    f->failed = rc;
    if (rc == 0)
        f->synced = upto;
    if (rc == 0 && f->wanted > upto)
        enqueue(f); /* what came meanwhile waits on */
    else
        tell(f);
}

static void *syncer_main(void *arg)
{
    struct syncer *s = arg;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first && !s->stop)
            pthread_cond_wait(&s->work, &s->lock);
        if (!s->first)
            break;
        serve(s, dequeue(s));
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int syncer_new(struct syncer **ret)
{
    struct syncer *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->progress, NULL);
    *ret = s;
    return 0;
}

void syncer_free(struct syncer *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->n_threads; i++)
        pthread_join(s->threads[i], NULL);
    pthread_cond_destroy(&s->progress);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void syncer_figures(struct syncer *s, struct syncer_figures *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->n;
    pthread_mutex_unlock(&s->lock);
}

/* Under the lock. Where nobody asks there are no threads; one is enough to go on. */
static int start_threads(struct syncer *s)
{
    while (s->n_threads < THREADS &&
           pthread_create(&s->threads[s->n_threads], NULL, syncer_main, s) == 0)
        s->n_threads++;
    return s->n_threads ? 0 : -EAGAIN;
}

int syncfile_new(struct syncer *s, int fd, int dir_fd, struct syncfile **ret)
{
    struct syncfile *f = calloc(1, sizeof *f);
    int rc;

    if (!f)
        return -ENOMEM;
    f->syncer = s;
    f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    f->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    rc = f->fd < 0 || f->dir_fd < 0 ? -errno : 0;
    pthread_mutex_lock(&s->lock);
    rc = rc ? rc : start_threads(s);
    pthread_mutex_unlock(&s->lock);
    if (rc) {
        free_file(f);
        return rc;
    }
    *ret = f;
    return 0;
}

void syncfile_drop(struct syncfile *f)
{
    struct syncer *s;
    bool busy;

    if (!f)
        return;
    s = f->syncer;
    pthread_mutex_lock(&s->lock);
    f->done = NULL;
    f->dropped = true;
    busy = f->queued || f->running;
    pthread_mutex_unlock(&s->lock);
    if (!busy)
        free_file(f);
}

/* Under the lock. */
static int ask(struct syncfile *f, uint64_t upto)
{
    if (f->failed)
        return f->failed;
    if (f->synced >= upto)
        return 0;
    if (f->wanted < upto)
        f->wanted = upto;
    enqueue(f);
    return -EINPROGRESS;
}

int syncfile_ask(struct syncfile *f, uint64_t upto, syncfile_done_fn *done, void *arg)
{
    int rc;

    pthread_mutex_lock(&f->syncer->lock);
    rc = ask(f, upto);
    f->done = rc == -EINPROGRESS ? done : NULL;
    f->arg = arg;
    pthread_mutex_unlock(&f->syncer->lock);
    return rc;
}

int syncfile_wait(struct syncfile *f, uint64_t upto)
{
    struct syncer *s = f->syncer;
    int rc;

    pthread_mutex_lock(&s->lock);
    while ((rc = ask(f, upto)) == -EINPROGRESS)
        pthread_cond_wait(&s->progress, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return rc;
}
