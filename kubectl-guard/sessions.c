/* SPDX-License-Identifier: Apache-2.0
 * sessions: live ones from the guard, or recorded ones from a directory.
 */
#include "approval_view.h"
#include "commands.h"
#include "guardpods.h"
#include "guardsocket.h"
#include "object.h"
#include "records.h"
#include "table.h"

#include <json-c/json.h>

const struct option_spec sessions_options[] = {
    RECORDS_OPTIONS,
    FILTER_OPTIONS,
    {0},
};

/* ---- live ---- */

static void live_row(const struct cli *cli, struct table *t, struct json_object *s)
{
    char age[16];

    approval_view_age(object_text(s, "started"), false, age);
    if (cli_option(cli, "all-namespaces"))
        table_cell(t, object_text(s, "namespace"));
    if (cli->cluster)
        table_cell(t, object_text(s, "pod"));
    table_cell(t, object_text(s, "id"));
    table_cell(t, object_text(s, "target"));
    table_cell(t, object_text(s, "database"));
    table_cell(t, object_text(s, "user"));
    table_cell(t, object_text(s, "client"));
    table_cell(t, object_text(s, "state"));
    table_cell(t, age);
    table_cellf(t, "%lld", (long long)object_number(s, "statements", 0));
    table_cellf(t, "%lld", (long long)object_number(s, "denied", 0));
}

/* The sessions of all guards, each with its pod. */
static enum exit_code ask_pods(const struct cli *cli, struct json_object **ret)
{
    struct guardpods pods;
    struct json_object *list;
    enum exit_code code = guardpods_find(cli, &pods);

    if (code != EXIT_DONE)
        return code;
    guardpods_ask(cli, &pods, (const char *const[]){"sessions", "-o", "json", NULL});
    list = json_object_new_array();
    for (size_t i = 0; i < pods.n; i++)
        for (size_t k = 0; k < object_count(pods.all[i].answer, "sessions"); k++) {
            struct json_object *s = object_at(pods.all[i].answer, "sessions", k);

            if (!json_object_is_type(s, json_type_object))
                continue;
            json_object_object_add(s, "namespace", json_object_new_string(pods.all[i].namespace_));
            json_object_object_add(s, "pod", json_object_new_string(pods.all[i].name));
            json_object_array_add(list, json_object_get(s));
        }
    *ret = json_object_new_object();
    json_object_object_add(*ret, "sessions", list);
    json_object_object_add(*ret, "unreachable", guardpods_unreachable(&pods));
    code = guardpods_complain(cli, &pods);
    if (code == EXIT_DONE && pods.n && object_count(*ret, "sessions") == 0)
        fputs("No live sessions.\n", stderr);
    guardpods_done(&pods);
    return code;
}

static void print_live(const struct cli *cli, struct json_object *answer)
{
    static const char *const headers[] = {"NAMESPACE", "POD",        "SESSION", "TARGET",
                                          "DATABASE",  "USER",       "CLIENT",  "STATE",
                                          "AGE",       "STATEMENTS", "DENIED",  NULL};
    struct table t;

    table_init(&t, headers + (cli_option(cli, "all-namespaces") ? 0 : cli->cluster ? 1 : 2));
    for (size_t i = 0; i < object_count(answer, "sessions"); i++)
        live_row(cli, &t, object_at(answer, "sessions", i));
    table_print(&t, stdout);
    table_done(&t);
}

static enum exit_code list_live(const struct cli *cli)
{
    struct json_object *answer = NULL;
    enum exit_code code =
        cli->cluster ? ask_pods(cli, &answer) : guardsocket_ask(cli, "sessions", NULL, &answer);

    if (answer && cli->output >= OUTPUT_JSON)
        object_print(cli, answer);
    else if (object_count(answer, "sessions"))
        print_live(cli, answer);
    else if (code == EXIT_DONE && !cli->cluster)
        fputs("No live sessions.\n", stderr);
    json_object_put(answer);
    return code;
}

/* ---- recorded ---- */

static void recorded_row(const struct cli *cli, struct table *t, struct json_object *s)
{
    if (cli->output == OUTPUT_WIDE) {
        table_cell(t, object_text(s, "namespace"));
        table_cell(t, object_text(s, "pod"));
    }
    table_cell(t, object_text(s, "session"));
    table_cell_cut(t, object_text(s, "started"), 19);
    table_cell(t, object_text(s, "target"));
    table_cell(t, object_text(s, "database"));
    table_cell(t, object_text(s, "user"));
    table_cell(t, object_text(s, "identity"));
    table_cellf(t, "%lld", (long long)object_number(s, "statements", 0));
    table_cellf(t, "%lld", (long long)object_number(s, "denied", 0));
    table_cellf(t, "%lld", (long long)object_number(s, "approvals", 0));
    table_cell(t, object_text(s, "integrity"));
    if (cli->output == OUTPUT_WIDE) {
        table_cell(t, object_text(s, "protocol"));
        table_cell_cut(t, object_text(s, "ended"), 19);
        table_cell(t, object_text(s, "place"));
    }
}

static enum exit_code take_session(struct recordfile *f, struct json_object *about, void *arg)
{
    (void)f;
    json_object_array_add(arg, json_object_get(about));
    return EXIT_DONE;
}

static void print_recorded(const struct cli *cli, struct json_object *answer)
{
    static const char *const narrow[] = {"SESSION",   "STARTED",   "TARGET",     "DATABASE",
                                         "USER",      "IDENTITY",  "STATEMENTS", "DENIED",
                                         "APPROVALS", "INTEGRITY", NULL};
    static const char *const wide[] = {"NAMESPACE",  "POD",      "SESSION",   "STARTED",
                                       "TARGET",     "DATABASE", "USER",      "IDENTITY",
                                       "STATEMENTS", "DENIED",   "APPROVALS", "INTEGRITY",
                                       "PROTOCOL",   "ENDED",    "PLACE",     NULL};
    struct table t;

    table_init(&t, cli->output == OUTPUT_WIDE ? wide : narrow);
    for (size_t i = 0; i < object_count(answer, "sessions"); i++)
        recorded_row(cli, &t, object_at(answer, "sessions", i));
    table_print(&t, stdout);
    table_done(&t);
}

static enum exit_code list_recorded(const struct cli *cli, const char *dir)
{
    struct json_object *list = json_object_new_array(), *answer = json_object_new_object();
    struct filter filter;
    enum exit_code code = filter_read(cli, &filter), printed = EXIT_DONE;

    json_object_object_add(answer, "sessions", list);
    if (code == EXIT_DONE)
        code = records_each(cli, &filter, take_session, list);
    if (code == EXIT_USAGE || (code != EXIT_DONE && json_object_array_length(list) == 0)) {
        json_object_put(answer);
        return code;
    }
    if (cli->output >= OUTPUT_JSON)
        printed = object_print(cli, answer);
    else if (json_object_array_length(list) == 0)
        cli_fail(EXIT_DONE, filter_any(&filter) ? "no record in %s matches" : "no records in %s",
                 dir);
    else
        print_recorded(cli, answer);
    json_object_put(answer);
    return printed > code ? printed : code;
}

enum exit_code cmd_sessions(const struct cli *cli)
{
    static const struct option_spec filters[] = {FILTER_OPTIONS, BUCKET_OPTIONS, {0}};
    const char *dir = records_from(cli);

    for (const struct option_spec *o = filters; !dir && o->name; o++)
        if (strcmp(o->name, "namespace") != 0 && cli_option(cli, o->name))
            return cli_usage(cli, "--%s chooses among records: it needs --from", o->name);
    return dir ? list_recorded(cli, dir) : list_live(cli);
}
