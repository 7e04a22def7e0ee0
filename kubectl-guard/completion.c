/* SPDX-License-Identifier: Apache-2.0
 * completion: scripts for shells. They ask `kubectl-guard __complete WORDS`.
 */
#include "commands.h"

#include <stdio.h>

/* bash takes "--context=x" for three words. */
static const char bash[] =
    "_kubectl_guard() {\n"
    "    local i word line files=0 words=()\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if ((${#words[@]})) && [[ $word == \"=\" || ${COMP_WORDS[i - 1]} == \"=\" ]]; then\n"
    "            words[${#words[@]} - 1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "        :0) files=1 ;;\n"
    "        :*) ;;\n"
    "        *)\n"
    "            line=${line%%$'\\t'*}\n"
    "            [[ $line == --*=* ]] && line=${line#*=}\n"
    "            COMPREPLY+=(\"$line\")\n"
    "            ;;\n"
    "        esac\n"
    "    done < <(kubectl-guard __complete \"${words[@]}\" 2>/dev/null)\n"
    "    ((files)) && compopt -o default\n"
    "    return 0\n"
    "}\n"
    "complete -F _kubectl_guard kubectl-guard\n";

static const char zsh[] =
    "#compdef kubectl-guard\n"
    "_kubectl-guard() {\n"
    "    local line directive=4\n"
    "    local -a items\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "        (:<->) directive=${line#:} ;;\n"
    "        (*) line=${line//:/\\\\:}; items+=(\"${line/$'\\t'/:}\") ;;\n"
    "        esac\n"
    "    done < <(kubectl-guard __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
    "    (( $#items )) && _describe 'kubectl-guard' items\n"
    "    (( directive == 0 )) && _files\n"
    "    return 0\n"
    "}\n"
    "compdef _kubectl-guard kubectl-guard\n";

static const char fish[] =
    "function __kubectl_guard_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -e words[1]\n"
    "    set -l word (commandline -ct)\n"
    "    for line in (kubectl-guard __complete $words \"$word\" 2>/dev/null)\n"
    "        switch $line\n"
    "            case ':0'\n"
    "                __fish_complete_path \"$word\"\n"
    "            case ':*'\n"
    "            case '*'\n"
    "                echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c kubectl-guard -f -a '(__kubectl_guard_complete)'\n";

enum exit_code cmd_completion(const struct cli *cli)
{
    static const struct {
        const char *shell, *script;
    } scripts[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};

    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        if (strcmp(cli->args[0], scripts[i].shell) == 0) {
            fputs(scripts[i].script, stdout);
            return EXIT_DONE;
        }
    }
    return cli_usage(cli, "there is no completion for \"%s\": bash, zsh or fish", cli->args[0]);
}
