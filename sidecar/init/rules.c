/* SPDX-License-Identifier: Apache-2.0
 * The rules, in the order in which packets meet them; each has its reason beside it. The filter
 * table comes first: between the two COMMITs the agent is cut off, not free.
 */
#include "rules.h"

#include <errno.h>

#define PRESENT_MAX 64

static void write_dns(const struct rules_config *c, struct buffer *out, const char *chain,
                      const char *protocol, const char *verdict)
{
    bool v6 = c->family == RULES_IPV6;

    for (size_t i = 0; i < c->nameservers->n; i++) {
        const struct nameserver *s = &c->nameservers->server[i];
        char text[INET6_ADDRSTRLEN];

        if (s->v6 != v6)
            continue;
        buffer_printf(out, "-A %s -d %s/%d -p %s --dport 53 -j %s\n", chain,
                      nameserver_text(s, text), v6 ? 128 : 32, protocol, verdict);
    }
}

static void write_jump(struct buffer *out, const char *from, const char *to, unsigned present)
{
    for (unsigned i = 0; i < present; i++)
        buffer_printf(out, "-D %s -j %s\n", from, to);
    buffer_printf(out, "-I %s 1 -j %s\n", from, to);
}

/* IPv6 stops altogether when neighbours cannot be asked for; nobody without NET_RAW can send
 * these. 133 router solicitation, 135 and 136 neighbour, 131, 132 and 143 multicast listener. */
static void write_neighbour_discovery(struct buffer *out)
{
    static const int types[] = {133, 135, 136, 131, 132, 143};

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        buffer_printf(out, "-A CHAPERONE_EGRESS -p ipv6-icmp --icmpv6-type %d -j ACCEPT\n",
                      types[i]);
}

static void write_egress(const struct rules_config *c, struct buffer *out)
{
    bool v6 = c->family == RULES_IPV6;
    const char *icmp = v6 ? "ipv6-icmp" : "icmp";

    buffer_printf(out, "-A CHAPERONE_EGRESS -o lo -j ACCEPT\n");
    /* A redirected packet still carries the interface it was first routed to. */
    buffer_printf(out, "-A CHAPERONE_EGRESS -d %s -j ACCEPT\n", v6 ? "::1/128" : "127.0.0.0/8");
    /* Before the owner: the last packets of a closed socket have none. Never one that begins a
     * connection: conntrack keeps those of the guard for a while when a server breaks them off, and
     * takes the first packet of an agent's from the same port for a part of it, not redirected. */
    buffer_printf(out, "-A CHAPERONE_EGRESS -p tcp ! --syn -m conntrack --ctstate ESTABLISHED "
                       "-j ACCEPT\n");
    buffer_printf(out, "-A CHAPERONE_EGRESS ! -p tcp -m conntrack --ctstate ESTABLISHED "
                       "-j ACCEPT\n");
    /* Errors only; connections that a protocol helper expects would be a way out. */
    buffer_printf(out, "-A CHAPERONE_EGRESS -p %s -m conntrack --ctstate RELATED -j ACCEPT\n",
                  icmp);
    if (v6)
        write_neighbour_discovery(out);
    buffer_printf(out, "-A CHAPERONE_EGRESS -m owner --uid-owner %u --gid-owner %u -j ACCEPT\n",
                  c->uid, c->gid);
    write_dns(c, out, "CHAPERONE_EGRESS", "udp", "ACCEPT");
    write_dns(c, out, "CHAPERONE_EGRESS", "tcp", "ACCEPT");
    buffer_printf(out, "-A CHAPERONE_EGRESS -p tcp -j REJECT --reject-with tcp-reset\n");
    buffer_printf(out, "-A CHAPERONE_EGRESS -j REJECT --reject-with %s\n",
                  v6 ? "icmp6-adm-prohibited" : "icmp-admin-prohibited");
}

static void write_filter(const struct rules_config *c, struct buffer *out)
{
    buffer_printf(out, "*filter\n:CHAPERONE_EGRESS - [0:0]\n:CHAPERONE_IN - [0:0]\n");
    write_egress(c, out);
    /* The guard trusts what arrives here to come from its own pod. */
    buffer_printf(out, "-A CHAPERONE_IN ! -i lo -p tcp --dport %u -j DROP\n", c->capture);
    /* Out-of-window packets would otherwise be answered with resets past the address
     * translation, and break the connection that they belong to. */
    buffer_printf(out, "-A CHAPERONE_IN ! -i lo -m conntrack --ctstate INVALID -j DROP\n");
    write_jump(out, "OUTPUT", "CHAPERONE_EGRESS", c->present.filter_output);
    write_jump(out, "INPUT", "CHAPERONE_IN", c->present.filter_input);
    buffer_printf(out, "COMMIT\n");
}

static void write_nat(const struct rules_config *c, struct buffer *out)
{
    buffer_printf(out, "*nat\n:CHAPERONE_OUT - [0:0]\n:CHAPERONE_REDIRECT - [0:0]\n");
    /* Both: an agent that takes on the guard's user id alone stays captured. */
    buffer_printf(out, "-A CHAPERONE_OUT -m owner --uid-owner %u --gid-owner %u -j RETURN\n",
                  c->uid, c->gid);
    buffer_printf(out, "-A CHAPERONE_OUT -o lo -j RETURN\n");
    write_dns(c, out, "CHAPERONE_OUT", "tcp", "RETURN");
    buffer_printf(out, "-A CHAPERONE_OUT -p tcp -j CHAPERONE_REDIRECT\n");
    buffer_printf(out, "-A CHAPERONE_REDIRECT -p tcp -j REDIRECT --to-ports %u\n", c->capture);
    write_jump(out, "OUTPUT", "CHAPERONE_OUT", c->present.nat_output);
    buffer_printf(out, "COMMIT\n");
}

int rules_write(const struct rules_config *c, struct buffer *out)
{
    write_filter(c, out);
    write_nat(c, out);
    return out->failed ? -ENOBUFS : 0;
}

static struct bytes next_line(struct bytes *text)
{
    const uint8_t *end = memchr(text->p, '\n', text->len);
    struct bytes line = {text->p, end ? (size_t)(end - text->p) : text->len};
    size_t skip = end ? line.len + 1 : line.len;

    text->p += skip;
    text->len -= skip;
    while (line.len && line.p[line.len - 1] == ' ')
        line.len--;
    return line;
}

int rules_find_present(struct bytes saved, struct rules_present *ret)
{
    bool nat = false, filter = false;

    *ret = (struct rules_present){0};
    while (saved.len) {
        struct bytes line = next_line(&saved);

        if (line.len && line.p[0] == '*') {
            nat = bytes_eq_str(line, "*nat");
            filter = bytes_eq_str(line, "*filter");
        }
        ret->nat_output += nat && bytes_eq_str(line, "-A OUTPUT -j CHAPERONE_OUT");
        ret->filter_output += filter && bytes_eq_str(line, "-A OUTPUT -j CHAPERONE_EGRESS");
        ret->filter_input += filter && bytes_eq_str(line, "-A INPUT -j CHAPERONE_IN");
    }
    bool sane = ret->nat_output <= PRESENT_MAX && ret->filter_output <= PRESENT_MAX &&
                ret->filter_input <= PRESENT_MAX;

    return sane ? 0 : -E2BIG;
}
