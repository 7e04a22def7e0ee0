/* SPDX-License-Identifier: Apache-2.0
 * The spool's way to the store.
 */
#include "uploader.h"

#include "sendable.h"
#include "src-common/buffer.h"
#include "src-common/clock.h"
#include "src-common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS     500
#define PACE_MS     100
#define BACKOFF_MS  1000
#define BACKOFF_MAX 60000
#define BATCH       256 /* files a pass; the rest in the next */

struct uploader {
    struct uploader_config c;
    int dir_fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    atomic_uint_fast64_t until_ms; /* ends what is under way */
    struct uploader_counters n;
    uint64_t oldest_us; /* wall clock */
    unsigned backoff_ms;
    uint64_t quiet_ms; /* no attempt before */
    uint64_t next_ms;  /* no file before, so that the rate is kept */
    bool running, stop, hurry;
};

/* ---- what there is ---- */

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), t = strlen(tail);

    return n > t && strcmp(s + n - t, tail) == 0;
}

/* Files that nobody writes any more. */
static int is_finished(const struct dirent *e)
{
    return e->d_name[0] != '.' &&
           (ends_with(e->d_name, SEGMENT_SUFFIX) || ends_with(e->d_name, ".pub") ||
            ends_with(e->d_name, ".damaged"));
}

/* When it was written; its size is added to *bytes. */
static uint64_t age_of(int dir_fd, const char *name, uint64_t *bytes)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return UINT64_MAX;
    *bytes += (uint64_t)st.st_size;
    return (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000;
}

static int list_files(struct uploader *u, struct dirent ***ret)
{
    int fd = openat(u->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;
    uint64_t oldest = UINT64_MAX, bytes = 0;

    if (fd < 0)
        return -errno;
    n = scandirat(fd, ".", ret, is_finished, alphasort);
    close(fd);
    for (int i = 0; i < n; i++) {
        uint64_t t = age_of(u->dir_fd, (*ret)[i]->d_name, &bytes);

        oldest = t < oldest ? t : oldest;
    }
    pthread_mutex_lock(&u->lock);
    u->n.waiting = n > 0 ? (uint64_t)n : 0;
    u->n.waiting_bytes = bytes;
    u->oldest_us = n > 0 ? oldest : 0;
    pthread_mutex_unlock(&u->lock);
    return n < 0 ? -errno : n;
}

/* ---- one file ---- */

/* The store has it: the ledger says so before the file goes. A ledger does not speak of itself. */
static int note_stored(struct uploader *u, const char *name, int fd)
{
    char session[RECORD_SESSION_MAX + 1];
    struct seal seal = {0};
    unsigned n;

    if (!segment_name_parse(name, session, &n) || strcmp(session, ledger_name(u->c.ledger)) == 0)
        return 0;
    if (lseek(fd, 0, SEEK_SET) != 0 || segment_peek(fd, &seal, NULL) != 0)
        return 0; /* was damaged here: what is stored is what there was */
    return ledger_segment(u->c.ledger, &seal);
}

static int open_file(struct uploader *u, const char *name, struct stat *st, struct error *err)
{
    int fd = openat(u->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0 && fstat(fd, st) == 0)
        return fd;
    error_set(err, -EINVAL, "%s cannot be read: %m", name);
    if (fd >= 0)
        close(fd);
    return -EINVAL;
}

/* Goes to the store by the name `sent`, or by its own. */
static int send_file(struct uploader *u, const char *name, const char *sent, struct error *err)
{
    char key[512];
    struct stat st;
    uint64_t began = clock_mono_ms();
    int fd = open_file(u, sent, &st, err), rc;

    if (fd < 0)
        return fd;
    snprintf(key, sizeof key, "%s/%s", u->c.folder, sent);
    rc = s3_put(u->c.store, key, fd, &u->until_ms, err);
    close(fd);
    if (u->c.rate)
        u->next_ms = began + (uint64_t)st.st_size * 1000 / u->c.rate;
    if (rc)
        return rc;
    fd = open_file(u, name, &st, err);
    rc = fd < 0 ? fd : note_stored(u, name, fd);
    if (fd >= 0)
        close(fd);
    if (rc)
        return error_set(err, -EAGAIN, "the ledger cannot be written");
    pthread_mutex_lock(&u->lock);
    u->n.stored++;
    u->n.stored_bytes += (uint64_t)st.st_size;
    pthread_mutex_unlock(&u->lock);
    return 0;
}

static int upload(struct uploader *u, const char *name, struct error *err)
{
    char sent[SENT_NAME_MAX];
    int rc = sendable_name(u->dir_fd, name, u->c.to, sent, err);

    if (rc == 0)
        rc = send_file(u, name, sent, err);
    if (rc)
        return rc;
    /* In this order: an envelope without its file has been stored. */
    if (unlinkat(u->dir_fd, name, 0) != 0 && errno != ENOENT)
        return error_set(err, -EINVAL, "%s cannot be removed: %m", name);
    sendable_done(u->dir_fd, name);
    return 0;
}

/* ---- the pass ---- */

static void note_failure(struct uploader *u, const char *name, const struct error *err)
{
    bool news;

    pthread_mutex_lock(&u->lock);
    u->n.failures++;
    news = strncmp(u->n.error, err->text, sizeof u->n.error - 1) != 0;
    snprintf(u->n.error, sizeof u->n.error, "%.*s", (int)sizeof u->n.error - 1, err->text);
    pthread_mutex_unlock(&u->lock);
    if (news)
        log_warn("records.upload_failed", F_STR("file", name), F_STR("reason", err->text));
}

static void wait_longer(struct uploader *u)
{
    unsigned jitter = 0;

    (void)!getrandom(&jitter, sizeof jitter, 0);
    u->backoff_ms = u->backoff_ms ? u->backoff_ms * 2 : BACKOFF_MS;
    if (u->backoff_ms > BACKOFF_MAX)
        u->backoff_ms = BACKOFF_MAX;
    u->quiet_ms = clock_mono_ms() + u->backoff_ms / 2 + jitter % (u->backoff_ms / 2 + 1);
}

static void all_well(struct uploader *u)
{
    bool news;

    u->backoff_ms = 0;
    pthread_mutex_lock(&u->lock);
    news = u->n.error[0] != '\0';
    u->n.error[0] = '\0';
    pthread_mutex_unlock(&u->lock);
    if (news)
        log_info("records.upload_again", F_STR("reason", "the store takes records again"));
}

static bool stopping(struct uploader *u)
{
    uint64_t until = atomic_load(&u->until_ms);
    bool stop;

    pthread_mutex_lock(&u->lock);
    stop = u->stop;
    pthread_mutex_unlock(&u->lock);
    return stop || (until && clock_mono_ms() >= until);
}

/* Waits until the bytes before have had their time; at its end a guard does not. False: the pass is
 * over. */
static bool keep_pace(struct uploader *u)
{
    while (!stopping(u) && !atomic_load(&u->until_ms) && clock_mono_ms() < u->next_ms) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PACE_MS * 1000000L;
        if (until.tv_nsec >= 1000000000)
            until.tv_sec++, until.tv_nsec -= 1000000000;
        pthread_mutex_lock(&u->lock);
        if (!u->stop && !u->hurry)
            pthread_cond_timedwait(&u->wake, &u->lock, &until);
        pthread_mutex_unlock(&u->lock);
    }
    return !stopping(u);
}

/* A file that the store refuses for itself does not hold up the others. */
static void upload_files(struct uploader *u, struct dirent **files, int n)
{
    bool failed = false;

    for (int i = 0; i < n && keep_pace(u); i++) {
        struct error err = {""};
        int rc = upload(u, files[i]->d_name, &err);

        if (rc == 0)
            continue;
        failed = true;
        note_failure(u, files[i]->d_name, &err);
        if (rc != -EINVAL && rc != -EEXIST)
            break;
    }
    if (failed)
        wait_longer(u);
    else if (n > 0)
        all_well(u);
}

static void pass(struct uploader *u)
{
    struct dirent **files = NULL;
    int n = list_files(u, &files);

    if (n > 0 && clock_mono_ms() >= u->quiet_ms)
        upload_files(u, files, n < BATCH ? n : BATCH);
    for (int i = 0; i < n; i++)
        free(files[i]);
    free(files);
    if (n > 0 && (n = list_files(u, &files)) >= 0) {
        for (int i = 0; i < n; i++)
            free(files[i]);
        free(files);
    }
}

static void *uploader_main(void *arg)
{
    struct uploader *u = arg;
    struct timespec until;

    pthread_mutex_lock(&u->lock);
    while (!u->stop) {
        if (u->hurry)
            u->quiet_ms = 0;
        u->hurry = false;
        pthread_mutex_unlock(&u->lock);
        pass(u);
        pthread_mutex_lock(&u->lock);
        pthread_cond_broadcast(&u->idle);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000)
            until.tv_sec++, until.tv_nsec -= 1000000000;
        if (!u->stop && !u->hurry)
            pthread_cond_timedwait(&u->wake, &u->lock, &until);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

/* ---- life ---- */

int uploader_start(const struct uploader_config *c, struct uploader **ret, struct error *err)
{
    struct uploader *u = calloc(1, sizeof *u);
    int rc;

    if (!u)
        return error_set(err, -ENOMEM, "out of memory");
    u->c = *c;
    u->dir_fd = record_spool_dir(c->spool);
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->wake, NULL);
    pthread_cond_init(&u->idle, NULL);
    sendable_clean(u->dir_fd);
    rc = -pthread_create(&u->thread, NULL, uploader_main, u);
    u->running = rc == 0;
    if (rc) {
        uploader_stop(u);
        return error_set(err, rc, "cannot start the uploader: %s", strerror(-rc));
    }
    *ret = u;
    return 0;
}

bool uploader_drain(struct uploader *u, uint64_t until_ms)
{
    uint64_t pass_ms = clock_mono_ms(), waiting;
    struct timespec t;

    atomic_store(&u->until_ms, until_ms);
    pthread_mutex_lock(&u->lock);
    u->hurry = true;
    u->n.waiting = UINT64_MAX; /* until it has been looked */
    pthread_cond_signal(&u->wake);
    while (u->n.waiting > 0 && pass_ms < until_ms) {
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec++;
        pthread_cond_timedwait(&u->idle, &u->lock, &t);
        pass_ms = clock_mono_ms();
    }
    waiting = u->n.waiting;
    pthread_mutex_unlock(&u->lock);
    return waiting == 0;
}

void uploader_stop(struct uploader *u)
{
    if (!u)
        return;
    if (u->running) {
        atomic_store(&u->until_ms, 1); /* long ago */
        pthread_mutex_lock(&u->lock);
        u->stop = true;
        pthread_cond_signal(&u->wake);
        pthread_mutex_unlock(&u->lock);
        pthread_join(u->thread, NULL);
    }
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->wake);
    pthread_cond_destroy(&u->idle);
    free(u);
}

void uploader_counters(struct uploader *u, struct uploader_counters *ret)
{
    uint64_t now = clock_wall_us();

    pthread_mutex_lock(&u->lock);
    *ret = u->n;
    ret->waiting = u->n.waiting == UINT64_MAX ? 0 : u->n.waiting;
    ret->lag_ms = u->oldest_us && now > u->oldest_us ? (now - u->oldest_us) / 1000 : 0;
    pthread_mutex_unlock(&u->lock);
}
