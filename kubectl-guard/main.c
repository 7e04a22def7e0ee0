/* SPDX-License-Identifier: Apache-2.0
 * kubectl-guard: what people do with guards. Start-up, help, and the table of commands.
 */
#include "anchors.h"
#include "bucket.h"
#include "commands.h"
#include "complete.h"
#include "place.h"
#include "records.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

const struct option_spec global_options[] = {
    {"socket", 0, "PATH", "ask the guard at this control socket, not a cluster (CHAPERONE_SOCKET)"},
    {"output", 'o', "FORMAT", "table, wide, name, json or yaml"},
    {"json", 0, NULL, "the same as -o json"},
    {"no-color", 0, NULL, "no colours (also NO_COLOR; never when the output is no terminal)"},
    {"help", 'h', NULL, "this help; with a command, that command's"},
    {"version", 0, NULL, "print the version"},
    {0},
};

const struct command commands[] = {
    {"list", "", "requests for approval, pending ones first",
     "Decided requests are kept for an hour.", list_options, 0, 0, cmd_list, .everywhere = true},
    {"show", "ID", "one request, whole",
     "Control characters, bidirectional overrides and invisible characters in the statement are\n"
     "shown as escapes (\\x1b, <U+202E>): what you see is what will run.",
     NULL, 1, 1, cmd_show},
    {"approve", "ID [--reason R] [--for 15m | --uses N]", "approve a request",
     "Without --for and --uses the rule says how often the statement may run (once, unless it "
     "says\n"
     "otherwise). --uses N: this and identical statements, N in all. --for 15m: any number of\n"
     "identical statements within that time. Exit code 1: refused, with the reason.",
     approve_options, 1, 1, cmd_approve},
    {"deny", "ID [--reason R]", "deny a request", "One person's denial decides.", deny_options, 1,
     1, cmd_deny},
    {"watch", "", "requests as they come and are decided, until interrupted",
     "Begins with what is pending. --json: one object a line.", NULL, 0, 0, cmd_watch,
     .everywhere = true},
    {"sessions", "[--from PLACE]", "live sessions; with --from, recorded ones",
     "With --from s3://BUCKET/PREFIX or --from DIR no guard is asked: the records there are "
     "listed\n"
     "and verified.",
     sessions_options, 0, 0, cmd_sessions, .everywhere = true},
    {"tail", "SESSION | POD | all", "a session's record as it is written",
     "Ends when the session does. POD: all sessions of one pod; all: every session of those "
     "guards\n"
     "that run now. --from s3://BUCKET/PREFIX follows a session by the segments that arrive "
     "there,\n"
     "each verified. --json: the record's lines as they are.",
     tail_options, 1, 1, cmd_tail, .everywhere = true},
    {"kill", "SESSION", "end a session", "Its client is told that an operator ended it.", NULL, 1,
     1, cmd_kill, .everywhere = true},
    {"replay", "RECORD | --from PLACE", "print recorded sessions",
     "RECORD is a file, a segment of an uploaded record or DIR/SESSION where its segments are; "
     "with\n"
     "--from PLACE also a session's name; without RECORD all sessions there. Options choose "
     "sessions\n"
     "and statements. At once, unless --speed says otherwise: then space pauses, + and - change "
     "the\n"
     "speed, n goes on, q ends. Values are as the agent saw them, that is masked. --json: the "
     "lines\n"
     "as they are. Exit code 1: tampered with, or nothing in RECORD matches.",
     replay_options, 0, 1, cmd_replay, PLACE_FILES},
    {"verify", "RECORD... | --from PLACE", "check that records are whole and unchanged",
     "RECORD is a file, a segment of an uploaded record, or a directory, such as a bucket's\n"
     "download. A line a record: OK, UNSEALED (the end is missing: still open, cut off, or the "
     "guard\n"
     "died) or TAMPERED with the line where the chain breaks. Of directories also what is "
     "MISSING:\n"
     "segments and sessions that guards' ledgers name. Exit code 1 when any was tampered with or "
     "is\n"
     "missing, and with --strict when any is unsealed. Trust the keys of --key FILE alone. With\n"
     "--anchors the Events of the pods say which lines there were, and which keys sign.",
     verify_options, 0, SIZE_MAX, cmd_verify, PLACE_FILES, .everywhere = true},
    {"export", "RECORD --html F | --asciicast F | --json F | --csv F", "convert records",
     "F may be - for standard output. html is one file to open in a browser; asciicast v2 plays "
     "with\n"
     "asciinema; csv has a row for each statement; json is a document for each session. RECORD "
     "and\n"
     "the options that choose are as for replay; html and asciicast are about one session.",
     export_options, 0, 1, cmd_export, PLACE_FILES},
    {"explain", "[--policies DIR] [--sql '...' | --ssh '...']",
     "what policies say about a statement, and why",
     "The policies are those of DIR, or of the cluster. The agent is --pod POD of the cluster, or\n"
     "what --namespace, --service-account and --labels say. No database is connected to: relations "
     "are not looked up, so a name without a schema is taken "
     "for\n"
     "the first schema of --search-path (public). Exit code 1: denied.",
     explain_options, 0, 0, cmd_explain, PLACE_POLICIES},
    {"test", "FILE...", "run tests of policies",
     "FILE is YAML: {policies: DIR, cases: [{name, sql, target, database, searchPath, agent:\n"
     "{namespace, serviceAccount, labels, groups, claims}, expect: Allow|Deny|RequireApproval, "
     "rule}]}.\n"
     "DIR is relative to the file. --from-cluster tries the policies that are in force there (-A: "
     "of\n"
     "all namespaces). Exit code 1: a case failed.",
     test_options, 1, SIZE_MAX, cmd_test, PLACE_POLICIES, true},
    {"status", "", "the guard's state; in a cluster, what to look at first when something is wrong",
     "In a cluster: resources, webhook, namespaces, policies, guards. Exit code 1: something is "
     "not\n"
     "in order.",
     NULL, 0, 0, cmd_status, .everywhere = true},
    {"completion", "bash | zsh | fish", "a script that completes words in your shell",
     "bash: source <(kubectl-guard completion bash). For `kubectl guard`, kubectl needs the "
     "program\n"
     "kubectl_complete-guard in PATH; make install puts it there.",
     NULL, 1, 1, cmd_completion, PLACE_FILES},
    {0},
};

static void print_options(const struct command *c)
{
    if (c && c->options) {
        puts("\noptions:");
        cli_print_options(c->options);
    }
    puts("\noptions, for every command:");
    cli_print_options(global_options);
    if (c && c->place == PLACE_FILES && !c->everywhere)
        return;
    puts("\noptions for a cluster, as kubectl's:");
    cli_print_options(kubectl_options);
}

static void print_help(void)
{
    puts(
        "kubectl-guard: approve, watch and audit what AI agents do.\n\n"
        "usage: kubectl guard COMMAND [OPTIONS]                        a cluster, through kubectl\n"
        "       kubectl-guard --socket PATH COMMAND [OPTIONS]          one guard, on this "
        "machine\n\n"
        "Without --socket and CHAPERONE_SOCKET the cluster is asked, with kubectl from PATH (or\n"
        "KUBECTL) and its login.\n\ncommands:");
    for (const struct command *c = commands; c->name; c++)
        printf("  %-10s %s\n", c->name, c->summary);
    print_options(NULL);
    puts("\nexit codes: 0 done, 1 the answer is no, 2 usage, 3 could not reach\n"
         "\nkubectl-guard COMMAND --help tells more about a command.");
}

static void print_command_help(const struct command *c)
{
    printf("kubectl-guard %s: %s\n\nusage: kubectl-guard %s %s\n", c->name, c->summary, c->name,
           c->args);
    if (c->help)
        printf("\n%s\n", c->help);
    print_options(c);
}

static bool wants_color(const struct cli *cli)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no_color && no_color[0]) && !cli_option(cli, "no-color") &&
           !(term && strcmp(term, "dumb") == 0);
}

/* kubectl's -n, where it is about records. */
static bool chooses_records(const struct cli *cli, const char *name)
{
    return strcmp(name, "namespace") == 0 &&
           cli_find_option(cli->command->options, bytes_str(name)) &&
           (cli->command->place == PLACE_FILES || records_from(cli));
}

/* An option that would have no effect is a mistake: somebody meant another cluster or guard. */
static enum exit_code check_place(const struct cli *cli)
{
    const struct command *c = cli->command;

    for (size_t i = 0; i < cli->n_options; i++) {
        const char *name = cli->options[i].name;
        bool everywhere = strcmp(name, "all-namespaces") == 0;

        if (!cli_find_option(kubectl_options, bytes_str(name)) || chooses_records(cli, name))
            continue;
        if (c->place == PLACE_FILES && !anchors_of_cluster(cli))
            return cli_usage(cli, "--%s has no meaning here: %s reads files%s", name, c->name,
                             c->run == cmd_verify ? ". With --anchors events it asks a cluster, too"
                                                  : "");
        if (!cli->cluster && c->place == PLACE_GUARD)
            return cli_usage(cli,
                             "--%s is for a cluster, but the guard at %s is asked: leave it out, "
                             "or leave out --socket and unset CHAPERONE_SOCKET",
                             name, cli->socket);
        if (everywhere && !c->everywhere)
            return cli_usage(cli, "%s is about one namespace: name it with -n", c->name);
        if (everywhere && cli_option(cli, "namespace"))
            return cli_usage(cli, "-n and -A exclude each other");
    }
    if (cli->output == OUTPUT_NAME && c->run != cmd_list)
        return cli_usage(cli, "-o name is for list");
    return EXIT_DONE;
}

static enum exit_code run(struct cli *cli)
{
    const struct command *c = cli->command;

    if (cli_option(cli, "version")) {
        puts("kubectl-guard " CHAPERONE_VERSION);
        return EXIT_DONE;
    }
    if (cli_option(cli, "help")) {
        if (c)
            print_command_help(c);
        else
            print_help();
        return EXIT_DONE;
    }
    if (!c)
        return cli_usage(cli, "which command?");
    if (cli->n_args < c->min_args || cli->n_args > c->max_args)
        return cli_usage(cli,
                         cli->n_args < c->min_args ? "something is missing" : "too many words");
    cli->color = wants_color(cli);
    bucket_init(cli);
    place_init(cli);
    return check_place(cli) == EXIT_DONE ? c->run(cli) : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static char help[] = "--help"; /* `help COMMAND` is `COMMAND --help` */
    struct error err = {0};
    enum exit_code code;
    struct cli cli;

    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_DFL);
    if (argc > 1 && strcmp(argv[1], "__complete") == 0)
        return complete(argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "help") == 0)
        argv[1] = help;
    code = cli_parse(argc, argv, &cli, &err);
    code = code == EXIT_DONE ? run(&cli) : cli_usage(&cli, "%s", err.text);
    cli_done(&cli);
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_fail(EXIT_UNREACHABLE, "cannot write the output: %m");
    return code;
}
