/* SPDX-License-Identifier: Apache-2.0
 * kill: end a session.
 */
#include "commands.h"
#include "guardpods.h"
#include "guardsocket.h"
#include "object.h"

#include <json-c/json.h>
#include <stdio.h>

static enum exit_code kill_at_guard(const struct cli *cli)
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

static enum exit_code tell(const struct cli *cli, const struct guardpod *pod)
{
    struct json_object *o;
    enum exit_code code;

    if (cli->output < OUTPUT_JSON) {
        printf("%s ended, in pod %s\n", cli->args[0], pod->name);
        return EXIT_DONE;
    }
    o = json_object_new_object();
    json_object_object_add(o, "ok", json_object_new_boolean(true));
    json_object_object_add(o, "namespace", json_object_new_string(pod->namespace_));
    json_object_object_add(o, "pod", json_object_new_string(pod->name));
    code = object_print(cli, o);
    json_object_put(o);
    return code;
}

static enum exit_code kill_in_pod(const struct cli *cli, struct guardpod *pod)
{
    struct kubectl_answer a;
    enum exit_code code;

    guardpods_exec(cli, pod, (const char *const[]){"kill", cli->args[0], NULL});
    kubectl_run(&pod->command, &a);
    if (a.result == KUBECTL_OK)
        code = tell(cli, pod);
    else if (strstr(a.words, "command terminated with exit code 1")) /* ended in the meantime */
        code = cli_fail(EXIT_NO, "%s", a.words);
    else
        code = kubectl_complain(cli, &a);
    kubectl_answer_done(&a);
    return code;
}

enum exit_code cmd_kill(const struct cli *cli)
{
    struct guardpod *pod = NULL;
    struct guardpods pods;
    enum exit_code code;

    if (!cli->cluster)
        return kill_at_guard(cli);
    if (!guardpods_is_session(cli->args[0]))
        return cli_usage(cli, "\"%s\" is not a session", cli->args[0]);
    code = guardpods_find(cli, &pods);
    if (code == EXIT_DONE)
        code = guardpods_of_session(cli, cli->args[0], &pods, &pod);
    if (code == EXIT_DONE)
        code = kill_in_pod(cli, pod);
    guardpods_done(&pods);
    return code;
}
