/* SPDX-License-Identifier: Apache-2.0
 * The target's side: connect, compare the host key with what GuardTarget pins, log in.
 */
#include "relay.h"

#include "sidecar/identity/credential.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* ---- options ---- */

struct key_type {
    const char *pinned, *offered; /* in hostKeys; as host key algorithms */
};

static const struct key_type key_types[] = {
    {"ssh-ed25519", "ssh-ed25519"},
    {"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"},
    {"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"},
    {"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"},
    {"ssh-rsa", "rsa-sha2-512,rsa-sha2-256"},
};

static bool has_type(const char *pin, const char *type)
{
    size_t n = strlen(type);

    return strncmp(pin, type, n) == 0 && (pin[n] == ' ' || pin[n] == '\t');
}

/* Only algorithms of pinned keys: the target then shows the key that can be checked. */
static void host_key_algorithms(const struct target *t, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(key_types); i++) {
        bool pinned = false;

        for (const char *const *k = t->ssh_host_keys; k && *k; k++)
            pinned |= has_type(*k, key_types[i].pinned);
        if (pinned && at < size)
            at +=
                (size_t)snprintf(out + at, size - at, "%s%s", at ? "," : "", key_types[i].offered);
    }
}

static int set_options(ssh_session ssh, struct sshrelay *r, int fd)
{
    static const int no = 0;
    static const long timeout_s = 60;
    char algorithms[256];
    int rc;

    host_key_algorithms(r->session->target, algorithms, sizeof algorithms);
    rc = ssh_options_set(ssh, SSH_OPTIONS_PROCESS_CONFIG, &no);
    /* Set, so that no home directory is looked for: the guard's user need not have one. */
    rc |= ssh_options_set(ssh, SSH_OPTIONS_SSH_DIR, "/nonexistent");
    rc |= ssh_options_set(ssh, SSH_OPTIONS_KNOWNHOSTS, "/dev/null");
    rc |= ssh_options_set(ssh, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
    rc |= ssh_options_set(ssh, SSH_OPTIONS_USER, r->target_user);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_HOST, session_upstream_host(r->session));
    rc |= ssh_options_set(ssh, SSH_OPTIONS_HOSTKEYS, algorithms);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_KEY_EXCHANGE, SSHLEG_KEX);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_CIPHERS_C_S, SSHLEG_CIPHERS);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_CIPHERS_S_C, SSHLEG_CIPHERS);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_HMAC_C_S, SSHLEG_MACS);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_HMAC_S_C, SSHLEG_MACS);
    rc |= sshleg_no_compression(ssh);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_TIMEOUT, &timeout_s);
    rc |= ssh_options_set(ssh, SSH_OPTIONS_FD, &fd);
    return rc;
}

/* ---- connecting ---- */

static int connect_target(struct sshrelay *r, struct error *err)
{
    struct session *s = r->session;
    int rc = session_connect(s, err);
    ssh_session ssh;

    if (rc)
        return rc;
    ssh = ssh_new();
    if (!ssh || set_options(ssh, r, s->upstream.fd) != 0) {
        ssh_free(ssh);
        return error_set(err, -EINVAL, "libssh refuses the options for the target");
    }
    s->upstream.fd = -1; /* the session's from here on */
    r->target.upstream = sshleg_open(&r->target, ssh) == 0;
    if (!r->target.upstream)
        return error_set(err, -ENOMEM, "out of memory");
    while ((rc = ssh_connect(ssh)) == SSH_AGAIN) {
        rc = sshrelay_wait_login(r, &r->target, err);
        if (rc)
            return error_prefix(err, rc, "key exchange with the target");
    }
    return rc == SSH_OK
               ? 0
               : error_set(err, -EPROTO, "key exchange with the target: %s", ssh_get_error(ssh));
}

static bool is_pinned(const struct target *t, const char *type, const char *base64)
{
    size_t n = strlen(base64);

    for (const char *const *k = t->ssh_host_keys; k && *k; k++) {
        const char *key = *k + strcspn(*k, " \t");

        key += strspn(key, " \t");
        if (has_type(*k, type) && strncmp(key, base64, n) == 0 && (!key[n] || key[n] == ' '))
            return true;
    }
    return false;
}

static int check_host_key(struct sshrelay *r, struct error *err)
{
    const struct target *t = r->session->target;
    ssh_key key = NULL;
    char *base64 = NULL;
    bool pinned = false;

    if (ssh_get_server_publickey(r->target.ssh, &key) == SSH_OK &&
        ssh_pki_export_pubkey_base64(key, &base64) == SSH_OK)
        pinned = is_pinned(t, ssh_key_type_to_char(ssh_key_type(key)), base64);
    ssh_string_free_char(base64);
    ssh_key_free(key);
    return pinned ? 0
                  : error_set(err, -EKEYREJECTED,
                              "the host key of %s is none of those that GuardTarget '%s' pins "
                              "(spec.ssh.hostKeys)",
                              r->session->target_address, t->name);
}

/* ---- logging in ---- */

static int finish(struct sshrelay *r, int rc, const char *method, struct error *err)
{
    if (rc == SSH_AUTH_SUCCESS)
        return 0;
    return error_set(err, -EACCES, "the target refused the login of '%.64s' with %s",
                     r->target_user, method);
}

static int with_key(struct sshrelay *r, const struct secret *text, struct error *err)
{
    ssh_key key = NULL;
    int rc;

    if (ssh_pki_import_privkey_base64((const char *)text->p, NULL, NULL, NULL, &key) != SSH_OK)
        return error_set(err, -EINVAL,
                         "the target's ssh-privatekey is no private key that can be "
                         "read (it must have no passphrase)");
    while ((rc = ssh_userauth_publickey(r->target.ssh, NULL, key)) == SSH_AUTH_AGAIN) {
        int failed = sshrelay_wait_login(r, &r->target, err);

        if (failed) {
            ssh_key_free(key);
            return failed;
        }
    }
    ssh_key_free(key);
    return finish(r, rc, "a key", err);
}

/* One prompt that is not echoed is asked for the password; anything else is not answered. */
static int with_prompts(struct sshrelay *r, const char *password, struct error *err)
{
    ssh_session ssh = r->target.ssh;
    int rc, rounds = 0;

    for (;;) {
        while ((rc = ssh_userauth_kbdint(ssh, NULL, NULL)) == SSH_AUTH_AGAIN) {
            int failed = sshrelay_wait_login(r, &r->target, err);

            if (failed)
                return failed;
        }
        if (rc != SSH_AUTH_INFO || rounds++ > 3)
            break;
        if (ssh_userauth_kbdint_getnprompts(ssh) == 1) {
            char echo = 1;

            (void)ssh_userauth_kbdint_getprompt(ssh, 0, &echo);
            if (echo)
                break;
            (void)ssh_userauth_kbdint_setanswer(ssh, 0, password);
        } else if (ssh_userauth_kbdint_getnprompts(ssh) > 1) {
            break;
        }
    }
    return finish(r, rc, "keyboard-interactive", err);
}

static int with_password(struct sshrelay *r, const struct secret *password, struct error *err)
{
    const char *text = (const char *)password->p;
    int rc;

    while ((rc = ssh_userauth_password(r->target.ssh, NULL, text)) == SSH_AUTH_AGAIN) {
        int failed = sshrelay_wait_login(r, &r->target, err);

        if (failed)
            return failed;
    }
    if (rc != SSH_AUTH_SUCCESS && sshleg_alive(&r->target) &&
        (ssh_userauth_list(r->target.ssh, NULL) & SSH_AUTH_METHOD_INTERACTIVE))
        return with_prompts(r, text, err);
    return finish(r, rc, "a password", err);
}

/* libssh learns the methods that the server offers from the answer to "none". */
static int probe(struct sshrelay *r, int *ret_rc, struct error *err)
{
    while ((*ret_rc = ssh_userauth_none(r->target.ssh, NULL)) == SSH_AUTH_AGAIN) {
        int failed = sshrelay_wait_login(r, &r->target, err);

        if (failed)
            return failed;
    }
    return 0;
}

static int log_in(struct sshrelay *r, struct credential *c, struct error *err)
{
    const struct secret *password = c->password.len ? &c->password : &r->password;
    int none, rc;

    if (c->ssh_key.len) {
        rc = with_key(r, &c->ssh_key, err);
        if (rc != -EACCES || !c->password.len)
            return rc;
    }
    rc = probe(r, &none, err);
    if (rc || none == SSH_AUTH_SUCCESS)
        return rc;
    if (!password->len)
        return error_set(err, -EACCES, "no password was given for the target");
    return with_password(r, password, err);
}

/* One connection, one login. */
static int attempt(struct sshrelay *r, struct credential *c, struct error *err)
{
    const char *user = r->pinned_user[0] ? r->pinned_user : c->username[0] ? c->username : r->user;
    int rc;

    snprintf(r->target_user, sizeof r->target_user, "%s", user);
    rc = connect_target(r, err);
    if (rc == 0)
        rc = check_host_key(r, err);
    return rc ? rc : log_in(r, c, err);
}

static int load(struct sshrelay *r, struct credential *c, struct error *err)
{
    const struct target *t = r->session->target;
    const char *dir = r->session->guard->secrets_dir;
    int rc;

    if (!dir)
        return error_set(err, -ENOENT,
                         "GuardTarget '%s' has credentials, and the guard was started without "
                         "--secrets",
                         t->name);
    rc = credential_load(dir, t->credentials_secret, c, err);
    if (rc == 0 && !c->ssh_key.len && !c->password.len)
        rc = error_set(err, -ENOENT, "secret %s has neither ssh-privatekey nor password",
                       t->credentials_secret);
    return rc;
}

/* A refused login is tried once more when the secret has been rotated meanwhile. */
int sshrelay_login_target(struct sshrelay *r, struct error *err)
{
    struct credential c = {0}, again = {0};
    int rc;

    if (!r->session->target->credentials_secret)
        return attempt(r, &c, err);
    rc = load(r, &c, err);
    if (rc == 0)
        rc = attempt(r, &c, err);
    if (rc == -EACCES && load(r, &again, NULL) == 0 && !credential_same(&c, &again)) {
        sshleg_close(&r->target, NULL);
        rc = attempt(r, &again, err);
    }
    credential_done(&c);
    credential_done(&again);
    if (rc == 0)
        atomic_fetch_add(&r->session->guard->counters.injected_logins, 1);
    return rc;
}
