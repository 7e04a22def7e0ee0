/* SPDX-License-Identifier: Apache-2.0
 * The reflector's thread: list, watch, wait, again.
 */
#include "watch.h"

#include "backoff.h"
#include "internal.h"
#include "src-common/clock.h"

#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>

#define MAX_OBJECT      ((size_t)4 << 20)
#define MAX_LIST        ((size_t)64 << 20)
#define PAGE            "500"
#define BACKOFF_MS      200
#define BACKOFF_CAP_MS  10000
#define ANSWER_MS       15000 /* from the request to the first byte */
#define LIST_SILENCE_MS 30000 /* while a list is on its way */
/* Servers send a bookmark every minute; silence beyond that proves nothing, so we ask again. */
#define WATCH_SILENCE_MS 100000
#define SHORT_MS         1000 /* a watch that ends sooner counts as a failure */
#define POLL_MS          1000

struct watch {
    struct watch_config c;
    char *path, *version; /* of the collection, without the query's last parts; last seen */
    CURLM *multi;
    pthread_t thread;
    atomic_bool stopping;
    struct backoff backoff;
    bool synced, up;
    uint64_t alive_ms; /* the last sign of life of a watch or list */
    char why[sizeof((struct error *)0)->text];

    /* the transfer that runs now */
    struct watch_framer framer;
    struct buffer body; /* a list, or what explains a failure */
    int failure;        /* of a callback of curl's */
    struct error reason;
};

/* ---- state ---- */

static void say_state(struct watch *w, bool up, uint64_t since_ms, const char *why)
{
    if (up == w->up && strcmp(why, w->why) == 0)
        return;
    w->up = up;
    snprintf(w->why, sizeof w->why, "%s", why);
    if (w->c.ops->state)
        w->c.ops->state(&(struct watch_state){up, since_ms, w->why}, w->c.arg);
}

/* ---- one transfer ---- */

/* Runs it to its end, or until the watch is stopped (-ECANCELED) or silent for too long. */
static int run(struct watch *w, struct kube_transfer *t, unsigned silence_ms)
{
    int running = 1, left;
    CURLMsg *m;
    uint64_t begun = clock_mono_ms();
    CURLcode code = CURLE_OK;

    w->failure = 0;
    if (curl_multi_add_handle(w->multi, t->curl) != CURLM_OK)
        return -ENOMEM;
    while (running) {
        uint64_t now;

        if (curl_multi_perform(w->multi, &running) != CURLM_OK || !running)
            break;
        curl_multi_poll(w->multi, NULL, 0, POLL_MS, NULL);
        now = clock_mono_ms();
        if (atomic_load(&w->stopping)) {
            w->failure = -ECANCELED;
            break;
        }
        if (now - (w->alive_ms > begun ? w->alive_ms : begun) >
            (w->alive_ms > begun ? silence_ms : ANSWER_MS)) {
            w->failure = error_set(&w->reason, -ETIMEDOUT, "the API server says nothing any more");
            break;
        }
    }
    while ((m = curl_multi_info_read(w->multi, &left)))
        code = m->msg == CURLMSG_DONE ? m->data.result : code;
    curl_multi_remove_handle(w->multi, t->curl);
    if (w->failure)
        return w->failure;
    if (code == CURLE_OK)
        return 0;
    return error_set(&w->reason, kube_transfer_errno(code), "%s: %s", w->path,
                     t->error[0] ? t->error : curl_easy_strerror(code));
}

static int open_transfer(struct watch *w, const char *path, struct kube_transfer *t)
{
    const struct kube_request r = {.method = "GET", .path = path};

    buffer_reset(&w->body, 0);
    watch_framer_done(&w->framer);
    return kube_transfer_init(w->c.kube, &r, t, &w->reason);
}

static int status_of(CURL *curl)
{
    long status = 0;

    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

/* What an answer other than 200 means. */
static int explain(struct watch *w, int status)
{
    const struct kube_request r = {.method = "GET", .path = w->path};
    struct kube_reply reply = {.status = status};
    int rc;

    if (buffer_len(&w->body) && kube_parse(buffer_bytes(&w->body), &reply.object) != 0)
        reply.object = NULL;
    rc = kube_explain(&r, &reply, &w->reason);
    kube_reply_done(&reply);
    return rc ? rc : -EIO;
}

/* ---- list ---- */

static size_t on_list_data(char *p, size_t size, size_t n, void *arg)
{
    struct watch *w = arg;

    w->alive_ms = clock_mono_ms();
    if (buffer_append(&w->body, p, size * n) == 0)
        return size * n;
    w->failure = error_set(&w->reason, -EMSGSIZE, "%s: the list is too long", w->path);
    return 0;
}

/* One page into items; *more is the continue token, owned, NULL at the end. */
static int take_page(struct watch *w, struct json_object *items, char **more)
{
    struct json_object *list = NULL, *page;
    const char *token;
    int rc = kube_parse(buffer_bytes(&w->body), &list);

    page = kube_get(list, "items");
    if (rc || (page && !json_object_is_type(page, json_type_array) &&
               !json_object_is_type(page, json_type_null))) {
        json_object_put(list);
        return error_set(&w->reason, -EBADMSG, "%s: the list cannot be read", w->path);
    }
    for (size_t i = 0; page && i < json_object_array_length(page); i++)
        json_object_array_add(items, json_object_get(json_object_array_get_idx(page, i)));
    token = kube_get_str(list, "metadata.continue");
    *more = token[0] ? strdup(token) : NULL;
    free(w->version);
    w->version = strdup(kube_get_str(list, "metadata.resourceVersion"));
    json_object_put(list);
    if (!w->version || !w->version[0])
        return error_set(&w->reason, -EBADMSG, "%s: the list has no resourceVersion", w->path);
    return 0;
}

static int list_page(struct watch *w, struct json_object *items, char **more)
{
    struct kube_transfer t;
    struct buffer path;
    int rc, status;

    buffer_init(&path, 4 * KUBE_PATH_MAX);
    buffer_append(&path, w->path, strlen(w->path));
    kube_query(&path, "limit", PAGE);
    if (*more)
        kube_query(&path, "continue", *more);
    free(take(more));
    rc = path.failed ? -ENOBUFS : open_transfer(w, (const char *)path.p, &t);
    buffer_done(&path);
    if (rc)
        return rc;
    curl_easy_setopt(t.curl, CURLOPT_WRITEFUNCTION, on_list_data);
    curl_easy_setopt(t.curl, CURLOPT_WRITEDATA, w);
    rc = run(w, &t, LIST_SILENCE_MS);
    status = status_of(t.curl);
    kube_transfer_done(w->c.kube, &t);
    if (rc == 0 && status != 200)
        rc = explain(w, status);
    return rc ? rc : take_page(w, items, more);
}

static int list(struct watch *w)
{
    struct json_object *items = json_object_new_array();
    char *more = NULL;
    size_t total = 0;
    int rc = items ? 0 : -ENOMEM;

    do {
        if (rc == 0)
            rc = list_page(w, items, &more);
        total += buffer_len(&w->body);
        if (rc == 0 && total > (w->c.max_list ? w->c.max_list : MAX_LIST))
            rc = error_set(&w->reason, -EMSGSIZE, "%s: the list is too long", w->path);
    } while (rc == 0 && more);
    buffer_reset(&w->body, 0);
    if (rc == 0) {
        w->synced = true;
        w->c.ops->replaced(items, w->c.arg);
    }
    json_object_put(items);
    free(more);
    return rc;
}

/* ---- watch ---- */

static int take_event(struct watch *w, struct bytes line)
{
    struct watch_event e;
    char *version;
    int rc = watch_event_decode(line, &e, &w->reason);

    if (rc)
        return rc;
    if (e.type == WATCH_ERROR) {
        rc = e.code;
        watch_event_done(&e);
        return rc;
    }
    version = strdup(e.version);
    if (!version) {
        watch_event_done(&e);
        return -ENOMEM;
    }
    free(w->version);
    w->version = version;
    if (e.type != WATCH_BOOKMARK)
        w->c.ops->changed(e.type, e.object, w->c.arg);
    watch_event_done(&e);
    return 0;
}

static size_t on_watch_data(char *p, size_t size, size_t n, void *arg)
{
    struct kube_transfer *t = ((void **)arg)[1];
    struct watch *w = ((void **)arg)[0];
    struct bytes line;

    w->alive_ms = clock_mono_ms();
    if (status_of(t->curl) != 200) /* an explanation: as much of it as fits */
        return buffer_append(&w->body, p, size * n) == 0 ? size * n : 0;
    w->failure = watch_framer_feed(&w->framer, bytes_of(p, size * n));
    if (w->failure)
        error_set(&w->reason, w->failure, "%s: an event is too long", w->path);
    while (w->failure == 0 && watch_framer_next(&w->framer, &line))
        w->failure = take_event(w, line);
    return w->failure ? 0 : size * n;
}

/* The headers' end: the server watches for us, although nothing may happen for long. */
static size_t on_watch_header(char *p, size_t size, size_t n, void *arg)
{
    struct kube_transfer *t = ((void **)arg)[1];
    struct watch *w = ((void **)arg)[0];

    w->alive_ms = clock_mono_ms();
    if (size * n == 2 && memcmp(p, "\r\n", 2) == 0 && status_of(t->curl) == 200)
        say_state(w, true, w->alive_ms, "");
    return size * n;
}

static void watch_path(const struct watch *w, struct buffer *path)
{
    uint32_t random = 0;
    char seconds[16];

    /* Not all watches of a cluster shall end together. */
    (void)!getrandom(&random, sizeof random, 0);
    snprintf(seconds, sizeof seconds, "%u", 240 + random % 60);
    buffer_append(path, w->path, strlen(w->path));
    kube_query(path, "watch", "true");
    kube_query(path, "allowWatchBookmarks", "true");
    kube_query(path, "timeoutSeconds", seconds);
    kube_query(path, "resourceVersion", w->version);
}

/* Until the server ends it: 0, or why not. */
static int stream(struct watch *w)
{
    struct kube_transfer t;
    void *arg[2] = {w, &t};
    struct buffer path;
    int rc, status;

    buffer_init(&path, 4 * KUBE_PATH_MAX);
    watch_path(w, &path);
    rc = path.failed ? -ENOBUFS : open_transfer(w, (const char *)path.p, &t);
    buffer_done(&path);
    if (rc)
        return rc;
    curl_easy_setopt(t.curl, CURLOPT_WRITEFUNCTION, on_watch_data);
    curl_easy_setopt(t.curl, CURLOPT_WRITEDATA, arg);
    curl_easy_setopt(t.curl, CURLOPT_HEADERFUNCTION, on_watch_header);
    curl_easy_setopt(t.curl, CURLOPT_HEADERDATA, arg);
    rc = run(w, &t, WATCH_SILENCE_MS);
    status = status_of(t.curl);
    kube_transfer_done(w->c.kube, &t);
    if (rc == 0 && status != 200)
        rc = explain(w, status);
    return rc;
}

/* ---- the thread ---- */

static void pause_ms(struct watch *w, unsigned ms)
{
    uint64_t until = clock_mono_ms() + ms, now;

    while (!atomic_load(&w->stopping) && (now = clock_mono_ms()) < until)
        curl_multi_poll(w->multi, NULL, 0, (int)(until - now), NULL);
}

static void one_round(struct watch *w)
{
    uint64_t begun = clock_mono_ms();
    int rc = w->synced ? 0 : list(w);
    bool watched = rc == 0;

    if (rc == 0)
        rc = stream(w);
    if (atomic_load(&w->stopping))
        return;
    if (rc == -ESTALE || rc == -EMSGSIZE || rc == -EBADMSG)
        w->synced = false; /* the list is what remains to be trusted */
    if (watched && (rc == 0 || rc == -ESTALE || (rc == -ETIMEDOUT && w->up)) &&
        clock_mono_ms() - begun >= SHORT_MS) {
        backoff_reset(&w->backoff);
        return; /* ends in good order are every watch's fate: ask again at once */
    }
    if (rc && rc != -ESTALE)
        say_state(w, false, w->alive_ms, w->reason.text);
    pause_ms(w, backoff_next_ms(&w->backoff));
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;

    while (!atomic_load(&w->stopping))
        one_round(w);
    return NULL;
}

/* ---- life ---- */

static int make_path(struct watch *w, const struct watch_config *c, struct error *err)
{
    struct buffer path;
    int rc;

    buffer_init(&path, KUBE_PATH_MAX);
    rc = kube_path(&c->place, &path);
    if (rc == 0 && c->label_selector)
        kube_query(&path, "labelSelector", c->label_selector);
    if (rc == 0 && c->field_selector)
        kube_query(&path, "fieldSelector", c->field_selector);
    if (rc == 0 && path.failed)
        rc = -ENOBUFS;
    if (rc == 0)
        w->path = strdup((const char *)path.p);
    buffer_done(&path);
    if (rc)
        return error_set(err, rc,
                         "cannot watch %.80s: its name, namespace or selector is no part "
                         "of a path",
                         c->place.resource);
    return w->path ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static void watch_free(struct watch *w)
{
    if (w->multi)
        curl_multi_cleanup(w->multi);
    watch_framer_done(&w->framer);
    buffer_done(&w->body);
    free(w->path);
    free(w->version);
    free(w);
}

int watch_start(const struct watch_config *c, struct watch **ret, struct error *err)
{
    struct watch *w = calloc(1, sizeof *w);
    int rc;

    if (!w)
        return error_set(err, -ENOMEM, "out of memory");
    w->c = *c;
    w->c.place = (struct kube_place){0}; /* make_path has what it needs of these */
    w->c.label_selector = w->c.field_selector = NULL;
    w->backoff =
        (struct backoff){BACKOFF_MS, c->backoff_cap_ms ? c->backoff_cap_ms : BACKOFF_CAP_MS, 0};
    watch_framer_init(&w->framer, c->max_object ? c->max_object : MAX_OBJECT);
    buffer_init(&w->body, c->max_list ? c->max_list : MAX_LIST);
    w->multi = curl_multi_init();
    rc = w->multi ? make_path(w, c, err) : error_set(err, -ENOMEM, "out of memory");
    if (rc == 0) {
        rc = -pthread_create(&w->thread, NULL, watch_main, w);
        if (rc)
            error_set(err, rc, "no thread for a watch: %s", strerror(-rc));
    }
    if (rc) {
        watch_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void watch_stop(struct watch *w)
{
    if (!w)
        return;
    atomic_store(&w->stopping, true);
    curl_multi_wakeup(w->multi);
    pthread_join(w->thread, NULL);
    watch_free(w);
}
