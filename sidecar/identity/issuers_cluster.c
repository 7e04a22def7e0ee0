/* SPDX-License-Identifier: Apache-2.0
 * The issuer of the cluster that the guard's pod runs in.
 */
#include "fetch.h"
#include "strictjson.h"
#include "token.h"

#include <errno.h>
#include <stdio.h>

#define AUDIENCE "chaperone" /* docs/kubernetes.md: of the agent's token */

/* The issuer is what the guard's own token names: kubelet put it there, nobody else can. */
static int own_issuer(struct issuers *all, const char *token_file, const char **ret,
                      struct error *err)
{
    struct token_parts *t = malloc(sizeof *t);
    const char *name = NULL;
    struct buffer text;
    int rc;

    if (!t)
        return error_set(err, -ENOMEM, "out of memory");
    buffer_init(&text, TOKEN_MAX_BYTES + 1);
    buffer_reserve(&text, TOKEN_MAX_BYTES + 1);
    rc = fetch_file(token_file, &text, err);
    t->header = t->claims = NULL;
    if (rc == 0 && (rc = token_parse(buffer_bytes(&text), t, err)))
        error_prefix(err, rc, "%.200s", token_file);
    if (rc == 0 && !(name = strictjson_string(t->claims, "iss")))
        rc = error_set(err, -EINVAL, "%.200s: the token names no issuer", token_file);
    if (rc == 0 && !(*ret = arena_strdup(&all->arena, name)))
        rc = error_set(err, -ENOMEM, "out of memory");
    buffer_wipe(&text);
    token_done(t);
    free(t);
    return rc;
}

int issuers_add_cluster(struct issuers *all, const char *account_dir, struct error *err)
{
    static const char *const audiences[] = {AUDIENCE, NULL};
    const char *dir = account_dir, *name = NULL;
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    struct issuer *i = &all->list[all->n];
    int rc;

    if (!host || !*host || !port || !*port)
        return error_set(err, -ENOENT,
                         "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is "
                         "no pod of a cluster");
    if (all->n == ISSUERS_MAX)
        return error_set(err, -EINVAL, "more than %d issuers", ISSUERS_MAX);
    issuer_defaults(i);
    i->kind = ISSUER_KUBERNETES;
    i->audiences = audiences;
    i->source.ca_file = arena_printf(&all->arena, "%s/ca.crt", dir);
    i->source.token_file = arena_printf(&all->arena, "%s/token", dir);
    i->source.url = arena_printf(&all->arena,
                                 strchr(host, ':') ? "https://[%s]:%s/openid/v1/jwks"
                                                   : "https://%s:%s/openid/v1/jwks",
                                 host, port);
    if (!i->source.ca_file || !i->source.token_file || !i->source.url)
        return error_set(err, -ENOMEM, "out of memory");
    rc = own_issuer(all, i->source.token_file, &name, err);
    if (rc || issuers_find(all, name)) /* the file's words about it count */
        return rc;
    i->name = i->source.issuer = name;
    all->n++;
    return 0;
}
