/* SPDX-License-Identifier: Apache-2.0
 * Sides of an SSH session.
 */
#include "leg.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

int sshleg_open(struct sshleg *l, ssh_session ssh)
{
    *l = (struct sshleg){.ssh = ssh, .event = ssh_event_new()};
    if (!l->event)
        return -ENOMEM;
    ssh_set_blocking(ssh, 0);
    ssh_set_counters(ssh, &l->received, NULL);
    return 0;
}

void sshleg_close(struct sshleg *l, const char *message)
{
    if (!l->ssh)
        return;
    if (message)
        (void)ssh_session_set_disconnect_message(l->ssh, message);
    if (l->event) {
        if (l->added)
            ssh_event_remove_session(l->event, l->ssh);
        ssh_event_free(l->event);
    }
    ssh_disconnect(l->ssh);
    ssh_free(l->ssh);
    *l = (struct sshleg){0};
}

bool sshleg_alive(const struct sshleg *l)
{
    return l->ssh && !l->failed && !(ssh_get_status(l->ssh) & (SSH_CLOSED | SSH_CLOSED_ERROR));
}

/* libssh takes a session into an event only once its handshake has begun; until then the calls of
 * the handshake do the reading. */
bool sshleg_process(struct sshleg *l)
{
    int rc;

    if (!l->added && ssh_event_add_session(l->event, l->ssh) != SSH_OK)
        return false;
    l->added = true;
    rc = ssh_event_dopoll(l->event, 0);
    if (rc == SSH_ERROR)
        l->failed = true;
    return rc != SSH_AGAIN && rc != SSH_ERROR;
}

static short wanted(const struct sshleg *l)
{
    return (short)(POLLIN | (ssh_get_poll_flags(l->ssh) & SSH_WRITE_PENDING ? POLLOUT : 0));
}

bool sshleg_wait(struct sshleg *a, struct sshleg *b, int wake_fd, int timeout_ms)
{
    struct sshleg *legs[2] = {a, b};
    struct pollfd fds[3];
    bool got = false;

    for (int i = 0; i < 2; i++) {
        bool up = legs[i] && sshleg_alive(legs[i]);

        fds[i] = (struct pollfd){.fd = up ? ssh_get_fd(legs[i]->ssh) : -1,
                                 .events = up ? wanted(legs[i]) : 0};
    }
    fds[2] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
    if (poll(fds, 3, timeout_ms) <= 0)
        return false;
    for (int i = 0; i < 2; i++) {
        if (fds[i].fd >= 0 && fds[i].revents)
            got |= sshleg_process(legs[i]);
    }
    if (fds[2].revents & POLLIN) {
        uint64_t ignored;

        (void)!read(wake_fd, &ignored, sizeof ignored);
    }
    return got;
}
