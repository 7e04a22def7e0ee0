/* SPDX-License-Identifier: Apache-2.0
 * status in a cluster: a line for each thing that has to be in order, then the guards.
 */
#include "status_cluster.h"

#include "clusterchecks.h"
#include "guardpods.h"
#include "object.h"
#include "table.h"
#include "text.h"

#include <json-c/json.h>
#include <stdio.h>

/* ---- the guards ---- */

static struct json_object *guard_json(struct guardpod *pod)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "namespace", json_object_new_string(pod->namespace_));
    json_object_object_add(o, "pod", json_object_new_string(pod->name));
    if (pod->problem[0])
        json_object_object_add(o, "problem", json_object_new_string(pod->problem));
    if (pod->answer)
        json_object_object_add(o, "status", json_object_get(pod->answer));
    return o;
}

/* What is wrong with a guard that answered, or NULL. */
static const char *trouble(struct json_object *status)
{
    const char *error = object_text(status, "policyError");

    if (error && error[0])
        return error;
    if (object_get(status, "ready") && !object_true(status, "ready"))
        return "not ready";
    return NULL;
}

static void check_guards(struct json_object *checks, struct json_object *guards)
{
    size_t n = json_object_array_length(guards), silent = 0, unwell = 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *g = json_object_array_get_idx(guards, i);

        silent += object_text(g, "problem") != NULL;
        unwell += object_get(g, "status") && trouble(object_get(g, "status"));
    }
    if (n == 0)
        clusterchecks_add(checks, "guards", true, "no injected pod here");
    else
        clusterchecks_add(checks, "guards", silent + unwell == 0,
                          "%zu, of which %zu cannot be asked and %zu are not in order", n, silent,
                          unwell);
}

static enum exit_code ask_guards(const struct cli *cli, struct json_object *checks,
                                 struct json_object *guards)
{
    struct guardpods pods;
    size_t silent = 0;
    enum exit_code code = guardpods_find(cli, &pods);

    if (code != EXIT_DONE) {
        clusterchecks_unknown(checks, "guards", "pods cannot be listed");
        return code;
    }
    guardpods_ask(cli, &pods, (const char *const[]){"status", "-o", "json", NULL});
    for (size_t i = 0; i < pods.n; i++) {
        silent += pods.all[i].problem[0] != '\0';
        json_object_array_add(guards, guard_json(&pods.all[i]));
    }
    check_guards(checks, guards);
    code = pods.n && silent == pods.n ? EXIT_UNREACHABLE : EXIT_DONE;
    guardpods_done(&pods);
    return code;
}

/* ---- showing ---- */

static void print_checks(const struct cli *cli, struct json_object *checks)
{
    for (size_t i = 0; i < json_object_array_length(checks); i++) {
        struct json_object *c = json_object_array_get_idx(checks, i), *ok = object_get(c, "ok");
        bool good = object_true(c, "ok");
        struct buffer b;

        buffer_init(&b, (size_t)1 << 20);
        if (cli->color)
            buffer_printf(&b, "\x1b[%sm", good ? "32" : ok ? "31" : "33");
        buffer_printf(&b, "%-8s", good ? "ok" : ok ? "NOT OK" : "unknown");
        if (cli->color)
            buffer_printf(&b, "\x1b[0m");
        buffer_printf(&b, "%-11s ", object_text(c, "check"));
        text_clean(object_bytes(c, "detail"), TEXT_LINE, &b);
        printf("%.*s\n", (int)buffer_len(&b), (const char *)buffer_bytes(&b).p);
        buffer_done(&b);
    }
}

static void guard_row(const struct cli *cli, struct table *t, struct json_object *g)
{
    struct json_object *s = object_get(g, "status");
    const char *problem = object_text(g, "problem");

    if (cli_option(cli, "all-namespaces"))
        table_cell(t, object_text(g, "namespace"));
    table_cell(t, object_text(g, "pod"));
    table_cell(t, object_text(s, "version"));
    table_cell(t, !s ? NULL : object_true(s, "ready") ? "yes" : "no");
    for (size_t i = 0; i < 3; i++) {
        static const char *const keys[] = {"sessions", "statements", "denied"};

        if (s)
            table_cellf(t, "%lld", (long long)object_number(s, keys[i], 0));
        else
            table_cell(t, NULL);
    }
    table_cell_cut(t, object_text(s, "policyDigest"), 13);
    table_cell_cut(t, problem ? problem : s ? trouble(s) : NULL, 160);
}

static void print_guards(const struct cli *cli, struct json_object *guards)
{
    static const char *const headers[] = {"NAMESPACE",  "POD",    "VERSION",  "READY",   "SESSIONS",
                                          "STATEMENTS", "DENIED", "POLICIES", "PROBLEM", NULL};
    struct table t;

    if (json_object_array_length(guards) == 0)
        return;
    table_init(&t, headers + (cli_option(cli, "all-namespaces") ? 0 : 1));
    for (size_t i = 0; i < json_object_array_length(guards); i++)
        guard_row(cli, &t, json_object_array_get_idx(guards, i));
    putchar('\n');
    table_print(&t, stdout);
    table_done(&t);
}

static bool all_in_order(struct json_object *checks)
{
    for (size_t i = 0; i < json_object_array_length(checks); i++) {
        struct json_object *ok = object_get(json_object_array_get_idx(checks, i), "ok");

        if (ok && !json_object_get_boolean(ok))
            return false;
    }
    return true;
}

enum exit_code status_cluster(const struct cli *cli)
{
    struct json_object *answer = json_object_new_object(), *checks = json_object_new_array(),
                       *guards = json_object_new_array();
    enum exit_code code;

    json_object_object_add(answer, "checks", checks);
    json_object_object_add(answer, "guards", guards);
    code = clusterchecks_run(cli, checks);
    if (code == EXIT_DONE) {
        code = ask_guards(cli, checks, guards);
        if (cli->output >= OUTPUT_JSON) {
            object_print(cli, answer);
        } else {
            print_checks(cli, checks);
            print_guards(cli, guards);
        }
        if (code == EXIT_DONE && !all_in_order(checks))
            code = EXIT_NO;
    }
    json_object_put(answer);
    return code;
}
