/* SPDX-License-Identifier: Apache-2.0
 * Runs kubectl, and understands what it says when it fails.
 */
#include "kubectl.h"

#include "object.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define ANSWER_MAX  ((size_t)256 << 20)
#define DEADLINE_MS 60000
#define LOGIN_MS    300000
#define QUICK_MS    4000
#define ARGS_BYTES  ((size_t)1 << 20)

const struct option_spec kubectl_options[] = {
    {"namespace", 'n', "NS", "the namespace (that of the context)"},
    {"all-namespaces", 'A', NULL, "all namespaces: list, watch, sessions, tail, kill, status"},
    {"context", 0, "NAME", "the kubeconfig's context"},
    {"kubeconfig", 0, "FILE", "the kubeconfig"},
    {"cluster", 0, "NAME", "the kubeconfig's cluster"},
    {"user", 0, "NAME", "the kubeconfig's user"},
    {"as", 0, "NAME", "impersonate this user"},
    {"as-group", 0, "GROUP", "impersonate this group (may be repeated)", .many = true},
    {"as-uid", 0, "UID", "impersonate this UID"},
    {"server", 's', "URL", "the API server"},
    {"token", 0, "TOKEN", "bearer token (others can see it in the list of processes)"},
    {"certificate-authority", 0, "FILE", "the API server's authority"},
    {"client-certificate", 0, "FILE", "client certificate"},
    {"client-key", 0, "FILE", "its key"},
    {"tls-server-name", 0, "NAME", "the name in the API server's certificate"},
    {"insecure-skip-tls-verify", 0, NULL, "do not check that certificate"},
    {"request-timeout", 0, "TIME", "how long one request may take"},
    {"cache-dir", 0, "DIR", "kubectl's cache"},
    {0},
};

/* ---- the command line ---- */

void kubectl_add(struct kubectl *k, const char *arg)
{
    if (!arg || k->n == KUBECTL_MAX_ARGS)
        k->failed = true;
    else
        k->argv[k->n++] = arg;
}

void kubectl_addf(struct kubectl *k, const char *fmt, ...)
{
    _cleanup_(free_charp) char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        text = NULL;
    kubectl_add(k, text ? arena_printf(&k->arena, "%s", text) : NULL);
}

void kubectl_add_all(struct kubectl *k, const char *const *args)
{
    for (; *args; args++)
        kubectl_add(k, *args);
}

static bool passes(const char *name, enum kubectl_scope scope)
{
    if (strcmp(name, "namespace") == 0)
        return scope != KUBECTL_NO_NAMESPACE;
    if (strcmp(name, "all-namespaces") == 0)
        return false; /* behind the verb: not all verbs know it */
    return true;
}

void kubectl_init(struct kubectl *k, const struct cli *cli, enum kubectl_scope scope)
{
    const char *program = getenv("KUBECTL");

    memset(k, 0, sizeof *k);
    arena_init(&k->arena, ARGS_BYTES);
    k->quick = cli->quick;
    kubectl_add(k, program && program[0] ? program : "kubectl");
    for (size_t i = 0; i < cli->n_options; i++) {
        const char *name = cli->options[i].name;
        const struct option_spec *o = cli_find_option(kubectl_options, bytes_str(name));

        if (!o || strlen(name) == 1 || !passes(name, scope))
            continue;
        if (o->value)
            kubectl_addf(k, "--%s=%s", name, cli->options[i].value);
        else
            kubectl_addf(k, "--%s", name);
    }
}

void kubectl_done(struct kubectl *k)
{
    arena_done(&k->arena);
}

bool kubectl_is_name(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n > 253 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != n)
        return false;
    return name[0] != '-' && name[0] != '.';
}

/* ---- what it says ---- */

/* client-go logs to stderr, too: "E1124 12:00:00.000000 …". */
static bool is_log(const char *line)
{
    return line[0] && strchr("EWIF", line[0]) && strspn(line + 1, "0123456789") == 4 &&
           line[5] == ' ';
}

static void keep_line(char *to, size_t size, const char *line)
{
    size_t n = strlen(to);

    snprintf(to + n, size - n, "%s%s", n ? "\n" : "", line);
}

/* kubectl's own words before the reason. */
static const char *strip(const char *text)
{
    static const char *const marks[] = {"denied the request: ", "denied request: "};
    const char *at;

    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if ((at = strstr(text, marks[i])))
            return at + strlen(marks[i]);
    if (strncmp(text, "Error from server", 17) == 0 && (at = strstr(text, ": ")))
        return at + 2;
    if (strncmp(text, "error: ", 7) == 0)
        return text + 7;
    return text;
}

/* What people are told: the lines without kubectl's own words and the library's log. */
static void keep_words(char *all, char *to, size_t size)
{
    to[0] = '\0';
    for (char *save = NULL, *line = strtok_r(all, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        if (!is_log(line) && strncmp(line, "Warning: ", 9) != 0)
            keep_line(to, size, strip(line));
}

static enum kubectl_result classify(const char *text)
{
    static const struct {
        const char *mark;
        enum kubectl_result result;
    } marks[] = {
        {"denied the request", KUBECTL_REFUSED}, /* a webhook */
        {"denied request", KUBECTL_REFUSED},     /* a ValidatingAdmissionPolicy */
        {"failed calling webhook", KUBECTL_UNREACHABLE},
        {"the server doesn't have a resource type", KUBECTL_NO_KIND},
        {"no matches for kind", KUBECTL_NO_KIND},
        {"(NotFound)", KUBECTL_NOT_FOUND},
        {"(Forbidden)", KUBECTL_REFUSED},
        {"(Invalid)", KUBECTL_INVALID},
        {"(Conflict)", KUBECTL_INVALID},
        {" is invalid", KUBECTL_INVALID},
    };

    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (strstr(text, marks[i].mark))
            return marks[i].result;
    return KUBECTL_UNREACHABLE;
}

void kubectl_judge(const struct job *job, struct kubectl_answer *ret)
{
    struct bytes errors = buffer_bytes(&job->errors);
    _cleanup_(free_charp) char *all = strndup(errors.p ? (const char *)errors.p : "", errors.len);

    memset(ret, 0, sizeof *ret);
    ret->status = job->status;
    if (job->status == 0 && !job->out.failed)
        return;
    ret->result = KUBECTL_UNREACHABLE;
    if (job->status <= 0) {
        snprintf(ret->words, sizeof ret->words, "%s",
                 job->status ? job->err.text : "kubectl's answer is too long");
        return;
    }
    if (all) {
        ret->result = classify(all);
        keep_words(all, ret->words, sizeof ret->words);
    }
    if (!ret->words[0])
        snprintf(ret->words, sizeof ret->words, "kubectl failed");
}

void kubectl_answer_done(struct kubectl_answer *a)
{
    free(a->text);
    a->text = NULL;
}

/* ---- running ---- */

void kubectl_run(struct kubectl *k, struct kubectl_answer *ret)
{
    struct job job = {.name = "kubectl",
                      .argv = k->argv,
                      .max = ANSWER_MAX,
                      .deadline_ms = k->quick               ? QUICK_MS
                                     : isatty(STDIN_FILENO) ? LOGIN_MS
                                                            : DEADLINE_MS,
                      .interactive = !k->quick};

    memset(ret, 0, sizeof *ret);
    if (k->failed) {
        ret->result = KUBECTL_UNREACHABLE;
        ret->status = -E2BIG;
        snprintf(ret->words, sizeof ret->words, "the command line is too long");
        return;
    }
    jobs_run(&job, 1, 1, NULL, NULL);
    kubectl_judge(&job, ret);
    if (ret->result == KUBECTL_OK && buffer_add_u8(&job.out, '\0') == 0) {
        ret->len = buffer_len(&job.out) - 1;
        ret->text = malloc(ret->len + 1);
        if (ret->text)
            memcpy(ret->text, buffer_bytes(&job.out).p, ret->len + 1);
    }
    if (ret->result == KUBECTL_OK && !ret->text) {
        ret->result = KUBECTL_UNREACHABLE;
        snprintf(ret->words, sizeof ret->words, "out of memory");
    }
    job_done(&job);
}

enum exit_code kubectl_complain(const struct cli *cli, const struct kubectl_answer *a)
{
    static const char elsewhere[] = "For a guard on this machine, name its control socket: "
                                    "--socket PATH, or CHAPERONE_SOCKET.";

    (void)cli;
    switch (a->result) {
    case KUBECTL_OK:
        return EXIT_DONE;
    case KUBECTL_NOT_FOUND:
    case KUBECTL_REFUSED:
    case KUBECTL_INVALID:
        return cli_fail(EXIT_NO, "%s", a->words);
    case KUBECTL_NO_KIND:
        return cli_fail(EXIT_UNREACHABLE,
                        "this cluster has no Chaperone: %s\nInstall its chart, or choose another "
                        "cluster with --context. %s",
                        a->words, elsewhere);
    case KUBECTL_UNREACHABLE:
        break;
    }
    if (a->status == -ENOENT || a->status == -EACCES)
        return cli_fail(EXIT_UNREACHABLE,
                        "%s\nClusters are asked through kubectl: install it, or name it with "
                        "KUBECTL. %s",
                        a->words, elsewhere);
    return cli_fail(EXIT_UNREACHABLE,
                    "cannot reach the cluster: %s\nWhich cluster and who you are: --context, "
                    "--kubeconfig. %s",
                    a->words, elsewhere);
}

enum exit_code kubectl_object(const struct cli *cli, struct kubectl *k, struct json_object **ret)
{
    struct kubectl_answer a;
    enum exit_code code = EXIT_DONE;

    kubectl_run(k, &a);
    if (a.result != KUBECTL_OK) {
        code = kubectl_complain(cli, &a);
    } else {
        struct bytes text = bytes_of(a.text, a.len);

        while (text.len && strchr(" \r\n", text.p[text.len - 1]))
            text.len--;
        *ret = object_parse(text);
        if (!*ret)
            code = cli_fail(EXIT_UNREACHABLE, "kubectl's answer is not understood");
    }
    kubectl_answer_done(&a);
    return code;
}

enum exit_code kubectl_get(const struct cli *cli, enum kubectl_scope scope, const char *const *args,
                           struct json_object **ret)
{
    enum exit_code code;
    struct kubectl k;

    kubectl_init(&k, cli, scope);
    kubectl_add(&k, "get");
    kubectl_add_all(&k, args);
    if (scope == KUBECTL_AS_GIVEN && cli_option(cli, "all-namespaces"))
        kubectl_add(&k, "--all-namespaces");
    kubectl_add_all(&k, (const char *const[]){"-o", "json", NULL});
    code = kubectl_object(cli, &k, ret);
    kubectl_done(&k);
    return code;
}
