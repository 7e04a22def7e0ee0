/* SPDX-License-Identifier: Apache-2.0
 * Socket addresses and names.
 */
#include "address.h"

#include "conn.h"
#include "src-common/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* v4-mapped v6 becomes v4; everything else stays. */
static void unmapped(const struct sockaddr *a, struct sockaddr_storage *out)
{
    const struct sockaddr_in6 *six = (const void *)a;
    struct sockaddr_in *four = (void *)out;

    memset(out, 0, sizeof *out);
    if (a->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        four->sin_family = AF_INET;
        four->sin_port = six->sin6_port;
        memcpy(&four->sin_addr, six->sin6_addr.s6_addr + 12, 4);
    } else {
        memcpy(out, a, address_len(a));
    }
}

socklen_t address_len(const struct sockaddr *a)
{
    return a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

uint16_t address_port(const struct sockaddr *a)
{
    return ntohs(a->sa_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)(const void *)a)->sin6_port
                     : ((const struct sockaddr_in *)(const void *)a)->sin_port);
}

void address_host_text(const struct sockaddr *a, char out[static ADDRESS_TEXT_LEN])
{
    struct sockaddr_storage u;

    unmapped(a, &u);
    out[0] = '\0';
    if (u.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&u)->sin6_addr, out, ADDRESS_TEXT_LEN);
    else
        inet_ntop(AF_INET, &((struct sockaddr_in *)&u)->sin_addr, out, ADDRESS_TEXT_LEN);
}

void address_text(const struct sockaddr *a, char out[static ADDRESS_TEXT_LEN])
{
    char host[ADDRESS_TEXT_LEN];

    address_host_text(a, host);
    snprintf(out, ADDRESS_TEXT_LEN, strchr(host, ':') ? "[%.45s]:%u" : "%.45s:%u", host,
             address_port(a));
}

bool address_equal(const struct sockaddr *a, const struct sockaddr *b, bool with_port)
{
    struct sockaddr_storage ua, ub;

    unmapped(a, &ua);
    unmapped(b, &ub);
    if (ua.ss_family != ub.ss_family || (with_port && address_port(a) != address_port(b)))
        return false;
    if (ua.ss_family == AF_INET6)
        return memcmp(&((struct sockaddr_in6 *)&ua)->sin6_addr,
                      &((struct sockaddr_in6 *)&ub)->sin6_addr, 16) == 0;
    return ((struct sockaddr_in *)&ua)->sin_addr.s_addr ==
           ((struct sockaddr_in *)&ub)->sin_addr.s_addr;
}

/* 1 to 65535 in digits; else 0. */
static uint16_t parse_port(const char *text)
{
    size_t n = strspn(text, "0123456789");
    unsigned long port = strtoul(text, NULL, 10);

    return n > 0 && n < 10 && !text[n] && port <= 65535 ? (uint16_t)port : 0;
}

int address_parse(const char *text, struct sockaddr_storage *ret, struct error *err)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in6 *six = (void *)&a;
    struct sockaddr_in *four = (void *)&a;
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    char host[ADDRESS_TEXT_LEN];
    uint16_t port = colon ? parse_port(colon + 1) : 0;

    if (len == 0 || len >= sizeof host || port == 0)
        return error_set(err, -EINVAL, "'%s' is not ADDR:PORT (or [ADDR6]:PORT)", text);
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? len - 2 : len), text + bracketed);
    if (!bracketed && inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
    } else if (bracketed && inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
    } else {
        return error_set(err, -EINVAL, "'%s' is not a numeric address%s", host,
                         !bracketed && strchr(host, ':') ? " (IPv6 ones stand in brackets)" : "");
    }
    *ret = a;
    return 0;
}

/* ---- names ---- */

#define NAME_SLOTS     64
#define NAME_ADDRESSES 16
#define NAME_FRESH_MS  10000

struct resolved {
    char name[256];
    uint64_t until_ms;
    struct sockaddr_storage addresses[NAME_ADDRESSES];
    size_t n;
};

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static struct resolved names[NAME_SLOTS]; /* under names_lock; direct-mapped */

static struct addrinfo *resolve(const char *name, uint16_t port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
    char service[8];

    snprintf(service, sizeof service, "%u", port);
    return getaddrinfo(name, service, &hints, &list) == 0 ? list : NULL;
}

static struct resolved *slot_of(const char *name)
{
    unsigned h = 5381;

    for (const char *p = name; *p; p++)
        h = h * 33 + (uint8_t)*p;
    return &names[h % NAME_SLOTS];
}

/* Keeps what the name stands for now, and says whether the address is among it. */
static bool look_up(const struct sockaddr *a, const char *name)
{
    struct resolved now = {.until_ms = clock_mono_ms() + NAME_FRESH_MS};
    struct addrinfo *list = resolve(name, 0);
    bool found = false;

    snprintf(now.name, sizeof now.name, "%s", name);
    for (struct addrinfo *i = list; i && now.n < NAME_ADDRESSES; i = i->ai_next) {
        memcpy(&now.addresses[now.n++], i->ai_addr, i->ai_addrlen);
        found = found || address_equal(a, i->ai_addr, false);
    }
    if (list)
        freeaddrinfo(list);
    pthread_mutex_lock(&names_lock);
    *slot_of(name) = now;
    pthread_mutex_unlock(&names_lock);
    return found;
}

bool address_is_name(const struct sockaddr *a, const char *name)
{
    struct resolved *r = slot_of(name);
    bool fresh, found = false;

    if (strlen(name) >= sizeof r->name)
        return false;
    pthread_mutex_lock(&names_lock);
    fresh = strcmp(r->name, name) == 0 && clock_mono_ms() < r->until_ms;
    for (size_t i = 0; fresh && i < r->n && !found; i++)
        found = address_equal(a, (struct sockaddr *)&r->addresses[i], false);
    pthread_mutex_unlock(&names_lock);
    return fresh ? found : look_up(a, name);
}

/* ---- connecting ---- */

static int await_connected(int fd, uint64_t deadline_ms)
{
    int why = 0;
    socklen_t len = sizeof why;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        uint64_t now = clock_mono_ms();
        int rc;

        if (now >= deadline_ms)
            return -ETIMEDOUT;
        rc = poll(&p, 1, (int)min_size(deadline_ms - now, INT_MAX));
        if (rc < 0 && errno != EINTR)
            return -errno;
        if (rc > 0)
            break;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) != 0)
        return -errno;
    return -why;
}

int address_connect(const struct sockaddr *a, uint64_t deadline_ms, int *ret_fd, struct error *err)
{
    char text[ADDRESS_TEXT_LEN];
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = 0;

    address_text(a, text);
    if (fd < 0)
        return error_set(err, -errno, "socket: %s", strerror(errno));
    conn_tune_socket(fd);
    if (connect(fd, a, address_len(a)) != 0)
        rc = errno == EINPROGRESS ? await_connected(fd, deadline_ms) : -errno;
    if (rc) {
        close(fd);
        return error_set(err, rc, "connect to %s: %s", text, strerror(-rc));
    }
    *ret_fd = fd;
    return 0;
}

int address_connect_host(const char *host, uint16_t port, uint64_t deadline_ms, int *ret_fd,
                         struct error *err)
{
    struct addrinfo *list = resolve(host, port);
    int rc = error_set(err, -EHOSTUNREACH, "cannot resolve host '%s'", host);

    for (struct addrinfo *i = list; i && rc; i = i->ai_next)
        rc = address_connect(i->ai_addr, deadline_ms, ret_fd, err);
    if (list)
        freeaddrinfo(list);
    return rc;
}
