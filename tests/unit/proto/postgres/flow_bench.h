/* SPDX-License-Identifier: Apache-2.0
 * A flow on a bench: real policies, catalogue, parser, approvals and record, and no sockets. What
 * goes out collects in two buffers; what the flow parks on is done at once, as postgres.c would do
 * it through jobs and inboxes. For flow_test.c and tests/fuzz/flow_fuzz.c; everything is static
 * because a test is one object file.
 */
#pragma once

#include "sidecar/proto/postgres/catalog_load.h"
#include "sidecar/proto/postgres/context.h"
#include "sidecar/proto/postgres/flow.h"
#include "sidecar/sql/catalog.h"
#include "src-common/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#define BENCH_USED __attribute__((unused))

/* ---- what policies there are ---- */

#define BENCH_HEAD                                                                                 \
    "apiVersion: chaperone.dev/v1alpha1\n"                                                         \
    "kind: GuardTarget\n"                                                                          \
    "metadata: {name: db, namespace: agents}\n"                                                    \
    "spec: {protocol: postgres, hosts: [10.1.2.3], ports: [5432]}\n"                               \
    "---\n"                                                                                        \
    "apiVersion: chaperone.dev/v1alpha1\n"                                                         \
    "kind: GuardPolicy\n"                                                                          \
    "metadata: {name: agents, namespace: agents}\n"                                                \
    "spec:\n"                                                                                      \
    "  rules:\n"                                                                                   \
    "  - {name: read, action: Allow, sql: {operations: [Read]}}\n"                                 \
    "  - {name: session, action: Allow, sql: {operations: [Transaction, Session]}}\n"              \
    "  - {name: write, action: Allow, sql: {operations: [Write]}}\n"                               \
    "  - {name: temp, action: Allow, sql: {operations: [Create], relations: "                      \
    "[\"public.scratch\"]}}\n"                                                                     \
    "  - {name: keep, action: Deny, sql: {operations: [Drop, Truncate]}, message: open a PR}\n"

struct bench_policy {
    const char *name, *yaml;
    struct policy_snapshot *snapshot;
    struct pgcontext *context;
};

static struct bench_policy bench_policies[] = {
    {.name = "plain", .yaml = BENCH_HEAD},
    {.name = "masked",
     .yaml = BENCH_HEAD
     "  - {name: pii, action: Mask, sql: {columns: [\"public.users.email\", \"public.users.ssn\"]},"
     " mask: {method: Redact, predicates: Deny, writeBack: Deny}}\n"},
    {.name = "values",
     .yaml = BENCH_HEAD "  - {name: cards, action: Mask, values: {detectors: [creditCard, email]},"
                        " mask: {method: Redact}}\n"},
    {.name = "guarded", /* both, for the fuzzer */
     .yaml = BENCH_HEAD
     "  - {name: pii, action: Mask, sql: {columns: [\"public.users.email\", \"public.users.ssn\"]},"
     " mask: {method: Redact, predicates: Deny, writeBack: Deny}}\n"
     "  - {name: cards, action: Mask, values: {detectors: [creditCard, email]},"
     " mask: {method: Redact}}\n"},
    {.name = "approve",
     .yaml = BENCH_HEAD
     "  - {name: ask, action: RequireApproval, sql: {operations: [Update, Delete],"
     " relations: [\"public.orders\"]}, approval: {timeout: 60s, delivery: Hold}}\n"},
    {.name = "ticket",
     .yaml = BENCH_HEAD
     "  - {name: ask, action: RequireApproval, sql: {operations: [Update, Delete],"
     " relations: [\"public.orders\"]}, approval: {timeout: 60s, delivery: Ticket}}\n"},
    {.name = "frozen",
     .yaml = BENCH_HEAD "  - {name: frozen, action: Deny, sql: {operations: [Update, Delete]}}\n"},
};

static struct guard bench_guard;
static struct catalog *bench_catalog;
static char bench_dir[] = "/tmp/chaperone-bench-XXXXXX";
static struct buffer bench_record; /* lines of the run at hand */
static uint64_t bench_serial;

/* ---- the catalogue ---- */

static const char *const bench_relations[][7] = {
    {"16400", "public", "users", "r", "f", "f", "f"},
    {"16410", "public", "notes", "r", "f", "f", "f"},
    {"16420", "public", "orders", "r", "f", "f", "f"},
};
static const char *const bench_columns[][3] = {
    {"16400", "1", "id"},   {"16400", "2", "email"}, {"16400", "3", "ssn"},
    {"16400", "4", "name"}, {"16410", "1", "id"},    {"16410", "2", "body"},
    {"16420", "1", "id"},   {"16420", "2", "total"}, {"16420", "3", "note"},
};

static int bench_rows(int (*each)(unsigned query, const char *const *cells, size_t n, void *arg),
                      void *arg)
{
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(bench_relations) && rc == 0; i++)
        rc = each(0, bench_relations[i], 7, arg);
    for (size_t i = 0; i < ARRAY_LEN(bench_columns) && rc == 0; i++)
        rc = each(1, bench_columns[i], 3, arg);
    return rc;
}

static int bench_add_row(unsigned query, const char *const *text, size_t n, void *arg)
{
    struct bytes cells[8];

    for (size_t i = 0; i < n; i++)
        cells[i] = bytes_str(text[i]);
    return catalog_builder_row(arg, query, cells, n);
}

static void bench_put_row(struct buffer *out, const char *const *cells, size_t n)
{
    size_t mark = pgwire_start(out, PGWIRE_B_DATA_ROW);

    buffer_add_be16(out, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        buffer_add_be32(out, (uint32_t)strlen(cells[i]));
        buffer_add(out, bytes_str(cells[i]));
    }
    pgwire_finish(out, mark);
}

struct bench_answer {
    struct buffer *out;
    unsigned query;
};

static int bench_answer_row(unsigned query, const char *const *cells, size_t n, void *arg)
{
    struct bench_answer *a = arg;

    if (query == a->query)
        bench_put_row(a->out, cells, n);
    return 0;
}

static void bench_answer_end(struct buffer *out, const char *tag, uint8_t status)
{
    size_t mark = pgwire_start(out, PGWIRE_B_COMMAND_COMPLETE);

    buffer_add_cstr(out, tag);
    pgwire_finish(out, mark);
    pgwire_add_ready(out, status);
}

/* What a server answers to all of the collector's queries. `grown`: a table more, public.added. */
BENCH_USED static void bench_catalog_answer(struct buffer *out, bool in_transaction, bool grown)
{
    static const char *const path[] = {"pg_catalog", "public"};
    static const char *const table[] = {"16430", "public", "added", "r", "f", "f", "f"};
    static const char *const column[] = {"16430", "1", "id"};

    bench_answer_end(out, in_transaction ? "SAVEPOINT" : "BEGIN", 'T');
    bench_put_row(out, &path[0], 1);
    bench_put_row(out, &path[1], 1);
    bench_answer_end(out, "SELECT 2", 'T');
    if (!in_transaction) {
        bench_put_row(out, (const char *const[]){"7f 5 10:10:"}, 1);
        bench_answer_end(out, "SELECT 1", 'T');
    }
    bench_put_row(out, (const char *const[]){grown ? "7f 5 2 cd" : "7f 5 1 ab"}, 1);
    bench_answer_end(out, "SELECT 1", 'T');
    bench_answer_end(out, "SET", 'T');
    for (unsigned q = 0; q < CATALOG_N_QUERIES && catalog_queries[q]; q++) {
        struct bench_answer a = {out, q};

        if (bench_rows(bench_answer_row, &a) != 0)
            abort();
        if (grown && q < 2)
            bench_put_row(out, q ? column : table, q ? 3 : 7);
        bench_answer_end(out, "SELECT", 'T');
    }
    bench_answer_end(out, "ROLLBACK", in_transaction ? 'T' : 'I');
}

/* ---- the process ---- */

static void bench_die(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    abort();
}

static void bench_tap(const char *session, struct bytes line, void *arg)
{
    (void)session, (void)arg;
    buffer_add(&bench_record, line);
}

static void bench_make_catalog(void)
{
    struct catalog_builder *b = NULL;
    struct error err = {""};

    if (catalog_builder_new(&b) != 0 || bench_rows(bench_add_row, b) != 0 ||
        catalog_builder_finish(b, bench_guard.parser, &bench_catalog, &err) != 0)
        bench_die("catalogue", err.text);
    catalog_builder_free(b);
}

/* The context of a policy; borrowed, lives as long as the process. */
static struct pgcontext *bench_context(struct bench_policy *p)
{
    struct error err = {""};

    if (!p->context &&
        pgcontext_get(&(struct pgcontext_for){&bench_guard, &bench_guard.agent, p->snapshot,
                                              policy_target_by_name(p->snapshot, "agents", "db"),
                                              "app"},
                      bench_catalog, "pg_catalog\npublic", &p->context, &err) != 0)
        bench_die("context", err.text);
    return p->context;
}

static struct bench_policy *bench_policy(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(bench_policies); i++)
        if (strcmp(bench_policies[i].name, name) == 0)
            return &bench_policies[i];
    bench_die("no such policy", name);
    return NULL;
}

static void bench_start(void)
{
    static const uint8_t key[32] = {7};
    static const char *const labels[] = {NULL};
    struct error err = {""};

    bench_guard.agent = (struct agent){
        .namespace_ = "agents", .pod = "coder-1", .service_account = "coder", .labels = labels};
    snprintf(bench_guard.identity, sizeof bench_guard.identity,
             "system:serviceaccount:agents:coder");
    bench_guard.policy_stale_after_ms = 600000;
    pthread_mutex_init(&bench_guard.policy_lock, NULL);
    buffer_init(&bench_record, 64u << 20);
    if (!mkdtemp(bench_dir))
        bench_die("directory", bench_dir);
    if (sql_parser_start(&bench_guard.parser, &err) != 0 ||
        record_spool_open(bench_dir, &bench_guard.spool, &err) != 0 ||
        masker_new(key, &bench_guard.masker) != 0 ||
        approvals_new(100, &bench_guard.approvals) != 0)
        bench_die("start", err.text);
    record_spool_set_tap(bench_guard.spool, bench_tap, NULL);
    bench_make_catalog();
    for (size_t i = 0; i < ARRAY_LEN(bench_policies); i++)
        if (policy_load_text(bytes_str(bench_policies[i].yaml), bench_policies[i].name,
                             &bench_policies[i].snapshot, &err) != 0)
            bench_die(bench_policies[i].name, err.text);
}

static void bench_remove_files(void)
{
    char path[512];
    DIR *d = opendir(bench_dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", bench_dir, e->d_name);
        unlink(path);
    }
    if (d)
        closedir(d);
}

BENCH_USED static void bench_stop(void)
{
    for (size_t i = 0; i < ARRAY_LEN(bench_policies); i++) {
        pgcontext_unref(bench_policies[i].context);
        policy_snapshot_unref(bench_policies[i].snapshot);
    }
    policy_snapshot_unref(bench_guard.snapshot);
    catalog_unref(bench_catalog);
    sql_parser_stop(bench_guard.parser);
    record_spool_close(bench_guard.spool);
    masker_free(bench_guard.masker);
    approvals_free(bench_guard.approvals);
    buffer_done(&bench_record);
    bench_remove_files();
    rmdir(bench_dir);
}

/* ---- one session ---- */

struct bench {
    struct session session;
    struct relay relay;
    struct pgflow flow;
    struct bench_policy *policy;
    struct buffer out[2];  /* what went to each side, by enum side */
    bool no_new_judgement; /* fuzzing: a text that nobody judged before is refused */
};

static void bench_ended(void *arg)
{
    (void)arg;
}

static const struct relay_ops bench_no_ops = {.ended = bench_ended};

/* Puts a policy in force, without telling the flow. */
static void bench_use_policy(struct bench_policy *p)
{
    guard_set_policy(&bench_guard, policy_snapshot_ref(p->snapshot));
}

BENCH_USED static void bench_open(struct bench *b, const char *policy)
{
    struct conn none[2];
    struct session *s = &b->session;

    *b = (struct bench){.policy = bench_policy(policy)};
    bench_use_policy(b->policy);
    for (int i = 0; i < 2; i++) {
        conn_init(&none[i], -1);
        buffer_init(&b->out[i], 256u << 20);
    }
    s->guard = &bench_guard;
    s->refs = 1000000; /* never freed by the approvals' references */
    s->snapshot = b->policy->snapshot;
    s->target = policy_target_by_name(s->snapshot, "agents", "db");
    pthread_mutex_init(&s->lock, NULL);
    /* A child that crashed may have left a file of that number behind. */
    snprintf(s->id, sizeof s->id, "01%08X%016llu", (unsigned)getpid(),
             (unsigned long long)bench_serial++ % 10000000000000000u);
    buffer_reset(&bench_record, 1u << 20);
    if (record_open(bench_guard.spool, s->id, &s->record) != 0)
        bench_die("record", s->id);
    relay_init(&b->relay, &bench_no_ops, NULL, &none[0], &none[1], 48u << 20);
    if (pgflow_init(&b->flow, s, &b->relay, pgcontext_ref(bench_context(b->policy))) != 0)
        bench_die("flow", "out of memory");
    b->flow.search_path = strdup("pg_catalog\npublic");
    b->flow.schema_seen = pgcatalog_changes();
    /* However slow the run: no transcript expects the guard to look at the schema again by itself.
     */
    b->flow.context->checked_ms = clock_mono_ms() + 3600000;
    snprintf(b->flow.user, sizeof b->flow.user, "app");
    snprintf(b->flow.database, sizeof b->flow.database, "app");
}

/* Moves what waits in the relay to b->out; the ids of approvals are made equal in all runs. */
static void bench_drain(struct bench *b)
{
    for (int side = 0; side < 2; side++) {
        struct buffer *from = relay_out(&b->relay, (enum side)side);
        size_t at = buffer_len(&b->out[side]);
        const char *id = b->flow.approval_id;

        if (buffer_add(&b->out[side], buffer_bytes(from)) != 0)
            bench_die("output", "more than a test should have");
        buffer_consume(from, buffer_len(from));
        for (uint8_t *p = b->out[side].p + b->out[side].start + at;
             id[0] && p + APPROVAL_ID_LEN <= b->out[side].p + b->out[side].end; p++)
            if (memcmp(p, id, APPROVAL_ID_LEN) == 0)
                memset(p, '#', APPROVAL_ID_LEN);
    }
}

/* As postgres.c does it: the reference that the asking took goes with the request. */
static void bench_stop_asking(struct pgflow *f)
{
    if (approvals_withdraw(bench_guard.approvals, f->approval_id))
        session_unref(f->session);
}

BENCH_USED static void bench_close(struct bench *b)
{
    char path[512];

    if (b->flow.park == PGPARK_APPROVAL)
        bench_stop_asking(&b->flow);
    pgcollector_free(b->flow.collector);
    pgprepared_unref(b->flow.park_prepared);
    pgflow_done(&b->flow);
    relay_abort(&b->relay);
    record_close(b->session.record);
    snprintf(path, sizeof path, "%s/%s.jsonl", bench_dir, b->session.id);
    unlink(path);
    pthread_mutex_destroy(&b->session.lock);
    for (int i = 0; i < 2; i++)
        buffer_done(&b->out[i]);
}

static struct pgverdict *bench_refusal(void)
{
    struct pgverdict *v = calloc(1, sizeof *v);

    if (!v)
        bench_die("verdict", "out of memory");
    v->refs = 1;
    v->sqlstate = "42601";
    snprintf(v->reason, sizeof v->reason, "not judged on this bench");
    arena_init(&v->arena, 1024);
    return v;
}

static void bench_judge(struct bench *b)
{
    struct pgflow *f = &b->flow;
    struct pgprepared *prepared = take(&f->park_prepared);
    struct pgverdict *v = NULL;
    /* A copy of exactly that size: whoever reads past the text is caught. */
    char *text = malloc(f->park_text.len + 1);

    if (!text)
        bench_die("text", "out of memory");
    memcpy(text, f->park_text.p, f->park_text.len);
    if (b->no_new_judgement) {
        v = bench_refusal();
        v->context_serial = f->context->serial;
    } else if (pgcontext_judge(f->context, bytes_of(text, f->park_text.len), &v) != 0) {
        bench_die("judge", "out of memory");
    }
    free(text);
    if (prepared) {
        pgverdict_unref(prepared->verdict);
        prepared->verdict = v;
    } else {
        pgverdict_unref(f->judged);
        f->judged = v;
    }
    pgprepared_unref(prepared);
    pgflow_resume(f);
}

static void bench_new_context(struct bench *b)
{
    struct pgflow *f = &b->flow;

    pgcontext_unref(f->context);
    f->context = pgcontext_ref(bench_context(b->policy));
    pgflow_resume(f);
}

/* The queries themselves are left out of what the transcript sees: a word stands for them. */
static void bench_read_catalog(struct bench *b)
{
    struct pgflow *f = &b->flow;
    struct buffer queries;

    bench_drain(b);
    buffer_init(&queries, 1 << 20);
    if (pgcollector_new(NULL, f->tx_status == 'T', &queries, &f->collector) != 0)
        bench_die("collector", "out of memory");
    buffer_printf(&b->out[SIDE_UPSTREAM], "#catalog %c#", f->tx_status);
    buffer_done(&queries);
}

static void bench_finish_collector(struct bench *b)
{
    struct pgflow *f = &b->flow;
    struct pgcollector *c = f->collector;
    struct pgcontext *context = NULL;
    char *path = NULL;
    struct error err = {""};

    if (!c || !c->done)
        return;
    f->collector = NULL;
    if (c->failure[0]) {
        pgflow_fatal(f, "58000", "the guard could not read the database's schema");
    } else if (pgcollector_context(c, &b->session, "app", "app", &context, &path, &err) != 0) {
        bench_die("catalogue", err.text);
    } else {
        pgcontext_unref(f->context);
        f->context = context;
        free(f->search_path);
        f->search_path = path;
        f->schema_seen = c->schema_seen;
        f->refreshed = true;
        pgflow_resume(f);
    }
    pgcollector_free(c);
}

/* As serve_park() of postgres.c, at once. */
static void bench_serve(struct bench *b)
{
    struct pgflow *f = &b->flow;

    while (!f->end_reason) {
        if (f->park == PGPARK_JUDGE)
            bench_judge(b);
        else if (f->park == PGPARK_CONTEXT)
            bench_new_context(b);
        else if (f->park == PGPARK_CATALOG && !f->collector)
            bench_read_catalog(b);
        else if (f->park == PGPARK_QUEUE && f->pending.n < PGQUEUE_LOW)
            pgflow_resume(f);
        else
            break;
    }
    bench_drain(b);
}

BENCH_USED static void bench_feed(struct bench *b, enum side from, struct bytes chunk)
{
    /* A heap block of its own, gone afterwards: nothing may be kept of it. */
    uint8_t *copy = malloc(chunk.len ? chunk.len : 1);

    if (!copy)
        bench_die("chunk", "out of memory");
    if (chunk.len)
        memcpy(copy, chunk.p, chunk.len);
    if (from == SIDE_CLIENT) {
        pgflow_from_client(&b->flow, bytes_of(copy, chunk.len));
    } else {
        pgflow_from_upstream(&b->flow, bytes_of(copy, chunk.len));
        bench_finish_collector(b);
    }
    bench_drain(b);
    bench_serve(b); /* a text to be judged may still lie in the chunk */
    free(copy);
}

/* ---- what postgres.c does on the inbox ---- */

BENCH_USED static void bench_take_decision(struct bench *b)
{
    struct pgflow *f = &b->flow;
    struct approval_info info;

    if (f->park != PGPARK_APPROVAL ||
        approvals_get(bench_guard.approvals, f->approval_id, &info) != 0)
        return;
    f->approval_phase = info.phase;
    approval_info_done(&info);
    if (f->approval_phase == APPROVAL_PENDING)
        return;
    f->approval_decided = true;
    pgflow_resume(f);
    bench_serve(b);
}

BENCH_USED static void bench_end_waiting(struct bench *b, enum approval_phase phase)
{
    struct pgflow *f = &b->flow;

    if (f->park != PGPARK_APPROVAL)
        return;
    bench_stop_asking(f);
    f->approval_phase = phase;
    f->approval_decided = true;
    pgflow_resume(f);
    bench_serve(b);
}

BENCH_USED static void bench_change_policy(struct bench *b, const char *name)
{
    struct pgflow *f = &b->flow;

    b->policy = bench_policy(name);
    bench_use_policy(b->policy);
    if (f->park == PGPARK_APPROVAL) {
        bench_stop_asking(f);
        f->park = PGPARK_NONE;
        pgflow_resume(f);
    }
    bench_serve(b);
}
