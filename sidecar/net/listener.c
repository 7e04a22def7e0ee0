/* SPDX-License-Identifier: Apache-2.0
 * Listeners and original destinations.
 */
#include "listener.h"

#include "conn.h"
#include "src-common/log.h"

#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#ifndef IP6T_SO_ORIGINAL_DST
#define IP6T_SO_ORIGINAL_DST 80 /* linux/netfilter_ipv6/ip6_tables.h drags in too much */
#endif

#define MAX_LISTENERS 64
#define BACKLOG       4096

struct socket_entry {
    int fd;
    const char *target; /* NULL: capture */
};

struct listener {
    struct socket_entry sockets[MAX_LISTENERS];
    size_t n;
    int wake;
    uint16_t capture_port;
    listener_accept_fn *accepted;
    void *arg;
    pthread_t thread;
};

/* What the agent dialled before REDIRECT changed it. A direct connection to the capture port
 * gives the listener's own address, without an error: refused, or the guard would dial itself. */
static int original_destination(int fd, uint16_t capture_port, struct sockaddr_storage *ret)
{
    struct sockaddr_storage local;
    socklen_t len = sizeof local, ret_len = sizeof *ret;
    bool six;

    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0)
        return -errno;
    six = local.ss_family == AF_INET6;
    memset(ret, 0, sizeof *ret);
    if (getsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP,
                   six ? IP6T_SO_ORIGINAL_DST : SO_ORIGINAL_DST, ret, &ret_len) != 0)
        return -errno;
    if (address_equal((struct sockaddr *)ret, (struct sockaddr *)&local, true) ||
        address_port((struct sockaddr *)ret) == capture_port)
        return -ELOOP;
    return 0;
}

static void accept_one(struct listener *l, const struct socket_entry *s)
{
    struct listener_origin o = {.target = s->target};
    socklen_t len = sizeof o.peer;
    int fd = accept4(s->fd, (struct sockaddr *)&o.peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int rc = 0;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            log_warn("listener.exhausted", F_STR("reason", strerror(errno)));
        return;
    }
    if (!s->target)
        rc = original_destination(fd, l->capture_port, &o.original);
    if (rc) {
        log_warn("listener.refused",
                 F_STR("reason",
                       rc == -ELOOP ? "direct connection to the capture port" : strerror(-rc)));
        conn_close(&(struct conn){.fd = fd});
        return;
    }
    conn_tune_socket(fd);
    l->accepted(fd, &o, l->arg);
}

static void *listener_main(void *arg)
{
    struct listener *l = arg;
    struct pollfd fds[MAX_LISTENERS + 1];

    for (size_t i = 0; i < l->n; i++)
        fds[i] = (struct pollfd){.fd = l->sockets[i].fd, .events = POLLIN};
    fds[l->n] = (struct pollfd){.fd = l->wake, .events = POLLIN};
    for (;;) {
        if (poll(fds, l->n + 1, -1) < 0 && errno != EINTR)
            break;
        if (fds[l->n].revents)
            break;
        for (size_t i = 0; i < l->n; i++)
            if (fds[i].revents)
                accept_one(l, &l->sockets[i]);
    }
    return NULL;
}

static int listen_on(struct listener *l, const struct sockaddr *a, const char *target,
                     struct error *err)
{
    char text[ADDRESS_TEXT_LEN];
    int one = 1, fd;

    address_text(a, text);
    if (l->n == MAX_LISTENERS)
        return error_set(err, -E2BIG, "more than %d listeners", MAX_LISTENERS);
    fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, -errno, "socket: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        (a->sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0) ||
        bind(fd, a, address_len(a)) != 0 || listen(fd, BACKLOG) != 0) {
        int rc = error_set(err, -errno, "cannot listen on %s: %s", text, strerror(errno));

        close(fd);
        return rc;
    }
    l->sockets[l->n++] = (struct socket_entry){fd, target};
    return 0;
}

/* ::1 may be missing where IPv6 is disabled; chaperone-init has decided whether that is fine. */
static int listen_capture(struct listener *l, struct error *err)
{
    struct sockaddr_in four = {.sin_family = AF_INET,
                               .sin_port = htons(l->capture_port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                               .sin6_port = htons(l->capture_port),
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int rc = listen_on(l, (struct sockaddr *)&four, NULL, err);

    if (rc)
        return rc;
    rc = listen_on(l, (struct sockaddr *)&six, NULL, err);
    if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT) {
        log_warn("listener.no_ipv6", F_STR("reason", err ? err->text : ""));
        rc = 0;
    }
    return rc;
}

static void listener_free(struct listener *l)
{
    for (size_t i = 0; i < l->n; i++)
        close(l->sockets[i].fd);
    if (l->wake >= 0)
        close(l->wake);
    free(l);
}

int listener_start(const struct listener_explicit *list, size_t n, uint16_t capture_port,
                   listener_accept_fn *accepted, void *arg, struct listener **ret,
                   struct error *err)
{
    struct listener *l = calloc(1, sizeof *l);
    int rc = 0;

    if (!l)
        return error_set(err, -ENOMEM, "out of memory");
    l->capture_port = capture_port;
    l->accepted = accepted;
    l->arg = arg;
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake < 0)
        rc = error_set(err, -errno, "eventfd: %s", strerror(errno));
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = listen_on(l, (const struct sockaddr *)&list[i].addr, list[i].target, err);
    if (rc == 0 && capture_port)
        rc = listen_capture(l, err);
    if (rc == 0) {
        rc = -pthread_create(&l->thread, NULL, listener_main, l);
        if (rc)
            error_set(err, rc, "cannot start the listener: %s", strerror(-rc));
    }
    if (rc) {
        listener_free(l);
        return rc;
    }
    *ret = l;
    return 0;
}

void listener_stop(struct listener *l)
{
    uint64_t one = 1;

    if (!l)
        return;
    if (write(l->wake, &one, sizeof one) < 0)
        return; /* cannot happen on a fresh eventfd; better to leak than to hang */
    pthread_join(l->thread, NULL);
    listener_free(l);
}
