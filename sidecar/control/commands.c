/* SPDX-License-Identifier: Apache-2.0
 * What can be asked over the control socket.
 */
#include "server.h"

#include "src-common/clock.h"
#include "src-common/jsonread.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

#define MAX_USES        1000000
#define MAX_FOR_SECONDS (7 * 24 * 3600)

typedef void command_fn(struct control *c, struct client *client, struct json_object *request);

/* ---- fields of a request ---- */

/* A missing field is NULL; one that is no string, or hides something behind a NUL, is false. */
static bool get_text(struct json_object *request, const char *key, const char **ret)
{
    struct json_object *v;

    *ret = NULL;
    if (!json_object_object_get_ex(request, key, &v) || !v)
        return true;
    if (!json_object_is_type(v, json_type_string))
        return false;
    *ret = json_object_get_string(v);
    return strlen(*ret) == (size_t)json_object_get_string_len(v);
}

/* A missing field is 0; when it is there it is a whole number from 1 to max. */
static bool get_number(struct json_object *request, const char *key, int64_t max, uint32_t *ret)
{
    struct json_object *v;
    int64_t n;

    *ret = 0;
    if (!json_object_object_get_ex(request, key, &v) || !v)
        return true;
    n = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
    *ret = (uint32_t)n;
    return n >= 1 && n <= max;
}

static const char *need_text(struct client *client, struct json_object *request, const char *key)
{
    const char *text;

    if (get_text(request, key, &text) && text && text[0])
        return text;
    client_error(client, "Invalid", "the request has no \"%s\"", key);
    return NULL;
}

/* ---- approvals ---- */

static void answer_approval(struct control *c, struct client *client, const char *id)
{
    struct approval_info info;
    int e = approvals_get(c->config.approvals, id, &info);

    if (e != 0) {
        client_error(client, e == -ENOENT ? "NotFound" : "Conflict",
                     e == -ENOENT ? "there is no request %s (decided ones are kept for an hour)"
                                  : "out of memory for request %s",
                     id);
        return;
    }
    buffer_append(&client->out, "{\"approval\":", 12);
    approval_to_json(&info, false, &client->out);
    buffer_append(&client->out, "}\n", 2);
    approval_info_done(&info);
}

static void cmd_list(struct control *c, struct client *client, struct json_object *request)
{
    struct approval_info *list;
    size_t n;

    (void)request;
    if (approvals_list(c->config.approvals, &list, &n) != 0) {
        client_error(client, "Conflict", "out of memory");
        return;
    }
    buffer_append(&client->out, "{\"approvals\":[", 14);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buffer_add_u8(&client->out, ',');
        approval_to_json(&list[i], true, &client->out);
        approval_info_done(&list[i]);
    }
    buffer_append(&client->out, "]}\n", 3);
    free(list);
}

static void cmd_show(struct control *c, struct client *client, struct json_object *request)
{
    const char *id = need_text(client, request, "id");

    if (id)
        answer_approval(c, client, id);
}

static const char *code_of(int e)
{
    switch (e) {
    case -ENOENT:
        return "NotFound";
    case -EPERM:
        return "Denied";
    case -EINVAL:
        return "Invalid";
    default:
        return "Conflict";
    }
}

static void decide(struct control *c, struct client *client, struct json_object *request,
                   bool approve)
{
    const char *id = need_text(client, request, "id"), *reason;
    uint32_t uses, for_s;
    struct error err = {0};
    int e;

    if (!id)
        return;
    if (c->config.decide_elsewhere) {
        client_error(client, "Denied", "requests are not decided here: %s",
                     c->config.decide_elsewhere);
        return;
    }
    if (!get_text(request, "reason", &reason)) {
        client_error(client, "Invalid", "\"reason\" is not a text");
        return;
    }
    if (!get_number(request, "uses", MAX_USES, &uses) ||
        !get_number(request, "forSeconds", MAX_FOR_SECONDS, &for_s)) {
        client_error(client, "Invalid", "\"uses\" is 1 to %d, \"forSeconds\" is 1 to %d", MAX_USES,
                     MAX_FOR_SECONDS);
        return;
    }
    if (client->uid == (uid_t)-1) {
        client_error(client, "Denied", "the kernel does not say who you are");
        return;
    }
    e = approvals_decide(c->config.approvals, id, approve, client->by, client->uid, reason, uses,
                         for_s, &err);
    if (e != 0)
        client_error(client, code_of(e), "%s", err.text);
    else
        answer_approval(c, client, id);
}

static void cmd_approve(struct control *c, struct client *client, struct json_object *request)
{
    decide(c, client, request, true);
}

static void cmd_deny(struct control *c, struct client *client, struct json_object *request)
{
    decide(c, client, request, false);
}

/* Begins with what is pending now, so that a watcher misses nothing between list and watch. */
static void cmd_watch(struct control *c, struct client *client, struct json_object *request)
{
    struct approval_info *list;
    size_t n;

    (void)request;
    control_publish(c); /* from here on the changes are this client's, too */
    if (approvals_list(c->config.approvals, &list, &n) != 0) {
        client_error(client, "Conflict", "out of memory");
        return;
    }
    client->role = CLIENT_WATCHES;
    for (size_t i = 0; i < n; i++) {
        if (list[i].phase == APPROVAL_PENDING) {
            buffer_append(&client->out, "{\"approval\":", 12);
            approval_to_json(&list[i], true, &client->out);
            buffer_append(&client->out, "}\n", 2);
        }
        approval_info_done(&list[i]);
    }
    free(list);
}

/* ---- sessions ---- */

static void add_session(struct buffer *out, const struct session_info *s)
{
    char started[CLOCK_RFC3339_LEN + 1];

    clock_rfc3339(s->started_us, started);
    buffer_add_u8(out, '{');
    jsonw_kstr(out, "id", bytes_str(s->id));
    jsonw_kstr(out, "target", bytes_str(s->target));
    jsonw_kstr(out, "database", bytes_str(s->database));
    jsonw_kstr(out, "user", bytes_str(s->user));
    jsonw_kstr(out, "client", bytes_str(s->client));
    jsonw_kstr(out, "state", bytes_str(s->state));
    jsonw_kstr(out, "started", bytes_str(started));
    jsonw_ku64(out, "statements", s->statements);
    jsonw_ku64(out, "denied", s->denied);
    jsonw_ku64(out, "bytesToClient", s->bytes_to_client);
    jsonw_ku64(out, "bytesToUpstream", s->bytes_to_upstream);
    buffer_add_u8(out, '}');
}

static void cmd_sessions(struct control *c, struct client *client, struct json_object *request)
{
    struct session_info *list = NULL;
    size_t n = 0;

    (void)c;
    (void)request;
    if (registry_list(&list, &n) != 0) {
        client_error(client, "Conflict", "out of memory");
        return;
    }
    buffer_append(&client->out, "{\"sessions\":[", 13);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buffer_add_u8(&client->out, ',');
        add_session(&client->out, &list[i]);
    }
    buffer_append(&client->out, "]}\n", 3);
    free(list);
}

static void cmd_kill(struct control *c, struct client *client, struct json_object *request)
{
    const char *session = need_text(client, request, "session");
    char why[128];

    (void)c;
    if (!session)
        return;
    snprintf(why, sizeof why, "ended by %s", client->by);
    if (registry_kill(session, why) != 0)
        client_error(client, "NotFound", "there is no live session %.64s", session);
    else
        buffer_append(&client->out, "{\"ok\":true}\n", 12);
}

static bool is_live(const char *session)
{
    struct session_info *list = NULL;
    size_t n = 0;
    bool live = false;

    if (registry_list(&list, &n) != 0)
        return false;
    for (size_t i = 0; i < n && !live; i++)
        live = strcmp(list[i].id, session) == 0;
    free(list);
    return live;
}

static void cmd_tail(struct control *c, struct client *client, struct json_object *request)
{
    const char *session = need_text(client, request, "session");
    bool all = session && strcmp(session, "all") == 0;

    if (!session)
        return;
    if (!c->config.spool) {
        client_error(client, "Conflict",
                     "this guard keeps no records: it was started without --spool");
        return;
    }
    /* Followed before it is looked up: a session that ends in between is not missed. */
    client->tail = tap_follow(&c->tap, all ? NULL : session);
    if (!client->tail || (!all && !is_live(session))) {
        client_error(client, "NotFound", "there is no live session %.64s", session);
        tap_unfollow(&c->tap, take(&client->tail));
        return;
    }
    client->role = CLIENT_TAILS;
}

static void cmd_status(struct control *c, struct client *client, struct json_object *request)
{
    (void)request;
    buffer_add_u8(&client->out, '{');
    if (c->config.status)
        c->config.status(&client->out, c->config.arg);
    buffer_append(&client->out, "}\n", 2);
}

static const struct command {
    const char *name;
    command_fn *run;
} commands[] = {
    {"list", cmd_list},         {"show", cmd_show},   {"approve", cmd_approve},
    {"deny", cmd_deny},         {"watch", cmd_watch}, {"kill", cmd_kill},
    {"sessions", cmd_sessions}, {"tail", cmd_tail},   {"status", cmd_status},
};

/* ---- one line ---- */

static struct json_object *parse_request(struct bytes line)
{
    struct json_object *o = NULL;

    if (jsonread_strict(line, 8, &o) == 0 && !json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        return NULL;
    }
    return o;
}

void control_answer(struct control *c, struct client *client, struct bytes line)
{
    struct json_object *request = line.len ? parse_request(line) : NULL;
    const char *name = NULL;

    if (!request) {
        client_error(client, "Invalid", "the request is not a JSON object on one line");
        return;
    }
    if (!get_text(request, "cmd", &name) || !name)
        name = "";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            commands[i].run(c, client, request);
            json_object_put(request);
            return;
        }
    }
    client_error(client, "Invalid", "there is no command \"%.32s\"", name);
    json_object_put(request);
}
