/* SPDX-License-Identifier: Apache-2.0
 * deny: refuse a request.
 */
#include "approval_view.h"
#include "commands.h"

#include <json-c/json.h>

const struct option_spec deny_options[] = {
    {"reason", 'r', "R", "why; the agent and the record see it"},
    {0},
};

enum exit_code cmd_deny(const struct cli *cli)
{
    const char *reason = cli_option(cli, "reason");
    struct json_object *fields = json_object_new_object();

    json_object_object_add(fields, "id", json_object_new_string(cli->args[0]));
    if (reason)
        json_object_object_add(fields, "reason", json_object_new_string(reason));
    return approval_view_decide(cli, "deny", fields);
}
