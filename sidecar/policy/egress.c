/* SPDX-License-Identifier: Apache-2.0
 * Egress: destinations that are no target. A list of what is allowed; nothing else is. While an
 * Enforce policy selects the agent, what only an Audit policy lists stays closed.
 */
#include "model.h"

#include <strings.h>

#include <arpa/inet.h>

static bool has_port(const struct destination *d, uint16_t port)
{
    const uint16_t *ports = d->ports.items;

    for (size_t i = 0; i < d->ports.n; i++) {
        if (ports[i] == port)
            return true;
    }
    return false;
}

static uint16_t port_of(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)a)->sin_port);
    return a->sa_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)a)->sin6_port) : 0;
}

/* The names compare without case and without the root's dot. */
static bool same_host(const char *entry, const char *host)
{
    size_t n = strlen(host);

    if (n && host[n - 1] == '.')
        n--;
    return strlen(entry) == n && strncasecmp(entry, host, n) == 0;
}

/* Calls `visit` with each destination that counts for the agent until it returns true. */
static bool each_destination(const struct policy_snapshot *s, const struct agent *agent,
                             bool (*visit)(const struct destination *d, void *arg), void *arg)
{
    bool enforced = false;

    for (size_t i = 0; i < s->n_policies && !enforced; i++)
        enforced = s->policies[i]->mode == POLICY_ENFORCE && policy_selects(s->policies[i], agent);
    for (size_t i = 0; i < s->n_policies; i++) {
        const struct policy *p = s->policies[i];
        const struct destination *d = p->egress.items;

        if ((enforced && p->mode != POLICY_ENFORCE) || !policy_selects(p, agent))
            continue;
        for (size_t j = 0; j < p->egress.n; j++) {
            if (visit(&d[j], arg))
                return true;
        }
    }
    return false;
}

struct question {
    const struct sockaddr *addr;
    const char *host;
    uint16_t port;
    bool (*visit)(const char *name, void *arg);
    void *arg;
};

static bool is_destination(const struct destination *d, void *arg)
{
    const struct question *q = arg;

    if (!has_port(d, q->port))
        return false;
    if (d->host.prefix_len >= 0)
        return target_host_matches(&d->host, q->addr);
    return q->host && same_host(d->host.name, q->host);
}

bool policy_egress_allowed(const struct policy_snapshot *s, const struct agent *agent,
                           const struct sockaddr *addr, const char *host)
{
    struct question q = {.addr = addr, .host = host, .port = port_of(addr)};

    return each_destination(s, agent, is_destination, &q);
}

static bool visit_name(const struct destination *d, void *arg)
{
    const struct question *q = arg;

    return d->host.prefix_len < 0 && has_port(d, q->port) && q->visit(d->host.name, q->arg);
}

bool policy_egress_names(const struct policy_snapshot *s, const struct agent *agent, uint16_t port,
                         bool (*visit)(const char *name, void *arg), void *arg)
{
    struct question q = {.port = port, .visit = visit, .arg = arg};

    return each_destination(s, agent, visit_name, &q);
}
