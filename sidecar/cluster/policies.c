/* SPDX-License-Identifier: Apache-2.0
 * From the API server's objects to the policy in force.
 */
#include "policies.h"

#include "sidecar/session/session.h"
#include "src-common/clock.h"
#include "src-common/jsonw.h"
#include "src-common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/eventfd.h>

#define QUIET_MS     50
#define MAX_DELAY_MS 500 /* however busy it is: somebody may be waiting for a Deny */
#define TEXT_MAX     ((size_t)64 << 20)
#define TICK_MS      1000
#define API          "apis/chaperone.dev/v1alpha1"
#define API_VERSION  "chaperone.dev/v1alpha1"
#define SOURCE       "api" /* the loader's name for the text */

struct stored {
    char *name, *uid, *line; /* line: {apiVersion, kind, metadata: {name, namespace}, spec} */
    int64_t generation;
};

static const struct kind {
    const char *name, *resource;
    bool cluster;
} kinds[] = {
    {"ClusterGuardPolicy", "clusterguardpolicies", true},
    {"GuardPolicy", "guardpolicies", false},
    {"GuardTarget", "guardtargets", false},
};
#define N_KINDS ARRAY_LEN(kinds)

struct watched {
    struct policies *owner;
    const struct kind *kind;
    struct watch *watch;
    struct stored *objects; /* under the owner's lock, as what follows */
    size_t n, cap;
    bool synced, up;
    uint64_t alive_ms; /* while down: the last sign of life */
    char why[640];
};

struct policies {
    struct policies_config c;
    pthread_mutex_t lock;
    struct watched watched[N_KINDS];
    uint64_t dirty_since_ms, changed_ms; /* under lock; 0: nothing new */
    bool again;                          /* under lock */

    /* the ticking thread's */
    uint64_t invalid_since_ms, doubt_ms;
    bool was_stale;
    char invalid[640], said[640];
};

/* ---- objects ---- */

static void stored_done(struct stored *o)
{
    free(o->name);
    free(o->uid);
    free(o->line);
}

/* What the loader needs, and nothing that changes without meaning: managedFields, status. */
static char *stored_line(const struct kind *k, struct json_object *from)
{
    struct json_object *o = json_object_new_object(), *meta = json_object_new_object();
    const char *ns = kube_get_str(from, "metadata.namespace");
    struct json_object *spec = kube_get(from, "spec");
    char *line = NULL;

    if (o && meta) {
        json_object_object_add(meta, "name",
                               json_object_new_string(kube_get_str(from, "metadata.name")));
        if (!k->cluster)
            json_object_object_add(meta, "namespace", json_object_new_string(ns));
        json_object_object_add(o, "apiVersion", json_object_new_string(API_VERSION));
        json_object_object_add(o, "kind", json_object_new_string(k->name));
        json_object_object_add(o, "metadata", json_object_get(meta));
        if (spec)
            json_object_object_add(o, "spec", json_object_get(spec));
        line = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_SPACED |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE));
    }
    json_object_put(meta);
    json_object_put(o);
    return line;
}

static bool stored_make(const struct kind *k, struct json_object *from, struct stored *ret)
{
    *ret = (struct stored){.name = strdup(kube_get_str(from, "metadata.name")),
                           .uid = strdup(kube_get_str(from, "metadata.uid")),
                           .line = stored_line(k, from),
                           .generation = kube_get_int(from, "metadata.generation")};
    if (ret->name && ret->uid && ret->line)
        return true;
    stored_done(ret);
    return false;
}

/* ---- what the watches say ---- */

static void wake(struct policies *p)
{
    eventfd_write(p->c.wake_fd, 1);
}

static void mark_changed(struct policies *p)
{
    p->changed_ms = clock_mono_ms();
    if (!p->dirty_since_ms)
        p->dirty_since_ms = p->changed_ms;
}

static void forget_all(struct watched *w)
{
    while (w->n)
        stored_done(&w->objects[--w->n]);
}

static struct stored *find(struct watched *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->objects[i].name, name) == 0)
            return &w->objects[i];
    return NULL;
}

/* Out of memory must not look like a policy that is gone: the next list makes it good. */
static void put(struct watched *w, struct json_object *from)
{
    struct stored fresh, *at, *grown;

    if (!stored_make(w->kind, from, &fresh)) {
        w->synced = false;
        return;
    }
    at = find(w, fresh.name);
    if (at) {
        stored_done(at);
        *at = fresh;
        return;
    }
    if (w->n == w->cap) {
        grown = realloc(w->objects, (w->cap ? 2 * w->cap : 16) * sizeof *grown);
        if (!grown) {
            stored_done(&fresh);
            w->synced = false;
            return;
        }
        w->objects = grown;
        w->cap = w->cap ? 2 * w->cap : 16;
    }
    w->objects[w->n++] = fresh;
}

static void on_replaced(struct json_object *items, void *arg)
{
    struct watched *w = arg;

    pthread_mutex_lock(&w->owner->lock);
    forget_all(w);
    w->synced = true;
    if (!w->up)
        w->alive_ms = clock_mono_ms();
    for (size_t i = 0; i < json_object_array_length(items); i++)
        put(w, json_object_array_get_idx(items, i));
    mark_changed(w->owner);
    pthread_mutex_unlock(&w->owner->lock);
    wake(w->owner);
}

static void on_changed(enum watch_type type, struct json_object *object, void *arg)
{
    struct watched *w = arg;
    struct stored *o;

    pthread_mutex_lock(&w->owner->lock);
    if (type == WATCH_DELETED) {
        o = find(w, kube_get_str(object, "metadata.name"));
        if (o) {
            stored_done(o);
            *o = w->objects[--w->n];
        }
    } else {
        put(w, object);
    }
    mark_changed(w->owner);
    pthread_mutex_unlock(&w->owner->lock);
    wake(w->owner);
}

static void on_state(const struct watch_state *s, void *arg)
{
    struct watched *w = arg;

    pthread_mutex_lock(&w->owner->lock);
    w->up = s->up;
    w->alive_ms = s->since_ms;
    snprintf(w->why, sizeof w->why, "%s", s->why);
    pthread_mutex_unlock(&w->owner->lock);
    if (s->up)
        log_info("cluster.watching", F_STR("resource", w->kind->resource));
    else
        log_warn("cluster.unreachable", F_STR("resource", w->kind->resource),
                 F_STR("reason", s->why));
    wake(w->owner);
}

static const struct watch_ops watch_callbacks = {on_replaced, on_changed, on_state};

/* ---- loading ---- */

struct loading {
    struct buffer text, objects; /* a List, an object a line; the array of /policies */
    bool complete;               /* every watch has been synced */
};

static void add_object(struct loading *l, const struct watched *w, const struct stored *o,
                       const char *ns)
{
    buffer_append(&l->text, buffer_len(&l->objects) > 1 ? ",\n" : "\n",
                  buffer_len(&l->objects) > 1 ? 2 : 1);
    buffer_append(&l->text, o->line, strlen(o->line));
    buffer_append(&l->objects, ",{", buffer_len(&l->objects) > 1 ? 2 : 0);
    if (buffer_len(&l->objects) == 1)
        buffer_add_u8(&l->objects, '{');
    jsonw_kstr(&l->objects, "kind", bytes_str(w->kind->name));
    jsonw_kstr(&l->objects, "namespace", bytes_str(w->kind->cluster ? "" : ns));
    jsonw_kstr(&l->objects, "name", bytes_str(o->name));
    jsonw_kstr(&l->objects, "uid", bytes_str(o->uid));
    jsonw_ku64(&l->objects, "generation", (uint64_t)o->generation);
    buffer_add_u8(&l->objects, '}');
}

/* Under the lock. */
static void collect(struct policies *p, struct loading *l)
{
    static const char head[] = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [";

    buffer_init(&l->text, TEXT_MAX);
    buffer_init(&l->objects, TEXT_MAX);
    buffer_append(&l->text, head, sizeof head - 1);
    buffer_add_u8(&l->objects, '[');
    l->complete = true;
    for (size_t k = 0; k < N_KINDS; k++) {
        struct watched *w = &p->watched[k];

        l->complete = l->complete && w->synced;
        for (size_t i = 0; i < w->n; i++)
            add_object(l, w, &w->objects[i], p->c.guard->agent.namespace_);
    }
    buffer_append(&l->text, "\n]}\n", 4);
    buffer_append(&l->objects, "]", 2); /* and its NUL */
}

/* "api:5: items[3].spec.rules[0]: …" becomes "GuardPolicy reader: spec.rules[0]: …": line 2 is the
 * first object. */
static void name_object(struct policies *p, struct error *err)
{
    unsigned line;
    int at = 0;
    char *rest;

    if (sscanf(err->text, SOURCE ":%u: %n", &line, &at) != 1 || at == 0 || line < 2)
        return;
    rest = err->text + at;
    if (strncmp(rest, "items[", 6) == 0 && strchr(rest, ']'))
        rest = strchr(rest, ']') + 1;
    rest += *rest == '.';
    pthread_mutex_lock(&p->lock);
    line -= 2;
    for (size_t k = 0; k < N_KINDS; line -= (unsigned)p->watched[k++].n) {
        if (line < p->watched[k].n) {
            struct error named;

            error_set(&named, 0, "%s %.253s: %.300s", kinds[k].name,
                      p->watched[k].objects[line].name, rest);
            *err = named;
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
}

static void put_in_force(struct policies *p, struct policy_snapshot *fresh, bool again,
                         char *objects)
{
    struct policy_snapshot *now = guard_policy(p->c.guard);
    bool first = atomic_load(&p->c.guard->policy_unknown);

    if (p->invalid_since_ms && p->c.refused)
        p->c.refused(NULL, p->c.arg);
    p->invalid_since_ms = 0;
    p->invalid[0] = '\0';
    /* Equal content keeps its generation: with a new one, grants would be void. */
    if (first || again || strcmp(policy_snapshot_digest(fresh), policy_snapshot_digest(now)) != 0) {
        log_info("policy.loaded", F_STR("digest", policy_snapshot_digest(fresh)),
                 F_U64("generation", policy_snapshot_generation(fresh)));
        guard_set_policy(p->c.guard, policy_snapshot_ref(fresh));
    }
    guard_set_policy_objects(p->c.guard, objects);
    policy_snapshot_unref(now);
}

static void refuse(struct policies *p, const struct error *err)
{
    if (!p->invalid_since_ms)
        p->invalid_since_ms = clock_mono_ms();
    atomic_fetch_add(&p->c.guard->counters.policy_reload_failures, 1);
    if (strcmp(p->invalid, err->text) == 0)
        return;
    snprintf(p->invalid, sizeof p->invalid, "%s", err->text);
    log_error("policy.refused", F_STR("reason", err->text),
              F_STR("effect", atomic_load(&p->c.guard->policy_unknown)
                                  ? "everything is denied"
                                  : "the last good policy stays in force"));
    if (p->c.refused)
        p->c.refused(err->text, p->c.arg);
}

/* Objects come one by one, and in any order. Admission warned whoever wrote the policy. */
static void tell_missing(const char *policy, size_t index, const char *target, void *arg)
{
    (void)arg, (void)index;
    log_warn("policy.target_missing", F_STR("policy", policy), F_STR("target", target));
}

static void load(struct policies *p, struct loading *l, bool again)
{
    static const struct policy_missing missing = {tell_missing, NULL};
    struct policy_snapshot *fresh = NULL;
    struct error err = {""};
    int rc = l->text.failed || l->objects.failed
                 ? error_set(&err, -ENOBUFS, "the policies do not fit into memory")
                 : policy_load_incomplete(buffer_bytes(&l->text), SOURCE, &missing, &fresh, &err);
    char *objects = rc ? NULL : strdup((const char *)buffer_bytes(&l->objects).p);

    if (rc == 0) {
        put_in_force(p, fresh, again, objects);
    } else {
        name_object(p, &err);
        refuse(p, &err);
    }
    policy_snapshot_unref(fresh);
}

/* ---- how old it is ---- */

/* The oldest doubt about what is in force; 0: none. */
static uint64_t oldest_doubt(struct policies *p, char *why, size_t size)
{
    uint64_t oldest = p->invalid_since_ms;

    snprintf(why, size, "%s", oldest ? p->invalid : "");
    pthread_mutex_lock(&p->lock);
    for (size_t k = 0; k < N_KINDS; k++) {
        const struct watched *w = &p->watched[k];
        uint64_t alive = w->alive_ms ? w->alive_ms : 1;

        if ((w->up && w->synced) || (oldest && oldest <= alive))
            continue;
        oldest = alive;
        snprintf(why, size, "%s", w->why[0] ? w->why : "the API server has not answered yet");
    }
    pthread_mutex_unlock(&p->lock);
    return oldest;
}

static void judge_age(struct policies *p)
{
    char why[sizeof p->said];
    uint64_t doubt = oldest_doubt(p, why, sizeof why);
    bool stale;

    if (doubt != p->doubt_ms || strcmp(why, p->said) != 0) {
        guard_policy_doubt(p->c.guard, doubt, why);
        p->doubt_ms = doubt;
        memcpy(p->said, why, sizeof p->said);
    }
    stale = guard_policy_stale(p->c.guard);
    if (stale && !p->was_stale && !atomic_load(&p->c.guard->policy_unknown))
        log_error("policy.stale", F_STR("reason", why), F_STR("effect", "everything is denied"));
    if (stale != p->was_stale)
        registry_post_all(INBOX_POLICY);
    p->was_stale = stale;
}

unsigned policies_tick(struct policies *p)
{
    struct loading l;
    uint64_t now = clock_mono_ms(), due;
    bool again;

    pthread_mutex_lock(&p->lock);
    due = p->dirty_since_ms ? p->changed_ms + QUIET_MS : 0;
    if (due > p->dirty_since_ms + MAX_DELAY_MS)
        due = p->dirty_since_ms + MAX_DELAY_MS;
    if (!due || due > now) {
        pthread_mutex_unlock(&p->lock);
        judge_age(p);
        return due ? (unsigned)(due - now) : TICK_MS;
    }
    again = p->again;
    p->again = false;
    p->dirty_since_ms = 0;
    collect(p, &l);
    pthread_mutex_unlock(&p->lock);
    if (l.complete)
        load(p, &l, again);
    buffer_done(&l.text);
    buffer_done(&l.objects);
    judge_age(p);
    return TICK_MS;
}

void policies_again(struct policies *p)
{
    pthread_mutex_lock(&p->lock);
    p->again = true;
    mark_changed(p);
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

bool policies_watched(struct policies *p)
{
    bool up = true;

    pthread_mutex_lock(&p->lock);
    for (size_t k = 0; k < N_KINDS; k++)
        up = up && p->watched[k].up;
    pthread_mutex_unlock(&p->lock);
    return up;
}

/* ---- life ---- */

static int start_watch(struct policies *p, size_t k, struct error *err)
{
    const struct watch_config c = {
        .kube = p->c.kube,
        .place = {.api = API,
                  .namespace_ = kinds[k].cluster ? NULL : p->c.guard->agent.namespace_,
                  .resource = kinds[k].resource},
        .ops = &watch_callbacks,
        .arg = &p->watched[k]};

    p->watched[k].owner = p;
    p->watched[k].kind = &kinds[k];
    return watch_start(&c, &p->watched[k].watch, err);
}

int policies_start(const struct policies_config *c, struct policies **ret, struct error *err)
{
    struct policies *p = calloc(1, sizeof *p);
    struct policy_snapshot *nothing = NULL;
    int rc = p ? policy_load_text(BYTES(""), SOURCE, &nothing, err)
               : error_set(err, -ENOMEM, "out of memory");

    if (rc) {
        free(p);
        return rc;
    }
    p->c = *c;
    pthread_mutex_init(&p->lock, NULL);
    guard_set_policy(c->guard, nothing);
    atomic_store(&c->guard->policy_unknown, true);
    p->was_stale = true;
    for (size_t k = 0; k < N_KINDS && rc == 0; k++)
        rc = start_watch(p, k, err);
    if (rc) {
        policies_stop(p);
        return rc;
    }
    *ret = p;
    return 0;
}

void policies_stop(struct policies *p)
{
    if (!p)
        return;
    for (size_t k = 0; k < N_KINDS; k++)
        watch_stop(p->watched[k].watch);
    for (size_t k = 0; k < N_KINDS; k++) {
        forget_all(&p->watched[k]);
        free(p->watched[k].objects);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}
