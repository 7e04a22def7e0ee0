/* SPDX-License-Identifier: Apache-2.0
 * kill: end a session.
 */
#include "commands.h"
#include "guardsocket.h"
#include "object.h"

#include <json-c/json.h>
#include <stdio.h>

enum exit_code cmd_kill(const struct cli *cli)
{
    struct json_object *answer = NULL, *fields = json_object_new_object();
    enum exit_code code;

    json_object_object_add(fields, "session", json_object_new_string(cli->args[0]));
    code = guardsocket_ask(cli, "kill", fields, &answer);
    if (code == EXIT_DONE && cli->output >= OUTPUT_JSON)
        code = object_print(cli, answer);
    else if (code == EXIT_DONE)
        printf("%s ended\n", cli->args[0]);
    json_object_put(answer);
    return code;
}
