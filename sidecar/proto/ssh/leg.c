/* SPDX-License-Identifier: Apache-2.0
 * Sides of an SSH session.
 */
#include "leg.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of this thread: where refusals are noted; libssh works on what the target sent. */
static _Thread_local struct sshleg_refused *refused;
static _Thread_local bool upstream_speaks;

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

/* "no" for SSH_OPTIONS_COMPRESSION would still offer zlib@openssh.com. */
int sshleg_no_compression(ssh_session ssh)
{
    int rc = ssh_options_set(ssh, SSH_OPTIONS_COMPRESSION_C_S, "none");

    return rc | ssh_options_set(ssh, SSH_OPTIONS_COMPRESSION_S_C, "none");
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
    upstream_speaks = l->upstream;
    rc = ssh_event_dopoll(l->event, 0);
    upstream_speaks = false;
    if (rc == SSH_ERROR)
        l->failed = true;
    return rc != SSH_AGAIN && rc != SSH_ERROR;
}

/* ---- what libssh says ---- */

#define UNKNOWN_GLOBAL "UNKNOWN SSH_MSG_GLOBAL_REQUEST "

/* "… [client = 0, ]NAME, want_reply = 1"; the name may be anything. */
static void note_refused(const char *text)
{
    const char *name = strstr(text, UNKNOWN_GLOBAL), *end = NULL;
    static const char client[] = "client = 0, ";
    int n;

    if (!name)
        return;
    name += sizeof UNKNOWN_GLOBAL - 1;
    if (strncmp(name, client, sizeof client - 1) == 0)
        name += sizeof client - 1;
    for (const char *t = name; (t = strstr(t, ", want_reply")); t++)
        end = t;
    n = end ? (int)(end - name) : (int)strlen(name);
    /* Nothing is asked for: what OpenSSH says before its first program, and signs of life. */
    if ((n == 28 && strncmp(name, "no-more-sessions@openssh.com", 28) == 0) ||
        (n > 10 && strncmp(name, "keepalive@", 10) == 0) ||
        /* What a server tells: also the target, when libssh reads while it writes. */
        (n > 9 && strncmp(name, "hostkeys-", 9) == 0))
        return;
    if (refused->n < SSHLEG_REFUSED)
        snprintf(refused->names[refused->n], sizeof refused->names[0], "%.*s", n, name);
    refused->n++;
}

static void listen_to_log(int priority, const char *function, const char *text, void *arg);

void sshleg_note_refused(struct sshleg_refused *to)
{
    refused = to;
    (void)ssh_set_log_callback(listen_to_log);
    (void)ssh_set_log_level(to ? SSH_LOG_PROTOCOL : SSH_LOG_NOLOG);
}

/* ---- writing ---- */

/* libssh takes the peer's maximum packet size as it comes (RFC 4253, 6.1 has 32768 at least), keeps
 * 10 bytes of it for itself and writes in pieces of what is left: with 10 it sends empty packets
 * for ever, and keeps them all. No function tells the size, and nothing that a caller can do makes
 * that loop fail. But it logs every packet, after it was sent and while it holds nothing: while the
 * size is not known, we listen, and do not come back from the log when there are too many. */
#define PROBE         256u
#define PROBE_PACKETS 16u

struct probe {
    jmp_buf out;
    unsigned packets;
};

static _Thread_local struct probe *probing;

static void listen_to_log(int priority, const char *function, const char *text, void *arg)
{
    (void)priority, (void)arg;
    if (refused && !upstream_speaks && strcmp(function, "ssh_packet_global_request") == 0)
        note_refused(text);
    if (probing && strcmp(function, "channel_write_common") == 0 &&
        ++probing->packets > PROBE_PACKETS)
        longjmp(probing->out, 1);
}

static int write_to(ssh_channel to, struct bytes data, bool is_stderr)
{
    return is_stderr ? ssh_channel_write_stderr(to, data.p, (uint32_t)data.len)
                     : ssh_channel_write(to, data.p, (uint32_t)data.len);
}

static int probe(struct sshleg *l, ssh_channel to, struct bytes data, bool is_stderr)
{
    struct probe p = {.packets = 0};
    volatile int rc = SSH_ERROR;

    probing = &p;
    (void)ssh_set_log_callback(listen_to_log);
    (void)ssh_set_log_level(SSH_LOG_FUNCTIONS);
    if (setjmp(p.out) == 0)
        rc = write_to(to, data, is_stderr);
    else
        l->cramped = true;
    (void)ssh_set_log_level(refused ? SSH_LOG_PROTOCOL : SSH_LOG_NOLOG);
    probing = NULL;
    return rc;
}

int sshleg_write(struct sshleg *l, ssh_channel to, bool *sized, struct bytes data, bool is_stderr)
{
    int rc;

    if (l->cramped)
        return SSH_ERROR;
    if (*sized)
        return write_to(to, data, is_stderr);
    data.len = min_size(data.len, PROBE);
    rc = probe(l, to, data, is_stderr);
    *sized = rc == (int)PROBE;
    return rc;
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
