/* SPDX-License-Identifier: Apache-2.0
 * Reading resolv.conf as resolvers do: the keyword at the start of a line, then one address.
 */
#include "nameservers.h"

#include "src-common/readall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Kubelet writes a few hundred bytes. */
#define FILE_MAX ((size_t)64 * 1024)

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The first word of `line`; the line moves on behind it. */
static struct bytes next_word(struct bytes *line)
{
    while (line->len && is_blank(line->p[0])) {
        line->p++;
        line->len--;
    }
    struct bytes word = {line->p, 0};
    while (word.len < line->len && !is_blank(line->p[word.len]) && line->p[word.len] != '\r')
        word.len++;
    line->p += word.len;
    line->len -= word.len;
    return word;
}

static bool usable_v4(struct in_addr a)
{
    uint32_t h = ntohl(a.s_addr);

    return h >> 24 != 0 && h >> 28 != 0xe && h != INADDR_BROADCAST;
}

static bool is_loopback(const struct nameserver *s)
{
    if (s->v6)
        return IN6_IS_ADDR_LOOPBACK(&s->addr.v6);
    return ntohl(s->addr.v4.s_addr) >> 24 == 127;
}

static void unmap(struct nameserver *s)
{
    struct in_addr inner;

    memcpy(&inner, s->addr.v6.s6_addr + 12, sizeof(inner));
    s->v6 = false;
    s->addr.v4 = inner;
}

/* False when the word is no unicast address. */
static bool parse_address(struct bytes word, struct nameserver *out)
{
    char text[INET6_ADDRSTRLEN + 1];
    const uint8_t *zone = word.len ? memchr(word.p, '%', word.len) : NULL;
    size_t len = zone ? (size_t)(zone - word.p) : word.len;

    if (len == 0 || len >= sizeof(text) || memchr(word.p, 0, len))
        return false;
    memcpy(text, word.p, len);
    text[len] = 0;
    *out = (struct nameserver){0};
    if (!zone && inet_pton(AF_INET, text, &out->addr.v4) == 1)
        return usable_v4(out->addr.v4);
    if (inet_pton(AF_INET6, text, &out->addr.v6) != 1)
        return false;
    out->v6 = true;
    if (IN6_IS_ADDR_V4MAPPED(&out->addr.v6)) {
        unmap(out);
        return usable_v4(out->addr.v4);
    }
    return !IN6_IS_ADDR_UNSPECIFIED(&out->addr.v6) && !IN6_IS_ADDR_MULTICAST(&out->addr.v6);
}

static bool same(const struct nameserver *a, const struct nameserver *b)
{
    if (a->v6 != b->v6)
        return false;
    return a->v6 ? IN6_ARE_ADDR_EQUAL(&a->addr.v6, &b->addr.v6)
                 : a->addr.v4.s_addr == b->addr.v4.s_addr;
}

static void add(struct nameservers *list, struct bytes word)
{
    struct nameserver s;

    if (!parse_address(word, &s)) {
        list->ignored++;
        return;
    }
    if (is_loopback(&s))
        return;
    for (size_t i = 0; i < list->n; i++) {
        if (same(&list->server[i], &s))
            return;
    }
    if (list->n == NAMESERVERS_MAX) {
        list->ignored++;
        return;
    }
    list->server[list->n++] = s;
}

void nameservers_parse(struct bytes text, struct nameservers *ret)
{
    *ret = (struct nameservers){0};
    while (text.len) {
        const uint8_t *end = memchr(text.p, '\n', text.len);
        struct bytes line = {text.p, end ? (size_t)(end - text.p) : text.len};
        size_t skip = end ? line.len + 1 : line.len;

        text.p += skip;
        text.len -= skip;
        /* Resolvers take the keyword in the first column only. */
        if (line.len == 0 || is_blank(line.p[0]))
            continue;
        if (bytes_eq_str(next_word(&line), "nameserver"))
            add(ret, next_word(&line));
    }
}

int nameservers_load(const char *path, struct nameservers *ret, struct error *err)
{
    *ret = (struct nameservers){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));

    static uint8_t text[FILE_MAX + 1];
    ssize_t n = read_all(fd, text, sizeof(text));

    close(fd);
    if (n < 0)
        return error_set(err, (int)n, "cannot read %s: %s", path, strerror((int)-n));
    if ((size_t)n > FILE_MAX)
        return error_set(err, -EFBIG, "%s is larger than %zu bytes; no resolver's file is", path,
                         FILE_MAX);
    nameservers_parse(bytes_of(text, (size_t)n), ret);
    return 0;
}

const char *nameserver_text(const struct nameserver *s, char out[static INET6_ADDRSTRLEN])
{
    const void *addr = s->v6 ? (const void *)&s->addr.v6 : (const void *)&s->addr.v4;

    return inet_ntop(s->v6 ? AF_INET6 : AF_INET, addr, out, INET6_ADDRSTRLEN);
}
