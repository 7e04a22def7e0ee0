/* SPDX-License-Identifier: Apache-2.0
 * From records to Events.
 */
#include "story.h"

#include "sidecar/record/ledger.h"
#include "sidecar/session/registry.h"
#include "src-common/clock.h"
#include "src-common/kube/internal.h"
#include "vigil.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <pthread.h>

#define MAX_SESSIONS 1024 /* whose targets are remembered */
#define READS_PER_S  100  /* refusals that are read; the others are counted */
#define LINE_MAX_    ((size_t)64 << 10)

struct open_session {
    char id[SESSION_ID_LEN + 1];
    char target[128];
};

struct story {
    struct events *events;
    struct vigil *vigil;
    pthread_mutex_t lock; /* for what follows */
    struct open_session sessions[MAX_SESSIONS];
    uint64_t second;
    unsigned reads;
    uint64_t unread;
};

/* ---- sessions ---- */

static struct open_session *slot_of(struct story *s, const char *id)
{
    unsigned h = 5381;

    for (const char *p = id; *p; p++)
        h = h * 33 + (uint8_t)*p;
    return &s->sessions[h % MAX_SESSIONS];
}

static void remember(struct story *s, const char *id, const char *target)
{
    struct open_session *slot = slot_of(s, id);

    pthread_mutex_lock(&s->lock);
    snprintf(slot->id, sizeof slot->id, "%s", id);
    snprintf(slot->target, sizeof slot->target, "%s", target);
    pthread_mutex_unlock(&s->lock);
}

static void target_of(struct story *s, const char *id, char *out, size_t size)
{
    struct open_session *slot = slot_of(s, id);

    pthread_mutex_lock(&s->lock);
    snprintf(out, size, "%s", strcmp(slot->id, id) == 0 ? slot->target : "its target");
    pthread_mutex_unlock(&s->lock);
}

/* ---- lines ---- */

static void tell_open(struct story *s, const char *session, struct json_object *o)
{
    const char *target = kube_get_str(o, "target"), *address = kube_get_str(o, "address");

    remember(s, session, target[0] ? target : address);
    events_say(s->events, EVENT_SESSION_STARTED, "session %s to %s (%s), %s", session,
               target[0] ? target : "an egress destination", address, kube_get_str(o, "protocol"));
}

/* The head of the chain goes where whoever holds the records cannot change it. */
static void tell_close(struct story *s, const char *session, struct json_object *o)
{
    char target[128];

    target_of(s, session, target, sizeof target);
    events_say(s->events, EVENT_SESSION_ENDED,
               "session %s to %s ended: %.120s; %" PRId64 " statements, %" PRId64
               " denied; record head %.64s at line %" PRId64 " of %s",
               session, target, kube_get_str(o, "reason"), kube_get_int(o, "statements"),
               kube_get_int(o, "denied"), kube_get_str(o, "hash"), kube_get_int(o, "seq"), session);
}

/* Reasons may quote the statement, so only names are told. Those of connections are our own. */
static void tell_decision(struct story *s, const char *session, struct json_object *o)
{
    const char *rule = kube_get_str(o, "rule"), *operation = kube_get_str(o, "operation");
    const char *state = kube_get_str(o, "sqlstate");
    char target[128], code[16] = "";

    if (strcmp(kube_get_str(o, "verdict"), "Deny") != 0)
        return;
    if (kube_get(o, "address")) {
        events_say(s->events, EVENT_CONNECTION_DENIED, "%.400s", kube_get_str(o, "reason"));
        return;
    }
    target_of(s, session, target, sizeof target);
    if (!operation[0])
        operation = "a statement";
    if (state[0])
        snprintf(code, sizeof code, " (%.10s)", state);
    if (rule[0])
        events_say(s->events, EVENT_DENIED,
                   "rule \"%.63s\" of policy \"%.253s\" refuses %.64s on %s%s; session %s", rule,
                   kube_get_str(o, "policy"), operation, target, code, session);
    else
        events_say(s->events, EVENT_DENIED, "%.64s on %s refused%s, by no rule; session %s",
                   operation, target, code, session);
}

static const struct {
    const char *type;
    void (*tell)(struct story *s, const char *session, struct json_object *o);
    bool limited;
} lines[] = {
    {"session.open\"", tell_open, false},
    {"session.close\"", tell_close, false},
    {"decision\"", tell_decision, true},
};

/* Where the type begins: {"seq":N,"time":"<27>","type":" */
static struct bytes type_of(struct bytes line)
{
    static const char time_key[] = ",\"time\":\"", type_key[] = "\",\"type\":\"";
    size_t at = sizeof "{\"seq\":" - 1;

    while (at < line.len && line.p[at] >= '0' && line.p[at] <= '9')
        at++;
    at += sizeof time_key - 1 + CLOCK_RFC3339_LEN + sizeof type_key - 1;
    return at < line.len ? bytes_of(line.p + at, line.len - at) : (struct bytes){0};
}

static bool is_type(struct bytes type, const char *name)
{
    size_t n = strlen(name);

    return type.len >= n && memcmp(type.p, name, n) == 0;
}

/* At most so many a second: reading them all would cost a flooding agent less than us. */
static bool may_read(struct story *s, uint64_t *ret_unread)
{
    uint64_t second = clock_mono_ms() / 1000;
    bool may;

    pthread_mutex_lock(&s->lock);
    *ret_unread = 0;
    if (second != s->second) {
        s->second = second;
        s->reads = 0;
        *ret_unread = s->unread;
        s->unread = 0;
    }
    may = s->reads < READS_PER_S;
    if (may)
        s->reads++;
    else
        s->unread++;
    pthread_mutex_unlock(&s->lock);
    return may;
}

static void read_line(struct story *s, size_t kind, const char *session, struct bytes line)
{
    struct json_object *o = NULL;
    uint64_t unread;

    if (lines[kind].limited) {
        if (!may_read(s, &unread))
            return;
        if (unread)
            events_say(s->events, EVENT_DENIED,
                       "refusals come faster than they can be told one by one");
    }
    if (line.len > LINE_MAX_ || kube_parse(line, &o) != 0)
        return;
    lines[kind].tell(s, session, o);
    json_object_put(o);
}

static bool is_ledger(const char *session)
{
    return strncmp(session, LEDGER_PREFIX, sizeof LEDGER_PREFIX - 1) == 0;
}

/* The last head that there will be: it does not wait for the next anchor. */
static void tell_ledger(struct story *s, const char *ledger, struct bytes line)
{
    struct json_object *o = NULL;

    vigil_line(s->vigil, ledger, line);
    if (!is_type(type_of(line), "session.close\"") || kube_parse(line, &o) != 0)
        return;
    events_say(s->events, EVENT_RECORDS_ANCHORED,
               "records end here; record head %.64s at line %" PRId64 " of %s",
               kube_get_str(o, "hash"), kube_get_int(o, "seq"), ledger);
    json_object_put(o);
}

void story_line(const char *session, struct bytes line, void *arg)
{
    struct bytes type = type_of(line);

    if (is_ledger(session)) {
        tell_ledger(arg, session, line);
        return;
    }

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        if (is_type(type, lines[i].type)) {
            read_line(arg, i, session, line);
            return;
        }
    }
}

int story_new(struct events *e, struct vigil *v, struct story **ret)
{
    struct story *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    s->events = e;
    s->vigil = v;
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

void story_free(struct story *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}
