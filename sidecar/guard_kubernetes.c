/* SPDX-License-Identifier: Apache-2.0
 * The target `kubernetes`. Its service account is like any Secret: a directory with files, below
 * one that stands for --secrets.
 */
#include "guard_kubernetes.h"

#include "net/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct {
    struct target target;
    struct target_host host;
    uint16_t port;
    char name[ADDRESS_TEXT_LEN], parent[4096], leaf[256];
} api;

static int split(const char *dir, struct error *err)
{
    size_t n = strlen(dir);
    const char *slash;

    while (n > 1 && dir[n - 1] == '/')
        n--;
    slash = memrchr(dir, '/', n);
    if (!slash || slash == dir || n >= sizeof api.parent ||
        (size_t)(dir + n - slash) > sizeof api.leaf)
        return error_set(err, -EINVAL, "--kube-account: '%.200s' is no absolute path", dir);
    snprintf(api.parent, sizeof api.parent, "%.*s", (int)(slash - dir), dir);
    snprintf(api.leaf, sizeof api.leaf, "%.*s", (int)(dir + n - slash - 1), slash + 1);
    return 0;
}

int kubernetes_target_start(struct guard *g, const char *account_dir, struct error *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    char text[ADDRESS_TEXT_LEN + 16];
    int rc = split(account_dir, err);

    if (rc)
        return rc;
    if (!host || !port)
        return error_set(err, -EINVAL, "KUBERNETES_SERVICE_HOST and _PORT are not set");
    snprintf(api.name, sizeof api.name, "%s", host);
    snprintf(text, sizeof text, strchr(host, ':') ? "[%.60s]:%.8s" : "%.60s:%.8s", host, port);
    rc = address_parse(text, &api.host.addr, err);
    if (rc)
        return error_prefix(err, rc, "KUBERNETES_SERVICE_HOST");
    api.port = address_port((struct sockaddr *)&api.host.addr);
    api.host.name = api.name;
    api.host.prefix_len = api.host.addr.ss_family == AF_INET6 ? 128 : 32;
    api.target = (struct target){.name = "kubernetes",
                                 .protocol = TARGET_KUBERNETES,
                                 .hosts = &api.host,
                                 .n_hosts = 1,
                                 .ports = &api.port,
                                 .n_ports = 1,
                                 .tls = TARGET_TLS_VERIFY_FULL,
                                 .tls_ca_secret = api.leaf,
                                 .tls_ca_key = "ca.crt",
                                 .credentials_secret = api.leaf};
    g->kubernetes_secrets = api.parent;
    g->kubernetes = &api.target;
    return 0;
}
