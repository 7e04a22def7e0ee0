/* SPDX-License-Identifier: Apache-2.0
 * The command line: what a command is, and what it is given.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

struct json_object;

enum exit_code { /* a contract: design "The guard's command line" */
                 EXIT_DONE = 0,
                 EXIT_NO = 1, /* the answer is no: tampered, refused, denied */
                 EXIT_USAGE = 2,
                 EXIT_UNREACHABLE = 3, /* no guard, no file */
};

enum output { OUTPUT_TABLE = 0, OUTPUT_WIDE, OUTPUT_NAME, OUTPUT_JSON, OUTPUT_YAML };

struct option_spec {
    const char *name;  /* without the dashes */
    char letter;       /* or 0 */
    const char *value; /* what its value is called in the help; NULL: it takes none */
    const char *help;
    bool many; /* may be given more than once */
};

#define MAX_OPTIONS 64

struct cli {
    const struct command *command;
    const char **args; /* what stands behind the command, without options */
    size_t n_args;
    struct {
        const char *name, *value;
    } options[MAX_OPTIONS];
    size_t n_options;
    const char *socket; /* NULL in a cluster */
    bool cluster;       /* neither --socket nor CHAPERONE_SOCKET: kubectl is asked */
    bool quick;         /* nobody waits for long, and nobody can be asked: completion */
    enum output output;
    bool color;
};

/* Where a command finds what it is about. */
enum command_place {
    PLACE_GUARD = 0, /* a guard's socket, or a cluster */
    PLACE_FILES,     /* files alone */
    PLACE_POLICIES,  /* files, or a cluster */
};

struct command {
    const char *name, *args, *summary;
    const char *help;                  /* paragraphs behind the summary, or NULL */
    const struct option_spec *options; /* ended by one without a name, or NULL */
    size_t min_args, max_args;
    enum exit_code (*run)(const struct cli *cli);
    enum command_place place;
    bool everywhere; /* takes --all-namespaces */
};

/* One row per command, ended by one without a name. */
extern const struct command commands[];
extern const struct option_spec global_options[];
/* Options of kubectl's, passed on to it. */
extern const struct option_spec kubectl_options[];

/* The option's value ("" for one that takes none), or NULL when it was not given. */
const char *cli_option(const struct cli *cli, const char *name);
/* The row of a table, by name or letter; NULL when there is none. */
const struct option_spec *cli_find_option(const struct option_spec *list, struct bytes name);
/* Fills all but `color`. Commands and their options may stand in any order. EXIT_USAGE with err set
 * when it cannot be understood. --help and --version are options like others; command is NULL when
 * none was named. */
enum exit_code cli_parse(int argc, char **argv, struct cli *ret, struct error *err) MUST_CHECK;
void cli_done(struct cli *cli);
/* "--reason R" lines of a table of options, for the help. */
void cli_print_options(const struct option_spec *options);

/* "kubectl-guard: …" on stderr; returns the code. */
enum exit_code cli_fail(enum exit_code code, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same with what was wrong with the command line, and where the help is. */
enum exit_code cli_usage(const struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "15m", "1h30m", "45s", "90" (seconds) to seconds; false for anything else, zero, or over a week.
 */
bool cli_duration(const char *text, uint32_t *ret_seconds);
/* 1 to max. */
bool cli_number(const char *text, uint32_t max, uint32_t *ret);
/* Splits "a,b,c" in place of a copy; NULL-terminated; free() releases it all. NULL text gives an
 * empty list. */
char **cli_split(const char *text);
