/* SPDX-License-Identifier: Apache-2.0
 * The agent's side until it is logged in: key exchange, who it is, and the target's login before
 * we say yes. A key that the agent offers is never a login: it proves something to us that we
 * cannot pass on.
 */
#include "hostkey.h"
#include "message.h"
#include "relay.h"

#include "sidecar/identity/admission.h"
#include "src-common/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#define MAX_ATTEMPTS   6
#define BANNER_WAIT_MS 100
#define CUT_ANSWER     1023 /* OpenSSH reads no more of an answer, and says nothing */

/* ---- key exchange ---- */

/* OpenSSH speaks first, and would choose CTR before GCM. Others may wait for us. */
static bool is_openssh(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    static const char name[] = "SSH-2.0-OpenSSH_";
    char seen[sizeof name] = "";

    if (poll(&p, 1, BANNER_WAIT_MS) <= 0)
        return false;
    return recv(fd, seen, sizeof name - 1, MSG_PEEK | MSG_DONTWAIT) == (ssize_t)sizeof name - 1 &&
           memcmp(seen, name, sizeof name - 1) == 0;
}

static bool alive(const struct sshleg *l, const struct sshleg *other)
{
    return sshleg_alive(l) && (!other || sshleg_alive(other));
}

int sshrelay_wait_login(struct sshrelay *r, struct sshleg *l, struct error *err)
{
    struct session *s = r->session;
    uint64_t now = clock_mono_ms();
    struct sshleg *other = l == &r->target ? &r->agent : NULL;
    const char *why;

    if (now >= s->deadline_ms)
        return error_set(err, -ETIMEDOUT, "the login took too long");
    /* Looked at on both sides of the wait: the caller may have read the end itself. */
    if (alive(l, other))
        sshleg_wait(l, other, s->wake_fd, (int)(s->deadline_ms - now));
    if (session_take(s) & (INBOX_KILL | INBOX_STOP))
        return error_set(err, -ECANCELED, "the session was ended");
    if (alive(l, other))
        return 0;
    why = l->ssh ? ssh_get_error(l->ssh) : "";
    return error_set(err, -ECONNRESET, "%s", why[0] ? why : "the connection was closed");
}

int sshrelay_meet_agent(struct sshrelay *r, struct error *err)
{
    struct session *s = r->session;
    ssh_session ssh = ssh_new();
    bool taken = false;
    int rc = ssh ? hostkey_accept(ssh, s->client.fd, is_openssh(s->client.fd), &taken, err)
                 : error_set(err, -ENOMEM, "out of memory");

    if (taken)
        s->client.fd = -1;
    if (rc) {
        ssh_free(ssh);
        return rc;
    }
    if (sshleg_open(&r->agent, ssh) != 0)
        return error_set(err, -ENOMEM, "out of memory");
    ssh_set_auth_methods(ssh, SSH_AUTH_METHOD_PASSWORD | SSH_AUTH_METHOD_INTERACTIVE);
    while ((rc = ssh_handle_key_exchange(ssh)) == SSH_AGAIN) {
        rc = sshrelay_wait_login(r, &r->agent, err);
        if (rc)
            return error_prefix(err, rc, "key exchange with the agent");
    }
    return rc == SSH_OK
               ? 0
               : error_set(err, -EPROTO, "key exchange with the agent: %s", ssh_get_error(ssh));
}

/* ---- login ---- */

enum login {
    LOGIN_GO_ON = 0, /* answered; the agent may try something else */
    LOGIN_YES,
    LOGIN_NO, /* over */
};

struct attempt {
    struct sshrelay *relay;
    unsigned count;
    bool told;
    struct secret begun; /* keyboard-interactive: what a token that comes in pieces begins with */
    const char *method;
    struct error *err;
};

static bool wants_token(const struct sshrelay *r)
{
    return admission_needs_token(r->session->target, r->session->guard->has_issuers,
                                 r->token_by_policy);
}

/* Why keys do not help, once, before the first refusal. */
static void tell_how(struct attempt *a)
{
    const struct sshrelay *r = a->relay;
    char text[400];
    ssh_string banner;

    if (a->told)
        return;
    a->told = true;
    snprintf(text, sizeof text,
             "chaperone: the agent's own keys cannot be relayed to '%.64s'. %s\r\n",
             r->session->target->name,
             wants_token(r) ? "Log in with the agent's token as the password."
             : r->session->target->credentials_secret
                 ? "The guard logs in there; no key is needed here."
                 : "Log in with the target's password, or ask for credentials in its GuardTarget.");
    banner = ssh_string_from_char(text);
    if (banner)
        (void)ssh_send_issue_banner(r->agent.ssh, banner);
    ssh_string_free(banner);
}

/* Who the agent is stands; now the target has to take us. */
static enum login try_target(struct attempt *a, ssh_message m)
{
    struct sshrelay *r = a->relay;
    int rc = sshrelay_admit(r, a->err);

    if (rc)
        return LOGIN_NO;
    rc = sshrelay_login_target(r, a->err);
    if (rc == 0) {
        journal_auth(r, a->method, "Accepted", NULL);
        if (!journal_flush(r)) {
            error_set(a->err, -EIO, "the session cannot be recorded");
            return LOGIN_NO;
        }
        (void)ssh_message_auth_reply_success(m, 0);
        return LOGIN_YES;
    }
    sshleg_close(&r->target, NULL);
    journal_auth(r, a->method, "Refused", a->err->text);
    journal_error(r, 0, a->err->text, true);
    if (rc != -EACCES || r->session->target->credentials_secret)
        return LOGIN_NO;
    (void)ssh_message_reply_default(m);
    return LOGIN_GO_ON;
}

static enum login ask(ssh_message m, const char *prompt)
{
    char echo = 0;

    (void)ssh_message_auth_interactive_request(m, "", "", 1, &prompt, &echo);
    return LOGIN_GO_ON;
}

/* Tokens of pods are longer than what OpenSSH sends as one answer: the rest is asked for. */
static enum login ask_more(struct attempt *a, ssh_message m, struct bytes so_far)
{
    char prompt[48];

    if (secret_set(&a->begun, so_far.p, so_far.len) != 0)
        return LOGIN_NO;
    snprintf(prompt, sizeof prompt, "Token from byte %zu: ", so_far.len + 1);
    return ask(m, prompt);
}

/* piece: how long the last answer of keyboard-interactive was; 0: it was something else. */
static enum login with_token(struct attempt *a, ssh_message m, struct bytes token, size_t piece)
{
    struct sshrelay *r = a->relay;
    struct guard *g = r->session->guard;
    const struct agent agent = guard_agent(g);
    _cleanup_(issuers_unref) struct issuers *issuers = NULL;
    struct identity *id = NULL;
    struct error why = {""};
    int rc;

    a->method = "token";
    if (!g->has_issuers) {
        (void)admission_no_issuer(r->session->target, a->err);
        return LOGIN_NO;
    }
    issuers = guard_issuers(g);
    rc = token_validate(issuers, token, &agent, &id, &why);
    if (rc && piece == CUT_ANSWER && token.len < TOKEN_MAX_BYTES)
        return ask_more(a, m, token);
    atomic_fetch_add(rc ? &g->counters.tokens_refused : &g->counters.tokens_accepted, 1);
    if (rc) {
        journal_auth(r, a->method, "Refused", why.text);
        (void)journal_flush(r);
        (void)ssh_message_reply_default(m);
        return LOGIN_GO_ON;
    }
    session_identify(r->session, id);
    return try_target(a, m);
}

static enum login with_password(struct attempt *a, ssh_message m, const char *password)
{
    struct sshrelay *r = a->relay;

    if (!r->session->target->credentials_secret &&
        secret_set(&r->password, password, strlen(password)) != 0)
        return LOGIN_NO;
    return try_target(a, m);
}

/* The guard asks for itself: prompts of the target are not passed on. */
static enum login answered(struct attempt *a, ssh_message m, const char *answer)
{
    struct secret begun = a->begun;
    struct buffer whole;
    enum login l;

    if (!wants_token(a->relay))
        return with_password(a, m, answer);
    a->begun = (struct secret){0};
    buffer_init(&whole, TOKEN_MAX_BYTES + CUT_ANSWER + 1);
    buffer_add(&whole, secret_bytes(&begun));
    buffer_append(&whole, answer, min_size(strlen(answer), TOKEN_MAX_BYTES + 1 - begun.len));
    secret_done(&begun);
    l = whole.failed ? LOGIN_NO : with_token(a, m, buffer_bytes(&whole), strlen(answer));
    buffer_wipe(&whole);
    return l;
}

static enum login interactive(struct attempt *a, ssh_message m)
{
    ssh_session ssh = a->relay->agent.ssh;
    const char *answer = NULL;

    if (!ssh_message_auth_kbdint_is_response(m)) {
        secret_done(&a->begun);
        return ask(m, wants_token(a->relay) ? "Token: " : "Password: ");
    }
    a->count += a->begun.len == 0;
    if (ssh_userauth_kbdint_getnanswers(ssh) == 1)
        answer = ssh_userauth_kbdint_getanswer(ssh, 0);
    if (answer)
        return answered(a, m, answer);
    secret_done(&a->begun);
    (void)ssh_message_reply_default(m);
    return LOGIN_GO_ON;
}

static enum login with_password_message(struct attempt *a, ssh_message m)
{
    const char *password = message_password(m);

    if (!password) {
        (void)ssh_message_reply_default(m);
        return LOGIN_GO_ON;
    }
    if (wants_token(a->relay))
        return with_token(a, m, bytes_str(password), 0);
    return with_password(a, m, password);
}

static enum login authenticate(struct attempt *a, ssh_message m)
{
    struct sshrelay *r = a->relay;
    const char *user = ssh_message_auth_user(m);

    if (user || !ssh_message_auth_kbdint_is_response(m)) /* an answer repeats no name */
        snprintf(r->user, sizeof r->user, "%s", user ? user : "");
    if (strlen(r->user) >= sizeof r->user - 1 || !r->user[0]) {
        error_set(a->err, -EINVAL, "no user name, or one that is too long");
        return LOGIN_NO;
    }
    switch (ssh_message_subtype(m)) {
    case SSH_AUTH_METHOD_NONE:
        a->method = "pod";
        if (r->session->target->credentials_secret && !wants_token(r))
            return try_target(a, m);
        break;
    case SSH_AUTH_METHOD_PASSWORD:
        a->count++;
        a->method = "password";
        return with_password_message(a, m);
    case SSH_AUTH_METHOD_INTERACTIVE:
        a->method = "keyboard-interactive";
        return interactive(a, m);
    default:
        a->count++;
        break;
    }
    tell_how(a);
    (void)ssh_message_reply_default(m);
    return LOGIN_GO_ON;
}

static enum login handle(struct attempt *a, ssh_message m)
{
    enum login l = LOGIN_GO_ON;

    if (ssh_message_type(m) == SSH_REQUEST_SERVICE)
        (void)ssh_message_service_reply_success(m);
    else if (ssh_message_type(m) == SSH_REQUEST_AUTH)
        l = authenticate(a, m);
    else
        (void)ssh_message_reply_default(m);
    ssh_message_free(m);
    if (l == LOGIN_GO_ON && a->count >= MAX_ATTEMPTS) {
        error_set(a->err, -EACCES, "too many attempts to log in");
        return LOGIN_NO;
    }
    return l;
}

int sshrelay_login_agent(struct sshrelay *r, struct error *err)
{
    struct attempt a = {.relay = r, .err = err, .method = "none"};
    enum login l = LOGIN_GO_ON;
    int rc = sshrelay_meet_agent(r, err);

    while (rc == 0 && l == LOGIN_GO_ON) {
        ssh_message m = ssh_message_get(r->agent.ssh);

        if (m)
            l = handle(&a, m);
        else
            rc = sshrelay_wait_login(r, &r->agent, err);
    }
    secret_done(&a.begun);
    secret_done(&r->password);
    if (l == LOGIN_NO)
        return -EACCES;
    return rc ? error_prefix(err, rc, "login of the agent") : 0;
}
