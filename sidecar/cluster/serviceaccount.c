/* SPDX-License-Identifier: Apache-2.0
 * The agent's service account directory.
 */
#include "serviceaccount.h"

#include "smallfile.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define TOKEN_MAX ((size_t)16384)
#define CA_MAX    ((size_t)65536)
#define FOR_ALL   0644

static int put(const struct serviceaccount *s, const char *name, struct bytes content,
               struct error *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/serviceaccount/%s", s->trust, name);
    return smallfile_replace(path, content, FOR_ALL, err);
}

/* In a pod it is a mounted volume and there already. */
static int make_dir(const struct serviceaccount *s, struct error *err)
{
    char dir[PATH_MAX];

    if (snprintf(dir, sizeof dir, "%s/serviceaccount", s->trust) > PATH_MAX - 32)
        return error_set(err, -ENAMETOOLONG, "--trust: the path is too long");
    if (mkdir(dir, 0755) == 0)
        return chmod(dir, 0755) == 0 ? 0 : error_set(err, -errno, "%s: %m", dir);
    return errno == EEXIST ? 0 : error_set(err, -errno, "cannot create %s: %m", dir);
}

static int put_ca(const struct serviceaccount *s, struct error *err)
{
    _cleanup_(free_charp) char *pem = NULL;
    char path[PATH_MAX];
    size_t len;
    int rc;

    snprintf(path, sizeof path, "%s/ca.crt", s->trust);
    rc = smallfile_read(path, CA_MAX, &pem, &len, err);
    return rc ? rc : put(s, "ca.crt", bytes_of(pem, len), err);
}

int serviceaccount_start(struct serviceaccount *s, struct error *err)
{
    int rc = make_dir(s, err);

    if (rc == 0)
        rc = put_ca(s, err);
    if (rc == 0)
        rc = put(s, "namespace", bytes_str(s->namespace_), err);
    if (rc == 0 && s->token_file) {
        rc = serviceaccount_look(s, err);
        rc = rc < 0 ? error_prefix(err, rc, "--agent-token") : 0;
    }
    return rc;
}

int serviceaccount_look(struct serviceaccount *s, struct error *err)
{
    _cleanup_(free_charp) char *token = NULL;
    size_t len;
    int rc;

    if (!s->token_file)
        return 0;
    rc = smallfile_read(s->token_file, TOKEN_MAX, &token, &len, err);
    if (rc)
        return rc;
    if (s->token && strcmp(s->token, token) == 0)
        return 0;
    rc = put(s, "token", bytes_of(token, len), err);
    if (rc)
        return rc;
    serviceaccount_done(s);
    s->token = take(&token);
    return 1;
}

void serviceaccount_done(struct serviceaccount *s)
{
    if (s->token)
        explicit_bzero(s->token, strlen(s->token));
    free(s->token);
    s->token = NULL;
}
