/* SPDX-License-Identifier: Apache-2.0
 * Policy reload: inotify, a moment of quiet, then all files anew.
 */
#include "guard_reload.h"

#include "src-common/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#define QUIET_MS 50
/* inotify sees neither what happens behind symbolic links nor on network file systems. */
#define RELOOK_MS 5000

struct reload {
    struct guard *guard;
    const char *dir;
    int inotify, wake;
    pthread_t thread;
    char last_error[640]; /* so that the same complaint is logged once */
};

static void put_in_force(struct reload *r, struct policy_snapshot *s)
{
    log_info("policy.loaded", F_STR("digest", policy_snapshot_digest(s)),
             F_U64("generation", policy_snapshot_generation(s)));
    r->last_error[0] = '\0';
    guard_set_policy(r->guard, s);
}

static void look_again(struct reload *r)
{
    struct policy_snapshot *fresh = NULL, *now = guard_policy(r->guard);
    struct error err = {""};
    int rc = policy_load_dir(r->dir, &fresh, &err);

    if (rc) {
        guard_policy_failed(r->guard, err.text);
        if (strcmp(r->last_error, err.text) != 0)
            log_error("policy.refused", F_STR("reason", err.text),
                      F_STR("effect", "the last good policy stays in force"));
        memcpy(r->last_error, err.text, sizeof r->last_error);
    } else if (strcmp(policy_snapshot_digest(fresh), policy_snapshot_digest(now)) != 0 ||
               atomic_load(&r->guard->policy_bad_since_ms)) {
        put_in_force(r, fresh);
        fresh = NULL;
    }
    policy_snapshot_unref(fresh);
    policy_snapshot_unref(now);
}

static void drain(int fd)
{
    _Alignas(struct inotify_event) char events[4096];

    while (read(fd, events, sizeof events) > 0)
        ;
}

static void *reload_main(void *arg)
{
    struct reload *r = arg;
    struct pollfd fds[2] = {{.fd = r->inotify, .events = POLLIN},
                            {.fd = r->wake, .events = POLLIN}};
    bool changed = false;

    for (;;) {
        int n = poll(fds, 2, changed ? QUIET_MS : RELOOK_MS);

        if (n < 0 && errno != EINTR)
            break;
        if (n > 0 && fds[1].revents)
            break;
        if (n > 0 && fds[0].revents) {
            drain(r->inotify);
            changed = true;
        } else if (n == 0) {
            look_again(r);
            changed = false;
        }
    }
    return NULL;
}

static void reload_free(struct reload *r)
{
    if (r->inotify >= 0)
        close(r->inotify);
    if (r->wake >= 0)
        close(r->wake);
    free(r);
}

int reload_start(struct guard *g, const char *dir, struct reload **ret, struct error *err)
{
    const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE |
                            IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
    struct policy_snapshot *s = NULL;
    struct reload *r;
    int rc = policy_load_dir(dir, &s, err);

    if (rc)
        return rc;
    r = calloc(1, sizeof *r);
    if (!r) {
        policy_snapshot_unref(s);
        return error_set(err, -ENOMEM, "out of memory");
    }
    r->guard = g;
    r->dir = dir;
    r->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    r->wake = eventfd(0, EFD_CLOEXEC);
    put_in_force(r, s);
    if (r->inotify < 0 || r->wake < 0 || inotify_add_watch(r->inotify, dir, events) < 0)
        rc = error_set(err, -errno, "cannot watch %s: %s", dir, strerror(errno));
    else
        rc = -pthread_create(&r->thread, NULL, reload_main, r);
    if (rc) {
        reload_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void reload_stop(struct reload *r)
{
    uint64_t one = 1;

    if (!r)
        return;
    if (write(r->wake, &one, sizeof one) == sizeof one)
        pthread_join(r->thread, NULL);
    reload_free(r);
}
