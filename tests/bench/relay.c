/* SPDX-License-Identifier: Apache-2.0
 * A trivial TCP relay: one epoll loop, one shared buffer, read and write, no look at the bytes.
 * `make bench` measures it as the ceiling for any userspace proxy on the same machine; it is not
 * meant for anything else.
 *
 *   relay LISTEN_PORT UPSTREAM_ADDRESS UPSTREAM_PORT      (IPv4; listens on 127.0.0.1)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHARED_BUFFER 65536
#define MAX_EVENTS    256

/* One direction's reader. What the peer would not take at once waits in `rest`, and this side is
 * not read until it is gone. */
struct side {
    int fd;
    struct side *peer;
    struct pair *pair;
    char *rest;
    size_t rest_len, rest_at;
};

struct pair {
    struct side side[2];
    bool dead;
    struct pair *next_dead;
};

static char shared[SHARED_BUFFER];
static int loop;
static struct pair *dead_pairs;

static void watch(struct side *s, int op)
{
    bool blocked_by_peer = s->rest_len > 0; /* our data that the peer has not taken */
    bool owes = s->peer->rest_len > 0;      /* the peer's data that we have not taken */
    struct epoll_event ev = {.data.ptr = s};

    ev.events = (blocked_by_peer ? 0u : (uint32_t)EPOLLIN) | (owes ? (uint32_t)EPOLLOUT : 0u);
    (void)epoll_ctl(loop, op, s->fd, &ev);
}

/* Closed at the end of the round: events of this round may still name the pair. */
static void kill_pair(struct pair *p)
{
    if (p->dead)
        return;
    p->dead = true;
    p->next_dead = dead_pairs;
    dead_pairs = p;
}

static void bury(void)
{
    while (dead_pairs) {
        struct pair *p = dead_pairs;

        dead_pairs = p->next_dead;
        for (int i = 0; i < 2; i++) {
            close(p->side[i].fd);
            free(p->side[i].rest);
        }
        free(p);
    }
}

static void on_readable(struct side *s)
{
    ssize_t n = recv(s->fd, shared, sizeof shared, 0), sent;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        kill_pair(s->pair);
        return;
    }
    sent = send(s->peer->fd, shared, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN) {
        kill_pair(s->pair);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    s->rest_len = (size_t)(n - sent);
    s->rest_at = 0;
    s->rest = malloc(s->rest_len);
    if (!s->rest) {
        kill_pair(s->pair);
        return;
    }
    memcpy(s->rest, shared + sent, s->rest_len);
    watch(s, EPOLL_CTL_MOD);
    watch(s->peer, EPOLL_CTL_MOD);
}

/* `s` takes what its peer read before. */
static void on_writable(struct side *s)
{
    struct side *from = s->peer;
    ssize_t n;

    if (from->rest_len == 0)
        return;
    n = send(s->fd, from->rest + from->rest_at, from->rest_len - from->rest_at, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN)
            kill_pair(s->pair);
        return;
    }
    from->rest_at += (size_t)n;
    if (from->rest_at < from->rest_len)
        return;
    free(from->rest);
    from->rest = NULL;
    from->rest_len = 0;
    watch(s, EPOLL_CTL_MOD);
    watch(from, EPOLL_CTL_MOD);
}

static void on_accept(int listener, const struct sockaddr_in *upstream)
{
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), server, one = 1;
    struct pair *p;

    if (client < 0)
        return;
    server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    p = calloc(1, sizeof *p);
    if (server < 0 || !p ||
        (connect(server, (const struct sockaddr *)upstream, sizeof *upstream) < 0 &&
         errno != EINPROGRESS)) {
        close(client);
        if (server >= 0)
            close(server);
        free(p);
        return;
    }
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    p->side[0] = (struct side){.fd = client, .peer = &p->side[1], .pair = p};
    p->side[1] = (struct side){.fd = server, .peer = &p->side[0], .pair = p};
    watch(&p->side[0], EPOLL_CTL_ADD);
    watch(&p->side[1], EPOLL_CTL_ADD);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1024) < 0) {
        perror("relay: listen");
        exit(1);
    }
    return fd;
}

static void serve(int listener, const struct sockaddr_in *upstream)
{
    struct epoll_event ready[MAX_EVENTS];

    for (;;) {
        int n = epoll_wait(loop, ready, MAX_EVENTS, -1);

        for (int i = 0; i < n; i++) {
            struct side *s = ready[i].data.ptr;

            if (!s) {
                on_accept(listener, upstream);
                continue;
            }
            if (!s->pair->dead && (ready[i].events & EPOLLOUT))
                on_writable(s);
            if (s->pair->dead || !(ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                continue;
            if (s->rest_len == 0)
                on_readable(s);
            else if (ready[i].events & (EPOLLHUP | EPOLLERR))
                kill_pair(s->pair);
        }
        bury();
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in upstream = {.sin_family = AF_INET};
    struct epoll_event ev = {.events = EPOLLIN};
    int listener;

    if (argc != 4 || inet_pton(AF_INET, argv[2], &upstream.sin_addr) != 1) {
        fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_ADDRESS UPSTREAM_PORT\n");
        return 2;
    }
    upstream.sin_port = htons((uint16_t)atoi(argv[3]));
    listener = listen_on((uint16_t)atoi(argv[1]));
    loop = epoll_create1(EPOLL_CLOEXEC);
    if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, listener, &ev) < 0) {
        perror("relay: epoll");
        return 1;
    }
    serve(listener, &upstream);
}
