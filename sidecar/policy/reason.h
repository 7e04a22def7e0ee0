/* SPDX-License-Identifier: Apache-2.0
 * Decisions in plain words.
 */
#pragma once

#include "view.h"

/* One object or function, judged. */
struct judgement {
    enum verdict verdict;
    const struct rule *rule;     /* NULL: no rule spoke */
    const struct object *object; /* what was judged … */
    const char *function;        /* … or what was called; NULL: neither */
    const struct ssh_act *ssh;   /* … or what an SSH client asked for */
    const struct kube_act *kube; /* … or a request to an API server */
};

/* Writes d->reason. `all`: policies in mode Audit were asked too. */
void reason_write(const struct policy_view *v, const struct judgement *j, bool all,
                  struct decision *d);
/* Names come from the agent, and are cut: what is no character, or a control character, becomes
 * '?'. */
void reason_clean(char *text);
