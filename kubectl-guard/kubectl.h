/* SPDX-License-Identifier: Apache-2.0
 * The cluster, asked through kubectl, so that every way to log in that a kubeconfig has works.
 * Arguments are arrays and never see a shell; what agents wrote is never among them.
 */
#pragma once

#include "cli.h"
#include "jobs.h"

#include "src-common/arena.h"

struct json_object;

#define KUBECTL_MAX_ARGS 96

/* One command line of kubectl's. */
struct kubectl {
    struct arena arena;
    const char *argv[KUBECTL_MAX_ARGS + 1];
    size_t n;
    bool failed; /* too long, or out of memory */
    bool quick;  /* as in struct cli */
};

enum kubectl_scope {
    KUBECTL_AS_GIVEN = 0, /* -n and -A as on our command line */
    KUBECTL_NAMESPACE,    /* -n, but not -A */
    KUBECTL_NO_NAMESPACE, /* neither: what is asked for has none, or the caller adds one */
};

/* Begins with the program and the person's options (--context, --as, …). */
void kubectl_init(struct kubectl *k, const struct cli *cli, enum kubectl_scope scope);
void kubectl_done(struct kubectl *k);
/* Adds one argument, borrowed until the command has run. */
void kubectl_add(struct kubectl *k, const char *arg);
void kubectl_addf(struct kubectl *k, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Adds several, ended by NULL. */
void kubectl_add_all(struct kubectl *k, const char *const *args);

enum kubectl_result {
    KUBECTL_OK = 0,
    KUBECTL_NOT_FOUND,
    KUBECTL_REFUSED,     /* forbidden, or admission said no */
    KUBECTL_INVALID,     /* the server does not take it as it is (a failed test in a patch, too) */
    KUBECTL_NO_KIND,     /* the cluster does not know our resources */
    KUBECTL_UNREACHABLE, /* everything else */
};

struct kubectl_answer {
    enum kubectl_result result;
    int status; /* of kubectl, or -errno when it did not run to its end */
    char *text; /* what it wrote to standard output, ended by NUL; kubectl_answer_done frees */
    size_t len;
    char words[2048]; /* the reason when result is not KUBECTL_OK; may be several lines */
};
void kubectl_answer_done(struct kubectl_answer *a);

/* Runs it to its end, at most as long as is reasonable: a minute; five at a terminal, where
 * somebody may have to log in; four seconds when it has to be quick. */
void kubectl_run(struct kubectl *k, struct kubectl_answer *ret);
/* What a job that ran kubectl came to. */
void kubectl_judge(const struct job *job, struct kubectl_answer *ret);
/* Says the reason and the remedy on stderr; gives the exit code. */
enum exit_code kubectl_complain(const struct cli *cli, const struct kubectl_answer *a);
/* Runs it and parses the object. On failure it was said. The caller puts *ret. */
enum exit_code kubectl_object(const struct cli *cli, struct kubectl *k, struct json_object **ret);
/* "get", ARGS…, "-o", "json". */
enum exit_code kubectl_get(const struct cli *cli, enum kubectl_scope scope, const char *const *args,
                           struct json_object **ret);
/* A name that the API server could have given to an object: nothing that kubectl would take for an
 * option, a path or a list. */
bool kubectl_is_name(const char *name);
