/* SPDX-License-Identifier: Apache-2.0
 * Start-up order of the cluster's parts, and their housekeeping.
 */
#include "cluster.h"

#include "approvals.h"
#include "events.h"
#include "labels.h"
#include "policies.h"
#include "serviceaccount.h"
#include "src-common/clock.h"
#include "src-common/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOK_MS 1000

struct cluster {
    struct cluster_config c;
    struct kube *kube;
    struct policies *policies;
    struct clusterapprovals *approvals;
    struct events *events;
    struct labels_file labels;
    struct serviceaccount account;
    int wake_fd;
    pthread_t thread;
    bool running;
    atomic_bool stopping;
    char said[2][640]; /* so that the same complaint is logged once */
};

/* ---- housekeeping ---- */

static void complain(struct cluster *c, size_t slot, const char *event, const struct error *err)
{
    if (strcmp(c->said[slot], err->text) != 0)
        log_error(event, F_STR("reason", err->text));
    memcpy(c->said[slot], err->text, sizeof c->said[slot]);
}

static void look_at_labels(struct cluster *c)
{
    const char *const *labels;
    struct error err = {""};
    int rc = c->labels.path ? labels_look(&c->labels, &labels, &err) : 0;

    if (rc < 0) {
        complain(c, 0, "labels.refused", &err);
    } else if (rc > 0) {
        log_info("labels.changed");
        guard_set_labels(c->c.guard, labels);
        policies_again(c->policies);
    }
}

static void look_at_token(struct cluster *c)
{
    struct error err = {""};
    int rc = c->account.trust ? serviceaccount_look(&c->account, &err) : 0;

    if (rc < 0)
        complain(c, 1, "agent_token.failed", &err);
    else if (rc > 0)
        log_info("agent_token.renewed");
}

static void *cluster_main(void *arg)
{
    struct cluster *c = arg;
    struct pollfd wake = {.fd = c->wake_fd, .events = POLLIN};
    uint64_t look_ms = 0;
    eventfd_t ignored;

    while (!atomic_load(&c->stopping)) {
        uint64_t now = clock_mono_ms();

        if (now >= look_ms) {
            look_at_labels(c);
            look_at_token(c);
            look_ms = now + LOOK_MS;
        }
        if (poll(&wake, 1, (int)policies_tick(c->policies)) > 0)
            eventfd_read(c->wake_fd, &ignored);
    }
    return NULL;
}

/* ---- life ---- */

static int start_files(struct cluster *c, struct error *err)
{
    const char *const *labels;
    int rc = c->labels.path ? labels_look(&c->labels, &labels, err) : 0;

    if (rc < 0)
        return error_prefix(err, rc, "--labels-file");
    if (rc > 0)
        guard_set_labels(c->c.guard, labels);
    return c->account.trust ? serviceaccount_start(&c->account, err) : 0;
}

static void on_refused(const char *why, void *arg)
{
    struct cluster *c = arg;

    if (why)
        events_say(c->events, EVENT_POLICY_REFUSED,
                   "policies are invalid, the last good ones stay: %.500s", why);
    else
        events_say(c->events, EVENT_POLICY_RESTORED, "policies are valid again and in force");
}

static int start_services(struct cluster *c, struct error *err)
{
    const struct policies_config policies = {.guard = c->c.guard,
                                             .kube = c->kube,
                                             .wake_fd = c->wake_fd,
                                             .refused = on_refused,
                                             .arg = c};
    int rc = events_start(c->c.guard, c->kube, &c->events, err);

    if (rc == 0)
        rc = policies_start(&policies, &c->policies, err);
    if (rc == 0)
        rc = clusterapprovals_start(c->c.guard, c->kube, c->events, &c->approvals, err);
    return rc;
}

static int start_thread(struct cluster *c, struct error *err)
{
    int rc = -pthread_create(&c->thread, NULL, cluster_main, c);

    c->running = rc == 0;
    return rc ? error_set(err, rc, "no thread: %s", strerror(-rc)) : 0;
}

int cluster_start(const struct cluster_config *config, struct cluster **ret, struct error *err)
{
    struct cluster *c = calloc(1, sizeof *c);
    int rc;

    if (!c)
        return error_set(err, -ENOMEM, "out of memory");
    c->c = *config;
    c->labels.path = config->labels_file;
    c->account = (struct serviceaccount){.token_file = config->agent_token,
                                         .trust = config->trust,
                                         .namespace_ = config->guard->agent.namespace_};
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = c->wake_fd < 0 ? error_set(err, -errno, "eventfd: %m")
                        : kube_in_cluster(config->account_dir, &c->kube, err);
    if (rc == 0)
        rc = start_files(c, err);
    if (rc == 0)
        rc = start_services(c, err);
    if (rc == 0)
        rc = start_thread(c, err);
    if (rc) {
        cluster_stop(c);
        return error_prefix(err, rc, "--kubernetes");
    }
    *ret = c;
    return 0;
}

void cluster_stop(struct cluster *c)
{
    if (!c)
        return;
    atomic_store(&c->stopping, true);
    if (c->running) {
        eventfd_write(c->wake_fd, 1);
        pthread_join(c->thread, NULL);
    }
    policies_stop(c->policies);
    clusterapprovals_stop(c->approvals);
    events_stop(c->events);
    kube_free(c->kube);
    labels_done(&c->labels);
    serviceaccount_done(&c->account);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    free(c);
}

void cluster_metrics(struct cluster *c, struct buffer *out)
{
    struct events_counters n = events_counters(c->events);

    buffer_printf(out,
                  "# HELP chaperone_api_server_watched 1 when all policies are being watched.\n"
                  "# TYPE chaperone_api_server_watched gauge\n"
                  "chaperone_api_server_watched %d\n"
                  "# HELP chaperone_approvals_open 1 when people can be asked.\n"
                  "# TYPE chaperone_approvals_open gauge\n"
                  "chaperone_approvals_open %d\n"
                  "# HELP chaperone_events_sent_total Events created or updated.\n"
                  "# TYPE chaperone_events_sent_total counter\n"
                  "chaperone_events_sent_total %llu\n"
                  "# HELP chaperone_events_dropped_total Events given up for want of room.\n"
                  "# TYPE chaperone_events_dropped_total counter\n"
                  "chaperone_events_dropped_total %llu\n",
                  policies_watched(c->policies), clusterapprovals_open(c->approvals),
                  (unsigned long long)n.sent, (unsigned long long)n.dropped);
}
