/* SPDX-License-Identifier: Apache-2.0
 * Asks policies about SQL.
 */
#include "judge.h"

#include "sidecar/sql/parser.h"

#include <errno.h>
#include <fnmatch.h>
#include <json-c/json.h>
#include <stdio.h>

#define ARENA_MAX   ((size_t)256 << 20)
#define MAX_SCHEMAS 64

const char *judge_verdict_name(enum verdict v)
{
    return v == VERDICT_ALLOW ? "Allow" : v == VERDICT_APPROVE ? "RequireApproval" : "Deny";
}

const char *judge_mask_name(enum mask_method m)
{
    static const char *const names[] = {"None", "Partial", "Token", "Redact", "Null"};

    return (size_t)m < ARRAY_LEN(names) ? names[m] : "Redact";
}

const char *judge_default_namespace(const struct policy_snapshot *policies)
{
    const char *found = NULL;

    for (size_t i = 0; i < policy_n_targets(policies); i++) {
        const char *ns = policy_target_at(policies, i)->namespace_;

        if (!ns || (found && strcmp(found, ns) != 0))
            return "default";
        found = ns;
    }
    return found ? found : "default";
}

static bool usable(const struct target *t, enum target_protocol p, const char *ns)
{
    return t->protocol == p && (!t->namespace_ || strcmp(t->namespace_, ns) == 0);
}

static const char *protocol_name(enum target_protocol p)
{
    return p == TARGET_SSH ? "ssh" : "postgres";
}

static const struct target *find_target(const struct judge_question *q, enum target_protocol p,
                                        struct error *err)
{
    const char *ns = q->agent.namespace_;
    const struct target *found = NULL;
    char names[400] = "";

    if (q->target) {
        found = policy_target_by_name(q->policies, ns, q->target);
        if (!found)
            error_set(err, -ENOENT, "there is no target \"%s\" in namespace %s", q->target, ns);
        else if (found->protocol != p)
            error_set(err, -ENOENT, "target \"%s\" is no %s target", q->target, protocol_name(p));
        return found && found->protocol == p ? found : NULL;
    }
    for (size_t i = 0; i < policy_n_targets(q->policies); i++) {
        const struct target *t = policy_target_at(q->policies, i);

        if (!usable(t, p, ns))
            continue;
        snprintf(names + strlen(names), sizeof names - strlen(names), " %s", t->name);
        if (found) {
            error_set(err, -ENOENT, "which target? --target one of:%s …", names);
            return NULL;
        }
        found = t;
    }
    if (!found)
        error_set(err, -ENOENT,
                  "the policies have no %s target in namespace %s: name another one with "
                  "--namespace",
                  protocol_name(p), ns);
    return found;
}

static void deny_whole(struct judgement *j, const char *reason)
{
    memset(&j->whole, 0, sizeof j->whole);
    snprintf(j->whole.reason, sizeof j->whole.reason, "%.*s", (int)sizeof j->whole.reason - 1,
             reason);
    j->unparsable = true;
}

/* pg_catalog is searched first unless the path says where: as the server does. */
static void fill_path(const char *const *given, const char *path[static MAX_SCHEMAS + 3])
{
    bool catalog = false;
    size_t n = 0;

    for (size_t i = 0; given && given[i]; i++)
        catalog = catalog || strcmp(given[i], "pg_catalog") == 0;
    if (!catalog)
        path[n++] = "pg_catalog";
    for (size_t i = 0; given && given[i] && i < MAX_SCHEMAS; i++)
        path[n++] = given[i];
    if (!given || !given[0])
        path[n++] = "public";
    path[n] = NULL;
}

static int judge_message(const struct judge_question *q, struct judgement *j, struct error *err)
{
    const char *path[MAX_SCHEMAS + 3];
    struct sql_env env = {.search_path = path};
    struct json_object *tree = NULL;
    struct statement *all;
    int r = sql_parse_here(q->sql, &tree, err);

    if (r == -ENOMEM)
        return r;
    if (r != 0) {
        deny_whole(j, err->text[0] ? err->text : "the statement cannot be parsed");
        return 0;
    }
    fill_path(q->search_path, path);
    r = sql_analyze(tree, q->sql, &env, &j->arena, &j->message, err);
    json_object_put(tree);
    if (r == -ENOMEM)
        return r;
    if (r != 0) {
        deny_whole(j, err->text[0] ? err->text : "the statement is not understood");
        return 0;
    }
    all = arena_alloc(&j->arena, (j->message.n + 1) * sizeof *all);
    j->decisions = arena_alloc(&j->arena, (j->message.n + 1) * sizeof *j->decisions);
    if (!all || !j->decisions)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < j->message.n; i++) {
        all[i] = j->message.statements[i].policy;
        policy_decide(j->view, &all[i], 1, &j->decisions[i]);
    }
    policy_decide(j->view, all, j->message.n, &j->whole);
    return 0;
}

int judge_begin(const struct judge_question *q, enum target_protocol p, struct judgement *ret,
                struct error *err)
{
    int r;

    memset(ret, 0, sizeof *ret);
    arena_init(&ret->arena, ARENA_MAX);
    ret->target = find_target(q, p, err);
    if (!ret->target)
        return -ENOENT;
    r = policy_view_new(q->policies, &q->agent, ret->target, q->database, &ret->view);
    return r ? error_set(err, r, "out of memory") : 0;
}

int judge_sql(const struct judge_question *q, struct judgement *ret, struct error *err)
{
    struct error scratch = {0};
    int r;

    err = err ? err : &scratch;
    r = judge_begin(q, TARGET_POSTGRES, ret, err);
    return r ? r : judge_message(q, ret, err);
}

void judge_done(struct judgement *j)
{
    policy_view_unref(j->view);
    arena_done(&j->arena);
}

static bool covers(const struct column_mask *m, const struct object *o)
{
    const char *schema = o->schema ? o->schema : o->guess;

    if (!o->name || !m->relation || fnmatch(m->relation, o->name, FNM_NOESCAPE) != 0)
        return false;
    return !schema || !m->schema || fnmatch(m->schema, schema, FNM_NOESCAPE) == 0;
}

void judge_masks(const struct judgement *j, const struct sql_statement *s,
                 void (*visit)(const struct column_mask *m, void *arg), void *arg)
{
    size_t n = 0;
    const struct column_mask *masks = policy_view_column_masks(j->view, &n);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < s->policy.n_objects; k++)
            if (covers(&masks[i], &s->policy.objects[k])) {
                visit(&masks[i], arg);
                break;
            }
}
