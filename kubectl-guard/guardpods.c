/* SPDX-License-Identifier: Apache-2.0
 * Finds and asks guards.
 */
#include "guardpods.h"

#include "object.h"

#include <json-c/json.h>
#include <stdio.h>

#define ANSWER_MAX  ((size_t)16 << 20)
#define DEADLINE_MS 20000
#define QUICK_MS    3000
#define SOCKET      "/run/chaperone/control.sock"
#define CONTAINER   "chaperone"

/* ---- finding ---- */

/* NULL when the guard's container runs. */
static const char *guard_problem(struct json_object *status)
{
    for (size_t i = 0; i < object_count(status, "initContainerStatuses"); i++) {
        struct json_object *c = object_at(status, "initContainerStatuses", i), *state;
        const char *name = object_text(c, "name"), *why;

        if (!name || strcmp(name, CONTAINER) != 0)
            continue;
        state = object_get(c, "state");
        if (object_get(state, "running"))
            return NULL;
        why = object_text(object_get(state, "waiting"), "reason");
        why = why ? why : object_text(object_get(state, "terminated"), "reason");
        return why ? why : "its guard does not run";
    }
    return "its guard has not started";
}

static bool take_pod(struct json_object *o, struct guardpod *pod)
{
    struct json_object *meta = object_get(o, "metadata"), *status = object_get(o, "status");
    const char *name = object_text(meta, "name"), *ns = object_text(meta, "namespace"),
               *phase = object_text(status, "phase"), *problem;

    if (!name || !ns || !kubectl_is_name(name) || !kubectl_is_name(ns))
        return false;
    if (phase && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0))
        return false;
    snprintf(pod->name, sizeof pod->name, "%s", name);
    snprintf(pod->namespace_, sizeof pod->namespace_, "%s", ns);
    problem = guard_problem(status);
    if (problem)
        snprintf(pod->problem, sizeof pod->problem, "%s", problem);
    return true;
}

enum exit_code guardpods_find(const struct cli *cli, struct guardpods *ret)
{
    struct json_object *got = NULL;
    enum exit_code code =
        kubectl_get(cli, KUBECTL_AS_GIVEN,
                    (const char *const[]){"pods", "-l", "chaperone.dev/injected=true", NULL}, &got);
    size_t n = object_count(got, "items");

    memset(ret, 0, sizeof *ret);
    if (code == EXIT_DONE && n > 0) {
        ret->all = calloc(n, sizeof *ret->all);
        if (!ret->all)
            code = cli_fail(EXIT_UNREACHABLE, "out of memory");
    }
    for (size_t i = 0; code == EXIT_DONE && i < n; i++)
        ret->n += take_pod(object_at(got, "items", i), &ret->all[ret->n]);
    json_object_put(got);
    if (code == EXIT_DONE && ret->n == 0)
        fprintf(stderr, "No pods with a guard%s.\n",
                cli_option(cli, "all-namespaces") ? "" : " in this namespace (others: -n, -A)");
    return code;
}

void guardpods_done(struct guardpods *p)
{
    for (size_t i = 0; i < p->n; i++) {
        json_object_put(p->all[i].answer);
        kubectl_done(&p->all[i].command);
    }
    free(p->all);
    memset(p, 0, sizeof *p);
}

/* ---- asking ---- */

void guardpods_exec(const struct cli *cli, struct guardpod *pod, const char *const *words)
{
    struct kubectl *k = &pod->command;

    kubectl_done(k);
    kubectl_init(k, cli, KUBECTL_NO_NAMESPACE);
    kubectl_addf(k, "--namespace=%s", pod->namespace_);
    kubectl_add_all(k, (const char *const[]){"exec", pod->name, "-c", CONTAINER, "--",
                                             "/kubectl-guard", "--socket", SOCKET, NULL});
    kubectl_add_all(k, words);
}

/* kubectl ends what the program wrote with "command terminated with exit code N"; the program's own
 * words begin with its name. */
void guardpods_reason(const struct job *job, char *to, size_t size)
{
    static const char mark[] = "kubectl-guard: ", tail[] = "command terminated with exit code";
    struct kubectl_answer a;
    char *at;

    kubectl_judge(job, &a);
    at = strstr(a.words, tail);
    if (at) {
        *at = '\0';
        for (size_t n = strlen(a.words); n > 0 && a.words[n - 1] == '\n'; n--)
            a.words[n - 1] = '\0';
    }
    at = strncmp(a.words, mark, strlen(mark)) == 0 ? a.words + strlen(mark) : a.words;
    snprintf(to, size, "%s", *at ? at : "its guard gave no answer");
}

static void take_answer(struct job *job, struct guardpod *pod)
{
    if (job->status != 0 || job->out.failed) {
        guardpods_reason(job, pod->problem, sizeof pod->problem);
        return;
    }
    struct bytes text = buffer_bytes(&job->out);

    while (text.len && strchr(" \r\n", text.p[text.len - 1]))
        text.len--;
    pod->answer = object_parse(text);
    if (!pod->answer)
        snprintf(pod->problem, sizeof pod->problem, "its guard's answer is not understood");
}

void guardpods_ask(const struct cli *cli, struct guardpods *p, const char *const *words)
{
    struct job *jobs = calloc(p->n + 1, sizeof *jobs);
    size_t *of = calloc(p->n + 1, sizeof *of), n = 0;

    for (size_t i = 0; jobs && of && i < p->n; i++) {
        struct guardpod *pod = &p->all[i];

        if (pod->problem[0])
            continue;
        guardpods_exec(cli, pod, words);
        if (pod->command.failed) {
            snprintf(pod->problem, sizeof pod->problem, "the command line is too long");
            continue;
        }
        of[n] = i;
        jobs[n++] = (struct job){.name = "kubectl",
                                 .argv = pod->command.argv,
                                 .max = ANSWER_MAX,
                                 .deadline_ms = cli->quick ? QUICK_MS : DEADLINE_MS};
    }
    if (n)
        jobs_run(jobs, n, GUARDPODS_AT_ONCE, NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        take_answer(&jobs[i], &p->all[of[i]]);
        job_done(&jobs[i]);
    }
    free(jobs);
    free(of);
}

/* ---- telling ---- */

struct json_object *guardpods_unreachable(const struct guardpods *p)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < p->n; i++) {
        struct json_object *o;

        if (!p->all[i].problem[0])
            continue;
        o = json_object_new_object();
        json_object_object_add(o, "namespace", json_object_new_string(p->all[i].namespace_));
        json_object_object_add(o, "pod", json_object_new_string(p->all[i].name));
        json_object_object_add(o, "reason", json_object_new_string(p->all[i].problem));
        json_object_array_add(list, o);
    }
    return list;
}

enum exit_code guardpods_complain(const struct cli *cli, const struct guardpods *p)
{
    size_t bad = 0;

    (void)cli;
    for (size_t i = 0; i < p->n; i++) {
        if (!p->all[i].problem[0])
            continue;
        bad++;
        cli_fail(EXIT_UNREACHABLE, "pod %s in %s: %s", p->all[i].name, p->all[i].namespace_,
                 p->all[i].problem);
    }
    return bad > 0 && bad == p->n ? EXIT_UNREACHABLE : EXIT_DONE;
}

/* ---- sessions ---- */

bool guardpods_is_session(const char *word)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t n = strlen(word);

    return n > 0 && n <= 128 && word[0] != '-' && strspn(word, letters) == n;
}

static bool has_session(struct json_object *answer, const char *session)
{
    for (size_t i = 0; i < object_count(answer, "sessions"); i++) {
        const char *id = object_text(object_at(answer, "sessions", i), "id");

        if (id && strcmp(id, session) == 0)
            return true;
    }
    return false;
}

enum exit_code guardpods_of_session(const struct cli *cli, const char *session,
                                    struct guardpods *pods, struct guardpod **ret)
{
    size_t bad = 0;

    guardpods_ask(cli, pods, (const char *const[]){"sessions", "-o", "json", NULL});
    for (size_t i = 0; i < pods->n; i++) {
        if (has_session(pods->all[i].answer, session)) {
            *ret = &pods->all[i];
            return EXIT_DONE;
        }
        bad += pods->all[i].problem[0] != '\0';
    }
    guardpods_complain(cli, pods);
    if (bad)
        return cli_fail(EXIT_UNREACHABLE,
                        "no guard that could be asked has a live session %s; %zu of %zu could not",
                        session, bad, pods->n);
    return cli_fail(EXIT_NO, "there is no live session %s (another namespace: -n, or -A)", session);
}
