/* SPDX-License-Identifier: Apache-2.0
 * The guards of a cluster: injected pods, each asked through `kubectl exec` with the command lines
 * that admission lets through (docs/kubernetes.md, Sessions).
 */
#pragma once

#include "kubectl.h"

/* Pods asked at the same time; a `tail` of all keeps one kubectl for each. */
#define GUARDPODS_AT_ONCE  8
#define GUARDPODS_TAIL_MAX 64

struct guardpod {
    char name[254], namespace_[64];
    char problem[600];          /* why it cannot be asked, or could not be; empty: none */
    struct json_object *answer; /* of guardpods_ask; owned */
    struct kubectl command;
};

struct guardpods {
    struct guardpod *all;
    size_t n;
};

/* Injected pods of the namespace, or of all, that have not come to their end. A pod whose guard
 * does not run is among them, with its problem. Failures are said on stderr. */
enum exit_code guardpods_find(const struct cli *cli, struct guardpods *ret);
void guardpods_done(struct guardpods *p);
/* Runs `/kubectl-guard --socket … WORDS` in every pod that can be asked, several at a time, and
 * parses what each answers. `words` is ended by NULL. */
void guardpods_ask(const struct cli *cli, struct guardpods *p, const char *const *words);
/* Names the pods with a problem on stderr. EXIT_UNREACHABLE when all have one and there are any. */
enum exit_code guardpods_complain(const struct cli *cli, const struct guardpods *p);
/* The pods with a problem: [{namespace, pod, reason}]. */
struct json_object *guardpods_unreachable(const struct guardpods *p);
/* Prepares `kubectl exec` of a guard's command in one pod. */
void guardpods_exec(const struct cli *cli, struct guardpod *pod, const char *const *words);
/* Finds the one pod whose guard has this session, asking all. EXIT_NO when none has it,
 * EXIT_UNREACHABLE when none of those that could be asked has it; both said on stderr. */
enum exit_code guardpods_of_session(const struct cli *cli, const char *session,
                                    struct guardpods *pods, struct guardpod **ret);
/* A word that can be a session's name: it becomes an argument of the guard's command. */
bool guardpods_is_session(const char *word);
/* What the guard itself said when its command ended with a status, from kubectl's errors. */
void guardpods_reason(const struct job *job, char *to, size_t size);
