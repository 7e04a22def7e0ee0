/* SPDX-License-Identifier: Apache-2.0
 * Reading a target's secret.
 */
#include "credential.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define SECRET_MAX 16384

/* 0 also when there is no such key: ret stays empty. */
static int read_key(const char *dir, const char *secret, const char *key, struct secret *ret,
                    struct error *err)
{
    char path[PATH_MAX];
    uint8_t text[SECRET_MAX + 1];
    ssize_t n;
    int fd, rc;

    snprintf(path, sizeof path, "%.3000s/%.253s/%.253s", dir, secret, key);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, -errno, "secret %s: %s cannot be read", secret, key);
    n = read(fd, text, sizeof text);
    close(fd);
    if (n < 0 || n > SECRET_MAX)
        return error_set(err, -EINVAL, "secret %s: %s cannot be read or is too long", secret, key);
    rc = secret_set(ret, text, (size_t)n);
    explicit_bzero(text, sizeof text);
    return rc ? error_set(err, rc, "out of memory") : 0;
}

static void trim(struct secret *s)
{
    while (s->len && (s->p[s->len - 1] == '\n' || s->p[s->len - 1] == '\r'))
        s->p[--s->len] = 0;
}

int sshcredential_read(const struct target *t, const char *dir, struct sshcredential *ret,
                       struct error *err)
{
    const char *secret = t->credentials_secret;
    struct secret user = {0};
    int rc;

    *ret = (struct sshcredential){0};
    if (!dir)
        return error_set(err, -ENOENT,
                         "GuardTarget %s has credentials, but the guard was started "
                         "without --secrets",
                         t->name);
    rc = read_key(dir, secret, "username", &user, err);
    if (rc == 0)
        rc = read_key(dir, secret, "ssh-privatekey", &ret->key, err);
    if (rc == 0)
        rc = read_key(dir, secret, "password", &ret->password, err);
    trim(&user);
    trim(&ret->password);
    if (rc == 0 && (user.len >= sizeof ret->user || (user.len && memchr(user.p, 0, user.len))))
        rc = error_set(err, -EINVAL, "secret %s: username is too long", secret);
    if (rc == 0 && user.len)
        memcpy(ret->user, user.p, user.len);
    secret_done(&user);
    if (rc == 0 && !ret->key.len && !ret->password.len)
        rc = error_set(err, -ENOENT, "secret %s has neither ssh-privatekey nor password", secret);
    if (rc)
        sshcredential_done(ret);
    return rc;
}

void sshcredential_done(struct sshcredential *c)
{
    secret_done(&c->key);
    secret_done(&c->password);
}
