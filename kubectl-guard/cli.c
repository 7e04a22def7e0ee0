/* SPDX-License-Identifier: Apache-2.0
 * Parses the command line.
 */
#include "cli.h"

#include "text.h"

#include <stdarg.h>
#include <stdio.h>

#define MAX_FOR_S (7u * 24 * 3600)

const struct option_spec *cli_find_option(const struct option_spec *list, struct bytes name)
{
    for (; list && list->name; list++)
        if ((name.len == 1 && list->letter && name.p[0] == (uint8_t)list->letter) ||
            bytes_eq_str(name, list->name))
            return list;
    return NULL;
}

/* Before the command is known: what any command may be given. */
static const struct option_spec *find_anywhere(struct bytes name)
{
    const struct option_spec *o = cli_find_option(global_options, name);

    o = o ? o : cli_find_option(kubectl_options, name);
    for (const struct command *c = commands; c->name && !o; c++)
        o = cli_find_option(c->options, name);
    return o;
}

static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] != '\0';
}

/* "--name=value", "--name", "-n": the name, and the value when it is in the same word. */
static struct bytes option_name(const char *arg, const char **ret_value)
{
    const char *name = arg + 1 + (arg[1] == '-');
    const char *eq = strchr(name, '=');

    *ret_value = eq ? eq + 1 : NULL;
    if (arg[1] != '-') { /* -ojson, too */
        *ret_value = eq == name + 1 ? eq + 1 : name[1] ? name + 1 : NULL;
        return bytes_of(name, 1);
    }
    return bytes_of(name, eq ? (size_t)(eq - name) : strlen(name));
}

/* Index of the command's word, or argc. */
static int find_command(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const struct option_spec *o;
        const char *value;

        if (strcmp(argv[i], "--") == 0)
            break;
        if (!is_option(argv[i]))
            return i;
        o = find_anywhere(option_name(argv[i], &value));
        if (o && o->value && !value)
            i++;
    }
    return argc;
}

static enum exit_code set_output(struct cli *cli, const char *value, struct error *err)
{
    static const char *const names[] = {"table", "wide", "name", "json", "yaml"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(value, names[i]) == 0) {
            cli->output = (enum output)i;
            return EXIT_DONE;
        }
    }
    error_set(err, -1, "-o takes table, wide, name, json or yaml, not \"%s\"", value);
    return EXIT_USAGE;
}

static enum exit_code add_option(struct cli *cli, const struct option_spec *o, const char *value,
                                 struct error *err)
{
    if (!o->many && cli_option(cli, o->name)) {
        error_set(err, -1, "--%s is given twice", o->name);
        return EXIT_USAGE;
    }
    if (cli->n_options == MAX_OPTIONS) {
        error_set(err, -1, "too many options");
        return EXIT_USAGE;
    }
    cli->options[cli->n_options].name = o->name;
    cli->options[cli->n_options++].value = value ? value : "";
    if (strcmp(o->name, "socket") == 0)
        cli->socket = value;
    if (strcmp(o->name, "json") == 0 && !o->value)
        cli->output = OUTPUT_JSON;
    return strcmp(o->name, "output") == 0 ? set_output(cli, value, err) : EXIT_DONE;
}

/* Takes the option at argv[*i], and its value behind it. */
static enum exit_code take_option(struct cli *cli, int argc, char **argv, int *i, struct error *err)
{
    const char *arg = argv[*i], *value;
    struct bytes name = option_name(arg, &value);
    const struct option_spec *o =
        cli->command ? cli_find_option(cli->command->options, name) : NULL;

    o = o ? o : cli_find_option(global_options, name);
    o = o ? o : cli_find_option(kubectl_options, name);
    if (!o) {
        error_set(err, -1, "there is no option %s%s%s", arg, cli->command ? " for " : "",
                  cli->command ? cli->command->name : "");
        return EXIT_USAGE;
    }
    if (!o->value && value) {
        error_set(err, -1, "--%s takes no value", o->name);
        return EXIT_USAGE;
    }
    if (o->value && !value) {
        if (*i + 1 >= argc) {
            error_set(err, -1, "--%s needs a value: --%s %s", o->name, o->name, o->value);
            return EXIT_USAGE;
        }
        value = argv[++*i];
    }
    return add_option(cli, o, value, err);
}

static enum exit_code name_command(struct cli *cli, const char *word, struct error *err)
{
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(c->name, word) == 0)
            cli->command = c;
    if (cli->command)
        return EXIT_DONE;
    error_set(err, -1, "there is no command \"%s\"", word);
    return EXIT_USAGE;
}

enum exit_code cli_parse(int argc, char **argv, struct cli *ret, struct error *err)
{
    int at = find_command(argc, argv);
    enum exit_code code = EXIT_DONE;
    bool options_end = false;

    memset(ret, 0, sizeof *ret);
    ret->args = calloc((size_t)argc + 1, sizeof *ret->args);
    if (!ret->args) {
        error_set(err, -1, "out of memory");
        return EXIT_USAGE;
    }
    if (at < argc)
        code = name_command(ret, argv[at], err);
    for (int i = 1; i < argc && code == EXIT_DONE; i++) {
        if (i == at)
            continue;
        if (!options_end && strcmp(argv[i], "--") == 0)
            options_end = true;
        else if (!options_end && is_option(argv[i]))
            code = take_option(ret, argc, argv, &i, err);
        else
            ret->args[ret->n_args++] = argv[i];
    }
    if (!ret->socket)
        ret->socket = getenv("CHAPERONE_SOCKET");
    if (ret->socket && !ret->socket[0])
        ret->socket = NULL;
    ret->cluster = !ret->socket;
    return code;
}

void cli_done(struct cli *cli)
{
    free(cli->args);
    memset(cli, 0, sizeof *cli);
}

const char *cli_option(const struct cli *cli, const char *name)
{
    for (size_t i = 0; i < cli->n_options; i++)
        if (strcmp(cli->options[i].name, name) == 0)
            return cli->options[i].value;
    return NULL;
}

void cli_print_options(const struct option_spec *options)
{
    for (; options && options->name; options++) {
        char left[64], letter[8] = "";

        if (options->letter)
            snprintf(letter, sizeof letter, "-%c, ", options->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, options->name, options->value ? " " : "",
                 options->value ? options->value : "");
        printf("  %-32s %s\n", left, options->help);
    }
}

static void complain(const char *fmt, va_list ap)
{
    struct buffer b;
    char text[2048];

    vsnprintf(text, sizeof text, fmt, ap);
    buffer_init(&b, 16 * sizeof text);
    text_clean(bytes_str(text), TEXT_BLOCK, &b);
    fprintf(stderr, "kubectl-guard: %.*s\n", (int)buffer_len(&b), (const char *)b.p);
    buffer_done(&b);
}

enum exit_code cli_fail(enum exit_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    return code;
}

enum exit_code cli_usage(const struct cli *cli, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    if (cli->command)
        fprintf(stderr, "usage: kubectl-guard %s %s\nSee kubectl-guard %s --help.\n",
                cli->command->name, cli->command->args, cli->command->name);
    else
        fputs("See kubectl-guard --help.\n", stderr);
    return EXIT_USAGE;
}

static uint64_t unit_seconds(char c)
{
    switch (c) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return 86400;
    default:
        return 0;
    }
}

bool cli_duration(const char *text, uint32_t *ret_seconds)
{
    uint64_t total = 0;

    if (cli_number(text, MAX_FOR_S, ret_seconds))
        return true;
    while (*text) {
        uint64_t n = 0, unit;
        const char *digits = text;

        while (*text >= '0' && *text <= '9' && text - digits < 7)
            n = n * 10 + (uint64_t)(*text++ - '0');
        unit = unit_seconds(*text);
        if (text == digits || unit == 0)
            return false;
        text++;
        total += n * unit;
    }
    if (total == 0 || total > MAX_FOR_S)
        return false;
    *ret_seconds = (uint32_t)total;
    return true;
}

bool cli_number(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t n = 0;

    if (!*text || strlen(text) > 10)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        n = n * 10 + (uint64_t)(*text - '0');
    }
    if (n == 0 || n > max)
        return false;
    *ret = (uint32_t)n;
    return true;
}

char **cli_split(const char *text)
{
    size_t len = text ? strlen(text) : 0, n = 0, slots = 2;
    char **list, *copy;

    for (size_t i = 0; i < len; i++)
        slots += text[i] == ',';
    list = calloc(1, slots * sizeof *list + len + 1);
    if (!list || len == 0)
        return list;
    copy = (char *)(list + slots);
    memcpy(copy, text, len + 1);
    for (char *save = NULL, *word = strtok_r(copy, ",", &save); word;
         word = strtok_r(NULL, ",", &save))
        list[n++] = word;
    return list;
}
