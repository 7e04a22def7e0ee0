/* SPDX-License-Identifier: Apache-2.0
 * The sender of Events.
 */
#include "events.h"

#include "event_queue.h"
#include "sidecar/record/shipper.h"
#include "src-common/clock.h"
#include "src-common/jsonw.h"
#include "src-common/kube/backoff.h"
#include "src-common/log.h"
#include "story.h"
#include "vigil.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define CALL_MS     5000
#define STOP_MS     2000 /* for what is left at the end */
#define POD_NAME    230  /* bytes of the pod's name in an Event's */
#define CONTROLLER  "chaperone.dev/guard"
#define BACKOFF_MS  500
#define BACKOFF_CAP 30000

static const struct {
    const char *reason, *action, *type;
} kinds[EVENT_N_KINDS] = {
    [EVENT_APPROVAL_REQUESTED] = {"ApprovalRequested", "RequestApproval", "Normal"},
    [EVENT_APPROVAL_DECIDED] = {"ApprovalDecided", "DecideApproval", "Normal"},
    [EVENT_APPROVAL_ENDED] = {"ApprovalEnded", "EndApproval", "Warning"},
    [EVENT_RECORDING_FAILED] = {"RecordingFailed", "Record", "Warning"},
    [EVENT_RECORDING_RESTORED] = {"RecordingRestored", "Record", "Normal"},
    [EVENT_UPLOAD_FAILED] = {"UploadFailed", "Upload", "Warning"},
    [EVENT_UPLOAD_RESTORED] = {"UploadRestored", "Upload", "Normal"},
    [EVENT_POLICY_REFUSED] = {"PolicyRefused", "LoadPolicy", "Warning"},
    [EVENT_POLICY_RESTORED] = {"PolicyRestored", "LoadPolicy", "Normal"},
    [EVENT_DENIED] = {"StatementDenied", "Deny", "Warning"},
    [EVENT_CONNECTION_DENIED] = {"ConnectionDenied", "Deny", "Warning"},
    [EVENT_GUARD_STARTED] = {"GuardStarted", "Start", "Normal"},
    [EVENT_RECORDS_ANCHORED] = {"RecordsAnchored", "Record", "Normal"},
    [EVENT_SESSION_ENDED] = {"SessionEnded", "Disconnect", "Normal"},
    [EVENT_SESSION_STARTED] = {"SessionStarted", "Connect", "Normal"},
};

struct events {
    struct guard *guard;
    struct kube *kube;
    struct story *story;
    struct vigil *vigil;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t more;
    struct event_queue queue;
    uint64_t sent, lost;
    uint64_t stop_ms; /* 0: not yet */
    struct backoff backoff;
    char complaint[640]; /* the sender's: said once */
};

void events_say(struct events *e, enum event_kind kind, const char *fmt, ...)
{
    char note[EVENT_NOTE_MAX + 64];
    va_list ap;

    if (!e)
        return;
    va_start(ap, fmt);
    vsnprintf(note, sizeof note, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&e->lock);
    event_queue_add(&e->queue, kind, note, clock_wall_us());
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
}

struct events_counters events_counters(struct events *e)
{
    struct events_counters c;

    pthread_mutex_lock(&e->lock);
    c = (struct events_counters){e->sent, e->queue.dropped + e->lost};
    pthread_mutex_unlock(&e->lock);
    return c;
}

/* ---- objects ---- */

static void add_time(struct buffer *b, const char *key, uint64_t us)
{
    char text[CLOCK_RFC3339_LEN + 1];

    clock_rfc3339(us, text);
    jsonw_kstr(b, key, bytes_str(text));
}

static void object_name(const struct events *e, const struct event *ev, char *out, size_t size)
{
    snprintf(out, size, "%.*s.%s", POD_NAME, e->guard->agent.pod, ev->name);
}

static void write_object(const struct events *e, const struct event *ev, struct buffer *b)
{
    const struct agent *a = &e->guard->agent;
    char name[300];

    object_name(e, ev, name, sizeof name);
    buffer_add(b, BYTES("{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{"));
    jsonw_kstr(b, "name", bytes_str(name));
    jsonw_kstr(b, "namespace", bytes_str(a->namespace_));
    buffer_add(b, BYTES("},\"regarding\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\""));
    jsonw_kstr(b, "namespace", bytes_str(a->namespace_));
    jsonw_kstr(b, "name", bytes_str(a->pod));
    jsonw_kstr(b, "uid", bytes_str(a->pod_uid));
    buffer_append(b, "}", 1);
    add_time(b, "eventTime", ev->first_us);
    jsonw_kstr(b, "reportingController", BYTES(CONTROLLER));
    jsonw_kstr(b, "reportingInstance", bytes_of(a->pod, min_size(strlen(a->pod), 128)));
    jsonw_kstr(b, "reason", bytes_str(kinds[ev->kind].reason));
    jsonw_kstr(b, "action", bytes_str(kinds[ev->kind].action));
    jsonw_kstr(b, "type", bytes_str(kinds[ev->kind].type));
    jsonw_kstr(b, "note", bytes_str(ev->note));
    buffer_append(b, "}", 1);
}

static void write_series(const struct event *ev, struct buffer *b)
{
    buffer_append(b, "{\"series\":{", 11);
    jsonw_ku64(b, "count", ev->count);
    add_time(b, "lastObservedTime", ev->last_us);
    buffer_append(b, "}}", 2);
}

/* ---- sending ---- */

static void make_name(struct event *ev)
{
    uint64_t random = 0;

    (void)!getrandom(&random, sizeof random, 0);
    snprintf(ev->name, sizeof ev->name, "%016llx", (unsigned long long)random);
}

static int send_one(struct events *e, struct event *ev, enum event_todo todo, struct error *err)
{
    char name[300];
    const struct kube_place place = {.api = "apis/events.k8s.io/v1",
                                     .namespace_ = e->guard->agent.namespace_,
                                     .resource = "events",
                                     .name = todo == EVENT_PATCH ? name : NULL};
    struct kube_request r = {.method = todo == EVENT_PATCH ? "PATCH" : "POST",
                             .content_type = todo == EVENT_PATCH ? KUBE_MERGE_PATCH : NULL,
                             .timeout_ms = CALL_MS};
    struct kube_reply reply;
    struct buffer path, body;
    int rc;

    if (todo == EVENT_POST)
        make_name(ev);
    object_name(e, ev, name, sizeof name);
    buffer_init(&path, KUBE_PATH_MAX);
    buffer_init(&body, 16384);
    if (todo == EVENT_PATCH)
        write_series(ev, &body);
    else
        write_object(e, ev, &body);
    rc = body.failed ? error_set(err, -ENOMEM, "out of memory") : kube_path(&place, &path);
    if (rc == 0) {
        r.path = (const char *)buffer_bytes(&path).p;
        r.text = buffer_bytes(&body);
        rc = kube_call(e->kube, &r, &reply, err);
        kube_reply_done(&reply);
    }
    buffer_done(&path);
    buffer_done(&body);
    return rc;
}

/* What became of it; milliseconds to wait before the next. */
static unsigned settle(struct events *e, const struct event *ev, enum event_todo todo, int rc)
{
    uint64_t now = clock_mono_ms();
    /* An API server that has just started forbids what it does not know to be allowed yet. */
    bool passes = kube_is_transient(rc) || rc == -EACCES;

    if (rc == 0) {
        e->sent++;
        backoff_reset(&e->backoff);
        if (todo == EVENT_POST)
            event_queue_sent(&e->queue, ev, now);
        return 0;
    }
    if (todo == EVENT_PATCH && passes) {
        event_queue_untold(&e->queue, ev);
    } else if (todo == EVENT_PATCH) {
        event_queue_forget(&e->queue, ev);
        if (rc == -ENOENT) /* older than the server keeps Events: a new one begins */
            event_queue_back(&e->queue, ev);
        else
            e->lost++;
    } else if (passes) {
        event_queue_back(&e->queue, ev);
    } else {
        e->lost++;
    }
    return passes ? backoff_next_ms(&e->backoff) : 0;
}

static void complain(struct events *e, const struct error *err)
{
    if (strcmp(e->complaint, err->text) != 0)
        log_warn("event.not_sent", F_STR("reason", err->text));
    memcpy(e->complaint, err->text, sizeof e->complaint);
}

/* Under the lock. True: it is time to end. */
static bool wait_for_more(struct events *e, uint64_t ms)
{
    uint64_t now = clock_mono_ms();
    struct timespec until;

    if (e->stop_ms && (now >= e->stop_ms || ms == UINT64_MAX))
        return true;
    if (e->stop_ms && now + ms > e->stop_ms)
        ms = e->stop_ms - now;
    if (ms > 3600000)
        ms = 3600000;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_cond_timedwait(&e->more, &e->lock, &until);
    return false;
}

/* Under the lock, which it leaves while it sends. */
static void send_next(struct events *e, struct event *ev, enum event_todo todo, uint64_t *quiet_ms)
{
    struct error err = {""};
    int rc;

    pthread_mutex_unlock(&e->lock);
    rc = send_one(e, ev, todo, &err);
    if (rc)
        complain(e, &err);
    pthread_mutex_lock(&e->lock);
    *quiet_ms = clock_mono_ms() + settle(e, ev, todo, rc);
}

/* Under the lock, which it leaves: what is seen is queued as by anybody else. */
static uint64_t look(struct events *e, uint64_t now)
{
    uint64_t again;

    pthread_mutex_unlock(&e->lock);
    again = vigil_look(e->vigil, now);
    pthread_mutex_lock(&e->lock);
    return again;
}

static void *sender_main(void *arg)
{
    struct events *e = arg;
    uint64_t quiet_ms = 0;
    struct event ev;

    pthread_mutex_lock(&e->lock);
    for (;;) {
        uint64_t now = clock_mono_ms(), wait_ms = 0, look_ms = 0;
        enum event_todo todo = EVENT_NOTHING;

        if (!e->stop_ms)
            look_ms = look(e, now);
        if (now < quiet_ms)
            wait_ms = quiet_ms - now;
        else
            todo = event_queue_next(&e->queue, now, &ev, &wait_ms);
        if (todo != EVENT_NOTHING)
            send_next(e, &ev, todo, &quiet_ms);
        else if (wait_for_more(e, e->stop_ms && now >= quiet_ms
                                      ? UINT64_MAX
                                      : (look_ms && look_ms < wait_ms ? look_ms : wait_ms)))
            break;
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- life ---- */

int events_start(struct guard *g, struct kube *k, struct events **ret, struct error *err)
{
    struct events *e = calloc(1, sizeof *e);
    int rc;

    if (!e)
        return error_set(err, -ENOMEM, "out of memory");
    e->guard = g;
    e->kube = k;
    e->backoff = (struct backoff){BACKOFF_MS, BACKOFF_CAP, 0};
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->more, NULL);
    event_queue_init(&e->queue, clock_mono_ms());
    rc = vigil_new(e, g, &e->vigil);
    if (rc == 0)
        rc = story_new(e, e->vigil, &e->story);
    if (rc == 0)
        rc = -pthread_create(&e->thread, NULL, sender_main, e);
    e->running = rc == 0;
    if (rc) {
        events_stop(e);
        return error_set(err, rc, "cannot start the sender of Events: %s", strerror(-rc));
    }
    record_spool_set_observer(g->spool, story_line, e->story);
    if (shipper_key(g->shipper))
        events_say(e, EVENT_GUARD_STARTED,
                   "guard " CHAPERONE_VERSION " started; it signs records with the key %s",
                   shipper_key(g->shipper));
    else
        events_say(e, EVENT_GUARD_STARTED, "guard " CHAPERONE_VERSION " started");
    *ret = e;
    return 0;
}

void events_stop(struct events *e)
{
    if (!e)
        return;
    if (e->running) {
        record_spool_set_observer(e->guard->spool, NULL, NULL);
        pthread_mutex_lock(&e->lock);
        e->stop_ms = clock_mono_ms() + STOP_MS;
        pthread_cond_signal(&e->more);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->thread, NULL);
    }
    story_free(e->story);
    vigil_free(e->vigil);
    pthread_cond_destroy(&e->more);
    pthread_mutex_destroy(&e->lock);
    free(e);
}
