/* SPDX-License-Identifier: Apache-2.0
 * What could stand next on the command line, for the shell's completion.
 */
#pragma once

#include "cli.h"

/* `words` are those behind the program's name, up to the one that is being written, which may be
 * empty. Prints a candidate a line, with a tab and a remark behind it where there is one; then
 * ":4", or ":0" when names of files are wanted besides: what kubectl expects of
 * kubectl_complete-guard. Says nothing of errors. */
enum exit_code complete(int n, char **words);
