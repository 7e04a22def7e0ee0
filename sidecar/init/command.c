/* SPDX-License-Identifier: Apache-2.0
 * Input is a memory file, not a pipe: a child that does not read cannot block us.
 */
#include "command.h"

#include "src-common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_MS 20000

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}
DEFINE_CLEANUP(int, close_fd)

static const char *const directories[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin",
                                          "/usr/local/sbin"};

int command_find(const char *name, char *path, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
        int n = snprintf(path, size, "%s/%s", directories[i], name);

        if (n > 0 && (size_t)n < size && access(path, X_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

/* A file descriptor from which the child reads `input`, or -errno. */
static int input_fd(struct bytes input)
{
    _cleanup_(close_fd) int fd = memfd_create("input", MFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < input.len;) {
        ssize_t n = write(fd, input.p + done, input.len - done);

        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;

    int ret = fd;

    fd = -1;
    return ret;
}

static int spawn(char *const argv[], int in, int out, int errors, pid_t *ret)
{
    /* The lock of legacy iptables lies in /run, which a read-only container cannot write. Nobody
     * else's tool shares this container's file system, so any file that opens will do. */
    static char *const env[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL=C",
                                "XTABLES_LOCKFILE=/dev/null", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;

    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    sigemptyset(&none);
    int r = posix_spawn_file_actions_adddup2(&actions, in, 0);

    r = r ? r : posix_spawn_file_actions_adddup2(&actions, out, 1);
    r = r ? r : posix_spawn_file_actions_adddup2(&actions, errors, 2);
    r = r ? r : posix_spawnattr_setsigmask(&attr, &none);
    r = r ? r : posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    r = r ? r : posix_spawn(ret, argv[0], &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* Reads what is there. False at the end. */
static bool drain(int fd, struct buffer *b)
{
    uint8_t chunk[4096];
    ssize_t n = read(fd, chunk, sizeof(chunk));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n > 0 && !b->failed)
        (void)buffer_append(b, chunk, (size_t)n);
    return n > 0;
}

/* Until both ends are closed. -ETIMEDOUT at the deadline. */
static int collect(int out_fd, struct buffer *out, int err_fd, struct buffer *errors,
                   uint64_t deadline)
{
    struct pollfd p[] = {{.fd = out_fd, .events = POLLIN}, {.fd = err_fd, .events = POLLIN}};
    struct buffer *into[] = {out, errors};

    while (p[0].fd >= 0 || p[1].fd >= 0) {
        uint64_t now = clock_mono_ms();

        if (now >= deadline)
            return -ETIMEDOUT;
        if (poll(p, 2, (int)(deadline - now)) < 0 && errno != EINTR)
            return -errno;
        for (size_t i = 0; i < ARRAY_LEN(p); i++) {
            if (p[i].fd >= 0 && p[i].revents && !drain(p[i].fd, into[i]))
                p[i].fd = -1;
            p[i].revents = 0;
        }
    }
    return 0;
}

static int reap(pid_t pid, int *status)
{
    while (waitpid(pid, status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static int finish(pid_t pid, int collected, const char *name, struct error *err)
{
    int status = 0;

    if (collected)
        kill(pid, SIGKILL);

    int r = reap(pid, &status);

    if (collected)
        return error_set(err, collected, "%s did not finish: %s", name, strerror(-collected));
    if (r)
        return error_set(err, r, "cannot wait for %s: %s", name, strerror(-r));
    if (!WIFEXITED(status))
        return error_set(err, -EIO, "%s was killed by signal %d", name, WTERMSIG(status));
    return WEXITSTATUS(status);
}

int command_run(char *const argv[], struct bytes input, struct buffer *out, struct buffer *errors,
                struct error *err)
{
    int out_pipe[2], err_pipe[2];
    _cleanup_(close_fd) int in = input_fd(input);

    if (in < 0)
        return error_set(err, in, "no memory file for %s: %s", argv[0], strerror(-in));
    if (pipe2(out_pipe, O_CLOEXEC) < 0)
        return error_set(err, -errno, "no pipe for %s: %s", argv[0], strerror(errno));
    _cleanup_(close_fd) int out_read = out_pipe[0];
    int out_write = out_pipe[1];

    if (pipe2(err_pipe, O_CLOEXEC) < 0) {
        int code = -errno;

        close(out_write);
        return error_set(err, code, "no pipe for %s: %s", argv[0], strerror(-code));
    }
    _cleanup_(close_fd) int err_read = err_pipe[0];
    pid_t pid = -1;
    int r = spawn(argv, in, out_write, err_pipe[1], &pid);

    close(out_write);
    close(err_pipe[1]);
    if (r)
        return error_set(err, r, "cannot start %s: %s", argv[0], strerror(-r));
    r = collect(out_read, out, err_read, errors, clock_mono_ms() + DEADLINE_MS);
    return finish(pid, r, argv[0], err);
}
