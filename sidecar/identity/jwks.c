/* SPDX-License-Identifier: Apache-2.0
 * Key sets of issuers. One thread each; `lock` guards what askers see.
 */
#include "jwks.h"

#include "fetch.h"
#include "src-common/clock.h"
#include "src-common/log.h"
#include "strictjson.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FIRST_RETRY_MS 1000u
#define MAX_RETRY_MS   30000u

DEFINE_CLEANUP(struct json_object *, json_object_put)

struct jwks {
    struct jwks_source source;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;    /* for the thread */
    pthread_cond_t settled; /* a fetch has ended */
    /* under lock */
    struct jose_keys *keys; /* NULL: none yet */
    uint64_t good_ms;       /* when keys were last confirmed */
    uint64_t forced_ms;     /* when an unknown key id last caused a fetch; 0: never */
    uint64_t attempts;
    unsigned retry_ms; /* 0: the last attempt succeeded */
    bool wanted;
    atomic_bool stop; /* changed under lock; a fetch looks at it without */
    struct error why; /* of the last failure */
};

/* ---- the thread ---- */

static int discover(const struct jwks_source *s, const struct fetch_options *o, char url[1024],
                    struct error *err)
{
    _cleanup_(json_object_put) struct json_object *doc = NULL;
    size_t n = strlen(s->issuer);
    const char *issuer, *uri;
    struct buffer body;
    char at[1024];
    int rc;

    snprintf(at, sizeof at, "%.*s/.well-known/openid-configuration",
             (int)(n && s->issuer[n - 1] == '/' ? n - 1 : n), s->issuer);
    buffer_init(&body, FETCH_MAX_BYTES);
    rc = fetch_url(at, o, &body, err);
    if (rc == 0 && (rc = strictjson_parse(buffer_bytes(&body), &doc, err)))
        error_prefix(err, rc, "%.200s", at);
    buffer_done(&body);
    if (rc)
        return rc;
    issuer = strictjson_string(doc, "issuer");
    uri = strictjson_string(doc, "jwks_uri");
    if (!issuer || strcmp(issuer, s->issuer) != 0)
        return error_set(err, -EBADMSG, "%.200s is of another issuer", at);
    if (!uri || strlen(uri) >= 1024 || !fetch_url_ok(uri) ||
        (s->https_only && strncmp(uri, "https://", 8) != 0))
        return error_set(err, -EBADMSG, "%.200s has no usable jwks_uri", at);
    snprintf(url, 1024, "%s", uri);
    return 0;
}

static int fetch_keys(const struct jwks *j, struct jose_keys **ret, struct error *err)
{
    const struct jwks_source *s = &j->source;
    struct fetch_options o = {s->ca_file, s->ca_text, s->token_file, &j->stop};
    const char *from = s->file ? s->file : s->url;
    char found[1024];
    struct buffer body;
    int rc = 0;

    if (s->keys)
        return jose_keys_parse(bytes_str(s->keys), s->algorithms, ret, err);
    buffer_init(&body, FETCH_MAX_BYTES);
    if (!from) {
        rc = discover(s, &o, found, err);
        from = found;
    }
    if (rc == 0)
        rc = s->file ? fetch_file(from, &body, err) : fetch_url(from, &o, &body, err);
    if (rc == 0) {
        rc = jose_keys_parse(buffer_bytes(&body), s->algorithms, ret, err);
        if (rc)
            error_prefix(err, rc, "%.200s", from);
    }
    buffer_done(&body);
    return rc;
}

static void settle(struct jwks *j, struct jose_keys *fresh, const struct error *err)
{
    bool first_failure;

    pthread_mutex_lock(&j->lock);
    first_failure = !fresh && j->retry_ms == 0;
    if (fresh) {
        jose_keys_unref(j->keys);
        j->keys = fresh;
        j->good_ms = clock_mono_ms();
        j->retry_ms = 0;
    } else {
        j->retry_ms =
            j->retry_ms ? (unsigned)min_size(2u * j->retry_ms, MAX_RETRY_MS) : FIRST_RETRY_MS;
        j->why = *err;
    }
    j->wanted = false;
    j->attempts++;
    pthread_cond_broadcast(&j->settled);
    pthread_mutex_unlock(&j->lock);
    if (first_failure && !atomic_load(&j->stop))
        log_warn("issuer.keys", F_STR("issuer", j->source.issuer), F_STR("reason", err->text));
}

static struct timespec at_ms(uint64_t mono_ms)
{
    return (struct timespec){.tv_sec = (time_t)(mono_ms / 1000),
                             .tv_nsec = (long)(mono_ms % 1000) * 1000000};
}

/* Until the next fetch is due, or somebody needs one. False: stop. */
static bool wait_for_turn(struct jwks *j)
{
    struct timespec due;
    bool go_on;

    pthread_mutex_lock(&j->lock);
    due = at_ms(clock_mono_ms() + (j->retry_ms ? j->retry_ms : j->source.refresh_s * 1000ull));
    while (!j->stop && !j->wanted && pthread_cond_timedwait(&j->wake, &j->lock, &due) != ETIMEDOUT)
        ;
    go_on = !j->stop;
    pthread_mutex_unlock(&j->lock);
    return go_on;
}

static void *jwks_main(void *arg)
{
    struct jwks *j = arg;

    do {
        struct jose_keys *fresh = NULL;
        struct error err = {""};

        if (fetch_keys(j, &fresh, &err) != 0)
            fresh = NULL;
        settle(j, fresh, &err);
    } while (wait_for_turn(j));
    return NULL;
}

/* ---- life ---- */

int jwks_start(const struct jwks_source *source, struct jwks **ret, struct error *err)
{
    struct jwks *j = calloc(1, sizeof *j);
    pthread_condattr_t attr;

    if (!j)
        return error_set(err, -ENOMEM, "out of memory");
    j->source = *source;
    j->wanted = true; /* the first fetch is under way from the start */
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->wake, &attr);
    pthread_cond_init(&j->settled, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&j->thread, NULL, jwks_main, j) != 0) {
        free(j);
        return error_set(err, -EAGAIN, "no thread could be started");
    }
    *ret = j;
    return 0;
}

void jwks_stop(struct jwks *j)
{
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->stop = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    jose_keys_unref(j->keys);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->wake);
    pthread_cond_destroy(&j->settled);
    free(j);
}

/* ---- asking ---- */

static bool is_fresh(const struct jwks *j)
{
    return j->keys && clock_mono_ms() - j->good_ms <= j->source.stale_s * 1000ull;
}

/* Under the lock: has the thread fetch, and waits until it has. */
static void fetch_now(struct jwks *j, uint64_t deadline_ms)
{
    struct timespec due = at_ms(deadline_ms);
    uint64_t before = j->attempts;

    j->wanted = true;
    pthread_cond_signal(&j->wake);
    while (j->attempts == before && !j->stop &&
           pthread_cond_timedwait(&j->settled, &j->lock, &due) != ETIMEDOUT)
        ;
}

/* An agent could make us ask an issuer for ever with made-up key ids. */
static bool may_fetch_for_unknown(struct jwks *j)
{
    uint64_t now = clock_mono_ms();

    if (j->forced_ms && now - j->forced_ms < j->source.unknown_s * 1000ull)
        return false;
    j->forced_ms = now;
    return true;
}

static const struct jose_key *find_locked(struct jwks *j, const char *kid, uint64_t deadline_ms)
{
    const struct jose_key *k;

    /* Without keys: wait for an attempt that is under way or due, but cause none out of turn: the
     * thread retries by itself. */
    if (!is_fresh(j) && (j->wanted || may_fetch_for_unknown(j)))
        fetch_now(j, deadline_ms);
    if (!is_fresh(j))
        return NULL;
    k = jose_keys_find(j->keys, kid);
    if (!k && kid && may_fetch_for_unknown(j)) {
        fetch_now(j, deadline_ms);
        k = is_fresh(j) ? jose_keys_find(j->keys, kid) : NULL;
    }
    return k;
}

int jwks_find(struct jwks *j, const char *kid, uint64_t deadline_ms, struct jose_keys **ret_keys,
              const struct jose_key **ret, struct error *err)
{
    const struct jose_key *k;
    int rc = 0;

    pthread_mutex_lock(&j->lock);
    k = find_locked(j, kid, deadline_ms);
    if (k) {
        *ret_keys = jose_keys_ref(j->keys);
        *ret = k;
    } else if (!is_fresh(j)) {
        rc = error_set(err, -EAGAIN, "the issuer's keys cannot be had (%.300s)",
                       j->why.text[0] ? j->why.text : "no answer yet");
    } else if (!kid) {
        rc = error_set(err, -ENOKEY,
                       "the token names no key (kid), and the issuer has more than one");
    } else {
        rc = error_set(err, -ENOKEY, "the issuer has no key with the id '%.80s'", kid);
    }
    pthread_mutex_unlock(&j->lock);
    return rc;
}
