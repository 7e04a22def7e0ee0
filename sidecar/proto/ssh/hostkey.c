/* SPDX-License-Identifier: Apache-2.0
 * The guard's host key.
 */
#include "hostkey.h"

#include "leg.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh/server.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock; /* libssh copies from the binds while it accepts */
    ssh_bind any, gcm;
    bool started;
} host = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the key ---- */

/* Written beside and renamed: a reader sees the old file or the whole new one. */
static int write_file(const char *path, const char *text, mode_t mode, struct error *err)
{
    char temp[PATH_MAX];
    size_t n = strlen(text);
    ssize_t written;
    int fd;

    snprintf(temp, sizeof temp, "%.4000s.new", path);
    (void)!unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return error_set(err, -errno, "cannot write %s: %s", temp, strerror(errno));
    written = write(fd, text, n);
    if (written != (ssize_t)n || fchmod(fd, mode) != 0 || rename(temp, path) != 0) {
        int rc = errno ? -errno : -EIO;

        close(fd);
        return error_set(err, rc, "cannot write %s: %s", path, strerror(-rc));
    }
    close(fd);
    return 0;
}

static int make_key(ssh_key *ret, struct error *err)
{
    if (ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, ret) != SSH_OK)
        return error_set(err, -EIO, "no SSH host key could be made");
    return 0;
}

static int keep_key(const char *path, ssh_key key, struct error *err)
{
    char temp[PATH_MAX];

    snprintf(temp, sizeof temp, "%.4000s.new", path);
    (void)!unlink(temp);
    if (ssh_pki_export_privkey_file(key, NULL, NULL, NULL, temp) != SSH_OK ||
        chmod(temp, 0600) != 0 || rename(temp, path) != 0)
        return error_set(err, -EIO, "cannot write the SSH host key to %s", path);
    return 0;
}

static int get_key(const char *state_dir, ssh_key *ret, struct error *err)
{
    char path[PATH_MAX];
    int rc;

    if (!state_dir)
        return make_key(ret, err);
    snprintf(path, sizeof path, "%.4000s/ssh_host_ed25519_key", state_dir);
    if (access(path, F_OK) == 0) {
        if (ssh_pki_import_privkey_file(path, NULL, NULL, NULL, ret) == SSH_OK)
            return 0;
        return error_set(err, -EINVAL, "%s is no private key; remove it to get a new one", path);
    }
    rc = make_key(ret, err);
    return rc ? rc : keep_key(path, *ret, err);
}

static int write_known_hosts(const char *trust_dir, ssh_key key, struct error *err)
{
    char path[PATH_MAX], line[512], *base64 = NULL;
    int rc;

    if (ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK)
        return error_set(err, -EIO, "the SSH host key cannot be written");
    snprintf(line, sizeof line, "* ssh-ed25519 %s\n", base64);
    ssh_string_free_char(base64);
    snprintf(path, sizeof path, "%.4000s/known_hosts", trust_dir);
    rc = write_file(path, line, 0644, err);
    return rc;
}

/* ---- binds: libssh's way to hand a key and options to server sessions ---- */

static int make_bind(ssh_key key, const char *ciphers, ssh_bind *ret)
{
    static const bool no = false;
    ssh_bind b = ssh_bind_new();
    ssh_key copy = b ? ssh_key_dup(key) : NULL;
    int rc;

    if (!b || !copy)
        return -ENOMEM;
    rc = ssh_bind_options_set(b, SSH_BIND_OPTIONS_PROCESS_CONFIG, &no);
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_IMPORT_KEY, copy);
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_KEY_EXCHANGE, SSHLEG_KEX);
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_CIPHERS_C_S, ciphers);
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_CIPHERS_S_C, ciphers);
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_HMAC_C_S, SSHLEG_MACS);
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_HMAC_S_C, SSHLEG_MACS);
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_HOSTKEY_ALGORITHMS, "ssh-ed25519");
    rc |= ssh_bind_options_set(b, SSH_BIND_OPTIONS_BANNER, "Chaperone");
    *ret = b;
    return rc == 0 ? 0 : -EINVAL;
}

int hostkey_start(const char *trust_dir, const char *state_dir, struct error *err)
{
    ssh_key key = NULL;
    int rc;

    if (ssh_init() != SSH_OK)
        return error_set(err, -EIO, "libssh could not be started");
    rc = get_key(state_dir, &key, err);
    if (rc == 0 && trust_dir)
        rc = write_known_hosts(trust_dir, key, err);
    if (rc == 0 && (make_bind(key, SSHLEG_CIPHERS, &host.any) != 0 ||
                    make_bind(key, SSHLEG_CIPHERS_GCM, &host.gcm) != 0))
        rc = error_set(err, -EINVAL, "libssh refuses the guard's choice of algorithms");
    ssh_key_free(key);
    host.started = rc == 0;
    return rc;
}

int hostkey_accept(ssh_session s, int fd, bool gcm_only, bool *ret_taken, struct error *err)
{
    ssh_bind b = gcm_only ? host.gcm : host.any;
    int rc;

    *ret_taken = false;
    if (!host.started)
        return error_set(err, -EINVAL, "the guard has no SSH host key");
    pthread_mutex_lock(&host.lock);
    rc = ssh_bind_accept_fd(b, s, fd);
    pthread_mutex_unlock(&host.lock);
    *ret_taken = ssh_get_fd(s) == fd;
    if (rc == SSH_OK && sshleg_no_compression(s) != 0)
        return error_set(err, -EINVAL, "libssh refuses to do without compression");
    return rc == SSH_OK ? 0 : error_set(err, -EPROTO, "%s", ssh_get_error(b));
}
