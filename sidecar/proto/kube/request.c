/* SPDX-License-Identifier: Apache-2.0
 * One request: read, understood, judged. What is refused before its body was read ends the
 * connection, so that nothing of the body is ever taken for a request.
 */
#include "guard.h"

#include "body.h"
#include "builtin.h"
#include "headers.h"
#include "src-common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEAD_MS      30000
#define BODY_MS      60000
#define IDLE_MS      600000
#define LINGER_MS    2000
#define LINGER_BYTES ((size_t)16 << 20)
#define REQUESTS_MAX 1000000 /* of one connection */

#define ONLY_WEBSOCKETS                                                                            \
    "only WebSockets are spoken for exec, attach and port-forward, not SPDY: use kubectl 1.31 or " \
    "newer, and unset KUBECTL_REMOTE_COMMAND_WEBSOCKETS and KUBECTL_PORT_FORWARD_WEBSOCKETS if "   \
    "they are false"

/* ---- reading ---- */

/* The head, copied to the arena. 0; 1: the agent is done; -errno. */
static int read_head(struct kubeguard *g, struct bytes *ret)
{
    uint64_t begun = 0;

    for (;;) {
        struct bytes in = buffer_bytes(&g->agent.in);
        ssize_t n = in.len ? http_head_find(in) : 0;
        int rc;

        if (n < 0)
            return (int)n;
        if (n > 0) {
            *ret = bytes_of(arena_strndup(&g->arena, in.p, (size_t)n), (size_t)n);
            buffer_consume(&g->agent.in, (size_t)n);
            return ret->p ? 0 : -ENOMEM;
        }
        if (in.len && !begun)
            begun = clock_mono_ms();
        if (begun && clock_mono_ms() - begun > HEAD_MS)
            return -ETIMEDOUT;
        rc = kubeio_fill(g, &g->agent, in.len ? HEAD_MS : IDLE_MS);
        if (rc == 0 || (rc == -ETIMEDOUT && !in.len))
            return 1;
        if (rc < 0)
            return rc;
    }
}

/* Takes what is there of the body. */
static int take_body(struct kubeguard *g, struct http_body *b, struct buffer *to)
{
    struct bytes in = buffer_bytes(&g->agent.in), run;
    size_t before = in.len;
    int rc;

    do {
        rc = http_body_next(b, &in, &run);
        if (rc == 0 && buffer_add(to, run) != 0)
            rc = -E2BIG;
    } while (rc == 0 && run.len);
    buffer_consume(&g->agent.in, before - in.len);
    return rc;
}

static int read_body(struct kubeguard *g, struct kuberequest *r, struct buffer *to)
{
    uint64_t deadline = clock_mono_ms() + BODY_MS;
    struct http_body b;
    int rc = 0;

    if (r->head.framing == HTTP_LENGTH && r->head.length > KUBEBODY_MAX)
        return -E2BIG;
    http_body_init(&b, &r->head);
    if (r->head.expects_continue)
        rc = kubeio_write(g, &g->agent, BYTES("HTTP/1.1 100 Continue\r\n\r\n"));
    while (rc == 0) {
        uint64_t now;

        rc = take_body(g, &b, to);
        if (rc || http_body_ended(&b))
            return rc;
        now = clock_mono_ms();
        rc = now < deadline ? kubeio_fill(g, &g->agent, (int)(deadline - now)) : -ETIMEDOUT;
        rc = rc == 1 ? 0 : rc ? rc : -ECONNRESET;
    }
    return rc;
}

/* ---- understanding ---- */

static bool is_json_type(struct bytes type)
{
    static const char *const types[] = {
        "application/json",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml", /* JSON is YAML; anything else is refused when it is read */
        "application/yaml",
        NULL,
    };
    const uint8_t *end = memchr(type.p ? type.p : (const uint8_t *)"", ';', type.len);
    size_t n = end ? (size_t)(end - type.p) : type.len;

    for (size_t i = 0; types[i]; i++) {
        if (http_is(bytes_of(type.p, n), types[i]))
            return true;
    }
    return type.len == 0;
}

/* 0, or the HTTP status of the refusal. */
static unsigned understand_body(struct kubeguard *g, struct kuberequest *r, struct bytes body,
                                struct error *err)
{
    struct bytes type = http_header(&r->head, "content-type");
    bool opaque = strcmp(r->act.verb, "connect") == 0;

    if (body.len == 0)
        return 0;
    if (opaque) { /* to what is behind a proxy: no object of the API */
        r->body_text = arena_strndup(&g->arena, body.p, body.len);
        r->body_len = body.len;
        return r->body_text ? 0 : 503;
    }
    if (http_is(type, "application/vnd.kubernetes.protobuf")) {
        r->protobuf = true;
        r->body_text = arena_strndup(&g->arena, body.p, body.len);
        r->body_len = body.len;
        return r->body_text ? 0 : 503;
    }
    if (!is_json_type(type)) {
        error_set(err, -EBADMSG, "bodies are read, and that in JSON only: send application/json");
        return 415;
    }
    if (kubebody_parse(body, &r->body, err) != 0)
        return 400;
    r->json_patch = json_object_is_type(r->body, json_type_array);
    if (r->json_patch && strcmp(r->act.verb, "patch") != 0) {
        error_set(err, -EBADMSG, "a list is a body of patches only");
        return 400;
    }
    r->body_text = json_object_to_json_string_length(
        r->body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &r->body_len);
    r->body_text = r->body_text ? arena_strndup(&g->arena, r->body_text, r->body_len) : NULL;
    return r->body_text ? 0 : 503;
}

static bool has_all(struct json_object *o)
{
    struct json_object *list = NULL;

    return json_object_is_type(o, json_type_object) &&
           json_object_object_get_ex(o, "dryRun", &list) &&
           json_object_is_type(list, json_type_array) && json_object_array_length(list) == 1 &&
           strcmp(json_object_get_string(json_object_array_get_idx(list, 0)) ?: "", "All") == 0;
}

/* The options of a DELETE and of an eviction are in its body, if it has one. */
static void settle_dry_run(struct kuberequest *r)
{
    struct json_object *options = r->body;

    if (strcmp(r->act.subresource, "eviction") == 0) {
        options = NULL;
        r->act.dry_run = json_object_is_type(r->body, json_type_object) &&
                         json_object_object_get_ex(r->body, "deleteOptions", &options) &&
                         has_all(options);
    } else if (r->body_len && strncmp(r->act.verb, "delete", 6) == 0) {
        r->act.dry_run = has_all(r->body);
    }
}

/* ---- judging ---- */

void kubeguard_decide(struct kubeguard *g, const struct kube_act *act, struct decision *d)
{
    struct statement st = {.kube = act};

    *d = (struct decision){.verdict = VERDICT_DENY, .would = VERDICT_DENY};
    if (guard_policy_stale(g->session->guard))
        snprintf(d->reason, sizeof d->reason,
                 "the policy in force is stale: the newest one was refused");
    else
        policy_decide(g->view, &st, 1, d);
}

static int refuse(struct kubeguard *g, struct kuberequest *r, unsigned code,
                  const struct decision *d, const char *why)
{
    char text[1200];

    kubejournal_statement(g, r, d, why);
    kubejournal_decision(g, r, d, why);
    (void)kubejournal_flush(g);
    snprintf(text, sizeof text, "%s%s%s (request %s/%u)", why, d && d->message ? ": " : "",
             d && d->message ? d->message : "", g->session->id, r->n);
    return kubeguard_reply(g, code, text, false);
}

static bool is_apply(const struct kuberequest *r)
{
    struct bytes type = http_header(&r->head, "content-type");
    const size_t n = strlen("application/apply-patch");

    return strcmp(r->act.verb, "patch") == 0 && type.len >= n &&
           http_is(bytes_of(type.p, n), "application/apply-patch");
}

static bool is_forced(const struct kuberequest *r)
{
    size_t n;
    const char *force = kubepath_query(&r->path, "force", &n);

    return n == 1 && strcmp(force, "true") == 0;
}

/* Whether answers about the object would be masked, by a rule of policy. */
static bool is_masked(const struct kubeguard *g, const struct kube_act *act)
{
    struct kube_mask rules[KUBEMASK_RULES];
    size_t n = policy_kube_masks(g->view, act, rules, KUBEMASK_RULES);

    for (size_t i = 0; i < n && i < KUBEMASK_RULES; i++) {
        if (policy_kube_mask_covers(&rules[i], act->namespace_, act->name))
            return true;
    }
    return n > KUBEMASK_RULES;
}

static const char *built_in(struct kubeguard *g, struct kuberequest *r)
{
    struct builtin_facts f = {.act = &r->act,
                              .body = r->body,
                              .json_patch = r->json_patch,
                              .apply = is_apply(r),
                              .forced = is_forced(r),
                              .masked = r->body && is_masked(g, &r->act),
                              .container = kubepath_query(&r->path, "container", NULL),
                              .namespace_ = g->session->guard->agent.namespace_,
                              .snapshot = g->session->snapshot};

    r->act.risk = builtin_risk(&f);
    r->act.unguarded_pods = builtin_starts_pods_elsewhere(&f);
    return builtin_denies(&f);
}

/* Protobuf is not looked into: it is forwarded where nothing depends on what it says. */
static bool has_to_be_read(const struct kuberequest *r, const struct decision *d)
{
    const struct kube_act *a = &r->act;

    return r->protobuf && (builtin_reads_body(a) || strcmp(a->verb, "patch") == 0 ||
                           d->verdict == VERDICT_APPROVE);
}

/* kubectl tries SPDY when a WebSocket was refused, and shows what it is told then. */
static int refuse_spdy(struct kubeguard *g, struct kuberequest *r, const struct decision *d)
{
    char why[1000];

    if (d->verdict == VERDICT_APPROVE)
        snprintf(why, sizeof why,
                 "%s: it was not approved, or was asked for in a way that is not spoken here "
                 "(" ONLY_WEBSOCKETS ")",
                 d->reason);
    else
        snprintf(why, sizeof why, "%s", ONLY_WEBSOCKETS);
    return refuse(g, r, 400, NULL, why);
}

static int judge(struct kubeguard *g, struct kuberequest *r)
{
    const char *never = built_in(g, r);
    struct decision d;
    bool go_on = true;
    int rc;

    if (never) {
        char why[200];

        snprintf(why, sizeof why, "no policy permits this: %s", never);
        return refuse(g, r, 403, NULL, why);
    }
    kubeguard_decide(g, &r->act, &d);
    if (d.verdict == VERDICT_DENY)
        return refuse(g, r, 403, &d, d.reason);
    if (r->spdy)
        return refuse_spdy(g, r, &d);
    if (has_to_be_read(r, &d))
        return refuse(g, r, 415, NULL,
                      "the body of this request has to be read, and that in JSON only: send "
                      "application/json (client-go and controller-runtime: set "
                      "rest.Config.ContentType to \"application/json\")");
    kubejournal_statement(g, r, &d, d.verdict == VERDICT_APPROVE || d.audited ? d.reason : NULL);
    if (d.verdict == VERDICT_APPROVE) {
        rc = kubeguard_ask(g, r, &d, &go_on);
        if (rc || !go_on)
            return rc;
    }
    if (!kubejournal_commit(g)) {
        kubejournal_decision(g, r, NULL, "it cannot be recorded");
        return kubeguard_reply(g, 503, "the request was refused: it cannot be recorded", false);
    }
    return kubeguard_exchange(g, r);
}

/* ---- upgrades ---- */

static unsigned check_upgrade(struct kuberequest *r, struct error *err)
{
    struct bytes to = http_header(&r->head, "upgrade");
    const char *sub = r->act.subresource;

    if (!r->head.upgrade && !to.p) {
        if (strcmp(sub, "exec") && strcmp(sub, "attach") && strcmp(sub, "portforward"))
            return 0;
        error_set(err, -EBADMSG, "%s needs a WebSocket", sub);
        return 400;
    }
    if (bytes_eq_str(r->head.method, "POST") && http_is(to, "SPDY/3.1") &&
        strcmp(r->act.verb, "connect") == 0) {
        r->spdy = true;
        return 0;
    }
    if (!http_is(to, "websocket") || !bytes_eq_str(r->head.method, "GET")) {
        error_set(err, -EPROTONOSUPPORT, ONLY_WEBSOCKETS ", and that by GET");
        return 400;
    }
    if (strcmp(r->act.verb, "connect") != 0 || strcmp(sub, "proxy") == 0) {
        error_set(err, -EPROTONOSUPPORT, "this is not a request that becomes a WebSocket");
        return 400;
    }
    r->websocket = true;
    return 0;
}

/* ---- the order of it ---- */

/* An agent that is still sending would see a broken connection instead of the answer. */
static void linger(struct kubeguard *g)
{
    uint64_t deadline = clock_mono_ms() + LINGER_MS;
    size_t dropped = 0;

    while (dropped < LINGER_BYTES && clock_mono_ms() < deadline) {
        dropped += buffer_len(&g->agent.in);
        buffer_reset(&g->agent.in, KUBEGUARD_CHUNK);
        if (kubeio_fill(g, &g->agent, LINGER_MS) != 1)
            return;
    }
}

static int malformed(struct kubeguard *g, unsigned code, const char *what, const char *why)
{
    kubejournal_malformed(g, what, why);
    (void)kubejournal_flush(g);
    (void)!kubeguard_reply(g, code, why, true);
    if (code == 413 || code == 431)
        linger(g);
    kubeguard_end(g, "a request could not be read");
    return -EBADMSG;
}

static const char *request_line(struct kubeguard *g, struct kuberequest *r)
{
    return arena_printf(&g->arena, "%.*s %.*s", (int)r->head.method.len,
                        (const char *)r->head.method.p, (int)r->head.target.len,
                        (const char *)r->head.target.p);
}

/* 0, or the HTTP status of a refusal after which nothing can be read any more. */
static unsigned parse(struct kubeguard *g, struct bytes head, struct kuberequest *r,
                      struct error *err)
{
    if (http_parse_request(head, &r->head, err) != 0)
        return 400;
    r->line = request_line(g, r);
    if (!r->line || kubeheaders_check(&r->head, err) != 0 ||
        kubepath_parse(r->head.target, &g->arena, &r->path, err) != 0 ||
        attributes_derive(r->head.method, &r->path, &g->arena, &r->act, err) != 0)
        return 400;
    return check_upgrade(r, err);
}

static int with_body(struct kubeguard *g, struct kuberequest *r, struct error *err)
{
    struct buffer body;
    unsigned code;
    int rc;

    buffer_init(&body, KUBEBODY_MAX);
    rc = read_body(g, r, &body);
    if (rc == -E2BIG || rc == -EBADMSG) {
        buffer_done(&body);
        return malformed(g, rc == -E2BIG ? 413 : 400, r->line,
                         rc == -E2BIG ? "the body is longer than 3 MiB"
                                      : "the body's framing is not what it should be");
    }
    code = rc ? 0 : understand_body(g, r, buffer_bytes(&body), err);
    buffer_wipe(&body);
    if (rc)
        return rc;
    settle_dry_run(r);
    if (code)
        return refuse(g, r, code, NULL, err->text[0] ? err->text : "out of memory");
    return judge(g, r);
}

static int serve(struct kubeguard *g, struct kuberequest *r)
{
    struct error err = {""};
    struct bytes head;
    unsigned code;
    int rc = read_head(g, &head);

    if (rc == 1)
        return 1;
    if (rc == -EBADMSG)
        return malformed(g, 400, "", "the request's head is malformed");
    if (rc == -E2BIG)
        return malformed(g, 431, "", "the request's head is longer than 64 KiB");
    if (rc)
        return rc;
    r->n = ++g->n;
    r->started_ms = clock_mono_ms();
    code = parse(g, head, r, &err);
    if (code)
        return malformed(g, code, r->line ? r->line : "", err.text);
    g->running = r;
    if (kubeguard_identify(g, &r->head, &err) != 0) {
        kubejournal_auth(g, "Refused", err.text);
        return malformed(g, 401, r->line, err.text);
    }
    if (!g->admitted)
        return malformed(g, 403, r->line, g->not_admitted);
    r->head.close |= r->spdy;
    rc = with_body(g, r, &err);
    return rc ? rc : r->head.close;
}

int kubeguard_serve(struct kubeguard *g)
{
    struct kuberequest *r = calloc(1, sizeof *r);
    int rc = r ? serve(g, r) : -ENOMEM;

    g->running = NULL;
    if (r)
        json_object_put(r->body);
    free(r);
    arena_done(&g->arena);
    return rc || g->n >= REQUESTS_MAX ? rc ? rc : 1 : 0;
}
