/* SPDX-License-Identifier: Apache-2.0
 * sessions: live ones from the guard, or recorded ones from a directory.
 */
#include "approval_view.h"
#include "commands.h"
#include "guardpods.h"
#include "guardsocket.h"
#include "object.h"
#include "place.h"
#include "records.h"
#include "recordset.h"
#include "sidecar/record/ledger.h"
#include "table.h"

#include <errno.h>
#include <json-c/json.h>
#include <unistd.h>

const struct option_spec sessions_options[] = {
    RECORDS_OPTIONS,
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

#define HEAD_LINES 16 /* how far into a record its opening and login are looked for */

static void copy_field(struct json_object *to, struct json_object *from, const char *key)
{
    const char *text = object_text(from, key);

    if (text)
        json_object_object_add(to, key, json_object_new_string(text));
}

static struct json_object *describe(struct recordfile *f)
{
    struct json_object *o = json_object_new_object(), *line;
    const struct record_check *c = &f->check;
    struct bytes text;

    json_object_object_add(o, "session", json_object_new_string(c->session));
    for (int i = 0; i < HEAD_LINES && recordfile_next(f, &text, &line); i++) {
        const char *type = object_text(line, "type");

        if (i == 0 && object_text(line, "time"))
            json_object_object_add(o, "started", json_object_new_string(object_text(line, "time")));
        if (type && strcmp(type, "session.open") == 0) {
            copy_field(o, line, "target");
            copy_field(o, line, "client");
        } else if (type && strcmp(type, "auth") == 0) {
            copy_field(o, line, "user");
            copy_field(o, line, "database");
            copy_field(o, line, "identity");
        }
        json_object_put(line);
    }
    json_object_object_add(o, "statements", json_object_new_uint64(c->statements));
    json_object_object_add(o, "denied", json_object_new_uint64(c->denied));
    json_object_object_add(o, "approvals", json_object_new_uint64(c->approvals));
    json_object_object_add(o, "integrity", json_object_new_string(recordfile_verdict(c)));
    return o;
}

static void recorded_row(struct table *t, struct json_object *s)
{
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
}

struct listing {
    const struct cli *cli;
    struct json_object *list;
};

static void list_record(const char *path, const char *dir, const char *session, void *arg)
{
    const char *slash = strrchr(path, '/'), *name = session ? session : slash ? slash + 1 : path;
    struct listing *l = arg;
    struct recordfile f;

    (void)dir;
    if (strncmp(name, LEDGER_PREFIX, sizeof LEDGER_PREFIX - 1) == 0)
        return;
    if (recordfile_open(l->cli, path, &f) == EXIT_DONE)
        json_object_array_add(l->list, describe(&f));
    recordfile_close(&f);
}

static struct json_object *read_spool(const struct cli *cli, const char *dir)
{
    struct listing l = {cli, json_object_new_array()};
    struct json_object *answer = json_object_new_object();
    struct error err = {0};
    struct recordset set;
    int rc;

    json_object_object_add(answer, "sessions", l.list);
    recordset_init(&set);
    rc = recordset_walk(&set, dir, list_record, &l, &err);
    recordset_done(&set);
    if (rc == 0)
        return answer;
    cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    json_object_put(answer);
    return NULL;
}

static enum exit_code list_recorded(const struct cli *cli, const char *dir)
{
    static const char *const headers[] = {"SESSION",   "STARTED",   "TARGET",     "DATABASE",
                                          "USER",      "IDENTITY",  "STATEMENTS", "DENIED",
                                          "APPROVALS", "INTEGRITY", NULL};
    struct json_object *answer = read_spool(cli, dir);
    enum exit_code code = EXIT_DONE;
    struct table t;

    if (!answer)
        return EXIT_UNREACHABLE;
    if (cli->output >= OUTPUT_JSON) {
        code = object_print(cli, answer);
    } else if (object_count(answer, "sessions") == 0) {
        cli_fail(EXIT_DONE, "no records in %s", dir);
    } else {
        table_init(&t, headers);
        for (size_t i = 0; i < object_count(answer, "sessions"); i++)
            recorded_row(&t, object_at(answer, "sessions", i));
        table_print(&t, stdout);
        table_done(&t);
    }
    json_object_put(answer);
    return code;
}

enum exit_code cmd_sessions(const struct cli *cli)
{
    const char *dir = records_from(cli);

    return dir ? list_recorded(cli, dir) : list_live(cli);
}
