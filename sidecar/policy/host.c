/* SPDX-License-Identifier: Apache-2.0
 * Hosts: names, addresses and networks; ports. Anything that resolvers read as an address
 * although it does not look like one ("127.1", "0x7f000001") is no name here.
 */
#include "model.h"

#include <arpa/inet.h>
#include <ctype.h>

#define MAX_HOST 253

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* ---- addresses as bytes ---- */

/* The 4 or 16 bytes of an address; v4-mapped v6 counts as v4. */
static struct bytes address_bytes(const struct sockaddr *a)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

    if (a->sa_family == AF_INET)
        return bytes_of(&((const struct sockaddr_in *)a)->sin_addr, 4);
    if (a->sa_family != AF_INET6)
        return (struct bytes){0};
    if (memcmp(&v6->sin6_addr, mapped_prefix, sizeof mapped_prefix) == 0)
        return bytes_of((const uint8_t *)&v6->sin6_addr + 12, 4);
    return bytes_of(&v6->sin6_addr, 16);
}

static bool same_bits(const uint8_t *a, const uint8_t *b, size_t bits)
{
    size_t whole = bits / 8;
    uint8_t mask = (uint8_t)(0xff00 >> bits % 8);

    return memcmp(a, b, whole) == 0 && (bits % 8 == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

bool target_host_matches(const struct target_host *h, const struct sockaddr *addr)
{
    struct bytes host, given;

    if (h->prefix_len < 0)
        return false;
    host = address_bytes((const struct sockaddr *)&h->addr);
    given = address_bytes(addr);
    if (host.len == 0 || host.len != given.len || (size_t)h->prefix_len > host.len * 8)
        return false;
    return same_bits(host.p, given.p, (size_t)h->prefix_len);
}

bool target_has_port(const struct target *t, uint16_t port)
{
    for (size_t i = 0; i < t->n_ports; i++) {
        if (t->ports[i] == port)
            return true;
    }
    return false;
}

/* ---- parsing ---- */

static bool set_address(const char *text, struct target_host *h)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&h->addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&h->addr;

    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        h->prefix_len = 32;
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
        return false;
    v6->sin6_family = AF_INET6;
    h->prefix_len = 128;
    return true;
}

/* A v4-mapped address is kept as the v4 address that it stands for. */
static void unmap(struct target_host *h)
{
    struct bytes b = address_bytes((const struct sockaddr *)&h->addr);
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    if (h->addr.ss_family != AF_INET6 || b.len != 4)
        return;
    memcpy(&v4.sin_addr, b.p, 4);
    h->addr = (struct sockaddr_storage){0};
    memcpy(&h->addr, &v4, sizeof v4);
    h->prefix_len = 32;
}

static int parse_network(const struct place *at, const char *slash, struct target_host *h)
{
    char address[INET6_ADDRSTRLEN + 1];
    size_t n = (size_t)(slash - at->node->text);
    struct target_host network = {.name = h->name};
    struct bytes b;
    int bits = 0;

    if (n >= sizeof address)
        return place_error(at, "'%.80s' is not a network such as 10.9.0.0/24", at->node->text);
    memcpy(address, at->node->text, n);
    address[n] = 0;
    if (!set_address(address, &network) || !slash[1] || strlen(slash + 1) > 3 ||
        strspn(slash + 1, "0123456789") != strlen(slash + 1) || (slash[1] == '0' && slash[2]))
        return place_error(at, "'%.80s' is not a network such as 10.9.0.0/24", at->node->text);
    b = address_bytes((const struct sockaddr *)&network.addr);
    if (network.addr.ss_family == AF_INET6 && b.len == 4)
        return place_error(at, "write networks of v4-mapped addresses as IPv4");
    bits = atoi(slash + 1);
    if ((size_t)bits > b.len * 8)
        return place_error(at, "a prefix here has at most %zu bits", b.len * 8);
    for (size_t i = (size_t)bits; i < b.len * 8; i++) {
        if (b.p[i / 8] & 0x80 >> i % 8)
            return place_error(at,
                               "the address has bits behind the /%d; write the network's own "
                               "address, or /%zu for this one",
                               bits, b.len * 8);
    }
    network.prefix_len = bits;
    *h = network;
    return 0;
}

/* Resolvers take a name whose last label is a number for an address. */
static bool ends_in_number(const char *name)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;

    if (strspn(last, "0123456789") == strlen(last))
        return true;
    return last[0] == '0' && (last[1] == 'x' || last[1] == 'X') &&
           strspn(last + 2, "0123456789abcdefABCDEF") == strlen(last + 2);
}

static bool is_host_name(const char *s, size_t n)
{
    size_t label = 0;

    if (n == 0 || n > MAX_HOST)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];

        if (c == '.' ? label == 0 : !(isalnum((unsigned char)c) || c == '-' || c == '_'))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63 || (label == 1 && c == '-'))
            return false;
    }
    return label > 0;
}

static int parse_name(const struct place *at, struct target_host *h)
{
    size_t n = strlen(h->name);
    char *name;

    if (n > 1 && h->name[n - 1] == '.')
        n--;
    if (strchr(h->name, '*'))
        return place_error(at, "host names have no wildcards; list each name");
    if (!is_host_name(h->name, n))
        return place_error(at, "'%.80s' is no host name, address or network", h->name);
    name = arena_strndup(at->loader->arena, h->name, n);
    if (!name)
        return place_no_memory(at);
    if (ends_in_number(name))
        return place_error(at, "'%.80s' is neither a name nor a whole address", h->name);
    h->name = name;
    h->prefix_len = -1;
    return 0;
}

int host_parse(const struct place *at, void *out)
{
    struct target_host *h = out;
    const char *slash;
    int rc = place_text(at, &h->name);

    if (rc)
        return rc;
    slash = strchr(h->name, '/');
    if (slash)
        return parse_network(at, at->node->text + (slash - h->name), h);
    if (set_address(h->name, h)) {
        unmap(h);
        return 0;
    }
    return parse_name(at, h);
}

static int port_parse(const struct place *at, void *out)
{
    uint16_t *port = out;
    int64_t v = 0;
    int rc = place_number(at, 1, 65535, &v);

    if (rc == 0)
        *port = (uint16_t)v;
    return rc;
}

int ports_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(uint16_t), port_parse, false};
    struct array *ret = out;
    int rc = place_array(at, &of, ret);
    const uint16_t *ports = ret->items;

    if (rc)
        return rc;
    if (ret->n > 1024)
        return place_error(at, "more than 1024 ports");
    for (size_t i = 0; i < ret->n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (ports[i] == ports[j])
                return place_error(at, "port %u is there twice", ports[i]);
        }
    }
    return 0;
}
