/* SPDX-License-Identifier: Apache-2.0
 * The issuers' file: looked at every second, by what the kernel says about it.
 */
#include "guard_issuers.h"

#include "src-common/clock.h"
#include "src-common/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 1000

struct issuerswatch {
    struct guard *guard;
    struct issuers_origin from;
    pthread_t thread;
    int wake;
    struct stat seen;      /* of what is in force, or was refused; zeroes: there was no file */
    uint64_t bad_since_ms; /* 0: what is there is in force */
    bool nobody;           /* it was bad for too long */
};

static void stat_file(const char *path, struct stat *ret)
{
    if (stat(path, ret) != 0)
        memset(ret, 0, sizeof *ret);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void load_again(struct issuerswatch *w)
{
    struct issuers *fresh = NULL;
    struct error err = {""};

    if (issuers_load(&w->from, &fresh, &err) == 0) {
        log_info("issuers.loaded", F_U64("issuers", fresh->n));
        issuers_unref(guard_set_issuers(w->guard, fresh));
        w->bad_since_ms = 0;
        w->nobody = false;
        return;
    }
    log_error(
        "issuers.refused", F_STR("reason", err.text),
        F_STR("effect", w->nobody ? "no token is taken" : "the last good list stays in force"));
    if (!w->bad_since_ms)
        w->bad_since_ms = clock_mono_ms();
}

/* Who was taken off the list by a change that cannot be read must not stay trusted for ever. */
static void end_stale(struct issuerswatch *w)
{
    struct issuers *none;

    if (!w->bad_since_ms || w->nobody ||
        clock_mono_ms() - w->bad_since_ms < w->guard->policy_stale_after_ms)
        return;
    none = issuers_none();
    if (!none)
        return; /* the next look */
    issuers_unref(guard_set_issuers(w->guard, none));
    w->nobody = true;
    log_error("issuers.stale", F_STR("effect", "no token is taken until the file can be read"));
}

static void *watch_main(void *arg)
{
    struct issuerswatch *w = arg;
    struct pollfd wake = {.fd = w->wake, .events = POLLIN};

    for (;;) {
        int n = poll(&wake, 1, LOOK_MS);
        struct stat now;

        if (n > 0 || (n < 0 && errno != EINTR))
            break;
        stat_file(w->from.file, &now);
        if (!same_file(&now, &w->seen)) {
            w->seen = now; /* before it is read: a change during that is a change */
            load_again(w);
        }
        end_stale(w);
    }
    return NULL;
}

static int watch(struct issuerswatch *w)
{
    w->wake = eventfd(0, EFD_CLOEXEC);
    if (w->wake < 0)
        return -errno;
    return -pthread_create(&w->thread, NULL, watch_main, w);
}

int issuerswatch_start(struct guard *g, const struct issuers_origin *from,
                       struct issuerswatch **ret, struct error *err)
{
    struct issuerswatch *w = calloc(1, sizeof *w);
    struct issuers *first = NULL;
    int rc = w ? 0 : error_set(err, -ENOMEM, "out of memory");

    *ret = NULL;
    if (rc == 0 && from->file)
        stat_file(from->file, &w->seen);
    if (rc == 0)
        rc = issuers_load(from, &first, err);
    if (rc == 0) {
        issuers_unref(guard_set_issuers(g, first));
        g->has_issuers = true;
    }
    if (rc || !from->file) {
        free(w);
        return rc;
    }
    w->guard = g;
    w->from = *from;
    rc = watch(w);
    if (rc) {
        if (w->wake >= 0)
            close(w->wake);
        free(w);
        return error_set(err, rc, "cannot watch %s: %s", from->file, strerror(-rc));
    }
    *ret = w;
    return 0;
}

void issuerswatch_stop(struct issuerswatch *w)
{
    uint64_t one = 1;

    if (!w)
        return;
    if (write(w->wake, &one, sizeof one) == sizeof one)
        pthread_join(w->thread, NULL);
    close(w->wake);
    free(w);
}
