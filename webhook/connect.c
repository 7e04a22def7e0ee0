/* SPDX-License-Identifier: Apache-2.0
 * CONNECT: who may run what in the guard's container. Only the people's tool, with the command
 * lines of docs/kubernetes.md, and without a way to talk to it.
 */
#include "validate.h"

#include <stdio.h>

#define MAX_WORDS 8
#define SESSION   "<session>"

struct command {
    enum connect_need need;
    const char *words[MAX_WORDS]; /* behind "/kubectl-guard --socket …" */
};

static const char *const prefix[] = {"/kubectl-guard", "--socket", "/run/chaperone/control.sock"};

static const struct command commands[] = {
    {CONNECT_GET, {"sessions", "-o", "json"}}, {CONNECT_GET, {"status", "-o", "json"}},
    {CONNECT_GET, {"tail", "all", "--json"}},  {CONNECT_GET, {"tail", SESSION, "--json"}},
    {CONNECT_DELETE, {"kill", SESSION}},
};

static const struct value_shape shapes[] = {
    {"container", json_type_string},
    {"command[]", json_type_string},
    {"stdin", json_type_boolean},
    {"tty", json_type_boolean},
};

/* An id; never something that would be read as an option. */
static bool is_session(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n <= 128 && s[0] != '-' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static const char *word(struct json_object *command, size_t i)
{
    return json_object_get_string(value_item(command, i));
}

static bool matches(struct json_object *command, const struct command *c)
{
    size_t n = ARRAY_LEN(prefix), i;

    for (i = 0; i < MAX_WORDS && c->words[i]; i++) {
        const char *found = word(command, n + i);

        if (!found)
            return false;
        if (strcmp(c->words[i], SESSION) == 0 ? !is_session(found)
                                              : strcmp(found, c->words[i]) != 0)
            return false;
    }
    return value_n(command) == n + i;
}

static enum connect_need judge_command(struct json_object *command)
{
    for (size_t i = 0; i < ARRAY_LEN(prefix); i++) {
        if (!value_item(command, i) || strcmp(word(command, i), prefix[i]) != 0)
            return CONNECT_REFUSED;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (matches(command, &commands[i]))
            return commands[i].need;
    }
    return CONNECT_REFUSED;
}

static enum connect_need judge_exec(struct json_object *options, struct answer *a)
{
    enum connect_need need = judge_command(value_get(options, "command"));

    if (need == CONNECT_REFUSED)
        answer_refuse(a, "command: only what kubectl guard sessions, status, tail and kill run may "
                         "run in the guard's container; use those");
    if (value_bool(options, "stdin"))
        answer_refuse(a, "stdin: not into the guard's container; leave out -i");
    if (value_bool(options, "tty"))
        answer_refuse(a, "tty: not into the guard's container; leave out -t");
    return a->n_reasons ? CONNECT_REFUSED : need;
}

enum connect_need validate_connect(const struct review *r, struct answer *a)
{
    bool exec = strcmp(r->sub_resource, "exec") == 0;
    const char *container = value_text(r->object, "container");
    struct error err;

    if (!exec && strcmp(r->sub_resource, "attach") != 0) {
        answer_refuse(a, "pods/%.32s: expected exec or attach", r->sub_resource);
        return CONNECT_REFUSED;
    }
    if (!r->object || value_expect(r->object, shapes, ARRAY_LEN(shapes), &err) < 0) {
        answer_refuse(a, "%s", r->object ? err.text : "object: required");
        return CONNECT_REFUSED;
    }
    if (strcmp(container, POD_INIT) != 0 && strcmp(container, POD_GUARD) != 0)
        return CONNECT_FREE;
    if (!exec || strcmp(container, POD_INIT) == 0) {
        answer_refuse(a, "container: %s to \"%s\" is not permitted; name another container",
                      r->sub_resource, container);
        return CONNECT_REFUSED;
    }
    return judge_exec(r->object, a);
}
