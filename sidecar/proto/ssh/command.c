/* SPDX-License-Identifier: Apache-2.0
 * Reading commands.
 */
#include "command.h"

#include "src-common/buffer.h"

#include <errno.h>
#include <string.h>

#define MAX_DEPTH 6

struct reader {
    struct arena *arena;
    const uint8_t *start, *at, *end;
    struct pipeline_part *parts; /* shared by nested texts */
    size_t n_parts;
    const char **words; /* of the command that is being read */
    size_t n_words, all_words;
    unsigned depth;
    bool unreadable;
    bool simple; /* nothing but words so far */
    bool reads_pipe;
    bool target; /* the next word is where output goes */
    bool out_of_memory;
    unsigned hazards;
    struct buffer word;
};

static void read_text(struct reader *r, struct bytes text);

/* ---- words ---- */

static bool is_assignment(const char *w)
{
    size_t n = 0;

    while (w[n] == '_' || (w[n] >= 'a' && w[n] <= 'z') || (w[n] >= 'A' && w[n] <= 'Z') ||
           (n > 0 && w[n] >= '0' && w[n] <= '9'))
        n++;
    return n > 0 && (w[n] == '=' || (w[n] == '+' && w[n + 1] == '='));
}

static bool is_reserved(const char *w)
{
    static const char *const words[] = {"if",   "then",   "else",   "elif",     "fi",    "do",
                                        "done", "case",   "esac",   "while",    "until", "for",
                                        "in",   "select", "coproc", "function", "[[",    "]]"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(words[i], w) == 0)
            return true;
    }
    return false;
}

/* A block device or the kernel's memory as the target of a redirection. */
static void look_at_target(struct reader *r, const char *w)
{
    static const char *const devices[] = {"/dev/sd",  "/dev/nvme", "/dev/vd",
                                          "/dev/hd",  "/dev/xvd",  "/dev/mmc",
                                          "/dev/mem", "/dev/dm-",  "/dev/mapper"};

    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        if (strncmp(w, devices[i], strlen(devices[i])) == 0)
            r->hazards |= HAZARD_FORMAT_DISK;
    }
    if (strncmp(w, "/dev/tcp/", 9) == 0 || strncmp(w, "/dev/udp/", 9) == 0)
        r->hazards |= HAZARD_REVERSE_SHELL;
}

static void end_word(struct reader *r, bool quoted)
{
    struct bytes b = buffer_bytes(&r->word);
    char *w = arena_strndup(r->arena, b.len ? (const char *)b.p : "", b.len);

    buffer_reset(&r->word, SIZE_MAX);
    if (!w || r->word.failed) {
        r->out_of_memory = true;
        return;
    }
    if (r->target) {
        r->target = false;
        look_at_target(r, w);
        return;
    }
    if (r->n_words == 0 && !quoted && is_assignment(w)) {
        r->simple = false;
        return;
    }
    if (r->n_words == 0 && !quoted && is_reserved(w))
        r->unreadable = true;
    if (r->all_words >= COMMAND_WORDS) {
        r->unreadable = true;
        return;
    }
    r->words[r->n_words++] = w;
    r->all_words++;
}

static void add_byte(struct reader *r, uint8_t c)
{
    if (c == 0)
        r->unreadable = true;
    else
        buffer_add_u8(&r->word, c);
}

/* In a locale like GBK or BIG5, which an agent may set, a backslash behind such a byte is the
 * second half of a letter for bash, and escapes nothing. */
static bool behind_letter(const struct reader *r)
{
    return r->at > r->start && r->at[-1] >= 0x80;
}

static void read_double_quotes(struct reader *r)
{
    for (r->at++; r->at < r->end && *r->at != '"'; r->at++) {
        if (*r->at == '$' || *r->at == '`')
            r->unreadable = true;
        r->unreadable |= *r->at == '\\' && behind_letter(r);
        if (*r->at == '\\' && r->at + 1 < r->end && strchr("$`\"\\\n", r->at[1])) {
            r->at++;
            if (*r->at == '\n')
                continue;
        }
        add_byte(r, *r->at);
    }
    if (r->at < r->end)
        r->at++;
    else
        r->unreadable = true;
}

static void read_single_quotes(struct reader *r)
{
    for (r->at++; r->at < r->end && *r->at != '\''; r->at++)
        add_byte(r, *r->at);
    if (r->at < r->end)
        r->at++;
    else
        r->unreadable = true;
}

/* What makes a shell do more than pass the word on: expansions, patterns, comments, history. */
static bool expands(const struct reader *r, bool first)
{
    uint8_t c = *r->at;

    if (strchr("$`*?[]{}!", c) || c < 0x20 || c == 0x7f)
        return true;
    if (first)
        return c == '~' || c == '#' || c == '=';
    return c == '~' && (r->at[-1] == '=' || r->at[-1] == ':');
}

static void read_word(struct reader *r)
{
    bool quoted = false, first = true;

    for (; r->at < r->end && !strchr(" \t\n;&|<>()", *r->at) && *r->at; first = false) {
        if (*r->at == '\'') {
            read_single_quotes(r);
            quoted = true;
        } else if (*r->at == '"') {
            read_double_quotes(r);
            quoted = true;
        } else if (*r->at == '\\') {
            quoted = true;
            r->unreadable |= r->at + 1 >= r->end || r->at[1] == '\n' || behind_letter(r);
            if (++r->at < r->end)
                add_byte(r, *r->at++);
        } else {
            r->unreadable |= expands(r, first);
            add_byte(r, *r->at++);
        }
    }
    if (r->at < r->end && *r->at == 0) {
        r->unreadable = true;
        r->at = r->end;
    }
    end_word(r, quoted);
}

/* ---- commands ---- */

static void add_part(struct reader *r, const char *const *argv, size_t n, bool reads_pipe)
{
    if (r->n_parts >= COMMANDS_MAX) {
        r->unreadable = true;
        return;
    }
    r->parts[r->n_parts++] = (struct pipeline_part){.command = {argv, n}, .reads_pipe = reads_pipe};
}

/* A text inside of the command: sh -c TEXT, eval WORDS. */
static void read_nested(struct reader *r, const char *text)
{
    struct reader inner = *r;

    if (r->depth >= MAX_DEPTH) {
        r->unreadable = true;
        return;
    }
    inner.depth++;
    inner.word = (struct buffer){0};
    buffer_init(&inner.word, COMMAND_TEXT_MAX);
    read_text(&inner, bytes_str(text));
    buffer_done(&inner.word);
    r->n_parts = inner.n_parts;
    r->all_words = inner.all_words;
    r->unreadable |= inner.unreadable;
    r->out_of_memory |= inner.out_of_memory;
    r->hazards |= inner.hazards;
}

static bool is_shell(const char *base)
{
    static const char *const names[] = {"sh",  "bash",  "dash", "ash", "ksh",    "mksh",
                                        "zsh", "rbash", "fish", "su",  "runuser"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(base, names[i]) == 0)
            return true;
    }
    return false;
}

/* "-c", and "-lc" and the like. */
static bool is_c_option(const char *w)
{
    return (w[0] == '-' && w[1] && w[1] != '-' && strchr(w, 'c')) || strcmp(w, "--command") == 0;
}

/* The text behind -c is the first word that is no option and no option's value: sh -c -e TEXT,
 * sh -c -- TEXT, bash -co pipefail TEXT. */
static void read_shell_words(struct reader *r, const char *const *words, size_t n)
{
    for (size_t i = 0, texts = 0; i < n && texts < 2; i++) {
        if (words[i][0] == '-' || words[i][0] == '+')
            continue;
        read_nested(r, words[i]);
        texts++;
    }
}

static void look_inside(struct reader *r, const char *const *argv, size_t n)
{
    const char *base = command_base(argv[0]);

    for (size_t i = 1; is_shell(base) && i + 1 < n; i++) {
        if (is_c_option(argv[i])) {
            read_shell_words(r, argv + i + 1, n - i - 1);
            break;
        }
    }
    if (strcmp(base, "eval") == 0) {
        char *joined = arena_strdup(r->arena, "");

        for (size_t i = 1; i < n && joined; i++)
            joined = arena_printf(r->arena, "%s %s", joined, argv[i]);
        if (joined)
            read_nested(r, joined);
        else
            r->out_of_memory = true;
    }
    if (command_is_wrapper(base)) {
        for (size_t i = 1; i < n; i++) {
            add_part(r, argv + i, n - i, false);
            if (is_shell(command_base(argv[i])) || strcmp(argv[i], "eval") == 0)
                look_inside(r, argv + i, n - i);
        }
    }
}

static void end_command(struct reader *r, bool pipe_follows)
{
    const char **argv;

    if (r->target) /* a redirection to nowhere */
        r->unreadable = true;
    if (r->n_words) {
        argv = arena_alloc(r->arena, (r->n_words + 1) * sizeof *argv);
        if (!argv) {
            r->out_of_memory = true;
            return;
        }
        memcpy(argv, r->words, r->n_words * sizeof *argv);
        add_part(r, argv, r->n_words, r->reads_pipe);
        look_inside(r, argv, r->n_words);
    }
    r->n_words = 0;
    r->reads_pipe = pipe_follows;
}

static void read_operator(struct reader *r)
{
    uint8_t c = *r->at++;

    r->simple = false;
    if (c == '<' || c == '>') {
        if (r->at < r->end && (*r->at == '<' || *r->at == '('))
            r->unreadable = true; /* here-documents, process substitution */
        if (r->at < r->end && strchr(">&|", *r->at))
            r->at++;
        r->target = true;
        return;
    }
    if (c == '(' && r->n_words) /* a function */
        r->unreadable = true;
    if (c == '|' && r->at < r->end && *r->at == '|')
        r->at++;
    else if (c == '|') {
        if (r->at < r->end && *r->at == '&')
            r->at++;
        end_command(r, true);
        return;
    }
    end_command(r, false);
}

static void read_text(struct reader *r, struct bytes text)
{
    r->start = r->at = text.p;
    r->end = text.p + text.len;
    r->n_words = 0;
    r->reads_pipe = r->target = false;
    r->words = arena_alloc(r->arena, (COMMAND_WORDS + 1) * sizeof *r->words);
    if (!r->words) {
        r->out_of_memory = true;
        return;
    }
    while (r->at < r->end && !r->out_of_memory) {
        if (*r->at == ' ' || *r->at == '\t')
            r->at++;
        else if (*r->at && strchr("\n;&|<>()", *r->at))
            read_operator(r);
        else
            read_word(r);
    }
    end_command(r, false);
}

static bool all_blank(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!strchr(" \t\n", text.p[i]))
            return false;
    }
    return true;
}

static int finish(struct reader *r, struct bytes text, bool outer_simple, struct ssh_act *ret)
{
    struct ssh_command *commands = arena_alloc(r->arena, (r->n_parts + 1) * sizeof *commands);

    if (!commands || r->out_of_memory)
        return -ENOMEM;
    for (size_t i = 0; i < r->n_parts; i++)
        commands[i] = r->parts[i].command;
    ret->commands = commands;
    ret->n_commands = r->n_parts;
    ret->plain = outer_simple && r->n_parts ? commands : NULL;
    ret->unreadable = r->unreadable;
    ret->hazards = r->hazards | hazards_of(r->parts, r->n_parts);
    if (r->unreadable)
        ret->hazards |= HAZARD_UNREADABLE | hazards_in_text(text);
    return 0;
}

/* Whether the outermost text is readable by itself: then the first command is all of it, whatever
 * a shell that it starts makes of its words. */
static bool outer_is_simple(struct reader *r, struct bytes text)
{
    struct reader outer = *r;

    outer.depth = MAX_DEPTH; /* does not look inside … */
    outer.unreadable = false;
    outer.word = (struct buffer){0};
    buffer_init(&outer.word, COMMAND_TEXT_MAX);
    outer.simple = true;
    outer.start = outer.at = text.p;
    outer.end = text.p + text.len;
    while (outer.at < outer.end && outer.simple && !outer.unreadable && !outer.out_of_memory) {
        if (*outer.at == ' ' || *outer.at == '\t')
            outer.at++;
        else if (*outer.at && strchr("\n;&|<>()", *outer.at))
            outer.simple = false; /* … nor does it end a command */
        else
            read_word(&outer);
    }
    buffer_done(&outer.word);
    return outer.simple && !outer.unreadable && outer.n_words && !outer.out_of_memory;
}

int command_parse(struct bytes text, struct arena *arena, struct ssh_act *ret)
{
    struct reader r = {.arena = arena};
    bool simple;
    int rc;

    *ret = (struct ssh_act){.request = SSH_REQUEST_EXEC};
    ret->text =
        arena_strndup(arena, text.len ? (const char *)text.p : "", text.len < 512 ? text.len : 512);
    r.parts = arena_alloc(arena, COMMANDS_MAX * sizeof *r.parts);
    r.words = arena_alloc(arena, (COMMAND_WORDS + 1) * sizeof *r.words);
    if (!ret->text || !r.parts || !r.words)
        return -ENOMEM;
    if (text.len > COMMAND_TEXT_MAX || all_blank(text)) {
        ret->unreadable = true;
        ret->hazards = HAZARD_ALL;
        return 0;
    }
    buffer_init(&r.word, COMMAND_TEXT_MAX);
    simple = outer_is_simple(&r, text);
    r.n_words = 0;
    read_text(&r, text);
    buffer_done(&r.word);
    rc = finish(&r, text, simple, ret);
    return rc;
}
