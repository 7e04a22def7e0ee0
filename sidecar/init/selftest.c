/* SPDX-License-Identifier: Apache-2.0
 * The addresses are the documentation ones (192.0.2.1, 2001:db8::1), which no agent talks to.
 * Where they have no route, an address beside one of our own serves: what matters is that the
 * packet is routed out before the rules turn it.
 */
#include "selftest.h"

#include "probe.h"
#include "src-common/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h clash with netinet/in.h. */
#define ORIGINAL_DST 80

#define TCP_PORT   443
#define UDP_PORT   9
#define ARRIVAL_MS 3000
#define REFUSAL_MS 1000
/* Redirection is local and immediate; this is only how long a guard's packet may take to not
 * arrive. */
#define ABSENCE_MS 300

/* Somebody who is not the guard although the group is right. */
#define NOBODY_UID 65534

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}
DEFINE_CLEANUP(int, close_fd)

/* ---- addresses ---- */

static void set_port(struct sockaddr_storage *a, uint16_t port)
{
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)a)->sin_port = htons(port);
}

static struct sockaddr_storage make_address(int family, const char *text, uint16_t port)
{
    struct sockaddr_storage a = {.ss_family = (sa_family_t)family};
    void *to = family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&a)->sin6_addr
                                  : (void *)&((struct sockaddr_in *)&a)->sin_addr;

    (void)inet_pton(family, text, to);
    set_port(&a, port);
    return a;
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
    const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET6)
        return a6->sin6_port == b6->sin6_port && IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
    return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
}

/* The last byte of the address (as *addr) and of its mask, or NULL when it will not serve. */
static const uint8_t *last_mask_byte(const struct ifaddrs *i, int family)
{
    if (!i->ifa_addr || !i->ifa_netmask || i->ifa_addr->sa_family != family ||
        !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
        return NULL;
    if (family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)i->ifa_netmask)->sin_addr + 3;
    if (IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr))
        return NULL;
    return ((const struct sockaddr_in6 *)i->ifa_netmask)->sin6_addr.s6_addr + 15;
}

/* An address on one of our own networks that is not ours. False when there is none. */
static bool neighbour_address(int family, uint16_t port, struct sockaddr_storage *ret)
{
    struct ifaddrs *list = NULL;
    bool found = false;

    if (getifaddrs(&list) != 0)
        return false;
    for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
        const uint8_t *mask = last_mask_byte(i, family);

        if (!mask || (*mask & 1))
            continue; /* a network of one address */
        found = true;
        *ret = (struct sockaddr_storage){0};
        if (family == AF_INET) {
            memcpy(ret, i->ifa_addr, sizeof(struct sockaddr_in));
            ((uint8_t *)&((struct sockaddr_in *)ret)->sin_addr)[3] ^= 1;
        } else {
            memcpy(ret, i->ifa_addr, sizeof(struct sockaddr_in6));
            ((struct sockaddr_in6 *)ret)->sin6_addr.s6_addr[15] ^= 1;
        }
        set_port(ret, port);
    }
    freeifaddrs(list);
    return found;
}

/* ---- the listener that stands in for the guard ---- */

struct stand_in {
    int fd;      /* -1: could not listen */
    bool in_use; /* because somebody does already, presumably the guard */
};

static int open_listener(int family, uint16_t port, int *ret)
{
    const char *loopback = family == AF_INET6 ? "::1" : "127.0.0.1";
    struct sockaddr_storage a = make_address(family, loopback, port);
    socklen_t len = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    _cleanup_(close_fd) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, 16) < 0)
        return -errno;
    *ret = fd;
    fd = -1;
    return 0;
}

/* Accepts until a connection that was meant for `to` has arrived. */
static bool arrives(int listener, const struct sockaddr_storage *to, unsigned wait_ms)
{
    uint64_t deadline = clock_mono_ms() + wait_ms;
    int level = to->ss_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;

    for (;;) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        uint64_t now = clock_mono_ms();
        struct sockaddr_storage original = {0};
        socklen_t len = sizeof(original);

        if (poll(&p, 1, now < deadline ? (int)(deadline - now) : 0) <= 0)
            return false;
        _cleanup_(close_fd) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0 && getsockopt(fd, level, ORIGINAL_DST, &original, &len) == 0 &&
            same_address(&original, to))
            return true;
        if (now >= deadline)
            return false;
    }
}

/* ---- the tests ---- */

static struct probe agent_probe(const struct selftest_config *c, int kind, unsigned wait_ms)
{
    return (struct probe){
        .kind = kind,
        .wait_ms = wait_ms,
        .uid = c->uid == NOBODY_UID ? NOBODY_UID - 1 : NOBODY_UID,
        .gid = c->gid,
    };
}

static const char *judge_tcp(enum probe_outcome outcome)
{
    switch (outcome) {
    case PROBE_CONNECTED:
        return "failed: answered by somebody who is not the capture port";
    case PROBE_NO_ROUTE:
        return "skipped: no route";
    case PROBE_REFUSED:
        return "failed: refused, not redirected";
    case PROBE_SILENT:
        return "failed: no answer, not redirected";
    case PROBE_BROKEN:
    case PROBE_CANNOT_BE:
        break;
    }
    return "failed: the test connection could not be made";
}

static const char *test_tcp(const struct selftest_config *c, const struct stand_in *s,
                            const struct sockaddr_storage *to)
{
    struct probe p = agent_probe(c, SOCK_STREAM, ARRIVAL_MS);

    p.to = *to;
    pid_t pid = probe_start(&p);

    if (pid < 0)
        return "failed: cannot fork";

    /* The kernel completes the child's connect without our accept. */
    enum probe_outcome outcome = probe_finish(pid);

    if (outcome != PROBE_CONNECTED)
        return judge_tcp(outcome);
    if (s->in_use)
        return "redirected to the listener that is already there";
    return s->fd >= 0 && arrives(s->fd, to, ARRIVAL_MS) ? "redirected" : judge_tcp(outcome);
}

static const char *test_udp(const struct selftest_config *c, const struct sockaddr_storage *to)
{
    struct probe p = agent_probe(c, SOCK_DGRAM, REFUSAL_MS);

    p.to = *to;
    set_port(&p.to, UDP_PORT);
    pid_t pid = probe_start(&p);

    if (pid < 0)
        return "failed: cannot fork";
    switch (probe_finish(pid)) {
    case PROBE_REFUSED:
        return "refused";
    case PROBE_NO_ROUTE:
        return "skipped: no route";
    case PROBE_CONNECTED:
        return "failed: a datagram left the pod";
    case PROBE_BROKEN:
    case PROBE_SILENT:
    case PROBE_CANNOT_BE:
        break;
    }
    return "failed: the test datagram could not be sent";
}

static const char *test_guard(const struct selftest_config *c, const struct stand_in *s,
                              const struct sockaddr_storage *to)
{
    struct probe p = {.kind = SOCK_STREAM,
                      .to = *to,
                      .wait_ms = ABSENCE_MS,
                      .must_be = true,
                      .uid = c->uid,
                      .gid = c->gid};

    if (s->fd < 0)
        return s->in_use ? "skipped: the port is in use" : "skipped: no loopback address";
    pid_t pid = probe_start(&p);

    if (pid < 0)
        return "failed: cannot fork";
    switch (probe_finish(pid)) {
    case PROBE_CANNOT_BE:
        return "skipped: no right to become the guard's user";
    case PROBE_NO_ROUTE:
        return "skipped: no route";
    case PROBE_BROKEN:
        return "failed: the test connection could not be made";
    case PROBE_CONNECTED:
    case PROBE_REFUSED:
    case PROBE_SILENT:
        break;
    }
    return arrives(s->fd, to, 0) ? "failed: the guard's own connection is redirected" : "exempt";
}

static bool passed_or_skipped(const char *outcome)
{
    return strncmp(outcome, "failed", 6) != 0;
}

static int check(const char *outcome, const char *what, int family, struct error *err)
{
    if (passed_or_skipped(outcome))
        return 0;
    return error_set(err, -EPROTO,
                     "self-test of %s over %s %s; the rules stay, so that nothing leaves "
                     "(does another tool rewrite iptables in this pod?)",
                     what, family == AF_INET6 ? "IPv6" : "IPv4", outcome);
}

static int test_family(const struct selftest_config *c, int family, struct selftest_result *result,
                       struct error *err)
{
    int at = family == AF_INET6;
    const char *text = at ? "2001:db8::1" : "192.0.2.1";
    struct sockaddr_storage to = make_address(family, text, TCP_PORT);
    _cleanup_(close_fd) int listener = -1;
    int r = open_listener(family, c->capture, &listener);

    struct stand_in s = {.fd = listener, .in_use = r == -EADDRINUSE};

    /* No address on lo, as where IPv6 is switched off. */
    if (r && r != -EADDRINUSE && r != -EADDRNOTAVAIL)
        return error_set(err, r, "cannot listen on port %u for the self-test: %s", c->capture,
                         strerror(-r));
    result->tcp[at] = test_tcp(c, &s, &to);
    if (strcmp(result->tcp[at], "skipped: no route") == 0 &&
        neighbour_address(family, TCP_PORT, &to))
        result->tcp[at] = test_tcp(c, &s, &to);
    result->udp[at] = test_udp(c, &to);
    result->guard[at] = test_guard(c, &s, &to);

    r = check(result->tcp[at], "redirection", family, err);
    r = r ? r : check(result->udp[at], "refusal of other traffic", family, err);
    return r ? r : check(result->guard[at], "the guard's exemption", family, err);
}

static bool proven(const char *outcome)
{
    return outcome && strncmp(outcome, "redirected", 10) == 0;
}

int selftest_run(const struct selftest_config *c, struct selftest_result *result, struct error *err)
{
    *result = (struct selftest_result){0};
    int r = test_family(c, AF_INET, result, err);

    if (!r && c->ipv6)
        r = test_family(c, AF_INET6, result, err);
    if (r)
        return r;
    if (!proven(result->tcp[0]) && !proven(result->tcp[1]))
        return error_set(err, -ENETUNREACH,
                         "redirection could not be tested: this network namespace has no route "
                         "and no address of its own (is the pod's network up?)");
    return 0;
}
