/* SPDX-License-Identifier: Apache-2.0
 * show: one request for approval, whole.
 */
#include "approval_view.h"
#include "approvalrequest.h"
#include "commands.h"
#include "guardsocket.h"
#include "object.h"

#include <json-c/json.h>

enum exit_code cmd_show(const struct cli *cli)
{
    struct json_object *answer = NULL, *fields;
    enum exit_code code;

    if (cli->cluster) {
        code = approvalrequest_show(cli, cli->args[0], &answer);
    } else {
        fields = json_object_new_object();
        json_object_object_add(fields, "id", json_object_new_string(cli->args[0]));
        code = guardsocket_ask(cli, "show", fields, &answer);
    }
    if (code != EXIT_DONE)
        return code;
    if (cli->output >= OUTPUT_JSON)
        code = object_print(cli, answer);
    else
        approval_view_print(cli, object_get(answer, "approval"));
    json_object_put(answer);
    return code;
}
