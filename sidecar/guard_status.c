/* SPDX-License-Identifier: Apache-2.0
 * Status endpoint.
 */
#include "guard_status.h"

#include "cluster/cluster.h"
#include "net/address.h"
#include "record/shipper.h"
#include "record/sync.h"
#include "session/registry.h"
#include "session/session.h"
#include "src-common/jsonw.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

struct status {
    struct guard *guard;
    struct cluster *cluster;
    struct MHD_Daemon *daemon;
};

/* Ready: statements can be decided on and recorded. An invalid policy file does not make an
 * unready guard as long as the last good policy may be used. */
static bool is_ready(struct guard *g)
{
    return record_spool_healthy(g->spool) && !guard_policy_stale(g);
}

struct metric {
    const char *name, *type, *help;
    uint64_t value;
};

static void add_metrics(struct buffer *b, const struct metric *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buffer_printf(b, "# HELP chaperone_%s %s\n# TYPE chaperone_%s %s\nchaperone_%s %llu\n",
                      m[i].name, m[i].help, m[i].name, m[i].type, m[i].name,
                      (unsigned long long)m[i].value);
}

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f) {
        if (fscanf(f, "%llu %llu", &size, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return resident * 4096;
}

static void record_metrics(struct guard *g, struct buffer *b);

static void metrics(struct guard *g, struct buffer *b)
{
    const struct guard_counters *c = &g->counters;
    const struct metric all[] = {
        {"sessions", "gauge", "Sessions now open.", registry_count()},
        {"sessions_total", "counter", "Connections accepted.", c->sessions_total},
        {"sessions_refused_total", "counter", "Connections refused.", c->sessions_refused},
        {"login_failures_total", "counter", "Handshakes and logins that failed.", c->auth_failures},
        {"tokens_accepted_total", "counter", "Tokens of agents that were accepted.",
         c->tokens_accepted},
        {"tokens_refused_total", "counter", "Tokens of agents that were refused.",
         c->tokens_refused},
        {"injected_logins_total", "counter", "Logins with a credential that the guard holds.",
         c->injected_logins},
        {"statements_total", "counter", "Statements judged.", c->statements},
        {"statements_denied_total", "counter", "Statements refused.", c->denied},
        {"approvals_requested_total", "counter", "Statements held or ticketed for approval.",
         c->approvals},
        {"masked_values_total", "counter", "Values replaced in results.", c->masked_values},
        {"parses_total", "counter", "Statements whose verdict was not in the cache.",
         c->parse_misses},
        {"record_bytes_total", "counter", "Bytes of records written.",
         record_spool_bytes(g->spool)},
        {"record_failures_total", "counter", "Record writes that failed.",
         record_spool_failures(g->spool) + c->record_failures},
        {"policy_generation", "gauge", "Generation of the policy in force.", g->policy_generation},
        {"policy_valid", "gauge", "1 when the newest policies are known and in force.",
         !g->policy_bad_since_ms && !g->policy_unknown},
        {"policy_reload_failures_total", "counter", "Policy files refused.",
         c->policy_reload_failures},
        {"resident_bytes", "gauge", "Resident memory.", resident_bytes()},
    };

    add_metrics(b, all, ARRAY_LEN(all));
    record_metrics(g, b);
}

static void record_metrics(struct guard *g, struct buffer *b)
{
    struct shipper_figures f;
    struct syncer_figures sync;

    record_spool_syncs(g->spool, &sync);
    shipper_figures(g->shipper, &f);
    const struct metric syncs[] = {
        {"record_syncs_total", "counter", "Records forced to the disk (durability Node).",
         sync.syncs},
        {"record_sync_microseconds_total", "counter", "How long that took.", sync.busy_us},
        {"record_syncs_waiting", "gauge", "Records that wait for the disk.", sync.waiting},
    };
    const struct metric all[] = {
        {"spool_bytes", "gauge", "Bytes that the spool holds.", f.held},
        {"spool_limit_bytes", "gauge", "Bytes from which on statements are refused; 0: no bound.",
         f.limit},
        {"uploads_total", "counter", "Files that the object store acknowledged.", f.stored},
        {"upload_bytes_total", "counter", "Their bytes.", f.stored_bytes},
        {"upload_failures_total", "counter", "Attempts to upload that failed.", f.failures},
        {"upload_waiting", "gauge", "Files that wait to be uploaded.", f.waiting},
        {"upload_waiting_bytes", "gauge", "Their bytes.", f.waiting_bytes},
        {"upload_lag_milliseconds", "gauge", "Age of the oldest of these files.", f.lag_ms},
        {"records_stuck", "gauge", "Records that cannot be sealed.", f.stuck},
    };

    add_metrics(b, syncs, ARRAY_LEN(syncs));
    if (g->shipper)
        add_metrics(b, all, ARRAY_LEN(all));
}

static const char *policy_state(struct guard *g)
{
    if (atomic_load(&g->policy_unknown))
        return "none yet: ";
    if (!g->policy_error[0])
        return "ok";
    return guard_policy_stale(g) ? "out of date, everything is denied: "
                                 : "last good one in force: ";
}

static void upload_text(struct guard *g, struct buffer *b)
{
    struct shipper_figures f;

    shipper_figures(g->shipper, &f);
    if (f.uploads)
        buffer_printf(b, "upload: %s%s, %llu files wait, for %llu s\n",
                      f.error[0] ? "failing: " : "ok", f.error, (unsigned long long)f.waiting,
                      (unsigned long long)f.lag_ms / 1000);
}

static void ready_text(struct guard *g, struct buffer *b)
{
    char trouble[128];

    upload_text(g, b);
    record_spool_trouble(g->spool, trouble, sizeof trouble);
    pthread_mutex_lock(&g->policy_lock);
    buffer_printf(b, "recorder: %s%s\npolicy: %s%s\n", trouble[0] ? "failing: " : "ok", trouble,
                  policy_state(g), g->policy_error);
    pthread_mutex_unlock(&g->policy_lock);
}

/* Which objects make up the policy in force: docs/kubernetes.md, "Policy status". */
static void policies(struct guard *g, struct buffer *b)
{
    struct policy_snapshot *p = guard_policy(g);

    buffer_add_u8(b, '{');
    jsonw_ku64(b, "generation", policy_snapshot_generation(p));
    jsonw_kstr(b, "digest", bytes_str(policy_snapshot_digest(p)));
    policy_snapshot_unref(p);
    pthread_mutex_lock(&g->policy_lock);
    jsonw_kstr(b, "error", bytes_str(g->policy_error));
    jsonw_key(b, "objects");
    buffer_printf(b, "%s", g->policy_objects ? g->policy_objects : "[]");
    pthread_mutex_unlock(&g->policy_lock);
    buffer_append(b, "}\n", 2);
}

static enum MHD_Result reply(struct MHD_Connection *c, unsigned code, const char *type,
                             const struct buffer *b)
{
    struct bytes body = buffer_bytes(b);
    struct MHD_Response *r = MHD_create_response_from_buffer(
        body.len, body.len ? (void *)(uintptr_t)body.p : (void *)(uintptr_t) "",
        MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rc;

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    rc = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state)
{
    struct status *s = arg;
    unsigned code = MHD_HTTP_OK;
    const char *type = "text/plain; charset=utf-8";
    struct buffer b;
    enum MHD_Result rc;

    (void)version, (void)data, (void)size, (void)state;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        code = MHD_HTTP_METHOD_NOT_ALLOWED;
    buffer_init(&b, 8 << 20);
    if (code != MHD_HTTP_OK) {
        buffer_printf(&b, "only GET\n");
    } else if (strcmp(url, "/livez") == 0) {
        buffer_printf(&b, "ok\n");
    } else if (strcmp(url, "/readyz") == 0) {
        ready_text(s->guard, &b);
        code = is_ready(s->guard) ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    } else if (strcmp(url, "/metrics") == 0) {
        metrics(s->guard, &b);
        if (s->cluster)
            cluster_metrics(s->cluster, &b);
        type = "text/plain; version=0.0.4; charset=utf-8";
    } else if (strcmp(url, "/policies") == 0) {
        policies(s->guard, &b);
        type = "application/json";
    } else {
        buffer_printf(&b, "there are /livez, /readyz, /metrics and /policies\n");
        code = MHD_HTTP_NOT_FOUND;
    }
    rc = reply(c, code, type, &b);
    buffer_done(&b);
    return rc;
}

int status_start(struct guard *g, struct cluster *cluster, const struct sockaddr *addr,
                 struct status **ret, struct error *err)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL;
    struct status *s = calloc(1, sizeof *s);
    char text[ADDRESS_TEXT_LEN];

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->guard = g;
    s->cluster = cluster;
    if (addr->sa_family == AF_INET6)
        flags |= MHD_USE_DUAL_STACK; /* "[::]" is for both */
    s->daemon =
        MHD_start_daemon(flags, address_port(addr), NULL, NULL, handle, s, MHD_OPTION_SOCK_ADDR,
                         addr, MHD_OPTION_CONNECTION_LIMIT, 32u, MHD_OPTION_CONNECTION_TIMEOUT, 10u,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384, MHD_OPTION_END);
    if (!s->daemon) {
        free(s);
        address_text(addr, text);
        return error_set(err, -EADDRINUSE, "--status: cannot listen on %s", text);
    }
    *ret = s;
    return 0;
}

void status_stop(struct status *s)
{
    if (!s)
        return;
    MHD_stop_daemon(s->daemon);
    free(s);
}

void status_fields(struct buffer *out, void *arg)
{
    struct guard *g = arg;
    struct policy_snapshot *p = guard_policy(g);

    jsonw_kstr(out, "version", bytes_str(CHAPERONE_VERSION));
    jsonw_kstr(out, "parser", bytes_str(sql_parser_version()));
    jsonw_key(out, "ready");
    buffer_printf(out, "%s", is_ready(g) ? "true" : "false");
    jsonw_ku64(out, "sessions", registry_count());
    jsonw_ku64(out, "statements", g->counters.statements);
    jsonw_ku64(out, "denied", g->counters.denied);
    jsonw_ku64(out, "policyGeneration", policy_snapshot_generation(p));
    jsonw_kstr(out, "policyDigest", bytes_str(policy_snapshot_digest(p)));
    pthread_mutex_lock(&g->policy_lock);
    jsonw_kstr(out, "policyError", bytes_str(g->policy_error));
    pthread_mutex_unlock(&g->policy_lock);
    policy_snapshot_unref(p);
}
