/* SPDX-License-Identifier: Apache-2.0
 * chaperone-sidecar: start-up order, and the way down. README, "Follow a byte", says what
 * happens in between.
 */
#include "cluster/cluster.h"
#include "control/control.h"
#include "guard_issuers.h"
#include "guard_kubernetes.h"
#include "guard_reload.h"
#include "guard_status.h"
#include "options.h"
#include "proto/ssh/hostkey.h"
#include "record/shipper.h"
#include "session/session.h"
#include "src-common/kube/kube.h"
#include "src-common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DRAIN_MS    5000
#define UPLOAD_MS   15000 /* of the thirty seconds that a pod has by default */
#define MAX_PENDING 256

struct services {
    struct guard guard;
    struct reload *reload;
    struct issuerswatch *issuers;
    struct cluster *cluster;
    struct status *status;
    struct control *control;
    struct listener *listener;
};

/* Secrets pass through this process: no core dumps, no ptrace by others of the same uid. */
static void harden(void)
{
    struct rlimit none = {0, 0}, files;

    if (prctl(PR_SET_DUMPABLE, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        log_warn("start.hardening", F_STR("reason", strerror(errno)));
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)!setrlimit(RLIMIT_NOFILE, &files);
    }
    umask(077);
    mallopt(M_ARENA_MAX, 2);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a full spool is an error to handle, not to die of */
}

static int set_log_level(const char *name, struct error *err)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            log_set_level((enum log_level)i);
            return 0;
        }
    }
    return error_set(err, -EINVAL, "--log-level: '%s' is none of debug, info, warn, error", name);
}

/* The key of the Token mask: from --secrets, so that tokens are the same after a restart, or
 * fresh. */
static int make_masker(const char *secrets, struct masker **ret, struct error *err)
{
    char path[PATH_MAX];
    uint8_t key[32];
    ssize_t n = -1;
    int fd, rc;

    if (secrets) {
        snprintf(path, sizeof path, "%s/chaperone-mask-key/key", secrets);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            n = read(fd, key, sizeof key);
            close(fd);
            if (n != (ssize_t)sizeof key)
                return error_set(err, -EINVAL, "%s: needs at least 32 bytes", path);
        }
    }
    if (n < 0 && getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
        return error_set(err, -EIO, "no randomness");
    rc = masker_new(key, ret);
    explicit_bzero(key, sizeof key);
    return rc ? error_set(err, rc, "out of memory") : 0;
}

static int start_loops(struct guard *g, unsigned n, struct error *err)
{
    for (unsigned i = 0; i < n; i++) {
        int rc = loop_start(&g->loops[i], err);

        if (rc)
            return rc;
        g->n_loops++;
    }
    return 0;
}

static int start_status(struct services *s, const struct options *o, struct error *err)
{
    struct sockaddr_storage addr;
    int rc;

    if (!o->status)
        return 0;
    rc = address_parse(o->status, &addr, err);
    if (rc)
        return error_prefix(err, rc, "--status");
    return status_start(&s->guard, s->cluster, (struct sockaddr *)&addr, &s->status, err);
}

static int start_policies(struct services *s, const struct options *o, struct error *err)
{
    const struct cluster_config c = {.guard = &s->guard,
                                     .account_dir = o->kube_account,
                                     .labels_file = o->labels_file,
                                     .agent_token = o->agent_token,
                                     .trust = o->trust};

    return o->kubernetes ? cluster_start(&c, &s->cluster, err)
                         : reload_start(&s->guard, o->policies, &s->reload, err);
}

static int start_control(struct services *s, const struct options *o, struct error *err)
{
    struct control_config c = {.path = o->control,
                               .approvals = s->guard.approvals,
                               .spool = s->guard.spool,
                               .decide_elsewhere =
                                   o->kubernetes ? "use kubectl guard approve or deny" : NULL,
                               .status = status_fields,
                               .arg = &s->guard};

    return o->control ? control_start(&c, &s->control, err) : 0;
}

/* Where the cluster's own tokens are; NULL: there is no cluster. */
static const char *account_dir(const struct options *o)
{
    if (!o->kubernetes)
        return NULL;
    return o->kube_account ? o->kube_account : KUBE_ACCOUNT_DIR;
}

static int start_issuers(struct services *s, const struct options *o, struct error *err)
{
    const struct issuers_origin from = {
        .file = o->issuers, .text = o->issuers_inline, .account_dir = account_dir(o)};

    if (!from.file && !from.text && !from.account_dir)
        return 0;
    return issuerswatch_start(&s->guard, &from, &s->issuers, err);
}

/* Recovers the spool, too: before anybody writes to it. */
static int start_records(struct services *s, const struct options *o, struct error *err)
{
    struct shipper_config c = {.state = o->state,
                               .owner = {o->agent.namespace_, o->agent.pod, CHAPERONE_VERSION},
                               .s3 = o->s3,
                               .encrypt_to = o->encrypt_to,
                               .encrypt_to_inline = o->encrypt_to_inline,
                               .limit = o->spool_limit,
                               .seal = o->seal,
                               .segment_bytes = o->segment_bytes,
                               .segment_ms = o->segment_seconds * 1000};
    struct statvfs disk;
    int rc = record_spool_open(o->spool, &s->guard.spool, err);

    if (rc)
        return rc;
    c.spool = s->guard.spool;
    /* Segments have to be written before records make room. */
    if (o->s3.url && !c.limit && statvfs(o->spool, &disk) == 0)
        c.limit = (uint64_t)disk.f_bavail * disk.f_frsize / 10 * 9;
    return shipper_start(&c, &s->guard.shipper, err);
}

/* Everything that an accepted connection may need comes before the listeners. */
static int start(struct services *s, const struct options *o, struct error *err)
{
    struct guard *g = &s->guard;
    int rc = sql_parser_start(&g->parser, err);

    pthread_mutex_init(&g->policy_lock, NULL);
    g->agent = o->agent;
    guard_set_labels(g, o->agent.labels);
    snprintf(g->identity, sizeof g->identity, "system:serviceaccount:%.120s:%.120s",
             o->agent.namespace_, o->agent.service_account);
    g->secrets_dir = o->secrets;
    g->max_sessions = o->max_sessions;
    g->handshake_timeout_ms = o->handshake_timeout_s * 1000;
    g->policy_stale_after_ms = o->stale_after_s * 1000;
    g->anchor_ms = o->anchor_seconds * 1000;
    if (rc == 0)
        rc = start_issuers(s, o, err);
    if (rc == 0 && o->kubernetes)
        rc = kubernetes_target_start(g, account_dir(o), err);
    if (rc == 0)
        rc = start_records(s, o, err);
    if (rc == 0)
        rc = make_masker(o->secrets, &g->masker, err);
    if (rc == 0)
        rc = approvals_new(MAX_PENDING, &g->approvals);
    if (rc == 0)
        rc = tls_authority_new(o->trust, o->state, &g->authority, err);
    if (rc == 0)
        rc = hostkey_start(o->trust, o->state, err);
    if (rc == 0)
        rc = jobs_start(&g->jobs, err);
    if (rc == 0)
        rc = start_policies(s, o, err);
    if (rc == 0)
        rc = start_loops(g, o->workers, err);
    if (rc == 0)
        rc = start_control(s, o, err);
    if (rc == 0)
        rc = listener_start(o->listen, o->n_listen, o->capture_port, session_accept, g,
                            &s->listener, err);
    return rc ? rc : start_status(s, o, err);
}

/* The issuers' threads must not fetch while exit() takes libraries down. Sessions that are left may
 * still ask: they find nobody trusted. */
static void stop_issuers(struct guard *g)
{
    struct issuers *none = g->has_issuers ? issuers_none() : NULL;

    if (none)
        issuers_unref(guard_set_issuers(g, none));
}

/* Sessions are told, records are sealed, then the services go in the order of who needs whom. */
static void stop(struct services *s)
{
    struct guard *g = &s->guard;

    listener_stop(s->listener);
    reload_stop(s->reload);
    issuerswatch_stop(s->issuers);
    registry_post_all(INBOX_STOP);
    if (!registry_wait_empty(DRAIN_MS))
        log_warn("stop.sessions_left", F_U64("sessions", registry_count()));
    status_stop(s->status);
    record_spool_retry(g->spool);
    shipper_stop(g->shipper, UPLOAD_MS); /* writes to the ledger, which control and cluster watch */
    control_stop(s->control);
    for (unsigned i = 0; i < g->n_loops; i++)
        loop_stop(g->loops[i]);
    jobs_stop(g->jobs); /* the last may still post to a loop */
    for (unsigned i = 0; i < g->n_loops; i++)
        loop_free(g->loops[i]);
    cluster_stop(s->cluster);
    shipper_free(g->shipper);
    stop_issuers(g);
    sql_parser_stop(g->parser);
}

static int wait_for_signal(void)
{
    sigset_t set;
    int signo;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return sigwait(&set, &signo) == 0 ? signo : -1;
}

/* Blocked before any thread starts, so that only wait_for_signal sees them. */
static void block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
    static struct services services;
    struct options options;
    struct error err = {""};
    int rc;

    if (argc == 2 && strcmp(argv[1], "sql-parser") == 0)
        return sql_parser_child_main();
    rc = options_parse(argc, argv, &options, &err);
    if (rc == 0)
        rc = set_log_level(options.log_level, &err);
    if (rc) {
        if (rc < 0)
            fprintf(stderr, "chaperone-sidecar: %s\n", err.text);
        return rc < 0 ? 2 : 0;
    }
    harden();
    block_signals();
    rc = start(&services, &options, &err);
    if (rc) {
        fprintf(stderr, "chaperone-sidecar: %s\n", err.text[0] ? err.text : strerror(-rc));
        return 1;
    }
    log_info("start.ready", F_STR("version", CHAPERONE_VERSION),
             F_STR("namespace", options.agent.namespace_), F_STR("pod", options.agent.pod));
    rc = wait_for_signal();
    log_info("stop", F_I64("signal", rc));
    stop(&services);
    return 0;
}
