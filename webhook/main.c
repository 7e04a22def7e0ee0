/* SPDX-License-Identifier: Apache-2.0
 * chaperone-webhook: start-up order, and the end.
 */
#include "account.h"
#include "certificates.h"
#include "controller.h"
#include "options.h"

#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define STOP_TIMEOUT_MS 20000
/* Until every kube-proxy has heard that this replica goes away, connections come here still. */
#define LINGER_S 5

struct program {
    struct options options;
    struct config *config;
    struct kube *kube;
    struct json_object *claims; /* of our own token */
    struct admit admit;
    struct server *server;
    struct certificates *certificates;
    struct controller *controller;
    struct health_server *health;
    atomic_bool stopping;
};

/* ---- status ---- */

static bool is_ready(struct buffer *why, void *arg)
{
    struct program *p = arg;
    struct error e;

    if (p->stopping) {
        buffer_printf(why, "stopping\n");
        return false;
    }
    if (certificates_ready(p->certificates, &e))
        return true;
    buffer_printf(why, "certificates: %s\n", e.text);
    return false;
}

static void write_metrics(struct buffer *out, void *arg)
{
    struct program *p = arg;
    struct error ignored;
    const struct {
        const char *name, *type, *help;
        unsigned long long value;
    } all[] = {
        {"admission_allowed_total", "counter", "Reviews answered with yes.", p->admit.allowed},
        {"admission_refused_total", "counter", "Reviews answered with no.", p->admit.refused},
        {"admission_bad_total", "counter", "Requests that were no review.", p->admit.bad},
        {"certificates_ready", "gauge", "1 when the API server trusts the certificate.",
         certificates_ready(p->certificates, &ignored)},
        {"controller_rounds_total", "counter", "Rounds of the controller.",
         controller_rounds(p->controller)},
        {"controller_failures_total", "counter", "Calls of the controller that failed.",
         controller_failures(p->controller)},
    };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buffer_printf(out,
                      "# HELP chaperone_webhook_%s %s\n# TYPE chaperone_webhook_%s %s\n"
                      "chaperone_webhook_%s %llu\n",
                      all[i].name, all[i].help, all[i].name, all[i].type, all[i].name,
                      all[i].value);
}

/* ---- start ---- */

static int learn_account(struct program *p, struct error *err)
{
    int rc = account_claims(p->options.account, &p->claims, err);

    if (rc)
        return rc;
    p->admit.username = value_text(p->claims, "sub");
    if (!*p->admit.username)
        return error_set(err, -EINVAL, "the service account's token has no subject");
    return config_add_audiences(p->config, value_get(p->claims, "aud"), err);
}

static int start_serving(struct program *p, struct error *err)
{
    const struct options *o = &p->options;
    const char *ns = o->namespace_ ? o->namespace_ : kube_namespace(p->kube);
    const struct certificates_options c = {.times = &p->config->times,
                                           .kube = p->kube,
                                           .namespace_ = ns,
                                           .service = o->service,
                                           .configuration = o->configuration,
                                           .directory = o->certificates};
    struct certificates_options with_server;
    const struct health h = {is_ready, write_metrics, p};
    int rc = server_new(&p->admit, (const struct sockaddr *)&o->listen, &p->server, err);

    if (rc)
        return rc;
    with_server = c;
    with_server.server = p->server;
    if ((rc = certificates_start(&with_server, &p->certificates, err)) ||
        (rc = controller_start(p->kube, &p->controller, err)))
        return rc;
    return health_start(&h, (const struct sockaddr *)&o->status, &p->health, err);
}

static int start(struct program *p, struct error *err)
{
    int rc = config_load(p->options.config, &p->config, err);

    if (rc || (rc = kube_in_cluster(p->options.account, &p->kube, err)) ||
        (rc = learn_account(p, err)))
        return rc;
    p->admit.config = p->config;
    p->admit.kube = p->kube;
    return start_serving(p, err);
}

/* A second signal ends the wait. */
static void linger(struct program *p, const sigset_t *signals)
{
    const struct timespec wait = {.tv_sec = LINGER_S};

    p->stopping = true;
    server_drain(p->server);
    while (sigtimedwait(signals, NULL, &wait) < 0 && errno == EINTR)
        ;
}

/* Admission first: what was begun needs the API client. */
static void stop(struct program *p)
{
    health_stop(p->health);
    certificates_stop(p->certificates);
    server_stop(p->server, STOP_TIMEOUT_MS);
    controller_stop(p->controller);
    kube_free(p->kube);
    json_object_put(p->claims);
    config_free(p->config);
}

static int run(struct program *p)
{
    struct error err = {{0}};
    sigset_t signals;
    int signal_no = 0, rc;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    rc = start(p, &err);
    if (rc) {
        log_error("webhook.start", F_STR("error", err.text));
    } else {
        log_info("webhook.started", F_STR("version", CHAPERONE_VERSION),
                 F_STR("account", p->admit.username));
        sigwait(&signals, &signal_no);
        log_info("webhook.stopping", F_STR("signal", strsignal(signal_no)));
        linger(p, &signals);
    }
    stop(p);
    curl_global_cleanup();
    return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct program p;
    struct error err;

    mallopt(M_ARENA_MAX, 4);
    if (options_parse(argc, argv, &p.options, &err) < 0) {
        fprintf(stderr, "chaperone-webhook: %s; see --help\n", err.text);
        return 2;
    }
    if (p.options.help || p.options.version) {
        fputs(p.options.help ? options_help() : "chaperone-webhook " CHAPERONE_VERSION "\n",
              stdout);
        return 0;
    }
    log_set_level(p.options.log_level);
    return run(&p);
}
