/* SPDX-License-Identifier: Apache-2.0
 * The commands, one file each, and what several of them share.
 */
#pragma once

#include "cli.h"

enum exit_code cmd_list(const struct cli *cli);
enum exit_code cmd_show(const struct cli *cli);
enum exit_code cmd_approve(const struct cli *cli);
enum exit_code cmd_deny(const struct cli *cli);
enum exit_code cmd_watch(const struct cli *cli);
enum exit_code cmd_sessions(const struct cli *cli);
enum exit_code cmd_tail(const struct cli *cli);
enum exit_code cmd_kill(const struct cli *cli);
enum exit_code cmd_replay(const struct cli *cli);
enum exit_code cmd_verify(const struct cli *cli);
enum exit_code cmd_export(const struct cli *cli);
enum exit_code cmd_explain(const struct cli *cli);
enum exit_code cmd_test(const struct cli *cli);
enum exit_code cmd_status(const struct cli *cli);
enum exit_code cmd_completion(const struct cli *cli);

extern const struct option_spec list_options[], approve_options[], deny_options[],
    sessions_options[], replay_options[], verify_options[], export_options[], explain_options[],
    test_options[], tail_options[];
