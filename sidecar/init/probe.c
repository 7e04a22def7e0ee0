/* SPDX-License-Identifier: Apache-2.0
 * The child does one thing and leaves by _exit: nothing of the parent's is flushed twice.
 */
#include "probe.h"

#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

static socklen_t address_length(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static enum probe_outcome outcome_of(int error)
{
    switch (error) {
    case 0:
        return PROBE_CONNECTED;
    case ENETUNREACH:
    case EADDRNOTAVAIL:
        return PROBE_NO_ROUTE;
    case ECONNREFUSED:
    case EPERM:
    case EACCES:
    case EHOSTUNREACH:
        return PROBE_REFUSED;
    default:
        return PROBE_BROKEN;
    }
}

/* What the kernel says about the socket once something happened to it. */
static enum probe_outcome await(int fd, short events, unsigned wait_ms, enum probe_outcome quiet)
{
    struct pollfd p = {.fd = fd, .events = events};
    int error = 0;
    socklen_t len = sizeof(error);
    int n = poll(&p, 1, (int)wait_ms);

    if (n < 0)
        return PROBE_BROKEN;
    if (n == 0)
        return quiet;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return PROBE_BROKEN;
    return outcome_of(error);
}

static enum probe_outcome attempt(const struct probe *p)
{
    int fd = socket(p->to.ss_family, p->kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return PROBE_BROKEN;
    if (connect(fd, (const struct sockaddr *)&p->to, address_length(&p->to)) < 0) {
        if (errno != EINPROGRESS)
            return outcome_of(errno);
        return await(fd, POLLOUT, p->wait_ms, PROBE_SILENT);
    }
    if (p->kind == SOCK_STREAM)
        return PROBE_CONNECTED;
    if (send(fd, "", 1, MSG_NOSIGNAL) < 0)
        return outcome_of(errno);
    /* It went out, unless an ICMP error says otherwise. Only an error wakes this poll. */
    return await(fd, 0, p->wait_ms, PROBE_CONNECTED);
}

static bool become(uint32_t uid, uint32_t gid)
{
    return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 &&
           setresuid(uid, uid, uid) == 0;
}

pid_t probe_start(const struct probe *p)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid < 0 ? -errno : pid;
    if (!become(p->uid, p->gid) && p->must_be)
        _exit(PROBE_CANNOT_BE);
    _exit(attempt(p));
}

enum probe_outcome probe_finish(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return PROBE_BROKEN;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) > PROBE_CANNOT_BE)
        return PROBE_BROKEN;
    return (enum probe_outcome)WEXITSTATUS(status);
}
