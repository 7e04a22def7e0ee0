/* SPDX-License-Identifier: Apache-2.0
 * Completion: commands, options, and what the cluster or the guard has.
 */
#include "complete.h"

#include "approvalrequest.h"
#include "commands.h"
#include "guardpods.h"
#include "guardsocket.h"
#include "object.h"
#include "text.h"

#include <json-c/json.h>
#include <stdio.h>

struct completion {
    struct cli cli;     /* what stands before */
    const char *word;   /* what has been written of this one */
    const char *before; /* "--context=", of the same word */
    bool files;
};

static void offer(const struct completion *c, const char *candidate, const char *remark)
{
    struct buffer b;

    if (!candidate || strncmp(candidate, c->word, strlen(c->word)) != 0)
        return;
    buffer_init(&b, (size_t)1 << 16);
    buffer_printf(&b, "%s", c->before);
    text_clean_cut(bytes_str(candidate), 300, &b);
    if (remark && remark[0]) {
        buffer_add_u8(&b, '\t');
        text_clean_cut(bytes_str(remark), 80, &b);
    }
    printf("%.*s\n", (int)buffer_len(&b), (const char *)buffer_bytes(&b).p);
    buffer_done(&b);
}

static void offer_all(const struct completion *c, const char *const *list)
{
    for (; *list; list++)
        offer(c, *list, NULL);
}

/* ---- what is there ---- */

static void offer_requests(const struct completion *c, bool pending)
{
    struct json_object *answer = NULL;

    if ((c->cli.cluster ? approvalrequest_list(&c->cli, &answer)
                        : guardsocket_ask(&c->cli, "list", NULL, &answer)) != EXIT_DONE)
        return;
    for (size_t i = 0; i < object_count(answer, "approvals"); i++) {
        struct json_object *a = object_at(answer, "approvals", i);
        const char *phase = object_text(a, "phase");

        if (!pending || (phase && strcmp(phase, "Pending") == 0))
            offer(c, object_text(a, "id"), object_text(a, "effect"));
    }
    json_object_put(answer);
}

static void offer_sessions_of(const struct completion *c, struct json_object *answer)
{
    for (size_t i = 0; i < object_count(answer, "sessions"); i++) {
        struct json_object *s = object_at(answer, "sessions", i);

        offer(c, object_text(s, "id"), object_text(s, "target"));
    }
}

static void offer_sessions(const struct completion *c, bool with_pods)
{
    struct json_object *answer = NULL;
    struct guardpods pods;

    if (!c->cli.cluster) {
        if (guardsocket_ask(&c->cli, "sessions", NULL, &answer) == EXIT_DONE)
            offer_sessions_of(c, answer);
        json_object_put(answer);
        return;
    }
    if (guardpods_find(&c->cli, &pods) == EXIT_DONE)
        guardpods_ask(&c->cli, &pods, (const char *const[]){"sessions", "-o", "json", NULL});
    for (size_t i = 0; i < pods.n; i++) {
        offer_sessions_of(c, pods.all[i].answer);
        if (with_pods)
            offer(c, pods.all[i].name, "pod");
    }
    guardpods_done(&pods);
}

/* Names that a kubectl command prints, one a line, perhaps as "kind/NAME". */
static void offer_names(const struct completion *c, const char *const *args)
{
    struct kubectl_answer a;
    struct kubectl k;

    kubectl_init(&k, &c->cli, KUBECTL_AS_GIVEN);
    kubectl_add_all(&k, args);
    kubectl_run(&k, &a);
    kubectl_done(&k);
    for (char *save = NULL, *line = a.text ? strtok_r(a.text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        char *slash = args[0][0] == 'g' ? strchr(line, '/') : NULL; /* get, not config */

        if (strcmp(line, "NAME") != 0)
            offer(c, slash ? slash + 1 : line, NULL);
    }
    kubectl_answer_done(&a);
}

/* ---- where we are ---- */

static void offer_value(struct completion *c, const struct option_spec *o)
{
    static const struct {
        const char *option, *args[6];
    } lookups[] = {
        {"namespace", {"get", "namespaces", "-o", "name"}},
        {"context", {"config", "get-contexts", "-o", "name"}},
        {"cluster", {"config", "get-clusters"}},
        {"user", {"config", "get-users"}},
        {"pod", {"get", "pods", "-o", "name"}},
        {"target", {"get", "guardtargets.chaperone.dev", "-o", "name"}},
    };
    static const char *const forms[] = {"table", "wide", "name", "json", "yaml", NULL};
    static const char *const times[] = {"5m", "15m", "1h", "8h", NULL};
    static const char *const ago[] = {"1h", "24h", "7d", "30d", NULL};
    static const char *const verdicts[] = {"Allow", "Deny", "RequireApproval", NULL};
    static const char *const exports[] = {"html", "asciicast", "json", "csv", NULL};
    static const char *const speeds[] = {"1", "2", "10", NULL};
    static const struct {
        const char *option, *const *words;
    } choices[] = {{"output", forms},     {"for", times},      {"since", ago},   {"until", ago},
                   {"verdict", verdicts}, {"format", exports}, {"speed", speeds}};

    for (size_t i = 0; i < ARRAY_LEN(choices); i++)
        if (strcmp(choices[i].option, o->name) == 0)
            offer_all(c, choices[i].words);
    c->files = strcmp(o->value, "PLACE") == 0 || strcmp(o->value, "DIR") == 0 ||
               strcmp(o->value, "FILE") == 0 || strcmp(o->value, "F") == 0 ||
               strcmp(o->value, "PATH") == 0;
    for (size_t i = 0; i < ARRAY_LEN(lookups); i++)
        if (strcmp(lookups[i].option, o->name) == 0)
            offer_names(c, lookups[i].args);
}

static void offer_options_of(const struct completion *c, const struct option_spec *list)
{
    for (; list && list->name; list++) {
        char text[64];

        snprintf(text, sizeof text, "--%s", list->name);
        if (list->many || !cli_option(&c->cli, list->name))
            offer(c, text, list->help);
    }
}

static void offer_options(const struct completion *c)
{
    const struct command *command = c->cli.command;

    if (command)
        offer_options_of(c, command->options);
    offer_options_of(c, global_options);
    if (!command || command->place != PLACE_FILES)
        offer_options_of(c, kubectl_options);
}

static void offer_words(struct completion *c)
{
    static const char *const shells[] = {"bash", "zsh", "fish", NULL};
    const struct command *command = c->cli.command;

    for (const struct command *k = commands; !command && k->name; k++)
        offer(c, k->name, k->summary);
    if (!command)
        return;
    c->files = command->run == cmd_replay || command->run == cmd_verify ||
               command->run == cmd_export || command->run == cmd_test;
    if (c->cli.n_args >= command->max_args)
        return;
    if (command->run == cmd_show)
        offer_requests(c, false);
    else if (command->run == cmd_approve || command->run == cmd_deny)
        offer_requests(c, true);
    else if (command->run == cmd_kill || command->run == cmd_tail)
        offer_sessions(c, command->run == cmd_tail);
    else if (command->run == cmd_completion)
        offer_all(c, shells);
    if (command->run == cmd_tail)
        offer(c, "all", "every session");
}

static const struct option_spec *find_option(const struct cli *cli, const char *word)
{
    const char *name = word + 1 + (word[1] == '-');
    struct bytes b = bytes_of(name, strcspn(name, "="));
    const struct option_spec *o = cli->command ? cli_find_option(cli->command->options, b) : NULL;

    o = o ? o : cli_find_option(global_options, b);
    return o ? o : cli_find_option(kubectl_options, b);
}

/* Takes the words before the last; an option at their end that waits for its value is *ret_open. */
static bool parse(int n, char **words, struct cli *cli, const struct option_spec **ret_open)
{
    char **argv = calloc((size_t)n + 2, sizeof *argv), none[] = "";
    struct error err = {0};
    bool ok;

    if (!argv)
        return false;
    argv[0] = none;
    for (int i = 0; i + 1 < n; i++)
        argv[i + 1] = words[i];
    ok = cli_parse(n, argv, cli, &err) == EXIT_DONE;
    if (!ok && n > 1 && words[n - 2][0] == '-' && words[n - 2][1] && !strchr(words[n - 2], '=')) {
        cli_done(cli);
        ok = cli_parse(n - 1, argv, cli, &err) == EXIT_DONE;
        *ret_open = ok ? find_option(cli, words[n - 2]) : NULL;
        ok = ok && *ret_open && (*ret_open)->value;
    }
    free(argv);
    return ok;
}

static void complete_word(struct completion *c, const struct option_spec *open)
{
    const char *eq = strchr(c->word, '=');
    _cleanup_(free_charp) char *before = NULL;
    const struct option_spec *o;

    if (open) {
        offer_value(c, open);
    } else if (c->word[0] == '-' && eq) {
        o = find_option(&c->cli, c->word);
        before = strndup(c->word, (size_t)(eq - c->word) + 1);
        if (!o || !o->value || !before)
            return;
        c->before = before;
        c->word = eq + 1;
        offer_value(c, o);
    } else if (c->word[0] == '-') {
        offer_options(c);
    } else {
        offer_words(c);
    }
}

enum exit_code complete(int n, char **words)
{
    struct completion c = {.word = n > 0 ? words[n - 1] : "", .before = ""};
    const struct option_spec *open = NULL;

    if (!freopen("/dev/null", "w", stderr))
        return EXIT_UNREACHABLE;
    if (parse(n > 0 ? n : 1, words, &c.cli, &open)) {
        c.cli.quick = true;
        complete_word(&c, open);
    }
    cli_done(&c.cli);
    printf(":%d\n", c.files ? 0 : 4);
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_UNREACHABLE;
}
