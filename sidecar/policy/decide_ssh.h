/* SPDX-License-Identifier: Apache-2.0
 * Which rules speak about an SSH request. Private to policy/.
 */
#pragma once

#include "model.h"
#include "ruleindex.h"

/* Names of the hazards, as policies write them; "*" is all. */
#define SSH_N_HAZARD_WORDS 14
extern const struct word ssh_hazard_words[SSH_N_HAZARD_WORDS];

/* What one policy says about the act; adds to what is in ret. *as_is is set when a rule that
 * permits it exempts its output from masks by value. */
void policy_ssh_opinion(const struct policy *policy, const struct ssh_act *act, struct opinion *ret,
                        bool *as_is);
/* A word of a command against a word of a template: `*` is a run without '/', `**` any run. A
 * wildcard never stands for '..' as a part of a path, nor for the '-' of an option. */
bool policy_ssh_word_matches(const char *pattern, const char *word);
/* A canonical path against a pattern; "DIR/ **" (without the blank) covers DIR itself, too. */
bool policy_ssh_path_matches(const char *pattern, const char *path);
/* A whole command line against a template (struct array of const char *), which may end with "...".
 */
bool policy_ssh_template_matches(const struct array *template, const struct ssh_command *c);
