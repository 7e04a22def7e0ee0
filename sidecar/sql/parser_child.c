/* SPDX-License-Identifier: Apache-2.0
 * The helper process that parses: shut in before it reads the first statement, it serves one
 * request after another until the guard's end of the socket closes.
 *
 * Two threads: one parses, on a large stack; the first one only waits for the socket to close,
 * so that a helper that is busy when the guard dies ends with it. (PR_SET_PDEATHSIG would not
 * do: it fires when the thread ends that started the helper, which may be any of the guard's.)
 */
#include "parser.h"

#include "parser_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ADDRESS_SPACE ((rlim_t)1 << 30)
#define LARGE_REQUEST ((size_t)32 << 10) /* worth giving memory back after */
#define STACK_KEPT    ((size_t)256 << 10)

/* ---- confinement ---- */

#if defined(__x86_64__)
#define SECCOMP_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SECCOMP_ARCH AUDIT_ARCH_AARCH64
#endif

#define LOAD(field)                                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define PERMIT(nr)                                                                                 \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

/* Memory, its two descriptors, and ending. No new mapping is ever executable. */
static int filter_syscalls(void)
{
#ifdef SECCOMP_ARCH
    static struct sock_filter rules[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SECCOMP_ARCH, 1, 0),
        KILL,
        LOAD(nr),
        PERMIT(__NR_read),
        PERMIT(__NR_write),
        PERMIT(__NR_writev),
        PERMIT(__NR_futex),
        PERMIT(__NR_brk),
        PERMIT(__NR_munmap),
        PERMIT(__NR_mremap),
        PERMIT(__NR_madvise),
        PERMIT(__NR_exit),
        PERMIT(__NR_exit_group),
        PERMIT(__NR_ppoll),
#ifdef __NR_poll
        PERMIT(__NR_poll),
#endif
        PERMIT(__NR_restart_syscall),
        PERMIT(__NR_clock_gettime),
        PERMIT(__NR_getrandom),
        PERMIT(__NR_rt_sigprocmask),
        PERMIT(__NR_rt_sigreturn),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mprotect, 1, 0),
        KILL,
        LOAD(args[2]), /* the low half of the protection, on little-endian machines */
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        KILL,
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_LEN(rules), .filter = rules};

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        return -errno;
    return 0;
#else
    return -ENOSYS;
#endif
}

static int set_limit(__rlimit_resource_t resource, rlim_t value)
{
    struct rlimit limit = {value, value};

    return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

/* When memory runs short, this process is the one to end, not the guard. Raising is always
 * permitted; where it is not possible (no /proc), nothing else depends on it. */
static void volunteer_for_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "1000", 4) != 4)
        (void)errno;
    close(fd);
}

static int confine(void)
{
    int r = 0;

    volunteer_for_oom();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    r = set_limit(RLIMIT_CORE, 0);
    if (r == 0)
        r = set_limit(RLIMIT_FSIZE, 0);
    if (r == 0 && !PARSER_SANITIZED)
        r = set_limit(RLIMIT_NOFILE, PARSER_FD + 1);
    if (r == 0 && !PARSER_SANITIZED)
        r = set_limit(RLIMIT_AS, ADDRESS_SPACE);
    return r;
}

/* ---- service ---- */

static bool read_exactly(void *to, size_t n)
{
    char *at = to;

    while (n > 0) {
        ssize_t got = read(PARSER_FD, at, n);

        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
    return true;
}

static bool write_reply(const struct parser_reply *reply)
{
    size_t body_len = reply->body ? reply->len : 0;
    uint8_t head[PARSER_REPLY_HEAD] = {(uint8_t)reply->status};
    struct iovec parts[2] = {{head, sizeof head}, {reply->body, body_len}};
    size_t done = 0, total = sizeof head + body_len;

    put_be32(head + 1, (uint32_t)body_len);
    while (done < total) {
        size_t skip = min_size(done, sizeof head);
        ssize_t n;

        parts[0] = (struct iovec){head + skip, sizeof head - skip};
        parts[1] = (struct iovec){reply->body + (done - skip), body_len - (done - skip)};
        n = writev(PARSER_FD, parts, body_len ? 2 : 1);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            done += (size_t)n;
    }
    return true;
}

/* The lowest address of this thread's stack; NULL when unknown. Asked before the filter stands. */
static char *stack_bottom(void)
{
    pthread_attr_t attr;
    void *bottom = NULL;
    size_t size;

    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return NULL;
    if (pthread_attr_getstack(&attr, &bottom, &size) != 0)
        bottom = NULL;
    pthread_attr_destroy(&attr);
    return bottom;
}

/* A large statement leaves the heap's pages behind, a deep one the stack's. */
static void give_memory_back(char *bottom)
{
    char here;
    size_t below = (size_t)((uintptr_t)&here - (uintptr_t)bottom);

    malloc_trim(0);
    if (bottom && !PARSER_SANITIZED && below > STACK_KEPT && below < PARSER_STACK_BYTES)
        madvise(bottom, (below - STACK_KEPT) & ~(size_t)0xffff, MADV_DONTNEED);
}

/* False at the end of the conversation. */
static bool serve_one(char *bottom)
{
    struct parser_reply reply;
    uint8_t head[4];
    uint32_t len;
    char *text;
    bool ok;

    if (!read_exactly(head, sizeof head))
        return false;
    len = get_be32(head);
    if (len > sql_default_limits.max_bytes)
        return false;
    text = malloc((size_t)len + 1);
    if (!text || !read_exactly(text, len))
        return false;
    text[len] = '\0';
    reply = parser_run(text);
    free(text);
    if (reply.len > PARSER_MAX_REPLY) {
        reply.status = PARSER_TOO_COMPLEX;
        reply.len = 0;
    }
    ok = write_reply(&reply);
    free(reply.body);
    if (len > LARGE_REQUEST)
        give_memory_back(bottom);
    return ok;
}

static void *serve(void *unused)
{
    char *bottom = stack_bottom();

    (void)unused;
    /* Kernels and runtimes without seccomp filters leave the other limits. */
    if (!PARSER_SANITIZED && filter_syscalls() != 0)
        (void)errno;
    while (serve_one(bottom))
        ;
    _exit(0);
}

int sql_parser_child_main(void)
{
    struct pollfd closed = {.fd = PARSER_FD};
    unsigned long thread;
    int domain = 0;
    socklen_t len = sizeof domain;

    if (getsockopt(PARSER_FD, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX) {
        fprintf(stderr, "sql-parser is started by the guard itself\n");
        return 2;
    }
    mallopt(M_ARENA_MAX, 1); /* an arena of its own would reserve address space */
    if (confine() < 0 || parser_thread_start(serve, NULL, &thread) < 0)
        return 1;
    while (poll(&closed, 1, -1) < 0 && errno == EINTR)
        ;
    _exit(0);
}
