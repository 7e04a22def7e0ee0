/* SPDX-License-Identifier: Apache-2.0
 * Input is a memory file, not a pipe: a child that does not read cannot block us.
 */
#include "process.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK ((size_t)64 << 10)

extern char **environ;

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}
DEFINE_CLEANUP(int, close_fd)

static int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* ---- starting ---- */

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
    return take_fd(&fd);
}

/* What becomes the child's standard input, or -errno. */
static int open_stdin(const struct process_spec *spec)
{
    int fd;

    if (spec->stdin_from == PROCESS_STDIN_INPUT)
        return input_fd(spec->input);
    fd = spec->stdin_from == PROCESS_STDIN_OURS ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : -1;
    if (fd < 0) /* asked for, or ours is closed */
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* dup2 to the same number leaves close-on-exec set; a pipe of ours may be 0, 1 or 2 when ours are
 * closed. */
static int move_up(int *fd)
{
    int high = *fd > STDERR_FILENO ? *fd : fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (high < 0)
        return -errno;
    if (high != *fd)
        close(*fd);
    *fd = high;
    return 0;
}

static int add_actions(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr,
                       const int fd[3])
{
    sigset_t none, back;
    int r = 0;

    sigemptyset(&none);
    sigemptyset(&back);
    sigaddset(&back, SIGPIPE);
    for (int i = 0; i < 3 && r == 0; i++)
        r = posix_spawn_file_actions_adddup2(actions, fd[i], i);
    r = r ? r : posix_spawnattr_setsigmask(attr, &none);
    r = r ? r : posix_spawnattr_setsigdefault(attr, &back);
    return r ? r : posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn(const struct process_spec *spec, const int fd[3], pid_t *ret)
{
    char *const *env = spec->env ? spec->env : environ;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r;

    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    r = add_actions(&actions, &attr, fd);
    if (r == 0 && spec->search)
        r = posix_spawnp(ret, spec->argv[0], &actions, &attr, spec->argv, env);
    else if (r == 0)
        r = posix_spawn(ret, spec->argv[0], &actions, &attr, spec->argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* fd[0] is read, fd[1] written; both above standard error. */
static int make_pipe(int fd[2])
{
    int r;

    if (pipe2(fd, O_CLOEXEC) < 0)
        return -errno;
    r = move_up(&fd[0]);
    return r ? r : move_up(&fd[1]);
}

int process_start(const struct process_spec *spec, struct process *ret, struct error *err)
{
    const char *name = spec->argv[0];
    int out[2] = {-1, -1}, errors[2] = {-1, -1}, in = open_stdin(spec), r;
    pid_t pid = 0;

    if (in < 0)
        return error_set(err, in, "no standard input for %s: %s", name, strerror(-in));
    r = move_up(&in);
    r = r ? r : make_pipe(out);
    r = r ? r : make_pipe(errors);
    r = r ? error_set(err, r, "no pipe for %s: %s", name, strerror(-r)) : 0;
    if (r == 0) {
        r = spawn(spec, (const int[3]){in, out[1], errors[1]}, &pid);
        r = r ? error_set(err, r, "cannot start %s: %s", name, strerror(-r)) : 0;
    }
    close_fd(in);
    close_fd(out[1]);
    close_fd(errors[1]);
    if (r) {
        close_fd(out[0]);
        close_fd(errors[0]);
        return r;
    }
    *ret = (struct process){pid, out[0], errors[0]};
    return 0;
}

/* ---- collecting ---- */

void process_drain(int *fd, struct buffer *b)
{
    uint8_t chunk[CHUNK];
    ssize_t n = *fd >= 0 ? read(*fd, chunk, sizeof chunk) : 0;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0 && !b->failed)
        (void)buffer_append(b, chunk, (size_t)n);
    if (n <= 0)
        close_fd(take_fd(fd));
}

int process_finish(struct process *p, bool end_it, const char *name, struct error *err)
{
    int status = 0;

    if (p->pid <= 0)
        return error_set(err, -ESRCH, "%s was not started", name);
    close_fd(take_fd(&p->out));
    close_fd(take_fd(&p->err));
    if (end_it)
        kill(p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0) {
        if (errno != EINTR)
            return error_set(err, -errno, "cannot wait for %s: %s", name, strerror(errno));
    }
    p->pid = 0;
    if (!WIFEXITED(status))
        return error_set(err, -EIO, "%s was killed by signal %d", name, WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* Until both ends are closed. -ETIMEDOUT at the deadline. */
static int collect(struct process *p, struct buffer *out, struct buffer *errors, uint64_t deadline)
{
    while (p->out >= 0 || p->err >= 0) {
        struct pollfd set[] = {{.fd = p->out, .events = POLLIN}, {.fd = p->err, .events = POLLIN}};
        uint64_t now = clock_mono_ms();

        if (now >= deadline)
            return -ETIMEDOUT;
        if (poll(set, 2, (int)min_size(deadline - now, INT32_MAX)) < 0) {
            if (errno != EINTR)
                return -errno;
            continue;
        }
        if (set[0].revents)
            process_drain(&p->out, out);
        if (set[1].revents)
            process_drain(&p->err, errors);
    }
    return 0;
}

int process_run(const struct process_spec *spec, uint64_t deadline_ms, struct buffer *out,
                struct buffer *errors, struct error *err)
{
    const char *name = spec->argv[0];
    struct process p;
    int collected, r = process_start(spec, &p, err);

    if (r != 0)
        return r;
    collected = collect(&p, out, errors, clock_mono_ms() + deadline_ms);
    r = process_finish(&p, collected != 0, name, err);
    if (collected != 0)
        return error_set(err, collected, "%s did not finish: %s", name, strerror(-collected));
    return r;
}
