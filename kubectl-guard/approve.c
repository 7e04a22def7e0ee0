/* SPDX-License-Identifier: Apache-2.0
 * approve: one vote for a request.
 */
#include "approval_view.h"
#include "commands.h"

#include <json-c/json.h>

#define MAX_USES 1000000

const struct option_spec approve_options[] = {
    {"reason", 'r', "R", "why; kept in the record"},
    {"for", 0, "TIME", "allow identical statements for this long: 90s, 15m, 1h30m (at most 7d)"},
    {"uses", 0, "N", "allow the statement N times in all"},
    {0},
};

enum exit_code cmd_approve(const struct cli *cli)
{
    const char *reason = cli_option(cli, "reason"), *span = cli_option(cli, "for"),
               *uses = cli_option(cli, "uses");
    struct json_object *fields;
    uint32_t seconds = 0, n = 0;

    if (span && uses)
        return cli_usage(cli, "--for and --uses exclude each other");
    if (span && !cli_duration(span, &seconds))
        return cli_usage(cli, "--for takes a time like 90s, 15m or 1h30m, at most 7d, not \"%s\"",
                         span);
    if (uses && !cli_number(uses, MAX_USES, &n))
        return cli_usage(cli, "--uses takes a number from 1 to %d, not \"%s\"", MAX_USES, uses);
    fields = json_object_new_object();
    json_object_object_add(fields, "id", json_object_new_string(cli->args[0]));
    if (reason)
        json_object_object_add(fields, "reason", json_object_new_string(reason));
    if (seconds)
        json_object_object_add(fields, "forSeconds", json_object_new_int64(seconds));
    if (n)
        json_object_object_add(fields, "uses", json_object_new_int64(n));
    return approval_view_decide(cli, "approve", fields);
}
