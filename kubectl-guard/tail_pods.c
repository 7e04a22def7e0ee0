/* SPDX-License-Identifier: Apache-2.0
 * tail in a cluster: the guards' own `tail`, through kubectl exec, one for each pod.
 */
#include "tail_pods.h"

#include "guardpods.h"
#include "lines.h"
#include "object.h"

#include <json-c/json.h>
#include <stdio.h>

struct follower {
    const struct cli *cli;
    const struct guardpod *pod;
    struct transcript transcript;
    bool mixed, one_session, ended;
};

struct tail {
    struct job *jobs;
    struct follower *followers;
    size_t n;
};

static void take_line(struct follower *f, struct bytes text)
{
    struct json_object *line = object_parse(text);
    const char *type = object_text(line, "type");

    if (line)
        tail_print(f->cli, &f->transcript, f->mixed ? f->pod->name : NULL, text, line);
    f->ended = f->ended || (f->one_session && type && strcmp(type, "session.close") == 0);
    json_object_put(line);
}

static void on_data(struct job *job, void *arg)
{
    struct tail *t = arg;
    struct follower *f = &t->followers[job - t->jobs];

    for (;;) {
        struct bytes all = buffer_bytes(&job->out);
        const uint8_t *nl = all.len ? memchr(all.p, '\n', all.len) : NULL;

        if (!nl)
            break;
        take_line(f, bytes_of(all.p, (size_t)(nl - all.p)));
        buffer_consume(&job->out, (size_t)(nl - all.p) + 1);
    }
    if (f->ended || job->out.failed)
        job->stop = true;
}

/* How a pod's stream ended. */
static enum exit_code end_of(const struct follower *f, const struct job *job)
{
    char reason[600];

    if (f->ended)
        return EXIT_DONE;
    if (job->out.failed)
        return cli_fail(EXIT_UNREACHABLE, "pod %s: a line is too long", f->pod->name);
    if (job->status == 0)
        return cli_fail(EXIT_UNREACHABLE, "pod %s: the connection to its guard was closed",
                        f->pod->name);
    guardpods_reason(job, reason, sizeof reason);
    return cli_fail(job->status == EXIT_NO && f->one_session ? EXIT_NO : EXIT_UNREACHABLE,
                    "pod %s in %s: %s", f->pod->name, f->pod->namespace_, reason);
}

static enum exit_code follow(const struct cli *cli, struct guardpod *const *pods, size_t n,
                             const char *what)
{
    struct tail t = {calloc(n + 1, sizeof *t.jobs), calloc(n + 1, sizeof *t.followers), n};
    enum exit_code code = EXIT_DONE;
    size_t bad = 0;

    if (!t.jobs || !t.followers)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        bool all = strcmp(what, "all") == 0;

        guardpods_exec(cli, pods[i], (const char *const[]){"tail", what, "--json", NULL});
        t.followers[i] = (struct follower){.cli = cli,
                                           .pod = pods[i],
                                           .transcript = {.color = cli->color, .name_session = all},
                                           .mixed = n > 1,
                                           .one_session = !all};
        t.jobs[i] =
            (struct job){.name = "kubectl", .argv = pods[i]->command.argv, .max = LINES_MAX};
    }
    jobs_run(t.jobs, n, n, on_data, &t);
    for (size_t i = 0; i < n; i++) {
        enum exit_code one = end_of(&t.followers[i], &t.jobs[i]);

        bad += one != EXIT_DONE;
        code = one > code ? one : code;
        job_done(&t.jobs[i]);
    }
    free(t.jobs);
    free(t.followers);
    return bad == n ? code : EXIT_DONE;
}

static struct guardpod *find_pod(const struct guardpods *pods, const char *name)
{
    for (size_t i = 0; i < pods->n; i++)
        if (strcmp(pods->all[i].name, name) == 0)
            return &pods->all[i];
    return NULL;
}

static enum exit_code follow_all(const struct cli *cli, struct guardpods *pods)
{
    struct guardpod *list[GUARDPODS_TAIL_MAX];
    enum exit_code code = guardpods_complain(cli, pods);
    size_t n = 0;

    for (size_t i = 0; code == EXIT_DONE && i < pods->n; i++) {
        if (pods->all[i].problem[0])
            continue;
        if (n == GUARDPODS_TAIL_MAX)
            return cli_usage(cli, "more than %d pods: name one, or a namespace with -n",
                             GUARDPODS_TAIL_MAX);
        list[n++] = &pods->all[i];
    }
    return n ? follow(cli, list, n, "all") : code;
}

enum exit_code tail_pods(const struct cli *cli)
{
    const char *word = cli->args[0];
    struct guardpod *pod = NULL;
    struct guardpods pods;
    enum exit_code code;

    if (!guardpods_is_session(word))
        return cli_usage(cli, "\"%s\" is neither a session nor a pod", word);
    code = guardpods_find(cli, &pods);
    if (code == EXIT_DONE && strcmp(word, "all") == 0) {
        code = follow_all(cli, &pods);
    } else if (code == EXIT_DONE && (pod = find_pod(&pods, word))) {
        code = pod->problem[0] ? guardpods_complain(cli, &(struct guardpods){pod, 1})
                               : follow(cli, &pod, 1, "all");
    } else if (code == EXIT_DONE) {
        code = guardpods_of_session(cli, word, &pods, &pod);
        if (code == EXIT_DONE)
            code = follow(cli, &pod, 1, word);
    }
    guardpods_done(&pods);
    return code;
}
