/* SPDX-License-Identifier: Apache-2.0
 * The guard's side of the SQL parser: starts the helper process, talks to it under a deadline,
 * and replaces it when it dies or runs out of time.
 */
#include "parser.h"

#include "parser_private.h"
#include "src-common/buffer.h"
#include "src-common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A statement that kills the helper costs a new process. In a burst that many are started at
 * once, then one each interval: callers wait for it rather than be refused for another's statement.
 */
#define SPAWN_BURST       8
#define SPAWN_INTERVAL_MS 250
#define QUEUE_MS          10000 /* how long a caller waits for its turn */

struct sql_parser {
    pthread_mutex_t lock;
    pthread_cond_t idle; /* not busy any more */
    bool busy;           /* somebody parses, and owns all below; under lock */
    pid_t pid;           /* 0: no helper now */
    int fd;              /* our end of its socket; -1 when none */
    unsigned spawns_left;
    uint64_t refilled_ms;
    struct buffer reply;
};

/* ---- the process ---- */

static void helper_end(struct sql_parser *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    if (p->pid > 0) {
        kill(p->pid, SIGKILL); /* not yet waited for: the number is still its own */
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    p->pid = 0;
}

/* The helper gets no environment of ours (it may hold credentials) but for what the dynamic
 * linker and the sanitizers need. */
static void helper_environment(char *env[static 6])
{
    static const char *const kept[] = {
        "LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS="};
    static char mark[] = PARSER_MARK "=1";
    size_t n = 0;

    env[n++] = mark;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        for (char **e = environ; e && *e; e++) {
            if (strncmp(*e, kept[i], strlen(kept[i])) == 0) {
                env[n++] = *e;
                break;
            }
        }
    }
    env[n] = NULL;
}

static int spawn_actions(posix_spawn_file_actions_t *actions, int fd)
{
    int r = posix_spawn_file_actions_adddup2(actions, fd, PARSER_FD);

    if (r == 0)
        r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDWR, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, 0, 1);
    /* libpg_query may print pieces of statements, which never go to the log. */
    if (r == 0 && !PARSER_SANITIZED)
        r = posix_spawn_file_actions_adddup2(actions, 0, 2);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(actions, PARSER_FD + 1);
    return r;
}

/* Default signals, none blocked, and a process group of its own: a terminal's ^C is for the guard.
 */
static int spawn_attributes(posix_spawnattr_t *attr)
{
    sigset_t all, none;
    int r;

    sigfillset(&all);
    sigemptyset(&none);
    r = posix_spawnattr_setsigdefault(attr, &all);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attr, &none);
    if (r == 0)
        r = posix_spawnattr_setpgroup(attr, 0);
    if (r == 0)
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                               POSIX_SPAWN_SETPGROUP);
    return r;
}

static int spawn(int fd, pid_t *ret_pid)
{
    static char name[] = "chaperone-sidecar", argument[] = PARSER_ARGUMENT;
    char *argv[] = {name, argument, NULL};
    char *env[6];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r = posix_spawn_file_actions_init(&actions);

    if (r != 0)
        return -r;
    r = posix_spawnattr_init(&attr);
    if (r == 0) {
        helper_environment(env);
        r = spawn_actions(&actions, fd);
        if (r == 0)
            r = spawn_attributes(&attr);
        if (r == 0)
            r = posix_spawn(ret_pid, "/proc/self/exe", &actions, &attr, argv, env);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static void spawn_wait_turn(struct sql_parser *p)
{
    uint64_t now = clock_mono_ms();
    uint64_t refill = (now - p->refilled_ms) / SPAWN_INTERVAL_MS;
    uint64_t wait_ms;

    if (refill > 0) {
        p->spawns_left = (unsigned)min_size(SPAWN_BURST, p->spawns_left + refill);
        p->refilled_ms += refill * SPAWN_INTERVAL_MS;
    }
    if (p->spawns_left > 0) {
        p->spawns_left--;
        return;
    }
    wait_ms = p->refilled_ms + SPAWN_INTERVAL_MS - now;
    poll(NULL, 0, (int)wait_ms);
    p->refilled_ms += SPAWN_INTERVAL_MS;
}

static int helper_begin(struct sql_parser *p, struct error *err)
{
    int pair[2];
    int r;

    spawn_wait_turn(p);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, -EPIPE, "cannot start the SQL parser: %s", strerror(errno));
    r = spawn(pair[1], &p->pid);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        p->pid = 0;
        return error_set(err, -EPIPE, "cannot start the SQL parser: %s", strerror(-r));
    }
    p->fd = pair[0];
    return 0;
}

/* A helper that is there and silent. One that died since the last statement, or has something
 * to say unasked, is replaced: no statement is to blame for it. */
static int helper_ready(struct sql_parser *p, struct error *err)
{
    struct pollfd pfd = {.fd = p->fd, .events = POLLIN};

    if (p->pid > 0 && poll(&pfd, 1, 0) == 0)
        return 0;
    helper_end(p);
    return helper_begin(p, err);
}

/* ---- the conversation: -ETIMEDOUT, -EPIPE (it died) or -EMSGSIZE ---- */

static int wait_io(int fd, short events, uint64_t deadline_ms)
{
    struct pollfd pfd = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = clock_mono_ms();
        int r;

        if (now >= deadline_ms)
            return -ETIMEDOUT;
        r = poll(&pfd, 1, (int)(deadline_ms - now));
        if (r > 0)
            return 0;
        if (r < 0 && errno != EINTR)
            return -EPIPE;
    }
}

static bool io_again(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static int send_all(int fd, struct bytes data, uint64_t deadline_ms)
{
    while (data.len > 0) {
        ssize_t n = send(fd, data.p, data.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        int r;

        if (n >= 0) {
            data = bytes_of(data.p + n, data.len - (size_t)n);
            continue;
        }
        if (!io_again())
            return -EPIPE;
        r = wait_io(fd, POLLOUT, deadline_ms);
        if (r < 0)
            return r;
    }
    return 0;
}

static int receive_exactly(int fd, struct buffer *in, size_t want, uint64_t deadline_ms)
{
    uint8_t *to = buffer_reserve(in, want);

    if (!to)
        return -EMSGSIZE;
    while (want > 0) {
        ssize_t n = recv(fd, to, want, MSG_DONTWAIT);
        int r;

        if (n > 0) {
            buffer_commit(in, (size_t)n);
            to += n;
            want -= (size_t)n;
            continue;
        }
        if (n == 0 || !io_again())
            return -EPIPE;
        r = wait_io(fd, POLLIN, deadline_ms);
        if (r < 0)
            return r;
    }
    return 0;
}

/* One request and its reply; the body stays in p->reply. */
static int converse(struct sql_parser *p, struct bytes sql, enum parser_status *ret_status)
{
    uint64_t deadline_ms = clock_mono_ms() + PARSER_DEADLINE_MS;
    uint8_t head[4];
    uint32_t len;
    int r;

    put_be32(head, (uint32_t)sql.len);
    r = send_all(p->fd, bytes_of(head, sizeof head), deadline_ms);
    if (r == 0)
        r = send_all(p->fd, sql, deadline_ms);
    buffer_reset(&p->reply, (size_t)64 << 10);
    if (r == 0)
        r = receive_exactly(p->fd, &p->reply, PARSER_REPLY_HEAD, deadline_ms);
    if (r < 0)
        return r;
    *ret_status = p->reply.p[p->reply.start];
    len = get_be32(p->reply.p + p->reply.start + 1);
    buffer_consume(&p->reply, PARSER_REPLY_HEAD);
    return len > PARSER_MAX_REPLY ? -EMSGSIZE : receive_exactly(p->fd, &p->reply, len, deadline_ms);
}

static int parse_busy(struct sql_parser *p, struct bytes sql, enum parser_status *ret_status,
                      struct error *err)
{
    int r = helper_ready(p, err);

    if (r < 0)
        return r;
    r = converse(p, sql, ret_status);
    if (r == 0)
        return 0;
    helper_end(p);
    if (r == -ETIMEDOUT)
        return error_set(err, -E2BIG, "statement too complex to parse: the parser ran out of time");
    if (r == -EMSGSIZE)
        return error_set(err, -E2BIG,
                         "statement too complex to parse: its parse tree is too large");
    return error_set(err, -E2BIG, "statement too complex to parse: the parser crashed");
}

/* ---- public ---- */

/* Waits for its turn; false when that takes too long. */
static bool enter(struct sql_parser *p)
{
    struct timespec until;
    bool mine;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += QUEUE_MS / 1000;
    pthread_mutex_lock(&p->lock);
    while (p->busy && r == 0)
        r = pthread_cond_timedwait(&p->idle, &p->lock, &until);
    mine = !p->busy;
    p->busy = true;
    pthread_mutex_unlock(&p->lock);
    return mine;
}

static void leave(struct sql_parser *p)
{
    pthread_mutex_lock(&p->lock);
    p->busy = false;
    pthread_cond_signal(&p->idle);
    pthread_mutex_unlock(&p->lock);
}

static void init_queue(struct sql_parser *p)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->idle, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&p->lock, NULL);
}

int sql_parser_parse(struct sql_parser *p, struct bytes sql, struct json_object **ret_tree,
                     struct error *err)
{
    enum parser_status status = PARSER_TOO_COMPLEX;
    int r = parser_check_text(sql, err);

    if (r < 0)
        return r;
    if (!enter(p))
        return error_set(err, -E2BIG, "the SQL parser is busy");
    r = parse_busy(p, sql, &status, err);
    if (r == 0)
        r = parser_finish(status, buffer_bytes(&p->reply), ret_tree, err);
    buffer_reset(&p->reply, (size_t)64 << 10);
    leave(p);
    return r;
}

int sql_parser_start(struct sql_parser **ret, struct error *err)
{
    struct json_object *tree = NULL;
    struct sql_parser *p;
    int r;

    /* A program whose main does not know the argument would start itself without end. */
    if (getenv(PARSER_MARK))
        return error_set(err, -EPIPE, "the SQL parser's helper cannot have a helper");
    p = calloc(1, sizeof *p);
    if (!p)
        return error_set(err, -ENOMEM, "out of memory");
    init_queue(p);
    p->fd = -1;
    p->spawns_left = SPAWN_BURST;
    p->refilled_ms = clock_mono_ms();
    buffer_init(&p->reply, PARSER_MAX_REPLY + PARSER_REPLY_HEAD);
    r = sql_parser_parse(p, BYTES("SELECT 1"), &tree, err);
    if (r < 0) {
        sql_parser_stop(p);
        return error_prefix(err, -EPIPE, "cannot start the SQL parser");
    }
    json_object_put(tree);
    *ret = p;
    return 0;
}

void sql_parser_stop(struct sql_parser *p)
{
    if (!p)
        return;
    helper_end(p);
    buffer_done(&p->reply);
    pthread_cond_destroy(&p->idle);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

pid_t parser_helper_pid(struct sql_parser *p)
{
    pid_t pid = 0;

    if (enter(p)) {
        pid = p->pid;
        leave(p);
    }
    return pid;
}
