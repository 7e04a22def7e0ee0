/* SPDX-License-Identifier: Apache-2.0
 * explain without a statement: what an identity may do. For every target of its namespace the
 * policies that select it, how it is logged in, and their rules.
 */
#include "explain_agent.h"

#include "object.h"
#include "text.h"

#include "sidecar/mask/detect.h"
#include "sidecar/policy/decide_ssh.h"

#include <json-c/json.h>
#include <stdio.h>

/* The pod's own service account is what the guard logs in with. */
static const struct target built_in = {.name = "kubernetes",
                                       .protocol = TARGET_KUBERNETES,
                                       .credentials_secret = "the service account's token"};

/* ---- as JSON ---- */

static void add_text(struct json_object *o, const char *key, const char *text)
{
    if (text)
        json_object_object_add(o, key, json_object_new_string(text));
}

static void add_list(struct json_object *o, const char *key, struct json_object *list)
{
    if (json_object_array_length(list))
        json_object_object_add(o, key, list);
    else
        json_object_put(list);
}

static const char *part(const struct pattern *p)
{
    return p->kind == PATTERN_ANY || !p->text ? "*" : p->text;
}

static struct json_object *pattern_list(const struct array *a)
{
    struct json_object *list = json_object_new_array();
    const struct pattern *p = a->items;

    for (size_t i = 0; i < a->n; i++)
        json_object_array_add(list, json_object_new_string(part(&p[i])));
    return list;
}

static struct json_object *name_list(const struct array *a)
{
    struct json_object *list = json_object_new_array();
    const struct name_pattern *p = a->items;
    char text[300];

    for (size_t i = 0; i < a->n; i++) {
        snprintf(text, sizeof text, "%.127s.%.127s", part(&p[i].schema), part(&p[i].name));
        json_object_array_add(list, json_object_new_string(text));
    }
    return list;
}

static struct json_object *operation_list(opset set)
{
    struct json_object *list = json_object_new_array();

    for (unsigned op = 0; op < OP_COUNT; op++)
        if (set & OPSET(op))
            json_object_array_add(list, json_object_new_string(operation_name(op)));
    return list;
}

static struct json_object *column_list(const struct array *a)
{
    struct json_object *list = json_object_new_array();
    const struct column_mask *m = a->items;
    char text[400];

    for (size_t i = 0; i < a->n; i++) {
        snprintf(text, sizeof text, "%.127s.%.127s.%.127s", m[i].schema ? m[i].schema : "*",
                 m[i].relation ? m[i].relation : "*", m[i].column ? m[i].column : "*");
        json_object_array_add(list, json_object_new_string(text));
    }
    return list;
}

/* Command lines, each joined by blanks. */
static struct json_object *argv_list(const struct array *a)
{
    struct json_object *list = json_object_new_array();
    const struct array *lines = a->items;

    for (size_t i = 0; i < a->n; i++) {
        const char *const *words = lines[i].items;
        struct buffer b;

        buffer_init(&b, 4096);
        for (size_t k = 0; k < lines[i].n; k++)
            buffer_printf(&b, "%s%s", k ? " " : "", words[k]);
        json_object_array_add(list,
                              json_object_new_string_len((const char *)b.p, (int)buffer_len(&b)));
        buffer_done(&b);
    }
    return list;
}

static struct json_object *string_list(const struct array *a)
{
    struct json_object *list = json_object_new_array();
    const char *const *s = a->items;

    for (size_t i = 0; i < a->n; i++)
        json_object_array_add(list, json_object_new_string(s[i]));
    return list;
}

static struct json_object *word_list(unsigned set, const struct word *words, size_t n)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < n; i++)
        if (words[i].value && (words[i].value & set) == words[i].value &&
            strcmp(words[i].name, "*") != 0)
            json_object_array_add(list, json_object_new_string(words[i].name));
    return list;
}

static struct json_object *detector_list(uint32_t set)
{
    struct json_object *list = json_object_new_array();

    for (unsigned d = 0; d < DETECTOR_COUNT; d++)
        if (set & (1u << d))
            json_object_array_add(list, json_object_new_string(detector_name(d)));
    return list;
}

static void add_kube(struct json_object *o, const struct kube_match *k)
{
    add_list(o, "verbs", pattern_list(&k->verbs));
    add_list(o, "apiGroups", pattern_list(&k->groups));
    add_list(o, "resources", pattern_list(&k->resources));
    add_list(o, "namespaces", pattern_list(&k->namespaces));
    add_list(o, "names", pattern_list(&k->names));
    add_list(o, "nonResourceURLs", pattern_list(&k->urls));
    add_list(o, "commands", argv_list(&k->argv));
    add_list(o, "fields", string_list(&k->fields));
    add_list(o, "env", pattern_list(&k->env));
    if (k->dry_run)
        add_text(o, "dryRun", "Only");
}

static void add_ssh(struct json_object *o, const struct ssh_match *m)
{
    static const struct word requests[] = {
        {"exec", SSH_REQUEST_EXEC}, {"shell", SSH_REQUEST_SHELL}, {"sftp", SSH_REQUEST_SFTP},
        {"pty", SSH_REQUEST_PTY},   {"env", SSH_REQUEST_ENV},     {"forward", SSH_REQUEST_FORWARD},
    };
    static const struct word access[] = {
        {"read", SSH_ACCESS_READ}, {"write", SSH_ACCESS_WRITE}, {"delete", SSH_ACCESS_DELETE}};

    add_list(o, "requests", word_list(m->requests, requests, ARRAY_LEN(requests)));
    add_list(o, "commands", argv_list(&m->argv));
    add_list(o, "access", word_list(m->access, access, ARRAY_LEN(access)));
    add_list(o, "paths", string_list(&m->paths));
    add_list(o, "hazards", word_list(m->hazards, ssh_hazard_words, SSH_N_HAZARD_WORDS));
}

/* NULL when the rule can say nothing about such a target. */
static struct json_object *rule_json(const struct rule *r, enum target_protocol protocol)
{
    static const char *const actions[] = {[ACTION_DENY] = "Deny",
                                          [ACTION_APPROVE] = "RequireApproval",
                                          [ACTION_ALLOW] = "Allow",
                                          [ACTION_MASK] = "Mask"};
    struct json_object *o;

    if ((r->sql && protocol != TARGET_POSTGRES) || (r->kube && protocol != TARGET_KUBERNETES) ||
        (r->ssh && protocol != TARGET_SSH))
        return NULL;
    o = json_object_new_object();
    add_text(o, "name", r->name);
    add_text(o, "action", actions[r->action]);
    if (r->sql) {
        add_list(o, "operations", operation_list(r->sql->operations));
        add_list(o, "relations", name_list(&r->sql->relations));
        add_list(o, "functions", name_list(&r->sql->functions));
        add_list(o, "columns", column_list(&r->sql->columns));
    }
    if (r->kube)
        add_kube(o, r->kube);
    if (r->ssh)
        add_ssh(o, r->ssh);
    add_list(o, "values", detector_list(r->detectors));
    return o;
}

static struct json_object *policy_json(const struct policy *p, const struct target *t)
{
    struct json_object *o = json_object_new_object(), *rules = json_object_new_array();
    const struct target_ref *refs = p->targets.items;
    const struct rule *r = p->rules.items;

    add_text(o, "name", p->name);
    add_text(o, "kind", p->cluster ? "ClusterGuardPolicy" : "GuardPolicy");
    add_text(o, "mode", p->mode == POLICY_AUDIT ? "Audit" : "Enforce");
    for (size_t i = 0; i < p->targets.n; i++) {
        if (strcmp(refs[i].name, t->name) != 0)
            continue;
        add_list(o, "databases", pattern_list(&refs[i].databases));
        add_list(o, "kubeNamespaces", pattern_list(&refs[i].namespaces));
        add_text(o, "user", refs[i].user);
        add_text(o, "role", refs[i].role);
    }
    for (size_t i = 0; i < p->rules.n; i++) {
        struct json_object *rule = rule_json(&r[i], t->protocol);

        if (rule)
            json_object_array_add(rules, rule);
    }
    json_object_object_add(o, "rules", rules);
    return o;
}

/* A policy covers a target when one of its databases is covered, whichever that is. */
static bool names_target(const struct policy *p, const struct target *t)
{
    const struct target_ref *refs = p->targets.items;

    for (size_t i = 0; i < p->targets.n; i++)
        if (strcmp(refs[i].name, t->name) == 0)
            return true;
    return p->targets.n == 0;
}

static struct json_object *target_json(const struct policy_snapshot *s, const struct agent *a,
                                       const struct target *t)
{
    static const char *const protocols[] = {"unknown", "postgres", "ssh", "kubernetes", "tcp"};
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();

    add_text(o, "target", t->name);
    add_text(o, "protocol", protocols[t->protocol]);
    add_text(o, "login", t->credentials_secret ? "guard" : "agent");
    if (t->credentials_secret)
        add_text(o, "token",
                 t->token == TARGET_TOKEN_NEVER    ? "not needed"
                 : t->token == TARGET_TOKEN_ALWAYS ? "needed"
                                                   : "needed where the guard has issuers");
    for (size_t i = 0; i < s->n_policies; i++)
        if (policy_selects(s->policies[i], a) && names_target(s->policies[i], t) &&
            (!s->policies[i]->namespace_ || !t->namespace_ ||
             strcmp(s->policies[i]->namespace_, t->namespace_) == 0))
            json_object_array_add(list, policy_json(s->policies[i], t));
    json_object_object_add(o, "policies", list);
    return o;
}

/* ---- as text ---- */

static void add_words(struct buffer *b, const char *before, struct json_object *o, const char *key)
{
    size_t n = object_count(o, key);

    for (size_t i = 0; i < n; i++) {
        buffer_printf(b, "%s", i ? ", " : before);
        text_clean(bytes_str(json_object_get_string(object_at(o, key, i))), TEXT_LINE, b);
    }
}

static void add_word(struct buffer *b, const char *before, struct json_object *o, const char *key)
{
    if (!object_text(o, key))
        return;
    buffer_printf(b, "%s", before);
    text_clean(object_bytes(o, key), TEXT_LINE, b);
}

static void add_rule(struct buffer *b, struct json_object *r)
{
    add_word(b, "    ", r, "name");
    add_word(b, ": ", r, "action");
    add_words(b, " ", r, "operations");
    add_words(b, " on ", r, "relations");
    add_words(b, " calling ", r, "functions");
    add_words(b, " ", r, "columns");
    add_words(b, " ", r, "verbs");
    add_words(b, " ", r, "resources");
    add_words(b, " of ", r, "apiGroups");
    add_words(b, " at ", r, "nonResourceURLs");
    add_words(b, " in ", r, "namespaces");
    add_words(b, " named ", r, "names");
    add_word(b, " dry run: ", r, "dryRun");
    add_words(b, " ", r, "requests");
    add_words(b, ": ", r, "commands");
    add_words(b, " to ", r, "access");
    add_words(b, " ", r, "paths");
    add_words(b, " if ", r, "hazards");
    add_words(b, " fields ", r, "fields");
    add_words(b, " variables ", r, "env");
    add_words(b, " values ", r, "values");
    buffer_add_u8(b, '\n');
}

static void add_policy(struct buffer *b, struct json_object *p)
{
    add_word(b, "  ", p, "kind");
    add_word(b, " ", p, "name");
    add_word(b, " (", p, "mode");
    add_words(b, "; databases ", p, "databases");
    add_words(b, "; namespaces ", p, "kubeNamespaces");
    add_word(b, "; as user ", p, "user");
    add_word(b, "; in role ", p, "role");
    buffer_printf(b, ")\n");
    for (size_t i = 0; i < object_count(p, "rules"); i++)
        add_rule(b, object_at(p, "rules", i));
}

static void print_text(struct json_object *all)
{
    struct buffer b;

    buffer_init(&b, (size_t)64 << 20);
    for (size_t i = 0; i < object_count(all, "targets"); i++) {
        struct json_object *t = object_at(all, "targets", i);

        add_word(&b, "target ", t, "target");
        add_word(&b, " (", t, "protocol");
        buffer_printf(&b, strcmp(object_text(t, "login"), "guard") == 0
                              ? "; the guard logs in"
                              : "; the agent's own login");
        add_word(&b, "; a token is ", t, "token");
        buffer_printf(&b, object_count(t, "policies") ? ")\n"
                                                      : ")\n  refused: no policy selects this "
                                                        "agent here\n");
        for (size_t k = 0; k < object_count(t, "policies"); k++)
            add_policy(&b, object_at(t, "policies", k));
    }
    fwrite(b.p, 1, buffer_len(&b), stdout);
    buffer_done(&b);
}

/* The API server of an agent's own cluster is a target without an object. It is shown where a
 * policy names it, or has rules for its like. */
static bool shows_built_in(const struct policy_snapshot *s, const struct agent *a)
{
    bool wanted = false;

    for (size_t i = 0; i < s->n_policies; i++) {
        const struct policy *p = s->policies[i];
        const struct target_ref *refs = p->targets.items;
        const struct rule *r = p->rules.items;

        if (!policy_selects(p, a))
            continue;
        for (size_t k = 0; k < p->targets.n; k++)
            wanted |= strcmp(refs[k].name, built_in.name) == 0;
        for (size_t k = 0; k < p->rules.n && !p->targets.n; k++)
            wanted |= r[k].kube != NULL;
    }
    for (size_t i = 0; i < s->n_targets; i++)
        wanted &= strcmp(s->targets[i]->name, built_in.name) != 0 ||
                  strcmp(s->targets[i]->namespace_, a->namespace_) != 0;
    return wanted;
}

/* False: nobody is let in. */
static bool add_target(struct json_object *list, const struct policy_snapshot *s,
                       const struct agent *a, const struct target *t)
{
    struct json_object *o = target_json(s, a, t);
    bool in = object_count(o, "policies") != 0;

    json_object_array_add(list, o);
    return in;
}

enum exit_code explain_agent(const struct cli *cli, const struct policy_snapshot *policies,
                             const struct agent *agent, const char *target)
{
    struct json_object *all = json_object_new_object(), *list = json_object_new_array();
    enum exit_code code = EXIT_NO;

    for (size_t i = 0; i < policies->n_targets; i++) {
        const struct target *t = policies->targets[i];

        if ((t->namespace_ && strcmp(t->namespace_, agent->namespace_) != 0) ||
            (target && strcmp(target, t->name) != 0))
            continue;
        if (add_target(list, policies, agent, t))
            code = EXIT_DONE;
    }
    if ((!target || strcmp(target, built_in.name) == 0) && shows_built_in(policies, agent) &&
        add_target(list, policies, agent, &built_in))
        code = EXIT_DONE;
    json_object_object_add(all, "targets", list);
    if (cli->output >= OUTPUT_JSON)
        object_print(cli, all);
    else
        print_text(all);
    json_object_put(all);
    return code;
}
