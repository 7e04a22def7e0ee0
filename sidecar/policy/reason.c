/* SPDX-License-Identifier: Apache-2.0
 * Words of a refusal: what, which rule, and why, so that a person or a language model knows what
 * would be permitted.
 */
#include "reason.h"

#include <stdarg.h>
#include <stdio.h>

#define MAX_WHAT 180

/* Length of the character at t, at most 4; 0 when it is no valid UTF-8 or a control character. */
static size_t character(const unsigned char *t)
{
    size_t n = t[0] < 0x80 ? 1 : t[0] >= 0xf0 ? 4 : t[0] >= 0xe0 ? 3 : 2;

    if (t[0] < 0x20 || t[0] == 0x7f || (t[0] >= 0x80 && t[0] < 0xc2) || t[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((t[i] & 0xc0) != 0x80)
            return 0;
    }
    /* over-long, surrogates, past the last character */
    if ((t[0] == 0xe0 && t[1] < 0xa0) || (t[0] == 0xed && t[1] > 0x9f) ||
        (t[0] == 0xf0 && t[1] < 0x90) || (t[0] == 0xf4 && t[1] > 0x8f))
        return 0;
    return n;
}

void reason_clean(char *text)
{
    for (unsigned char *t = (unsigned char *)text; *t;) {
        size_t n = character(t);

        if (n == 0)
            *t++ = '?';
        else
            t += n;
    }
}

static const char *where_words(const struct object *o)
{
    if (o->op != OP_UPDATE && o->op != OP_DELETE)
        return "";
    return o->where == WHERE_ABSENT ? " without WHERE" : "";
}

static void ssh_words(const struct ssh_act *a, char *out, size_t n)
{
    const char *text = a->text ? a->text : "";
    const char *access = !a->access                      ? "looking at"
                         : a->access & SSH_ACCESS_DELETE ? "deleting"
                         : a->access & SSH_ACCESS_WRITE  ? "writing"
                                                         : "reading";

    switch ((enum ssh_request)a->request) {
    case SSH_REQUEST_EXEC:
        snprintf(out, n, "running '%.110s%s'%s", text, strlen(text) > 110 ? "…" : "",
                 a->unreadable ? ", which a shell would expand" : "");
        break;
    case SSH_REQUEST_SHELL:
        snprintf(out, n, "an interactive shell");
        break;
    case SSH_REQUEST_PTY:
        snprintf(out, n, "a terminal (pty)");
        break;
    case SSH_REQUEST_ENV:
        snprintf(out, n, "setting the variable %.80s", text);
        break;
    case SSH_REQUEST_FORWARD:
        snprintf(out, n, "forwarding: %.110s", text);
        break;
    case SSH_REQUEST_SFTP:
        snprintf(out, n, a->path ? "%s %.120s over sftp" : "sftp", access, a->path);
        break;
    }
}

static void kube_words(const struct kube_act *a, char *out, size_t n)
{
    const char *slash = a->subresource[0] ? "/" : "", *dot = a->group[0] ? "." : "";
    bool in = a->namespace_[0] && strcmp(a->resource, "namespaces") != 0;

    if (!a->resource[0])
        snprintf(out, n, "%.16s %.140s", a->verb, a->url);
    else
        snprintf(out, n, "%.16s %.30s%s%.16s%s%.24s%s%.30s%s%.30s%s", a->verb, a->resource, slash,
                 a->subresource, dot, a->group, a->name[0] ? " " : "", a->name, in ? " in " : "",
                 in ? a->namespace_ : "", a->dry_run ? " (dry run)" : "");
}

static void what_words(const struct judgement *j, char *out, size_t n)
{
    const struct object *o = j->object;

    if (j->ssh)
        ssh_words(j->ssh, out, n);
    else if (j->kube)
        kube_words(j->kube, out, n);
    else if (j->function)
        snprintf(out, n, "calling %.100s", j->function);
    else if (!o || o->op >= OP_COUNT || (o->op == OP_UNKNOWN && !o->name))
        snprintf(out, n, "an operation that the guard does not know (Unknown)");
    else if (!o->name)
        snprintf(out, n, "%s", operation_name(o->op));
    else
        snprintf(out, n, "%s%s on %.63s%s%.63s%s", operation_name(o->op), where_words(o),
                 o->schema ? o->schema : "", o->schema ? "." : "", o->name,
                 o->schema ? "" : " (not in the catalogue)");
}

/* "policy 'a'", "policies 'a' and 'b'", "policies 'a', 'b' and 3 more": those whose rules could
 * have permitted it. */
static void policy_words(const struct policy_view *v, bool all, char *out, size_t n)
{
    const char *first = "", *second = "";
    size_t count = 0;

    for (size_t i = 0; i < v->n; i++) {
        const struct view_policy *p = &v->policies[i];

        if (!(all ? p->grants_among_all : p->grants))
            continue;
        first = count == 0 ? p->policy->name : first;
        second = count == 1 ? p->policy->name : second;
        count++;
    }
    if (count < 2)
        snprintf(out, n, "policy '%.63s'", first);
    else if (count == 2)
        snprintf(out, n, "policies '%.40s' and '%.40s'", first, second);
    else
        snprintf(out, n, "policies '%.40s', '%.40s' and %zu more", first, second, count - 2);
}

static void say(struct decision *d, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Cut at the end of d->reason. */
static void say(struct decision *d, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(d->reason, sizeof d->reason, fmt, args);
    va_end(args);
    reason_clean(d->reason);
}

static void unmatched(const struct policy_view *v, const struct judgement *j, bool all,
                      struct decision *d)
{
    char what[MAX_WHAT], whose[128];

    what_words(j, what, sizeof what);
    policy_words(v, all, whose, sizeof whose);
    if (j->kube && j->kube->risk)
        say(d, "%s: %s; only a RequireApproval rule of %s could permit it", what, j->kube->risk,
            whose);
    else if (j->kube && j->kube->unguarded_pods)
        say(d,
            "%s starts pods outside of the agent's namespace: no rule of %s names that namespace",
            what, whose);
    else if (j->function)
        say(d, "%s, which may do more than compute: no rule of %s names it in functions", what,
            whose);
    else if (j->object && j->object->sensitive)
        say(d, "%s, a sensitive system catalogue: no rule of %s allows it by its exact name", what,
            whose);
    else
        say(d, "%s: no rule of %s allows it", what, whose);
}

void reason_write(const struct policy_view *v, const struct judgement *j, bool all,
                  struct decision *d)
{
    char what[MAX_WHAT];

    d->reason[0] = 0;
    if (j->verdict == VERDICT_ALLOW)
        return;
    if (!j->rule) {
        unmatched(v, j, all, d);
    } else {
        what_words(j, what, sizeof what);
        say(d, "rule '%s' of policy '%.63s' %s %s", j->rule->name, j->rule->policy->name,
            j->verdict == VERDICT_DENY ? "refuses" : "requires approval of", what);
    }
}
