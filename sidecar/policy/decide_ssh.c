/* SPDX-License-Identifier: Apache-2.0
 * Rules against SSH requests. As elsewhere a rule permits what it surely matches and restricts what
 * it may match: a command that could not be read matches every Deny and RequireApproval with argv,
 * and no Allow with argv.
 */
#include "decide_ssh.h"

const struct word ssh_hazard_words[SSH_N_HAZARD_WORDS] = {
    {"DeleteTree", HAZARD_DELETE_TREE},  {"FormatDisk", HAZARD_FORMAT_DISK},
    {"PowerOff", HAZARD_POWER_OFF},      {"PipeToShell", HAZARD_PIPE_TO_SHELL},
    {"Privilege", HAZARD_PRIVILEGE},     {"Accounts", HAZARD_ACCOUNTS},
    {"Permissions", HAZARD_PERMISSIONS}, {"Firewall", HAZARD_FIREWALL},
    {"KillAll", HAZARD_KILL_ALL},        {"HideTracks", HAZARD_HIDE_TRACKS},
    {"ForkBomb", HAZARD_FORK_BOMB},      {"ReverseShell", HAZARD_REVERSE_SHELL},
    {"Unreadable", HAZARD_UNREADABLE},   {"*", HAZARD_ALL},
};

/* ---- patterns ---- */

/* Steps are bounded: a pattern with many stars against a long word must not take for ever. */
struct walk {
    size_t steps;
};
#define MAX_STEPS 100000

static bool glob(const char *p, const char *t, struct walk *w)
{
    while (*p) {
        bool deep = p[0] == '*' && p[1] == '*';

        if (w->steps++ > MAX_STEPS)
            return false;
        if (*p != '*') {
            if (*p++ != *t++)
                return false;
            continue;
        }
        p += deep ? 2 : 1;
        for (;; t++) {
            if (glob(p, t, w))
                return true;
            if (!*t || (!deep && *t == '/') || w->steps > MAX_STEPS)
                return false;
        }
    }
    return !*t;
}

static bool climbs(const char *t)
{
    for (; t; t = strchr(t, '/')) {
        t += *t == '/';
        if (t[0] == '.' && t[1] == '.' && (t[2] == '/' || !t[2]))
            return true;
    }
    return false;
}

bool policy_ssh_word_matches(const char *pattern, const char *word)
{
    struct walk w = {0};

    if (!strchr(pattern, '*'))
        return strcmp(pattern, word) == 0;
    if ((word[0] == '-' && pattern[0] != '-') || climbs(word))
        return false;
    return glob(pattern, word, &w);
}

bool policy_ssh_path_matches(const char *pattern, const char *path)
{
    size_t n = strlen(pattern);
    struct walk w = {0};

    if (climbs(path))
        return false;
    if (glob(pattern, path, &w))
        return true;
    if (n > 3 && strcmp(pattern + n - 3, "/**") == 0) {
        char dir[4096];

        if (n - 3 >= sizeof dir)
            return false;
        memcpy(dir, pattern, n - 3);
        dir[n - 3] = '\0';
        w.steps = 0;
        return glob(dir, path, &w);
    }
    return false;
}

/* ---- rules ---- */

bool policy_ssh_template_matches(const struct array *template, const struct ssh_command *c)
{
    const char *const *words = template->items;
    bool rest = strcmp(words[template->n - 1], "...") == 0;
    size_t n = template->n - rest;

    if (rest ? c->n < n : c->n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!policy_ssh_word_matches(words[i], c->argv[i]))
            return false;
    }
    return true;
}

static bool any_template(const struct ssh_match *m, const struct ssh_command *c)
{
    const struct array *templates = m->argv.items;

    for (size_t i = 0; i < m->argv.n; i++) {
        if (policy_ssh_template_matches(&templates[i], c))
            return true;
    }
    return false;
}

static bool exec_permits(const struct ssh_match *m, const struct ssh_act *a)
{
    if (m->hazards)
        return (m->hazards & a->hazards) && !a->unreadable;
    if (m->argv.n == 0)
        return true;
    return a->plain && any_template(m, a->plain);
}

static bool exec_restricts(const struct ssh_match *m, const struct ssh_act *a)
{
    if (m->hazards)
        return m->hazards & a->hazards;
    if (m->argv.n == 0 || a->unreadable)
        return true;
    for (size_t i = 0; i < a->n_commands; i++) {
        if (any_template(m, &a->commands[i]))
            return true;
    }
    return a->plain && any_template(m, a->plain);
}

static bool any_path(const struct ssh_match *m, const char *path)
{
    const char *const *paths = m->paths.items;

    for (size_t i = 0; i < m->paths.n; i++) {
        if (policy_ssh_path_matches(paths[i], path))
            return true;
    }
    return m->paths.n == 0;
}

static bool sftp_permits(const struct ssh_match *m, const struct ssh_act *a)
{
    if (!a->path)
        return true;
    if (m->access && (a->access & ~m->access))
        return false;
    return any_path(m, a->path) && (!a->resolved || any_path(m, a->resolved));
}

/* A rule for some paths or kinds of access waits for the operations; one without speaks about the
 * subsystem as a whole, when it is opened. */
static bool sftp_restricts(const struct ssh_match *m, const struct ssh_act *a, bool deny)
{
    bool whole = !m->paths.n && !m->access;

    if (!a->path)
        return whole;
    if (whole)
        return deny;
    if (m->access && !(a->access & m->access))
        return false;
    return any_path(m, a->path) || (a->resolved && any_path(m, a->resolved));
}

static bool permits(const struct rule *r, const struct ssh_act *a)
{
    if (a->request == SSH_REQUEST_EXEC)
        return exec_permits(r->ssh, a);
    return a->request != SSH_REQUEST_SFTP || sftp_permits(r->ssh, a);
}

static bool restricts(const struct rule *r, const struct ssh_act *a)
{
    if (a->request == SSH_REQUEST_EXEC)
        return exec_restricts(r->ssh, a);
    return a->request != SSH_REQUEST_SFTP || sftp_restricts(r->ssh, a, r->action == ACTION_DENY);
}

static void ask_rule(const struct rule *r, const struct ssh_act *a, struct opinion *ret,
                     bool *as_is)
{
    bool yes = r->action != ACTION_DENY && permits(r, a);
    bool no = r->action != ACTION_ALLOW && restricts(r, a);

    *as_is |= yes && r->ssh->as_is;
    if (r->action == ACTION_DENY && no && !ret->deny)
        ret->deny = r;
    if (r->action == ACTION_APPROVE && no)
        ret->approve = rule_stricter(ret->approve, r);
    if (r->action == ACTION_APPROVE && yes && no)
        ret->ask = rule_stricter(ret->ask, r);
    /* The subsystem was approved as a whole when it was opened. Or: it may be opened, because
     * some of its operations can be approved. */
    if (yes && !no && !ret->allow)
        ret->allow = r;
}

void policy_ssh_opinion(const struct policy *policy, const struct ssh_act *act, struct opinion *ret,
                        bool *as_is)
{
    const struct rule *rules = policy->rules.items;

    for (size_t i = 0; i < policy->rules.n; i++) {
        const struct rule *r = &rules[i];

        if (r->ssh && r->action != ACTION_MASK && (r->ssh->requests & act->request))
            ask_rule(r, act, ret, as_is);
    }
}
