/* SPDX-License-Identifier: Apache-2.0
 * Birth, inbox and end of a session.
 */
#include "session.h"

#include "sidecar/net/address.h"
#include "sidecar/proto/proto.h"
#include "src-common/clock.h"
#include "src-common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define HANDSHAKE_STACK (1 << 20)
/* Sessions over the limit get a thread to be told so; beyond this many they are just closed. */
#define POLITE_EXTRA 64

/* ULID: 48 bits of time in ms, 80 random bits, Crockford's base32. */
static void make_id(uint64_t wall_us, char out[static SESSION_ID_LEN + 1])
{
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t ms = wall_us / 1000;
    uint8_t random[16];

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        abort();
    for (int i = 9; i >= 0; i--) {
        out[i] = alphabet[ms & 31];
        ms >>= 5;
    }
    for (int i = 0; i < 16; i++)
        out[10 + i] = alphabet[random[i] & 31];
    out[SESSION_ID_LEN] = '\0';
}

struct session *session_ref(struct session *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void session_unref(struct session *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    policy_snapshot_unref(s->snapshot);
    identity_unref(s->identity);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- inbox ---- */

static void inbox_run(struct loop_task *t)
{
    struct session *s = (struct session *)((char *)t - offsetof(struct session, inbox_task));
    unsigned what;

    pthread_mutex_lock(&s->lock);
    what = s->inbox;
    s->inbox = 0;
    s->inbox_posted = false;
    pthread_mutex_unlock(&s->lock);
    if (s->registered && what)
        s->ops->inbox(s, what);
    session_unref(s);
}

void session_post(struct session *s, enum inbox what)
{
    pthread_mutex_lock(&s->lock);
    s->inbox |= what;
    /* Before it has a loop it keeps what came; session_to_loop posts it then. */
    if (s->loop && !s->inbox_posted) {
        s->inbox_posted = true;
        session_ref(s);
        loop_post(s->loop, &s->inbox_task);
    }
    if (s->wake_fd >= 0)
        (void)!write(s->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    pthread_mutex_unlock(&s->lock);
}

int session_keep_thread(struct session *s)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&s->lock);
    s->wake_fd = fd;
    if (s->inbox)
        (void)!write(fd, &(uint64_t){1}, sizeof(uint64_t));
    pthread_mutex_unlock(&s->lock);
    return 0;
}

unsigned session_take(struct session *s)
{
    unsigned what;

    pthread_mutex_lock(&s->lock);
    what = s->inbox;
    s->inbox = 0;
    pthread_mutex_unlock(&s->lock);
    return what;
}

void session_to_loop(struct session *s, struct loop_task *start)
{
    struct guard *g = s->guard;
    struct loop *l = g->loops[atomic_fetch_add(&g->next_loop, 1) % g->n_loops];

    pthread_mutex_lock(&s->lock);
    s->loop = l;
    loop_post(l, start);
    if (s->inbox && !s->inbox_posted) {
        s->inbox_posted = true;
        session_ref(s);
        loop_post(l, &s->inbox_task);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- who it is ---- */

void session_identify(struct session *s, struct identity *id)
{
    s->identity = id;
}

struct agent session_agent(const struct session *s)
{
    struct agent a = guard_agent(s->guard);

    return s->identity ? token_agent(&a, s->identity) : a;
}

const char *session_identity_name(const struct session *s)
{
    return s->identity ? s->identity->name : s->guard->identity;
}

/* ---- where it goes ---- */

static const struct target *find_captured(struct session *s)
{
    const struct sockaddr *to = (const struct sockaddr *)&s->origin.original;
    const char *ns = s->guard->agent.namespace_;
    uint16_t port = address_port(to);

    for (size_t i = 0; i < policy_n_targets(s->snapshot); i++) {
        const struct target *t = policy_target_at(s->snapshot, i);

        if (!target_has_port(t, port) || (t->namespace_ && strcmp(t->namespace_, ns) != 0))
            continue;
        for (size_t j = 0; j < t->n_hosts; j++)
            if (t->hosts[j].prefix_len >= 0 ? target_host_matches(&t->hosts[j], to)
                                            : address_is_name(to, t->hosts[j].name))
                return t;
    }
    return NULL;
}

/* The cluster's own API server, which no GuardTarget has to name. */
static const struct target *find_api_server(struct session *s)
{
    const struct sockaddr *to = (const struct sockaddr *)&s->origin.original;
    const struct target *t = s->guard->kubernetes;

    return t && target_has_port(t, address_port(to)) && target_host_matches(&t->hosts[0], to)
               ? t
               : NULL;
}

static bool egress_name_matches(const char *name, void *arg)
{
    return address_is_name(arg, name);
}

static bool egress_permitted(struct session *s)
{
    struct sockaddr *to = (struct sockaddr *)&s->origin.original;
    struct agent agent = session_agent(s);

    return policy_egress_allowed(s->snapshot, &agent, to, NULL) ||
           policy_egress_names(s->snapshot, &agent, address_port(to), egress_name_matches, to);
}

/* 0 when the session may go on: to s->target, or as permitted egress without one. */
static int choose_destination(struct session *s, struct error *err)
{
    const struct sockaddr *to = (const struct sockaddr *)&s->origin.original;

    if (guard_policy_stale(s->guard))
        return error_set(err, -EACCES,
                         atomic_load(&s->guard->policy_unknown)
                             ? "the guard has not received its policies yet"
                             : "the guard's policy is invalid or out of date");
    if (s->origin.target) {
        const char *ns = s->guard->agent.namespace_;

        s->target = policy_target_by_name(s->snapshot, ns, s->origin.target);
        if (!s->target)
            return error_set(err, -ENOENT, "there is no GuardTarget '%s'", s->origin.target);
        snprintf(s->target_address, sizeof s->target_address, "%.40s:%u", s->target->hosts[0].name,
                 s->target->ports[0]);
        return 0;
    }
    address_text(to, s->target_address);
    s->target = find_captured(s);
    if (!s->target)
        s->target = find_api_server(s);
    if (s->target || egress_permitted(s))
        return 0;
    return error_set(err, -EACCES, "no GuardTarget and no egress rule covers %s",
                     s->target_address);
}

bool session_still_permitted(const struct session *s)
{
    struct session again = {.guard = s->guard, .origin = s->origin};
    struct error err;
    bool permitted;

    again.snapshot = guard_policy(s->guard);
    permitted = choose_destination(&again, &err) == 0 &&
                (again.target ? again.target->protocol : TARGET_TCP) == TARGET_TCP;
    policy_snapshot_unref(again.snapshot);
    return permitted;
}

int session_connect(struct session *s, struct error *err)
{
    int fd, rc;

    if (s->origin.target) {
        const struct target_host *h = &s->target->hosts[0];

        rc = address_connect_host(h->name, s->target->ports[0], s->deadline_ms, &fd, err);
    } else {
        rc =
            address_connect((const struct sockaddr *)&s->origin.original, s->deadline_ms, &fd, err);
    }
    if (rc == 0)
        conn_init(&s->upstream, fd);
    return rc;
}

/* The name the policy gives, never one the agent sent: a captured address that was matched by
 * a DNS name is verified against that name, one matched by address against the address. */
const char *session_upstream_host(const struct session *s)
{
    static _Thread_local char address[ADDRESS_TEXT_LEN];
    const struct sockaddr *to = (const struct sockaddr *)&s->origin.original;

    if (s->origin.target)
        return s->target->hosts[0].name;
    for (size_t i = 0; i < s->target->n_hosts; i++)
        if (s->target->hosts[i].prefix_len < 0 && address_is_name(to, s->target->hosts[i].name))
            return s->target->hosts[i].name;
    address_host_text(to, address);
    return address;
}

/* ---- record ---- */

static void record_agent(struct buffer *b, const struct agent *a)
{
    jsonw_key(b, "agent");
    buffer_add_u8(b, '{');
    jsonw_kstr(b, "namespace", bytes_str(a->namespace_));
    jsonw_kstr(b, "pod", bytes_str(a->pod));
    jsonw_kstr(b, "serviceAccount", bytes_str(a->service_account));
    jsonw_key(b, "labels");
    buffer_add_u8(b, '{');
    for (const char *const *l = a->labels; l && l[0]; l += 2) {
        if (l != a->labels)
            buffer_add_u8(b, ',');
        jsonw_str(b, bytes_str(l[0]));
        buffer_add_u8(b, ':');
        jsonw_str(b, bytes_str(l[1]));
    }
    buffer_append(b, "}}", 2);
}

int session_record_open(struct session *s)
{
    int rc = record_open(s->guard->spool, s->id, &s->record);
    struct agent agent = session_agent(s);
    struct buffer *b;

    if (rc)
        return rc;
    b = record_begin(s->record, "session.open");
    jsonw_kstr(b, "version", bytes_str("1"));
    record_agent(b, &agent);
    jsonw_kstr(b, "client", bytes_str(s->peer));
    jsonw_kstr(b, "target", bytes_str(s->target ? s->target->name : ""));
    jsonw_kstr(b, "address", bytes_str(s->target_address));
    jsonw_kstr(b, "protocol", bytes_str(s->ops ? s->ops->name : "unknown"));
    jsonw_kstr(b, "policyDigest", bytes_str(policy_snapshot_digest(s->snapshot)));
    jsonw_ku64(b, "policyGeneration", policy_snapshot_generation(s->snapshot));
    rc = record_end(s->record);
    return rc ? rc : record_flush(s->record);
}

static void record_refusal(struct session *s, const char *why)
{
    struct buffer *b;

    atomic_fetch_add(&s->guard->counters.sessions_refused, 1);
    log_warn("session.refused", F_STR("session", s->id), F_STR("address", s->target_address),
             F_STR("reason", why));
    if (session_record_open(s) != 0)
        return;
    b = record_begin(s->record, "decision");
    jsonw_kstr(b, "verdict", BYTES("Deny"));
    jsonw_kstr(b, "address", bytes_str(s->target_address));
    jsonw_kstr(b, "reason", bytes_str(why));
    if (record_end(s->record) != 0)
        atomic_fetch_add(&s->guard->counters.record_failures, 1);
}

void session_describe(struct session *s, const char *user, const char *database)
{
    pthread_mutex_lock(&s->lock);
    snprintf(s->user, sizeof s->user, "%s", user);
    snprintf(s->database, sizeof s->database, "%s", database);
    pthread_mutex_unlock(&s->lock);
}

void session_set_state(struct session *s, const char *state)
{
    pthread_mutex_lock(&s->lock);
    snprintf(s->state, sizeof s->state, "%s", state);
    pthread_mutex_unlock(&s->lock);
}

void session_end(struct session *s, const char *reason)
{
    if (s->record) {
        struct buffer *b = record_begin(s->record, "session.close");

        jsonw_kstr(b, "reason", bytes_str(reason));
        jsonw_ku64(b, "statements", atomic_load(&s->statements));
        jsonw_ku64(b, "denied", atomic_load(&s->denied));
        jsonw_ku64(b, "bytesToClient", atomic_load(&s->bytes_to_client));
        jsonw_ku64(b, "bytesToUpstream", atomic_load(&s->bytes_to_upstream));
        if (record_end(s->record) != 0)
            atomic_fetch_add(&s->guard->counters.record_failures, 1);
        record_close(take(&s->record));
    }
    conn_close(&s->client);
    conn_close(&s->upstream);
    log_info("session.close", F_STR("session", s->id), F_STR("reason", reason),
             F_U64("statements", atomic_load(&s->statements)),
             F_U64("denied", atomic_load(&s->denied)));
    registry_remove(s);
    session_unref(s);
}

/* ---- birth ---- */

/* The handshake thread: short-lived, may block until the session's deadline. */
static void *session_main(void *arg)
{
    struct session *s = arg;
    struct error err = {""};

    s->snapshot = guard_policy(s->guard);
    if (choose_destination(s, &err) != 0) {
        record_refusal(s, err.text);
        session_end(s, "refused");
        return NULL;
    }
    s->ops = proto_detect(s);
    if (!s->ops) {
        record_refusal(s, "this guard does not speak the target's protocol");
        session_end(s, "refused");
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    snprintf(s->target_name, sizeof s->target_name, "%s",
             s->target ? s->target->name : s->target_address);
    pthread_mutex_unlock(&s->lock);
    log_info("session.open", F_STR("session", s->id), F_STR("address", s->target_address),
             F_STR("target", s->target ? s->target->name : ""), F_STR("client", s->peer));
    s->ops->run(s);
    return NULL;
}

static int start_thread(struct session *s)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, HANDSHAKE_STACK);
    rc = pthread_create(&thread, &attr, session_main, s);
    pthread_attr_destroy(&attr);
    return -rc;
}

void session_accept(int fd, const struct listener_origin *origin, void *arg)
{
    struct guard *g = arg;
    unsigned live = registry_count();
    struct session *s = live < g->max_sessions + POLITE_EXTRA ? calloc(1, sizeof *s) : NULL;

    if (!s) {
        atomic_fetch_add(&g->counters.sessions_refused, 1);
        conn_close(&(struct conn){.fd = fd});
        return;
    }
    s->guard = g;
    s->origin = *origin;
    s->refs = 1;
    s->wake_fd = -1;
    s->started_us = clock_wall_us();
    s->deadline_ms = clock_mono_ms() + g->handshake_timeout_ms;
    s->over_limit = live >= g->max_sessions;
    s->inbox_task.run = inbox_run;
    pthread_mutex_init(&s->lock, NULL);
    make_id(s->started_us, s->id);
    conn_init(&s->client, fd);
    conn_init(&s->upstream, -1);
    address_text((const struct sockaddr *)&origin->peer, s->peer);
    snprintf(s->state, sizeof s->state, "handshake");
    atomic_fetch_add(&g->counters.sessions_total, 1);
    registry_add(s);
    if (start_thread(s) != 0)
        session_end(s, "no thread could be started");
}
