/* SPDX-License-Identifier: Apache-2.0
 * What policies say about a command that an agent runs over SSH, or a file that it touches.
 */
#pragma once

#include "cli.h"
#include "judge.h"

/* --ssh or --sftp of the command line. EXIT_NO when it is denied. */
enum exit_code explain_ssh(const struct cli *cli, const struct judge_question *q);
