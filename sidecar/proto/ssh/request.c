/* SPDX-License-Identifier: Apache-2.0
 * What the agent asks for: channels, and on them pty, env, exec, shell, subsystem. libssh queues
 * the requests; each is answered when it is clear what becomes of it.
 */
#include "command.h"
#include "message.h"
#include "relay.h"
#include "sftp.h"

#include "src-common/clock.h"

#include <stdio.h>

/* ---- deciding ---- */

void sshrelay_decide(struct sshrelay *r, const struct ssh_act *act, struct decision *d)
{
    struct statement st = {.ssh = act};

    *d = (struct decision){.verdict = VERDICT_DENY, .would = VERDICT_DENY};
    if (guard_policy_stale(r->session->guard)) {
        snprintf(d->reason, sizeof d->reason,
                 "the policy in force is stale: the newest one was refused");
        return;
    }
    policy_decide(r->view, &st, 1, d);
}

void sshchannel_tell(struct channel *c, const char *line)
{
    struct bytes left = bytes_str(line);

    while (left.len) {
        int n = sshleg_write(&c->relay->agent, c->agent, &c->agent_sized, left, true);

        if (n <= 0)
            return;
        left = bytes_of(left.p + n, left.len - (size_t)n);
    }
}

/* One line: who refuses, why, and the number to name when asking for help. */
void sshchannel_refuse(struct channel *c, const char *why)
{
    struct sshrelay *r = c->relay;
    char line[900];
    bool success = c->kind == CHANNEL_EXEC || c->kind == CHANNEL_SHELL;

    snprintf(line, sizeof line, "chaperone: %s (request %s/%u)%s\n", why, r->session->id, c->n,
             c->pty ? "\r" : "");
    for (char *t = line; *t && t[1]; t++) {
        if (*t == '\n')
            *t = ' ';
    }
    if (c->pending && !c->answered && success)
        (void)ssh_message_channel_request_reply_success(c->pending);
    if (success || !c->pending)
        buffer_append(&c->err.ready, line, strlen(line));
    else /* a client that is told of the failure first does not read on */
        sshchannel_tell(c, line);
    if (c->pending && !c->answered && !success)
        (void)ssh_message_reply_default(c->pending);
    ssh_message_free(c->pending);
    c->pending = NULL;
    c->answered = true;
    if (success)
        c->exit_status = 126;
    if (c->target && !c->target_closed)
        (void)ssh_channel_close(c->target);
    c->state = CHANNEL_REFUSED;
    (void)journal_flush(r);
}

static void refuse_decided(struct channel *c, const struct decision *d)
{
    char why[800];

    snprintf(why, sizeof why, "denied: %s%s%s", d->reason, d->message ? ": " : "",
             d->message ? d->message : "");
    sshchannel_refuse(c, why);
}

void sshchannel_permit(struct channel *c)
{
    c->state = CHANNEL_OPEN_UP;
    c->started_ms = clock_mono_ms();
}

static const char *kind_name(enum channel_kind k)
{
    static const char *const names[] = {
        [CHANNEL_NONE] = "",     [CHANNEL_EXEC] = "exec",       [CHANNEL_SHELL] = "shell",
        [CHANNEL_SFTP] = "sftp", [CHANNEL_FORWARD] = "forward",
    };

    return names[k];
}

const char *sshchannel_kind(const struct channel *c)
{
    return kind_name(c->kind);
}

static unsigned request_of(enum channel_kind k)
{
    static const unsigned requests[] = {
        [CHANNEL_NONE] = 0,
        [CHANNEL_EXEC] = SSH_REQUEST_EXEC,
        [CHANNEL_SHELL] = SSH_REQUEST_SHELL,
        [CHANNEL_SFTP] = SSH_REQUEST_SFTP,
        [CHANNEL_FORWARD] = SSH_REQUEST_FORWARD,
    };

    return requests[k];
}

/* Masks by value for what comes back; sftp masks message by message. */
static int set_masks(struct channel *c, const struct ssh_act *act)
{
    struct sshrelay *r = c->relay;
    uint32_t detectors = policy_view_detectors(r->view) & ~policy_ssh_exempt(r->view, act);
    int rc;

    if (!detectors || c->kind == CHANNEL_SFTP || c->kind == CHANNEL_FORWARD || c->out.mask)
        return 0;
    rc = sshflow_mask(&c->out, detectors);
    return rc ? rc : sshflow_mask(&c->err, detectors);
}

static int make_act(struct channel *c, struct ssh_act *act, char destination[300])
{
    arena_done(&c->relay->arena);
    if (c->kind == CHANNEL_EXEC)
        return command_parse(bytes_str(c->text), &c->relay->arena, act);
    *act = (struct ssh_act){.request = request_of(c->kind), .text = ""};
    if (c->kind == CHANNEL_FORWARD) {
        snprintf(destination, 300, "%.255s:%u", c->text, c->port);
        act->text = destination;
    }
    return 0;
}

static void ask_people(struct channel *c, const struct decision *d, struct bytes text)
{
    char why[300];

    switch (sshchannel_ask(c, c->n, d, text, why)) {
    case ASKED_WAIT:
        c->state = CHANNEL_HELD;
        break;
    case ASKED_GRANTED:
        sshchannel_permit(c);
        break;
    case ASKED_REFUSED:
        sshchannel_refuse(c, why);
        break;
    }
}

void sshchannel_judge(struct channel *c)
{
    struct sshrelay *r = c->relay;
    char destination[300] = "";
    struct bytes text;
    struct ssh_act act;
    struct decision d;

    if (make_act(c, &act, destination) != 0 ||
        (c->kind == CHANNEL_SFTP && !c->file && sshfile_new(&c->file) != 0)) {
        sshrelay_end(r, "out of memory");
        return;
    }
    text = c->kind == CHANNEL_EXEC ? bytes_str(c->text) : bytes_str(destination);
    sshrelay_decide(r, &act, &d);
    journal_statement(r, c->n, sshchannel_kind(c), text, &d, d.reason);
    if (!journal_commit(r)) {
        sshchannel_refuse(c, "denied: the session cannot be recorded");
    } else if (d.verdict == VERDICT_DENY) {
        journal_decision(r, c->n, sshchannel_kind(c), &d, d.reason);
        refuse_decided(c, &d);
    } else if (set_masks(c, &act) != 0) {
        sshrelay_end(r, "out of memory");
    } else if (d.verdict == VERDICT_ALLOW) {
        sshchannel_permit(c);
    } else {
        ask_people(c, &d, text);
    }
    (void)journal_flush(r);
}

/* ---- requests on a channel ---- */

/* Returns true when the message was kept. */
typedef bool request_fn(struct channel *c, ssh_message m);

static void refuse_request(struct channel *c, const char *kind, const char *text,
                           const struct decision *d, const char *why)
{
    struct sshrelay *r = c->relay;

    journal_statement(r, ++r->n, kind, bytes_str(text), d, why);
    journal_decision(r, r->n, kind, d, why);
}

static bool answer(ssh_message m, bool yes)
{
    if (yes)
        (void)ssh_message_channel_request_reply_success(m);
    else
        (void)ssh_message_reply_default(m);
    return false;
}

/* One program for each channel (RFC 4254, 6.5). */
static bool begin(struct channel *c, ssh_message m, enum channel_kind kind, const char *text)
{
    if (c->kind != CHANNEL_NONE) {
        refuse_request(c, kind_name(kind), text ? text : "", NULL,
                       "a second program on the same channel");
        return answer(m, false);
    }
    c->kind = kind;
    c->text = strdup(text ? text : "");
    c->n = ++c->relay->n;
    c->pending = m;
    if (c->text)
        sshchannel_judge(c);
    else
        sshrelay_end(c->relay, "out of memory");
    return true;
}

static bool on_exec(struct channel *c, ssh_message m)
{
    return begin(c, m, CHANNEL_EXEC, ssh_message_channel_request_command(m));
}

static bool on_shell(struct channel *c, ssh_message m)
{
    return begin(c, m, CHANNEL_SHELL, NULL);
}

static bool on_subsystem(struct channel *c, ssh_message m)
{
    const char *name = ssh_message_channel_request_subsystem(m);

    if (name && strcmp(name, "sftp") == 0)
        return begin(c, m, CHANNEL_SFTP, NULL);
    refuse_request(c, "subsystem", name ? name : "", NULL, "only the subsystem sftp is relayed");
    return answer(m, false);
}

static bool on_pty(struct channel *c, ssh_message m)
{
    struct ssh_act act = {.request = SSH_REQUEST_PTY, .text = "pty"};
    struct message_pty p = message_pty(m);
    struct sshrelay *r = c->relay;
    const char *why = "a second terminal, or one for a program that runs already";
    struct decision d;
    char line[500];

    sshrelay_decide(r, &act, &d);
    /* What needs approval is asked once, for the program that runs in it. */
    if (c->kind != CHANNEL_NONE || d.verdict == VERDICT_DENY || c->pty) {
        bool denied = d.verdict == VERDICT_DENY;

        why = denied ? d.reason : why;
        refuse_request(c, "pty", p.term ? p.term : "", denied ? &d : NULL, why);
        snprintf(line, sizeof line, "chaperone: denied: %s (request %s/%u)\r\n", why,
                 r->session->id, r->n);
        sshchannel_tell(c, line);
        return answer(m, false);
    }
    journal_statement(r, ++r->n, "pty", bytes_str(p.term), &d, NULL);
    c->pty = true;
    snprintf(c->term, sizeof c->term, "%s", p.term ? p.term : "");
    c->columns = p.columns;
    c->rows = p.rows;
    return answer(m, true);
}

static bool on_window_change(struct channel *c, ssh_message m)
{
    struct message_pty p = message_pty(m);
    char size[64];

    if (!c->pty)
        return answer(m, false);
    c->columns = p.columns;
    c->rows = p.rows;
    c->resized = c->state == CHANNEL_RUNNING;
    snprintf(size, sizeof size, "window %dx%d", p.columns, p.rows);
    journal_notice(c->relay, c->n, size);
    return false; /* never answered (RFC 4254, 6.7) */
}

static bool is_locale(const char *name)
{
    return strcmp(name, "LANG") == 0 || strcmp(name, "TERM") == 0 ||
           strcmp(name, "LANGUAGE") == 0 || strcmp(name, "TZ") == 0 || strncmp(name, "LC_", 3) == 0;
}

/* What makes a program load or run something else: no rule permits it. */
static bool is_dangerous(const char *name)
{
    static const char *const prefixes[] = {"LD_",        "DYLD_",  "BASH_",  "ENV",     "IFS",
                                           "PATH",       "SHELL",  "HOME",   "PYTHON",  "PERL",
                                           "RUBY",       "NODE_",  "JAVA_",  "GIT_SSH", "GIT_EXEC",
                                           "GIT_CONFIG", "GCONV",  "PS4",    "PROMPT_", "MALLOC_",
                                           "GLIBC_",     "EDITOR", "VISUAL", "PAGER",   "LESS"};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}

static bool plain_value(const char *value)
{
    return strlen(value) <= 1024 && strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
                                                  "WXYZ0123456789_.@:-+/, ") == strlen(value);
}

static bool on_env(struct channel *c, ssh_message m)
{
    const char *name = ssh_message_channel_request_env_name(m);
    const char *value = ssh_message_channel_request_env_value(m);
    struct ssh_act act = {.request = SSH_REQUEST_ENV, .text = name};
    struct decision d = {.verdict = VERDICT_DENY};
    struct channel_env *e = &c->env[c->n_env];

    if (!name || !value || !*name || c->kind != CHANNEL_NONE || c->n_env >= SSHRELAY_ENV_MAX) {
        refuse_request(c, "env", name ? name : "", NULL,
                       c->kind != CHANNEL_NONE ? "a variable for a program that runs already"
                                               : "a variable without a name, or too many of them");
        return answer(m, false);
    }
    if (is_locale(name) && plain_value(value))
        d.verdict = VERDICT_ALLOW;
    else if (is_locale(name) || is_dangerous(name) || strlen(name) > 64 || strlen(value) > 4096)
        snprintf(d.reason, sizeof d.reason, "the variable %.64s is never passed on", name);
    else
        sshrelay_decide(c->relay, &act, &d);
    if (d.verdict != VERDICT_ALLOW) {
        refuse_request(c, "env", name, &d, d.reason);
        return answer(m, false);
    }
    e->name = strdup(name);
    e->value = strdup(value);
    if (!e->name || !e->value) {
        sshrelay_end(c->relay, "out of memory");
        return false;
    }
    c->n_env++;
    if (!is_locale(name))
        journal_statement(c->relay, ++c->relay->n, "env", bytes_str(name), &d, NULL);
    return answer(m, true);
}

static bool on_x11(struct channel *c, ssh_message m)
{
    refuse_request(c, "x11", "", NULL, "X11 is not forwarded");
    return answer(m, false);
}

static bool on_unknown(struct channel *c, ssh_message m)
{
    refuse_request(c, "request", "", NULL, "a request that the guard does not know");
    return answer(m, false);
}

static request_fn *request_handler(int type)
{
    switch (type) {
    case SSH_CHANNEL_REQUEST_PTY:
        return on_pty;
    case SSH_CHANNEL_REQUEST_EXEC:
        return on_exec;
    case SSH_CHANNEL_REQUEST_SHELL:
        return on_shell;
    case SSH_CHANNEL_REQUEST_ENV:
        return on_env;
    case SSH_CHANNEL_REQUEST_SUBSYSTEM:
        return on_subsystem;
    case SSH_CHANNEL_REQUEST_WINDOW_CHANGE:
        return on_window_change;
    case SSH_CHANNEL_REQUEST_X11:
        return on_x11;
    default:
        return on_unknown;
    }
}

/* True when the message was kept. */
static bool channel_message(struct sshrelay *r, ssh_message m)
{
    struct channel *c = sshchannel_find(r, ssh_message_channel_request_channel(m));
    int type = ssh_message_subtype(m);

    if (!c)
        return false; /* closed meanwhile: there is nobody to answer, and libssh's channel is gone
                       */
    if (type != SSH_CHANNEL_REQUEST_WINDOW_CHANGE && ++c->requests > SSHRELAY_REQUESTS) {
        sshrelay_end(r, "too many requests on one channel");
        return false;
    }
    return request_handler(type)(c, m);
}

/* ---- channels ---- */

static void refuse_open(struct sshrelay *r, ssh_message m, const char *kind, const char *text,
                        const char *why)
{
    journal_statement(r, ++r->n, kind, bytes_str(text), NULL, why);
    journal_decision(r, r->n, kind, NULL, why);
    (void)ssh_message_reply_default(m);
}

static struct channel *accept_channel(struct sshrelay *r, ssh_message m)
{
    ssh_channel ch = ssh_message_channel_request_open_reply_accept(m);
    struct channel *c = ch ? sshchannel_new(r, ch) : NULL;

    if (!c)
        sshrelay_end(r, "out of memory");
    return c;
}

static void open_forward(struct sshrelay *r, ssh_message m)
{
    const char *host = ssh_message_channel_request_open_destination(m);
    int port = ssh_message_channel_request_open_destination_port(m);
    struct ssh_act act = {.request = SSH_REQUEST_FORWARD};
    struct decision d;
    bool sane = host && *host && strlen(host) <= 255 && port > 0 && port <= 65535;
    struct channel *c;
    char text[300];

    snprintf(text, sizeof text, "%.255s:%d", host ? host : "", port);
    act.text = text;
    sshrelay_decide(r, &act, &d);
    if (d.verdict == VERDICT_DENY || !sane) {
        refuse_open(r, m, "forward", text,
                    d.verdict == VERDICT_DENY ? d.reason : "no such address or port");
        return;
    }
    c = accept_channel(r, m);
    if (!c)
        return;
    c->kind = CHANNEL_FORWARD;
    c->text = strdup(host);
    c->port = (uint16_t)port;
    c->n = ++r->n;
    sshchannel_judge(c);
}

static void open_channel(struct sshrelay *r, ssh_message m)
{
    int type = ssh_message_subtype(m);

    if (r->n_channels >= SSHRELAY_CHANNELS)
        refuse_open(r, m, "channel", "", "too many channels at once");
    else if (type == SSH_CHANNEL_SESSION)
        (void)accept_channel(r, m);
    else if (type == SSH_CHANNEL_DIRECT_TCPIP)
        open_forward(r, m);
    else
        refuse_open(r, m, "channel", "", "a kind of channel that is not relayed");
}

static void global_request(struct sshrelay *r, ssh_message m)
{
    refuse_open(r, m, "tcpip-forward", "", "ports of the target are not forwarded to the agent");
}

/* Refused by libssh without a message: forwarding of sockets (-R /path), and whatever else. */
static bool note_global_requests(struct sshrelay *r)
{
    static const char why[] = "a global request that is not relayed";
    struct sshleg_refused all = r->refused;
    char more[64];

    r->refused.n = 0;
    for (unsigned i = 0; i < all.n && i <= SSHLEG_REFUSED; i++) {
        const char *name = i < SSHLEG_REFUSED ? all.names[i] : more;

        snprintf(more, sizeof more, "and %u more", all.n - i);
        journal_statement(r, ++r->n, "global", bytes_str(name), NULL, why);
        journal_decision(r, r->n, "global", NULL, why);
    }
    return all.n > 0;
}

/* A target has nothing to ask for: x11, forwarded-tcpip and the like are refused. */
static void refuse_target(struct sshrelay *r, ssh_message m)
{
    if (++r->target_asked > SSHRELAY_ASKED)
        sshrelay_end(r, "the target asks for channels that nobody wants");
    else
        journal_error(r, 0, "the target asked for a channel or a forwarding: refused", true);
    (void)ssh_message_reply_default(m);
    ssh_message_free(m);
}

static void take_message(struct sshrelay *r, ssh_message m)
{
    bool kept = false;

    switch (ssh_message_type(m)) {
    case SSH_REQUEST_CHANNEL:
        kept = channel_message(r, m);
        break;
    case SSH_REQUEST_CHANNEL_OPEN:
        open_channel(r, m);
        break;
    case SSH_REQUEST_GLOBAL:
        global_request(r, m);
        break;
    default:
        (void)ssh_message_reply_default(m);
    }
    if (!kept)
        ssh_message_free(m);
}

/* A request without a message and without an answer: nothing is forwarded, and that is noted. */
static bool note_agent_forward(struct sshrelay *r)
{
    bool noted = false;

    for (struct channel *c = r->channels; c; c = c->next) {
        if (!c->agent_forward_asked)
            continue;
        c->agent_forward_asked = false;
        noted = true;
        if (++c->requests > SSHRELAY_REQUESTS)
            sshrelay_end(r, "too many requests on one channel");
        refuse_request(c, "auth-agent", "", NULL, "the agent's keys are not forwarded");
    }
    return noted;
}

void sshrelay_take_messages(struct sshrelay *r)
{
    bool taken = note_agent_forward(r);
    ssh_message m;

    taken |= note_global_requests(r);

    while (!r->ending && sshleg_alive(&r->agent) && (m = ssh_message_get(r->agent.ssh))) {
        take_message(r, m);
        r->dirty = taken = true;
        if (r->n > SSHRELAY_STATEMENTS)
            sshrelay_end(r, "too many requests in one session");
    }
    while (!r->ending && sshleg_alive(&r->target) && (m = ssh_message_get(r->target.ssh))) {
        refuse_target(r, m);
        taken = true;
    }
    /* A refusal has no bytes to wait for it: it is in the record now. */
    if (taken)
        (void)journal_flush(r);
}
