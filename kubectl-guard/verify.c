/* SPDX-License-Identifier: Apache-2.0
 * verify: are records whole and unchanged?
 */
#include "commands.h"
#include "object.h"
#include "recordfile.h"
#include "text.h"

#include <json-c/json.h>
#include <stdio.h>

const struct option_spec verify_options[] = {
    {"strict", 0, NULL, "an unsealed record is a failure, too"},
    {0},
};

static struct json_object *to_json(const char *path, const struct record_check *c,
                                   const char *error)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "file", json_object_new_string(path));
    json_object_object_add(o, "verdict",
                           json_object_new_string(error ? "UNREADABLE" : recordfile_verdict(c)));
    if (error) {
        json_object_object_add(o, "error", json_object_new_string(error));
        return o;
    }
    json_object_object_add(o, "ok", json_object_new_boolean(c->ok));
    json_object_object_add(o, "sealed", json_object_new_boolean(c->sealed));
    json_object_object_add(o, "session", json_object_new_string(c->session));
    json_object_object_add(o, "lines", json_object_new_uint64(c->lines));
    json_object_object_add(o, "statements", json_object_new_uint64(c->statements));
    json_object_object_add(o, "denied", json_object_new_uint64(c->denied));
    json_object_object_add(o, "approvals", json_object_new_uint64(c->approvals));
    json_object_object_add(o, "head", json_object_new_string(c->head));
    if (!c->ok) {
        json_object_object_add(o, "badSeq", json_object_new_uint64(c->bad_seq));
        json_object_object_add(o, "reason", json_object_new_string(c->reason));
    }
    return o;
}

static void print_text(const char *path, const struct record_check *c)
{
    struct buffer b;

    buffer_init(&b, (size_t)1 << 20);
    text_clean(bytes_str(path), TEXT_LINE, &b);
    if (c->ok)
        buffer_printf(&b, ": %s %llu lines, %llu statements, %llu denied%s%s",
                      recordfile_verdict(c), (unsigned long long)c->lines,
                      (unsigned long long)c->statements, (unsigned long long)c->denied,
                      c->head[0] ? ", head " : "", c->head);
    else
        buffer_printf(&b, ": TAMPERED at seq %llu: %s", (unsigned long long)c->bad_seq, c->reason);
    printf("%.*s\n", (int)buffer_len(&b), (const char *)b.p);
    buffer_done(&b);
}

enum exit_code cmd_verify(const struct cli *cli)
{
    struct json_object *list = json_object_new_array();
    bool strict = cli_option(cli, "strict") != NULL, json = cli->output >= OUTPUT_JSON;
    enum exit_code code = EXIT_DONE;

    for (size_t i = 0; i < cli->n_args; i++) {
        struct record_check c;
        struct error err = {0};
        int r = record_verify_file(cli->args[i], &c, &err);

        if (json)
            json_object_array_add(list, to_json(cli->args[i], &c, r == 0 ? NULL : err.text));
        if (r != 0) {
            cli_fail(EXIT_UNREACHABLE, "%s", err.text);
            code = code == EXIT_NO ? code : EXIT_UNREACHABLE;
            continue;
        }
        if (!json)
            print_text(cli->args[i], &c);
        if (c.ok && !c.sealed)
            cli_fail(EXIT_DONE, "warning: %s is unsealed: its end may be missing", cli->args[i]);
        if (!c.ok || (strict && !c.sealed))
            code = EXIT_NO;
    }
    if (json)
        object_print(cli, list);
    json_object_put(list);
    return code;
}
