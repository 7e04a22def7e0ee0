/* SPDX-License-Identifier: Apache-2.0
 * explain --ssh COMMAND, --sftp PATH.
 */
#include "explain_ssh.h"

#include "object.h"
#include "text.h"

#include "sidecar/policy/decide_ssh.h"
#include "sidecar/proto/ssh/command.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the question ---- */

static int access_bits(const char *words, unsigned *ret, struct error *err)
{
    static const struct {
        const char *name;
        unsigned bit;
    } all[] = {
        {"read", SSH_ACCESS_READ}, {"write", SSH_ACCESS_WRITE}, {"delete", SSH_ACCESS_DELETE}};
    char **list = cli_split(words ? words : "read");
    bool ok = list && list[0];

    *ret = 0;
    for (size_t i = 0; ok && list[i]; i++) {
        unsigned before = *ret;

        for (size_t k = 0; k < ARRAY_LEN(all); k++)
            *ret |= strcmp(list[i], all[k].name) == 0 ? all[k].bit : 0;
        ok = *ret != before;
    }
    free(list);
    return ok ? 0 : error_set(err, -EINVAL, "--access takes read, write, delete, each once");
}

static int make_act(const struct cli *cli, struct judgement *j, struct ssh_act *act,
                    struct error *err)
{
    const char *command = cli_option(cli, "ssh"), *path = cli_option(cli, "sftp");

    if (command && path)
        return error_set(err, -EINVAL, "--ssh and --sftp are two questions: ask one");
    if (command)
        return command_parse(bytes_str(command), &j->arena, act);
    if (path[0] != '/' || strstr(path, "..") || strstr(path, "//"))
        return error_set(err, -EINVAL, "--sftp takes a path that begins with /, without ..");
    *act = (struct ssh_act){.request = SSH_REQUEST_SFTP, .text = path, .path = path};
    return access_bits(cli_option(cli, "access"), &act->access, err);
}

/* ---- the answer as JSON ---- */

static void add_text(struct json_object *o, const char *key, const char *text)
{
    if (text && text[0])
        json_object_object_add(o, key, json_object_new_string(text));
}

static struct json_object *commands_json(const struct ssh_act *act)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < act->n_commands; i++) {
        struct json_object *words = json_object_new_array();

        for (size_t k = 0; k < act->commands[i].n; k++)
            json_object_array_add(words, json_object_new_string(act->commands[i].argv[k]));
        json_object_array_add(list, words);
    }
    return list;
}

static struct json_object *hazards_json(unsigned hazards)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < SSH_N_HAZARD_WORDS; i++) {
        if (hazards & ssh_hazard_words[i].value && strcmp(ssh_hazard_words[i].name, "*") != 0)
            json_object_array_add(list, json_object_new_string(ssh_hazard_words[i].name));
    }
    return list;
}

static struct json_object *to_json(const struct judgement *j, const struct ssh_act *act)
{
    struct json_object *o = json_object_new_object();

    add_text(o, "verdict", judge_verdict_name(j->whole.verdict));
    if (j->whole.audited)
        add_text(o, "enforced", judge_verdict_name(j->whole.would));
    add_text(o, "policy", j->whole.policy);
    add_text(o, "rule", j->whole.rule);
    add_text(o, "message", j->whole.message);
    add_text(o, "reason", j->whole.reason);
    add_text(o, "target", j->target->name);
    add_text(o, "text", act->text);
    if (act->request != SSH_REQUEST_EXEC)
        return o;
    json_object_object_add(o, "plain", json_object_new_boolean(act->plain != NULL));
    json_object_object_add(o, "commands", commands_json(act));
    json_object_object_add(o, "hazards", hazards_json(act->hazards));
    return o;
}

/* ---- as text ---- */

static void clean(struct buffer *b, const char *before, struct json_object *o, const char *key)
{
    if (!object_text(o, key))
        return;
    buffer_printf(b, "%s", before);
    text_clean(object_bytes(o, key), TEXT_LINE, b);
}

static void add_command(struct buffer *b, struct json_object *words)
{
    buffer_printf(b, "  command");
    for (size_t k = 0; k < json_object_array_length(words); k++) {
        buffer_printf(b, " [");
        text_clean(bytes_str(json_object_get_string(json_object_array_get_idx(words, k))),
                   TEXT_LINE, b);
        buffer_printf(b, "]");
    }
    buffer_printf(b, "\n");
}

static void print_text(struct json_object *o)
{
    struct json_object *plain = object_get(o, "plain");
    struct buffer b;

    buffer_init(&b, (size_t)16 << 20);
    clean(&b, "", o, "text");
    buffer_printf(&b, "\n");
    for (size_t i = 0; i < object_count(o, "commands"); i++)
        add_command(&b, object_at(o, "commands", i));
    for (size_t i = 0; i < object_count(o, "hazards"); i++)
        buffer_printf(&b, "  hazard %s\n", json_object_get_string(object_at(o, "hazards", i)));
    if (plain && !json_object_get_boolean(plain))
        buffer_printf(&b, "  (not plain: there is something for a shell to do, so no argv of an "
                          "Allow rule matches)\n");
    clean(&b, "  => ", o, "verdict");
    clean(&b, " (Audit; Enforce: ", o, "enforced");
    buffer_printf(&b, object_text(o, "enforced") ? ")" : "");
    clean(&b, " by rule ", o, "rule");
    clean(&b, " of policy ", o, "policy");
    clean(&b, ": ", o, "reason");
    clean(&b, " (", o, "message");
    buffer_printf(&b, object_text(o, "message") ? ")\n" : "\n");
    fwrite(b.p, 1, buffer_len(&b), stdout);
    buffer_done(&b);
}

/* ---- explain ---- */

enum exit_code explain_ssh(const struct cli *cli, const struct judge_question *q)
{
    struct judgement j = {0};
    struct ssh_act act = {0};
    struct error err = {0};
    enum exit_code code = EXIT_DONE;
    struct json_object *o;

    if (judge_begin(q, TARGET_SSH, &j, &err) != 0 || make_act(cli, &j, &act, &err) != 0) {
        code = cli_fail(EXIT_USAGE, "%s", err.text[0] ? err.text : "out of memory");
    } else {
        struct statement st = {.ssh = &act};

        policy_decide(j.view, &st, 1, &j.whole);
        o = to_json(&j, &act);
        if (cli->output >= OUTPUT_JSON)
            code = object_print(cli, o);
        else
            print_text(o);
        json_object_put(o);
        if (j.whole.verdict == VERDICT_DENY)
            code = EXIT_NO;
    }
    judge_done(&j);
    return code;
}
