/* SPDX-License-Identifier: Apache-2.0
 * status: the guard's state, one figure a line.
 */
#include "commands.h"
#include "guardsocket.h"
#include "object.h"
#include "status_cluster.h"
#include "table.h"

#include <json-c/json.h>

enum exit_code cmd_status(const struct cli *cli)
{
    static const char *const headers[] = {"NAME", "VALUE", NULL};
    struct json_object *answer = NULL;
    enum exit_code code;
    struct table t;

    if (cli->cluster)
        return status_cluster(cli);
    code = guardsocket_ask(cli, "status", NULL, &answer);
    if (code != EXIT_DONE)
        return code;
    if (cli->output >= OUTPUT_JSON) {
        code = object_print(cli, answer);
    } else {
        table_init(&t, headers);
        json_object_object_foreach(answer, key, value)
        {
            table_cell(&t, key);
            table_cell(&t, value ? json_object_get_string(value) : NULL);
        }
        table_print(&t, stdout);
        table_done(&t);
    }
    json_object_put(answer);
    return code;
}
