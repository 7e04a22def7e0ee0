/* SPDX-License-Identifier: Apache-2.0
 * list: requests for approval.
 */
#include "approval_view.h"
#include "approvalrequest.h"
#include "commands.h"
#include "guardsocket.h"
#include "object.h"
#include "table.h"

#include <json-c/json.h>

const struct option_spec list_options[] = {
    {"pending", 0, NULL, "only those that wait for a decision"},
    {0},
};

static bool is_pending(struct json_object *a)
{
    const char *phase = object_text(a, "phase");

    return phase && strcmp(phase, "Pending") == 0;
}

static void add_row(const struct cli *cli, struct table *t, struct json_object *a)
{
    bool wide = cli->output == OUTPUT_WIDE;
    char age[16], left[16] = "-";

    approval_view_age(object_text(a, "created"), false, age);
    if (is_pending(a))
        approval_view_age(object_text(a, "expires"), true, left);
    if (cli_option(cli, "all-namespaces"))
        table_cell(t, object_text(a, "namespace"));
    table_cell(t, object_text(a, "id"));
    table_cell(t, object_text(a, "phase"));
    table_cell(t, age);
    table_cell(t, left);
    table_cell(t, object_text(a, "target"));
    table_cell(t, object_text(a, "database"));
    table_cell(t, object_text(a, "user"));
    table_cell(t, object_text(a, "rule"));
    if (wide) {
        table_cell(t, object_text(a, "session"));
        table_cell(t, object_text(a, "pod"));
        table_cell(t, object_text(a, "identity"));
        table_cellf(t, "%zu/%lld", object_count(a, "decisions"),
                    (long long)object_number(a, "count", 1));
    }
    table_cell_cut(t, object_text(a, "effect"), wide ? 80 : 40);
    table_cell_cut(t, object_text(a, "statement"), wide ? 200 : 60);
}

/* Pending ones first, the oldest of them on top: it runs out first. Then the decided, newest first.
 */
static struct json_object *sorted(struct json_object *answer, bool pending_only)
{
    struct json_object *list = json_object_new_array();
    size_t n = object_count(answer, "approvals");

    for (size_t i = 0; i < n; i++) {
        struct json_object *a = object_at(answer, "approvals", i);

        if (is_pending(a))
            json_object_array_add(list, json_object_get(a));
    }
    for (size_t i = n; !pending_only && i-- > 0;) {
        struct json_object *a = object_at(answer, "approvals", i);

        if (!is_pending(a))
            json_object_array_add(list, json_object_get(a));
    }
    return list;
}

static void print_table(const struct cli *cli, struct json_object *answer)
{
    static const char *const narrow[] = {"NAMESPACE", "ID",     "PHASE",     "AGE",
                                         "EXPIRES",   "TARGET", "DATABASE",  "USER",
                                         "RULE",      "EFFECT", "STATEMENT", NULL};
    static const char *const all[] = {
        "NAMESPACE", "ID",      "PHASE", "AGE",      "EXPIRES",   "TARGET", "DATABASE",  "USER",
        "RULE",      "SESSION", "POD",   "IDENTITY", "DECISIONS", "EFFECT", "STATEMENT", NULL};
    const char *const *headers = cli->output == OUTPUT_WIDE ? all : narrow;
    struct table t;

    table_init(&t, headers + (cli_option(cli, "all-namespaces") ? 0 : 1));
    for (size_t i = 0; i < object_count(answer, "approvals"); i++)
        add_row(cli, &t, object_at(answer, "approvals", i));
    table_print(&t, stdout);
    table_done(&t);
}

/* As kubectl's -o name, for xargs: approve and deny take it. */
static void print_names(const struct cli *cli, struct json_object *answer)
{
    for (size_t i = 0; i < object_count(answer, "approvals"); i++)
        printf("%s%s\n", cli->cluster ? "approvalrequest.chaperone.dev/" : "",
               object_text(object_at(answer, "approvals", i), "id"));
}

enum exit_code cmd_list(const struct cli *cli)
{
    struct json_object *answer = NULL;
    enum exit_code code = cli->cluster ? approvalrequest_list(cli, &answer)
                                       : guardsocket_ask(cli, "list", NULL, &answer);

    if (code != EXIT_DONE)
        return code;
    json_object_object_add(answer, "approvals", sorted(answer, cli_option(cli, "pending") != NULL));
    if (cli->output >= OUTPUT_JSON)
        code = object_print(cli, answer);
    else if (object_count(answer, "approvals") == 0)
        fputs("No requests for approval.\n", stderr);
    else if (cli->output == OUTPUT_NAME)
        print_names(cli, answer);
    else
        print_table(cli, answer);
    json_object_put(answer);
    return code;
}
