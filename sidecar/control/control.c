/* SPDX-License-Identifier: Apache-2.0
 * The control socket's service thread: accepts, reads, answers, and publishes what changes.
 */
#include "server.h"

#include "src-common/clock.h"
#include "src-common/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WATCH_MS 50 /* how late a watcher may hear of a change */

/* ---- watchers ---- */

/* Both lists are in order of birth, so the search goes on where the last one ended. */
static bool unchanged(const struct control *c, const struct approval_info *i, size_t *from)
{
    for (size_t k = *from; k < c->n_seen; k++) {
        const struct seen *s = &c->seen[k];

        if (strcmp(s->id, i->id) != 0)
            continue;
        *from = k + 1;
        return s->phase == i->phase && s->n_decisions == i->n_decisions &&
               s->uses_left == i->uses_left;
    }
    return false;
}

static bool has_watchers(const struct control *c)
{
    for (size_t i = 0; i < c->n_clients; i++)
        if (c->clients[i].role == CLIENT_WATCHES)
            return true;
    return false;
}

static void tell_watchers(struct control *c, const struct approval_info *i)
{
    for (size_t k = 0; k < c->n_clients; k++) {
        struct client *client = &c->clients[k];

        if (client->role != CLIENT_WATCHES || client->closing)
            continue;
        if (buffer_len(&client->out) > CONTROL_BACKLOG_MAX) {
            client_farewell(client, "Conflict", "dropped: you read too slowly");
            continue;
        }
        buffer_append(&client->out, "{\"approval\":", 12);
        approval_to_json(i, true, &client->out);
        buffer_append(&client->out, "}\n", 2);
    }
}

void control_publish(struct control *c)
{
    uint64_t version = approvals_version(c->config.approvals);
    struct approval_info *list;
    struct seen *seen;
    size_t n, from = 0;

    if (version == c->version || approvals_list(c->config.approvals, &list, &n) != 0)
        return;
    seen = calloc(n + 1, sizeof *seen);
    for (size_t i = 0; i < n; i++) {
        if (seen) {
            seen[i] = (struct seen){.phase = list[i].phase,
                                    .n_decisions = list[i].n_decisions,
                                    .uses_left = list[i].uses_left};
            memcpy(seen[i].id, list[i].id, sizeof seen[i].id);
            if (!unchanged(c, &list[i], &from))
                tell_watchers(c, &list[i]);
        }
        approval_info_done(&list[i]);
    }
    free(list);
    if (!seen)
        return; /* tried again at the next turn */
    free(c->seen);
    c->seen = seen;
    c->n_seen = n;
    c->version = version;
}

/* ---- clients ---- */

static void drop_client(struct control *c, size_t at)
{
    tap_unfollow(&c->tap, c->clients[at].tail);
    client_done(&c->clients[at]);
    c->clients[at] = c->clients[--c->n_clients];
}

static void accept_client(struct control *c)
{
    static const char full[] =
        "{\"error\":\"too many clients on this socket\",\"code\":\"Conflict\"}\n";
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (c->n_clients == CONTROL_MAX_CLIENTS) {
        send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
        return;
    }
    client_init(&c->clients[c->n_clients++], fd);
}

/* A request is answered when the answer before it has been taken, so that one client's memory is
 * one answer. */
static void answer_lines(struct control *c, struct client *client)
{
    struct bytes line;

    while (!client->closing && client->role == CLIENT_ASKS && buffer_len(&client->out) == 0 &&
           client_take_line(client, &line)) {
        client->deadline_ms = clock_mono_ms() + CONTROL_IDLE_MS;
        control_answer(c, client, line);
        if (!client_write(client))
            return;
    }
}

/* False: drop it. */
static bool serve_client(struct control *c, struct client *client, short events)
{
    if ((events & (POLLERR | POLLNVAL)) || ((events & (POLLIN | POLLHUP)) && !client_read(client)))
        return false;
    if (client->role != CLIENT_ASKS)
        buffer_consume(&client->in, buffer_len(&client->in)); /* nothing more is asked */
    if (!client_write(client))
        return false;
    answer_lines(c, client);
    if (client->tail && !client->closing && !tap_drain(&c->tap, client->tail, &client->out)) {
        client_farewell(client, "Conflict", "dropped: you read too slowly");
        tap_unfollow(&c->tap, take(&client->tail));
    }
    if (client->out.failed || !client_write(client) || (events & POLLHUP))
        return false;
    if (client->role == CLIENT_ASKS && client->eof && buffer_len(&client->out) == 0)
        return false;
    if (client->closing || client->role == CLIENT_ASKS || buffer_len(&client->out))
        return clock_mono_ms() < client->deadline_ms;
    client->deadline_ms = clock_mono_ms() + CONTROL_STALL_MS;
    return true;
}

static void serve_clients(struct control *c, const struct pollfd *fds)
{
    /* Backwards: dropping one moves the last, already served, into its place. */
    for (size_t i = c->n_clients; i-- > 0;)
        if (!serve_client(c, &c->clients[i], fds[i].revents))
            drop_client(c, i);
}

static void fill_poll(const struct control *c, struct pollfd *fds)
{
    fds[0] = (struct pollfd){.fd = c->listen_fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = c->wake_fd, .events = POLLIN};
    for (size_t i = 0; i < c->n_clients; i++) {
        const struct client *client = &c->clients[i];
        bool backlog = buffer_len(&client->out) > 0;

        fds[2 + i] = (struct pollfd){.fd = client->fd};
        if (backlog)
            fds[2 + i].events |= POLLOUT;
        if (!client->closing && !client->eof && (!backlog || client->role != CLIENT_ASKS))
            fds[2 + i].events |= POLLIN;
    }
}

static void *control_main(void *arg)
{
    struct control *c = arg;
    struct pollfd fds[2 + CONTROL_MAX_CLIENTS];
    eventfd_t ignored;

    while (!atomic_load(&c->stop)) {
        uint64_t wait = approvals_tick(c->config.approvals);

        if (has_watchers(c)) {
            control_publish(c);
            wait = wait < WATCH_MS ? wait : WATCH_MS;
        }
        fill_poll(c, fds);
        if (poll(fds, 2 + c->n_clients, (int)wait + 1) < 0 && errno != EINTR) {
            log_error("control.poll", F_I64("errno", errno));
            usleep(100000);
            continue;
        }
        if (fds[1].revents)
            eventfd_read(c->wake_fd, &ignored);
        serve_clients(c, fds + 2);
        if (fds[0].revents & POLLIN)
            accept_client(c);
    }
    return NULL;
}

/* ---- the socket ---- */

static int fill_address(struct sockaddr_un *addr, const char *path, struct error *err)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr->sun_path)
        return error_set(err, -ENAMETOOLONG,
                         "the control socket's path is longer than %zu bytes: %s",
                         sizeof addr->sun_path - 1, path);
    memcpy(addr->sun_path, path, strlen(path));
    return 0;
}

/* A socket that a dead process left behind is removed; anything else in the way is not. */
static int clear_path(const struct sockaddr_un *addr, struct error *err)
{
    const char *path = addr->sun_path;
    struct stat st;
    int fd, e;

    if (lstat(path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, -EEXIST, "%s is in the way: it is not a socket", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, -errno, "cannot make a socket: %m");
    e = connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 ? 0 : errno;
    close(fd);
    if (e != ECONNREFUSED)
        return error_set(err, -EADDRINUSE, "another guard is listening on %s", path);
    if (unlink(path) != 0)
        return error_set(err, -errno, "cannot remove the dead socket %s: %m", path);
    return 0;
}

static int listen_at(struct control *c, struct error *err)
{
    struct sockaddr_un addr;
    struct stat st;
    int e = fill_address(&addr, c->path, err);

    if (e == 0)
        e = clear_path(&addr, err);
    if (e != 0)
        return e;
    c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the descriptor becomes the mode of the file: at no moment is it open to others.
     */
    if (c->listen_fd < 0 || fchmod(c->listen_fd, 0600) != 0 ||
        bind(c->listen_fd, (struct sockaddr *)&addr, sizeof addr) != 0)
        return error_set(err, -errno, "cannot listen on %s: %m", c->path);
    if (chmod(c->path, 0600) != 0 || lstat(c->path, &st) != 0 || listen(c->listen_fd, 64) != 0) {
        e = -errno;
        unlink(c->path);
        return error_set(err, e, "cannot listen on %s: %m", c->path);
    }
    c->socket_dev = st.st_dev;
    c->socket_ino = st.st_ino;
    return 0;
}

static void remove_socket(const struct control *c)
{
    struct stat st;

    if (c->socket_ino && lstat(c->path, &st) == 0 && st.st_ino == c->socket_ino &&
        st.st_dev == c->socket_dev)
        unlink(c->path);
}

static void control_free(struct control *c)
{
    while (c->n_clients)
        drop_client(c, c->n_clients - 1);
    remove_socket(c);
    if (c->listen_fd >= 0)
        close(c->listen_fd);
    if (c->wake_fd >= 0) {
        tap_done(&c->tap);
        close(c->wake_fd);
    }
    free(c->seen);
    free(c->path);
    free(c);
}

int control_start(const struct control_config *config, struct control **ret, struct error *err)
{
    struct control *c = calloc(1, sizeof *c);
    int e;

    if (!c)
        return error_set(err, -ENOMEM, "out of memory");
    c->config = *config;
    c->listen_fd = -1;
    c->path = strdup(config->path);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e = c->path && c->wake_fd >= 0 ? tap_init(&c->tap, c->wake_fd) : -ENOMEM;
    if (e == 0)
        e = listen_at(c, err);
    else
        error_set(err, e, "out of memory or descriptors for the control socket");
    if (e == 0 && config->spool)
        record_spool_set_tap(config->spool, tap_line, &c->tap);
    if (e == 0 && (e = -pthread_create(&c->thread, NULL, control_main, c)) != 0)
        error_set(err, e, "cannot start the control socket's thread");
    if (e != 0) {
        if (config->spool)
            record_spool_set_tap(config->spool, NULL, NULL);
        control_free(c);
        return e;
    }
    *ret = c;
    return 0;
}

void control_stop(struct control *c)
{
    if (!c)
        return;
    atomic_store(&c->stop, true);
    eventfd_write(c->wake_fd, 1);
    pthread_join(c->thread, NULL);
    if (c->config.spool)
        record_spool_set_tap(c->config.spool, NULL, NULL);
    control_free(c);
}
