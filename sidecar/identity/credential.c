/* SPDX-License-Identifier: Apache-2.0
 * Reading mounted Secrets.
 */
#include "credential.h"

#include "src-common/readall.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_ATTEMPTS 5 /* at a Secret that is being exchanged */

/* ---- files ---- */

/* A key's value, or nothing when the Secret has no such key. The buffer is wiped: the only copy
 * that stays is the secret's own. */
static int read_key(int dir, const char *key, struct secret *ret, struct error *err)
{
    uint8_t *buf;
    ssize_t n = 0;
    struct stat st;
    int rc, fd = openat(dir, key, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return errno == ENOENT ? 0 : error_set(err, -errno, "key %s: %s", key, strerror(errno));
    buf = malloc(CREDENTIAL_MAX_BYTES + 1);
    if (!buf || fstat(fd, &st) != 0)
        rc = error_set(err, -ENOMEM, "key %s: out of memory", key);
    else if (!S_ISREG(st.st_mode))
        rc = error_set(err, -EINVAL, "key %s: not a regular file", key);
    else if ((n = read_all(fd, buf, CREDENTIAL_MAX_BYTES + 1)) < 0)
        rc = error_set(err, (int)n, "key %s: %s", key, strerror((int)-n));
    else if (n > CREDENTIAL_MAX_BYTES)
        rc = error_set(err, -EFBIG, "key %s: longer than %d bytes", key, CREDENTIAL_MAX_BYTES);
    else if ((rc = secret_set(ret, buf, (size_t)n)))
        error_set(err, rc, "key %s: out of memory", key);
    if (buf)
        OPENSSL_cleanse(buf, CREDENTIAL_MAX_BYTES + 1);
    free(buf);
    close(fd);
    return rc;
}

/* Kubelet swaps the link ..data when a Secret changes: one look at it, and all keys are of the same
 * version. */
static int open_version(const char *secrets_dir, const char *name, struct error *err)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof path, "%s/%s/..data", secrets_dir, name) >= (int)sizeof path)
        return error_set(err, -ENAMETOOLONG, "secret %s: path too long", name);
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(path, sizeof path, "%s/%s", secrets_dir, name);
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd >= 0)
        return fd;
    if (errno == ENOENT)
        return error_set(err, -ENOENT,
                         "secret %s: there is no %s. In a cluster: the pod is older than the "
                         "GuardTarget that names the secret, and has to be recreated",
                         name, path);
    return error_set(err, -errno, "secret %s: %s: %s", name, path, strerror(errno));
}

/* ---- keys ---- */

static void cut_line_end(struct secret *s)
{
    if (s->len && s->p[s->len - 1] == '\n')
        s->p[--s->len] = 0;
    if (s->len && s->p[s->len - 1] == '\r')
        s->p[--s->len] = 0;
}

static int take_username(const struct secret *s, struct credential *c, struct error *err)
{
    if (s->len >= sizeof c->username)
        return error_set(err, -EINVAL, "key username: longer than %zu bytes",
                         sizeof c->username - 1);
    if (s->len && memchr(s->p, 0, s->len))
        return error_set(err, -EINVAL, "key username: has a NUL byte");
    if (s->len)
        memcpy(c->username, s->p, s->len);
    c->username[s->len] = '\0';
    return 0;
}

static int digest_all(struct credential *c, struct error *err)
{
    const struct secret *all[] = {&c->password, &c->token, &c->ssh_key, &c->tls_cert, &c->tls_key};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(md, c->username, sizeof c->username) == 1;

    for (size_t i = 0; i < ARRAY_LEN(all) && ok; i++) {
        uint64_t n = all[i]->len;

        ok = EVP_DigestUpdate(md, &n, sizeof n) == 1 &&
             (n == 0 || EVP_DigestUpdate(md, all[i]->p, all[i]->len) == 1);
    }
    ok = ok && EVP_DigestFinal_ex(md, c->digest, NULL) == 1;
    EVP_MD_CTX_free(md);
    return ok ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int read_keys(int dir, struct credential *c, struct error *err)
{
    struct secret username = {0};
    const struct {
        const char *key;
        struct secret *to;
        bool line;
    } keys[] = {
        {"username", &username, true},    {"password", &c->password, true},
        {"token", &c->token, true},       {"ssh-privatekey", &c->ssh_key, false},
        {"tls.crt", &c->tls_cert, false}, {"tls.key", &c->tls_key, false},
    };
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(keys) && rc == 0; i++) {
        rc = read_key(dir, keys[i].key, keys[i].to, err);
        if (keys[i].line)
            cut_line_end(keys[i].to);
    }
    if (rc == 0)
        rc = take_username(&username, c, err);
    secret_done(&username);
    if (rc == 0 && (c->tls_cert.len == 0) != (c->tls_key.len == 0))
        rc = error_set(err, -EINVAL, "tls.crt and tls.key: one without the other");
    if (rc == 0 && !c->password.len && !c->token.len && !c->ssh_key.len && !c->tls_key.len)
        rc = error_set(err, -EINVAL,
                       "it has none of password, token, ssh-privatekey, tls.crt and tls.key");
    return rc ? rc : digest_all(c, err);
}

/* Whether that directory is still the Secret's: kubelet removes a former version's files right
 * after it has swapped the link, and what was read meanwhile may lack keys. */
static bool is_current(int dir, const char *secrets_dir, const char *name)
{
    int now = open_version(secrets_dir, name, NULL);
    struct stat a, b;
    bool same = now >= 0 && fstat(dir, &a) == 0 && fstat(now, &b) == 0 && a.st_dev == b.st_dev &&
                a.st_ino == b.st_ino;

    if (now >= 0)
        close(now);
    return same;
}

int credential_load(const char *secrets_dir, const char *name, struct credential *ret,
                    struct error *err)
{
    struct credential c = {0};
    bool current = false;
    int dir, rc = -EAGAIN;

    if (!secrets_dir)
        return error_set(err, -EINVAL, "secret %s: --secrets DIR is missing", name);
    for (int attempt = 0; attempt < MAX_ATTEMPTS && !current; attempt++) {
        credential_done(&c);
        dir = open_version(secrets_dir, name, err);
        if (dir < 0)
            return dir;
        rc = read_keys(dir, &c, err);
        current = is_current(dir, secrets_dir, name);
        close(dir);
    }
    if (!current)
        rc = error_set(err, -EAGAIN, "it changes faster than it can be read");
    if (rc) {
        credential_done(&c);
        return error_prefix(err, rc, "secret %.200s", name);
    }
    *ret = c;
    return 0;
}

void credential_done(struct credential *c)
{
    secret_done(&c->password);
    secret_done(&c->token);
    secret_done(&c->ssh_key);
    secret_done(&c->tls_cert);
    secret_done(&c->tls_key);
    OPENSSL_cleanse(c, sizeof *c);
}

bool credential_same(const struct credential *a, const struct credential *b)
{
    return CRYPTO_memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}
