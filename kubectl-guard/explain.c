/* SPDX-License-Identifier: Apache-2.0
 * explain: what policies say about a statement, and why.
 */
#include "clusterpolicies.h"
#include "commands.h"
#include "explain_agent.h"
#include "explain_ssh.h"
#include "judge.h"
#include "kubectl.h"
#include "object.h"
#include "text.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

const struct option_spec explain_options[] = {
    {"policies", 0, "DIR", "a directory of policies, as the guard's --policies (the cluster's)"},
    {"pod", 0, "POD", "the agent is this pod of the cluster: its labels and service account"},
    {"sql", 0, "SQL",
     "the statement or statements; - reads standard input. Without: all that the agent may do"},
    {"ssh", 0, "COMMAND", "a command that the agent runs over SSH, as one text"},
    {"sftp", 0, "PATH", "a file that it touches over SFTP"},
    {"access", 0, "A,A", "with --sftp: read, write, delete (read)"},
    {"target", 0, "T", "the GuardTarget (when there is more than one)"},
    {"database", 'd', "D", "the database that is connected to"},
    {"service-account", 0, "SA", "the agent's service account (default)"},
    {"labels", 'l', "k=v,k=v", "the agent's pod's labels"},
    {"groups", 0, "a,b", "groups of the agent's verified token"},
    {"claims", 0, "k=v,k=v", "claims of the agent's verified token"},
    {"search-path", 0, "a,b", "schemas, in order (public)"},
    {0},
};

#define MAX_LABELS 64
#define SQL_MAX    ((size_t)4 << 20)

/* ---- the question ---- */

struct asked {
    struct judge_question q;
    char **labels_list, **claims_list, **groups, **path;
    const char *labels[2 * MAX_LABELS + 1], *claims[2 * MAX_LABELS + 1];
    struct buffer stdin_text;
    struct json_object *pod; /* or NULL */
};

/* "k=v" to k, v. False: malformed, or too many. */
static bool split_pairs(char **list, const char *ret[static 2 * MAX_LABELS + 1])
{
    for (size_t i = 0; list && list[i]; i++) {
        char *eq = strchr(list[i], '=');

        if (!eq || i == MAX_LABELS)
            return false;
        *eq = '\0';
        ret[2 * i] = list[i];
        ret[2 * i + 1] = eq + 1;
    }
    return true;
}

static struct bytes read_stdin(struct buffer *b)
{
    buffer_init(b, SQL_MAX);
    for (;;) {
        uint8_t *to = buffer_reserve(b, 4096);
        size_t n = to ? fread(to, 1, 4096, stdin) : 0;

        if (n == 0)
            return buffer_bytes(b);
        buffer_commit(b, n);
    }
}

/* Labels and account of the pod, from the cluster. */
static enum exit_code ask_pod(const struct cli *cli, const char *name, struct asked *a)
{
    struct json_object *meta, *account;
    enum exit_code code;
    size_t n = 0;

    if (!kubectl_is_name(name))
        return cli_usage(cli, "\"%s\" is not the name of a pod", name);
    code = kubectl_get(cli, KUBECTL_NAMESPACE, (const char *const[]){"pod", name, NULL}, &a->pod);
    if (code != EXIT_DONE)
        return code;
    meta = object_get(a->pod, "metadata");
    account = object_get(object_get(a->pod, "spec"), "serviceAccountName");
    if (object_get(meta, "labels")) {
        json_object_object_foreach(object_get(meta, "labels"), key, value)
        {
            if (n == MAX_LABELS)
                return cli_fail(EXIT_NO, "the pod has more than %d labels", MAX_LABELS);
            a->labels[2 * n] = key;
            a->labels[2 * n++ + 1] = json_object_get_string(value);
        }
    }
    a->q.agent.pod = name;
    a->q.agent.namespace_ = object_text(meta, "namespace");
    if (account)
        a->q.agent.service_account = json_object_get_string(account);
    return EXIT_DONE;
}

static enum exit_code check_options(const struct cli *cli)
{
    const char *dir = cli_option(cli, "policies"), *pod = cli_option(cli, "pod");

    if (!dir && !cli->cluster)
        return cli_usage(cli, "--policies is missing: which directory? (without a socket, the "
                              "cluster's policies are taken)");
    if (cli_option(cli, "sql") && (cli_option(cli, "ssh") || cli_option(cli, "sftp")))
        return cli_usage(cli, "--sql and --ssh or --sftp are two questions: ask one");
    if (pod && !cli->cluster)
        return cli_usage(cli, "--pod asks the cluster, and a socket is named");
    if (pod && (cli_option(cli, "labels") || cli_option(cli, "service-account")))
        return cli_usage(cli, "--pod says labels and service account: leave out --labels and "
                              "--service-account");
    return EXIT_DONE;
}

static enum exit_code ask(const struct cli *cli, struct asked *a)
{
    const char *dir = cli_option(cli, "policies"), *sql = cli_option(cli, "sql"),
               *account = cli_option(cli, "service-account"), *pod = cli_option(cli, "pod");
    struct error err = {0};
    enum exit_code code = check_options(cli);

    memset(a, 0, sizeof *a);
    if (code != EXIT_DONE)
        return code;
    a->labels_list = cli_split(cli_option(cli, "labels"));
    a->groups = cli_split(cli_option(cli, "groups"));
    a->path = cli_split(cli_option(cli, "search-path"));
    a->claims_list = cli_split(cli_option(cli, "claims"));
    if (!split_pairs(a->labels_list, a->labels) || !split_pairs(a->claims_list, a->claims))
        return cli_usage(cli, "--labels and --claims take k=v,k=v (at most %d)", MAX_LABELS);
    a->q.agent =
        (struct agent){.namespace_ = cli_option(cli, "namespace"),
                       .pod = "explain",
                       .service_account = account ? account : "default",
                       .labels = a->labels,
                       .claims = a->claims,
                       .groups = a->groups && a->groups[0] ? (const char *const *)a->groups : NULL};
    a->q.target = cli_option(cli, "target");
    a->q.database = cli_option(cli, "database");
    a->q.search_path = (const char *const *)a->path;
    a->q.sql = sql && strcmp(sql, "-") == 0 ? read_stdin(&a->stdin_text) : bytes_str(sql);
    code = pod ? ask_pod(cli, pod, a) : EXIT_DONE;
    if (code == EXIT_DONE && !dir)
        code = clusterpolicies_load(cli, &a->q.policies);
    else if (code == EXIT_DONE && policy_load_dir(dir, &a->q.policies, &err) != 0)
        code = cli_fail(EXIT_USAGE, "%s", err.text);
    if (code == EXIT_DONE && !a->q.agent.namespace_)
        a->q.agent.namespace_ = judge_default_namespace(a->q.policies);
    return code;
}

static void asked_done(struct asked *a)
{
    policy_snapshot_unref(a->q.policies);
    buffer_done(&a->stdin_text);
    json_object_put(a->pod);
    free(a->labels_list);
    free(a->claims_list);
    free(a->groups);
    free(a->path);
}

/* ---- the answer as JSON ---- */

static void add_text(struct json_object *o, const char *key, const char *text)
{
    if (text)
        json_object_object_add(o, key, json_object_new_string(text));
}

static void add_decision(struct json_object *o, const struct decision *d)
{
    add_text(o, "verdict", judge_verdict_name(d->verdict));
    if (d->audited)
        add_text(o, "enforced", judge_verdict_name(d->would));
    add_text(o, "policy", d->policy);
    add_text(o, "rule", d->rule);
    add_text(o, "message", d->message);
    if (d->reason[0])
        add_text(o, "reason", d->reason);
}

static const char *where_name(enum where_clause w)
{
    return w == WHERE_ABSENT ? "Absent" : w == WHERE_PRESENT ? "Present" : NULL;
}

static struct json_object *object_json(const struct object *x)
{
    struct json_object *o = json_object_new_object();
    const char *schema = x->schema ? x->schema : x->guess;
    char name[300];

    add_text(o, "operation", operation_name(x->op));
    if (x->name) {
        snprintf(name, sizeof name, "%s%s%s", schema ? schema : "", schema ? "." : "", x->name);
        add_text(o, "relation", name);
    }
    add_text(o, "where", where_name(x->where));
    if (x->implied)
        json_object_object_add(o, "implied", json_object_new_boolean(true));
    if (x->sensitive || x->metadata)
        add_text(o, "catalogue", x->sensitive ? "sensitive" : "metadata");
    return o;
}

static void add_mask(const struct column_mask *m, void *arg)
{
    struct json_object *o = json_object_new_object();
    char column[300];

    snprintf(column, sizeof column, "%s.%s.%s", m->schema ? m->schema : "*", m->relation,
             m->column ? m->column : "*");
    add_text(o, "column", column);
    add_text(o, "method", judge_mask_name(m->method));
    add_text(o, "rule", m->rule);
    json_object_array_add(arg, o);
}

static struct json_object *statement_json(const struct judgement *j, size_t i)
{
    const struct sql_statement *s = &j->message.statements[i];
    struct json_object *o = json_object_new_object(), *objects = json_object_new_array(),
                       *functions = json_object_new_array(), *masks = json_object_new_array();

    struct bytes text = s->text;

    while (text.len && strchr(" \t\r\n", text.p[0]))
        text = bytes_of(text.p + 1, text.len - 1);
    json_object_object_add(o, "text",
                           json_object_new_string_len((const char *)text.p, (int)text.len));
    for (size_t k = 0; k < s->policy.n_objects; k++)
        json_object_array_add(objects, object_json(&s->policy.objects[k]));
    for (size_t k = 0; k < s->policy.n_functions; k++)
        json_object_array_add(functions, json_object_new_string(s->policy.functions[k]));
    judge_masks(j, s, add_mask, masks);
    json_object_object_add(o, "objects", objects);
    json_object_object_add(o, "functions", functions);
    json_object_object_add(o, "masks", masks);
    add_decision(o, &j->decisions[i]);
    return o;
}

static struct json_object *to_json(const struct judgement *j)
{
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();

    add_decision(o, &j->whole);
    add_text(o, "target", j->target->name);
    for (size_t i = 0; i < j->message.n && !j->unparsable; i++)
        json_object_array_add(list, statement_json(j, i));
    json_object_object_add(o, "statements", list);
    return o;
}

/* ---- the answer as text, from the JSON ---- */

static void add_clean(struct buffer *b, const char *before, struct json_object *o, const char *key)
{
    if (!object_text(o, key))
        return;
    buffer_printf(b, "%s", before);
    text_clean(object_bytes(o, key), TEXT_LINE, b);
}

static void add_verdict(const struct cli *cli, struct buffer *b, const char *label,
                        struct json_object *o)
{
    const char *verdict = object_text(o, "verdict");

    buffer_printf(b, "%s", label);
    if (cli->color)
        buffer_printf(b, "\x1b[%sm", *verdict == 'A' ? "32" : *verdict == 'D' ? "31" : "33");
    buffer_printf(b, "%s%s", verdict, cli->color ? "\x1b[0m" : "");
    add_clean(b, " (Audit; Enforce: ", o, "enforced");
    buffer_printf(b, object_text(o, "enforced") ? ")" : "");
    add_clean(b, " by rule ", o, "rule");
    add_clean(b, " of policy ", o, "policy");
    add_clean(b, ": ", o, "reason");
    add_clean(b, " (", o, "message");
    buffer_printf(b, object_text(o, "message") ? ")\n" : "\n");
}

static void add_statement(const struct cli *cli, struct buffer *b, struct json_object *s, size_t i)
{
    buffer_printf(b, "statement %zu\n", i + 1);
    text_clean_indented(object_bytes(s, "text"), "    ", b);
    for (size_t k = 0; k < object_count(s, "objects"); k++) {
        struct json_object *x = object_at(s, "objects", k);

        add_clean(b, "  ", x, "operation");
        add_clean(b, " ", x, "relation");
        add_clean(b, ", where: ", x, "where");
        add_clean(b, ", system catalogue: ", x, "catalogue");
        buffer_printf(b, object_true(x, "implied") ? " (by what is inside)\n" : "\n");
    }
    for (size_t k = 0; k < object_count(s, "functions"); k++) {
        buffer_printf(b, "  function ");
        text_clean(bytes_str(json_object_get_string(object_at(s, "functions", k))), TEXT_LINE, b);
        buffer_add_u8(b, '\n');
    }
    for (size_t k = 0; k < object_count(s, "masks"); k++) {
        struct json_object *m = object_at(s, "masks", k);

        add_clean(b, "  masked column ", m, "column");
        add_clean(b, ", ", m, "method");
        add_clean(b, ", rule ", m, "rule");
        buffer_add_u8(b, '\n');
    }
    if (object_count(s, "masks"))
        buffer_printf(
            b, "  (a guard also refuses uses of a masked column that would reveal it; that needs "
               "the database's catalogue)\n");
    add_verdict(cli, b, "  => ", s);
}

static void print_text(const struct cli *cli, struct json_object *o)
{
    size_t n = object_count(o, "statements");
    struct buffer b;

    buffer_init(&b, (size_t)256 << 20);
    for (size_t i = 0; i < n; i++)
        add_statement(cli, &b, object_at(o, "statements", i), i);
    if (n != 1)
        add_verdict(cli, &b, "the whole message => ", o);
    fwrite(b.p, 1, buffer_len(&b), stdout);
    buffer_done(&b);
}

static enum exit_code explain_sql(const struct cli *cli, const struct asked *a)
{
    struct judgement j = {0};
    struct error err = {0};
    enum exit_code code = EXIT_DONE;
    struct json_object *o;

    if (judge_sql(&a->q, &j, &err) != 0)
        code = cli_fail(EXIT_USAGE, "%s", err.text);
    if (code == EXIT_DONE) {
        o = to_json(&j);
        if (cli->output >= OUTPUT_JSON)
            code = object_print(cli, o);
        else
            print_text(cli, o);
        json_object_put(o);
        if (j.whole.verdict == VERDICT_DENY)
            code = EXIT_NO;
    }
    judge_done(&j);
    return code;
}

enum exit_code cmd_explain(const struct cli *cli)
{
    struct asked a;
    enum exit_code code = ask(cli, &a);

    if (code == EXIT_DONE && cli_option(cli, "sql"))
        code = explain_sql(cli, &a);
    else if (code == EXIT_DONE && (cli_option(cli, "ssh") || cli_option(cli, "sftp")))
        code = explain_ssh(cli, &a.q);
    else if (code == EXIT_DONE)
        code = explain_agent(cli, a.q.policies, &a.q.agent, a.q.target);
    asked_done(&a);
    return code;
}
