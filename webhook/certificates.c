/* SPDX-License-Identifier: Apache-2.0
 * Certificates: looking after them.
 */
#include "certificates.h"

#include "authority.h"
#include "call.h"
#include "src-common/clock.h"
#include "src-common/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#define MAX_PEM_FILE  ((size_t)256 << 10)
#define MAX_TICK_S    15u
#define FAILED_TICK_S 2u
#define MAX_CONFLICTS 5
#define ADMISSION_API "apis/admissionregistration.k8s.io/v1"

struct certificates {
    struct certificates_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, ready;
    struct error why;
    /* the thread's own */
    char *signed_by; /* the authority's certificate, of the leaf that is served */
    int64_t leaf_made;
    char *served; /* of a directory: both files, one after the other */
};

static int64_t now_s(void)
{
    return (int64_t)(clock_wall_us() / 1000000);
}

/* ---- the Secret ---- */

static int store(struct certificates *c, struct json_object *old, const struct authority *a,
                 struct error *err)
{
    const struct kube_place place = {"api/v1", c->o.namespace_, "secrets",
                                     old ? AUTHORITY_SECRET : NULL, NULL};
    _cleanup_(value_put) struct json_object *secret = authority_secret(old, a);
    const struct call call = {old ? "PUT" : "POST", NULL, &place, secret};

    if (!secret)
        return error_set(err, -ENOMEM, "out of memory");
    return call_send(c->o.kube, &call, NULL, err);
}

static int create_authority(struct certificates *c, struct json_object *broken, struct error *err)
{
    struct authority a = {0};
    int rc = authority_change(c->o.times, AUTHORITY_RENEW, now_s(), &a, err);

    if (rc == 0)
        rc = store(c, broken, &a, err);
    if (rc == 0)
        log_info("certificates.authority", F_STR("step", broken ? "replaced" : "created"));
    authority_done(&a);
    return rc;
}

/* Looks, and does what is due; -EAGAIN: look again. */
static int read_authority(struct certificates *c, struct json_object *secret, struct authority *ret,
                          struct error *err)
{
    static const char *const steps[] = {"kept", "next added", "next promoted", "renewed"};
    struct authority a = {0};
    enum authority_step step;
    int rc = authority_read(secret, &a, err);

    if (rc) {
        log_warn("certificates.authority", F_STR("error", err->text));
        rc = create_authority(c, secret, err);
        return rc ? rc : -EAGAIN;
    }
    step = authority_due(c->o.times, &a, now_s());
    if (step == AUTHORITY_KEEP) {
        *ret = a;
        return 0;
    }
    rc = authority_change(c->o.times, step, now_s(), &a, err);
    if (rc == 0)
        rc = store(c, secret, &a, err);
    if (rc == 0)
        log_info("certificates.authority", F_STR("step", steps[step]));
    authority_done(&a);
    return rc ? rc : -EAGAIN;
}

static int find_authority_once(struct certificates *c, struct authority *ret, struct error *err)
{
    const struct kube_place place = {"api/v1", c->o.namespace_, "secrets", AUTHORITY_SECRET, NULL};
    struct kube_reply reply;
    int rc = call_get(c->o.kube, &place, 0, &reply, err);

    if (rc == 0)
        rc = read_authority(c, reply.object, ret, err);
    else if (rc == -ENOENT) {
        rc = create_authority(c, NULL, err);
        rc = rc ? rc : -EAGAIN;
    }
    kube_reply_done(&reply);
    return rc;
}

/* Another replica may have been faster: then what it made counts. */
static int find_authority(struct certificates *c, struct authority *ret, struct error *err)
{
    int rc = -EAGAIN;

    for (int i = 0; i < MAX_CONFLICTS && (rc == -EAGAIN || rc == -EEXIST); i++)
        rc = find_authority_once(c, ret, err);
    return rc;
}

/* ---- caBundle ---- */

static void patch_bundle(struct json_object *webhooks, const char *bundle, struct patch *p)
{
    for (size_t i = 0; i < value_n(webhooks); i++) {
        struct json_object *w = value_item(webhooks, i), *test;

        if (strcmp(value_text(w, "clientConfig.caBundle"), bundle) == 0)
            continue;
        /* the same webhook still, also when somebody has put one before it meanwhile */
        test = value_format("{\"op\": \"test\", \"path\": \"/webhooks/%zu/name\"}", i);
        if (!value_set(test, "value", json_object_get(value_get(w, "name"))) ||
            json_object_array_add(p->operations, test) < 0)
            p->failed = true;
        patch_add(p, json_object_new_string(bundle), "/webhooks/%zu/clientConfig/caBundle", i);
    }
}

static int trust_in(struct certificates *c, const char *resource, const char *bundle,
                    struct error *err)
{
    const struct kube_place place = {ADMISSION_API, NULL, resource, c->o.configuration, NULL};
    struct call call = {"PATCH", KUBE_JSON_PATCH, &place, NULL};
    struct kube_reply reply;
    struct patch p;
    int rc = call_get(c->o.kube, &place, 0, &reply, err);

    patch_init(&p);
    if (rc == 0)
        patch_bundle(value_get(reply.object, "webhooks"), bundle, &p);
    call.body = p.operations;
    if (rc == 0 && p.failed)
        rc = error_set(err, -ENOMEM, "out of memory");
    if (rc == 0 && !patch_empty(&p)) {
        rc = call_send(c->o.kube, &call, NULL, err);
        if (rc == 0)
            log_info("certificates.trust", F_STR("configuration", c->o.configuration),
                     F_STR("resource", resource));
    }
    patch_done(&p);
    kube_reply_done(&reply);
    return rc;
}

static int trust(struct certificates *c, const struct authority *a, struct error *err)
{
    static const char *const resources[] = {"mutatingwebhookconfigurations",
                                            "validatingwebhookconfigurations"};
    char *bundle = authority_bundle(a);
    int rc = bundle ? 0 : error_set(err, -ENOMEM, "out of memory");

    for (size_t i = 0; i < ARRAY_LEN(resources) && rc == 0; i++)
        rc = trust_in(c, resources[i], bundle, err);
    free(bundle);
    return rc;
}

/* ---- leaf ---- */

static int make_leaf(struct certificates *c, const struct pki_pair *signer, struct pki_pair *ret,
                     struct error *err)
{
    static const char *const suffixes[] = {"", ".svc", ".svc.cluster.local"};
    char text[ARRAY_LEN(suffixes)][256];
    const char *names[ARRAY_LEN(suffixes) + 1] = {0};
    const struct pki_request r = {
        .now = now_s(), .lifetime_s = c->o.times->leaf_lifetime, .names = names};

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(text[i], sizeof text[i], "%.63s.%.63s%s", c->o.service, c->o.namespace_,
                 suffixes[i]);
        names[i] = text[i];
    }
    return pki_make_leaf(&r, signer, ret, err);
}

static bool leaf_is_good(const struct certificates *c, const struct pki_pair *signer)
{
    return c->signed_by && strcmp(c->signed_by, signer->certificate) == 0 &&
           now_s() < c->leaf_made + c->o.times->leaf_lifetime / 2;
}

static int serve_leaf(struct certificates *c, const struct authority *a, struct error *err)
{
    const struct pki_pair *signer = authority_signer(c->o.times, a, now_s());
    struct pki_pair leaf = {0};
    int rc;

    if (leaf_is_good(c, signer))
        return 0;
    rc = make_leaf(c, signer, &leaf, err);
    if (rc == 0)
        rc = server_set_certificate(c->o.server, leaf.certificate, leaf.key, err);
    if (rc == 0) {
        free(c->signed_by);
        c->signed_by = strdup(signer->certificate);
        c->leaf_made = now_s();
        log_info("certificates.leaf", F_STR("signer", signer == &a->next ? "next" : "current"),
                 F_U64("seconds", c->o.times->leaf_lifetime));
    }
    pki_pair_done(&leaf);
    return rc;
}

static int look_after_own(struct certificates *c, struct error *err)
{
    struct authority a = {0};
    int rc = find_authority(c, &a, err);

    if (rc)
        return rc;
    /* A leaf of an authority in nobody's caBundle would only be refused. */
    if ((rc = trust(c, &a, err)) == 0)
        rc = serve_leaf(c, &a, err);
    authority_done(&a);
    return rc;
}

/* ---- a directory ---- */

static int read_file(const char *dir, const char *name, char **ret, struct error *err)
{
    char path[4096];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "%.4000s/%s", dir, name);
    f = fopen(path, "re");
    if (!f)
        return error_set(err, -errno, "%s: %m", path);
    *ret = calloc(1, MAX_PEM_FILE + 1);
    n = *ret ? fread(*ret, 1, MAX_PEM_FILE, f) : 0;
    fclose(f);
    return n ? 0 : error_set(err, -EINVAL, "%s: empty", path);
}

static int serve_pair(struct certificates *c, const struct pki_pair *p, struct error *err)
{
    struct pki_times t;
    char *both = NULL;
    int rc = pki_read(p, &t, err);

    if (rc || asprintf(&both, "%s%s", p->certificate, p->key) < 0)
        return rc ? rc : -ENOMEM;
    if (!c->served || strcmp(c->served, both) != 0) {
        rc = server_set_certificate(c->o.server, p->certificate, p->key, err);
        if (rc == 0) {
            free(c->served);
            c->served = take(&both);
            log_info("certificates.loaded", F_STR("directory", c->o.directory));
        }
    }
    free(both);
    return rc;
}

static int look_after_directory(struct certificates *c, struct error *err)
{
    struct pki_pair p = {0};
    int rc = read_file(c->o.directory, "tls.crt", &p.certificate, err);

    if (rc == 0)
        rc = read_file(c->o.directory, "tls.key", &p.key, err);
    if (rc == 0)
        rc = serve_pair(c, &p, err);
    pki_pair_done(&p);
    return rc;
}

/* ---- the thread ---- */

static void set_state(struct certificates *c, int rc, const struct error *err)
{
    bool news;

    pthread_mutex_lock(&c->lock);
    news = rc && strcmp(c->why.text, err->text) != 0;
    /* what is served goes on being good while the API server is away */
    c->ready = rc == 0 || (c->ready && kube_is_transient(rc));
    c->why = *err;
    pthread_mutex_unlock(&c->lock);
    if (news)
        log_warn("certificates.failed", F_STR("error", err->text));
}

static unsigned tick_s(const struct certificates *c, int rc)
{
    unsigned quarter = c->o.times->overlap / 4;

    if (rc)
        return FAILED_TICK_S;
    return quarter < 1 ? 1 : quarter > MAX_TICK_S ? MAX_TICK_S : quarter;
}

static bool sleep_unless_stopped(struct certificates *c, unsigned seconds)
{
    struct timespec until;
    bool stop;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&c->lock);
    while (!c->stop && pthread_cond_timedwait(&c->wake, &c->lock, &until) == 0)
        ;
    stop = c->stop;
    pthread_mutex_unlock(&c->lock);
    return !stop;
}

static void *certificates_main(void *arg)
{
    struct certificates *c = arg;
    unsigned wait_s;

    do {
        struct error err = {{0}};
        int rc = c->o.directory ? look_after_directory(c, &err) : look_after_own(c, &err);

        set_state(c, rc, &err);
        server_tick(c->o.server);
        wait_s = tick_s(c, rc);
    } while (sleep_unless_stopped(c, wait_s));
    return NULL;
}

int certificates_start(const struct certificates_options *o, struct certificates **ret,
                       struct error *err)
{
    struct certificates *c = calloc(1, sizeof *c);

    if (!c)
        return error_set(err, -ENOMEM, "out of memory");
    c->o = *o;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    error_set(&c->why, 0, "no certificate yet");
    if (pthread_create(&c->thread, NULL, certificates_main, c) != 0) {
        free(c);
        return error_set(err, -EAGAIN, "no thread");
    }
    *ret = c;
    return 0;
}

void certificates_stop(struct certificates *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    free(c->signed_by);
    if (c->served)
        explicit_bzero(c->served, strlen(c->served));
    free(c->served);
    free(c);
}

bool certificates_ready(struct certificates *c, struct error *why)
{
    bool ready;

    pthread_mutex_lock(&c->lock);
    ready = c->ready;
    *why = c->why;
    pthread_mutex_unlock(&c->lock);
    return ready;
}
