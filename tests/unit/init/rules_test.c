/* SPDX-License-Identifier: Apache-2.0
 * The rule text: golden for the plain case, and the properties on which the wall stands (order,
 * both owner ids, nothing of resolv.conf's text in the rules) for the others.
 */
#include "sidecar/init/nameservers.c"
#include "sidecar/init/rules.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const char golden_v4[] =
    "*filter\n"
    ":CHAPERONE_EGRESS - [0:0]\n"
    ":CHAPERONE_IN - [0:0]\n"
    "-A CHAPERONE_EGRESS -o lo -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -d 127.0.0.0/8 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
    "-A CHAPERONE_EGRESS ! -p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p icmp -m conntrack --ctstate RELATED -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -m owner --uid-owner 20001 --gid-owner 20002 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -d 10.96.0.10/32 -p udp --dport 53 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -d 10.96.0.10/32 -p tcp --dport 53 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p tcp -j REJECT --reject-with tcp-reset\n"
    "-A CHAPERONE_EGRESS -j REJECT --reject-with icmp-admin-prohibited\n"
    "-A CHAPERONE_IN ! -i lo -p tcp --dport 15001 -j DROP\n"
    "-A CHAPERONE_IN ! -i lo -m conntrack --ctstate INVALID -j DROP\n"
    "-I OUTPUT 1 -j CHAPERONE_EGRESS\n"
    "-I INPUT 1 -j CHAPERONE_IN\n"
    "COMMIT\n"
    "*nat\n"
    ":CHAPERONE_OUT - [0:0]\n"
    ":CHAPERONE_REDIRECT - [0:0]\n"
    "-A CHAPERONE_OUT -m owner --uid-owner 20001 --gid-owner 20002 -j RETURN\n"
    "-A CHAPERONE_OUT -o lo -j RETURN\n"
    "-A CHAPERONE_OUT -d 10.96.0.10/32 -p tcp --dport 53 -j RETURN\n"
    "-A CHAPERONE_OUT -p tcp -j CHAPERONE_REDIRECT\n"
    "-A CHAPERONE_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n"
    "-I OUTPUT 1 -j CHAPERONE_OUT\n"
    "COMMIT\n";

static const char golden_v6[] =
    "*filter\n"
    ":CHAPERONE_EGRESS - [0:0]\n"
    ":CHAPERONE_IN - [0:0]\n"
    "-A CHAPERONE_EGRESS -o lo -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -d ::1/128 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
    "-A CHAPERONE_EGRESS ! -p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p ipv6-icmp -m conntrack --ctstate RELATED -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p ipv6-icmp --icmpv6-type 133 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p ipv6-icmp --icmpv6-type 135 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p ipv6-icmp --icmpv6-type 136 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p ipv6-icmp --icmpv6-type 131 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p ipv6-icmp --icmpv6-type 132 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p ipv6-icmp --icmpv6-type 143 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -m owner --uid-owner 20001 --gid-owner 20002 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -d fd00::a/128 -p udp --dport 53 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -d fd00::a/128 -p tcp --dport 53 -j ACCEPT\n"
    "-A CHAPERONE_EGRESS -p tcp -j REJECT --reject-with tcp-reset\n"
    "-A CHAPERONE_EGRESS -j REJECT --reject-with icmp6-adm-prohibited\n"
    "-A CHAPERONE_IN ! -i lo -p tcp --dport 15001 -j DROP\n"
    "-A CHAPERONE_IN ! -i lo -m conntrack --ctstate INVALID -j DROP\n"
    "-I OUTPUT 1 -j CHAPERONE_EGRESS\n"
    "-I INPUT 1 -j CHAPERONE_IN\n"
    "COMMIT\n"
    "*nat\n"
    ":CHAPERONE_OUT - [0:0]\n"
    ":CHAPERONE_REDIRECT - [0:0]\n"
    "-A CHAPERONE_OUT -m owner --uid-owner 20001 --gid-owner 20002 -j RETURN\n"
    "-A CHAPERONE_OUT -o lo -j RETURN\n"
    "-A CHAPERONE_OUT -d fd00::a/128 -p tcp --dport 53 -j RETURN\n"
    "-A CHAPERONE_OUT -p tcp -j CHAPERONE_REDIRECT\n"
    "-A CHAPERONE_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n"
    "-I OUTPUT 1 -j CHAPERONE_OUT\n"
    "COMMIT\n";

/* The text for one family, to be freed. */
static char *generate(enum rules_family family, const char *resolv_conf,
                      struct rules_present present)
{
    struct nameservers servers;
    struct buffer b;

    nameservers_parse(bytes_str(resolv_conf), &servers);
    struct rules_config c = {.family = family,
                             .capture = 15001,
                             .uid = 20001,
                             .gid = 20002,
                             .nameservers = &servers,
                             .present = present};

    buffer_init(&b, 65536);
    assert_int_equal(rules_write(&c, &b), 0);
    buffer_add_u8(&b, 0);
    assert_false(b.failed);
    return (char *)b.p;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

/* `first` and `then` both stand in text, in that order. */
static void assert_order(const char *text, const char *first, const char *then)
{
    const char *a = strstr(text, first), *b = strstr(text, then);

    assert_non_null(a);
    assert_non_null(b);
    assert_true(a < b);
}

static const char both[] = "nameserver 10.96.0.10\nnameserver fd00::a\n";

static void ipv4_is_golden(void **state)
{
    char *text = generate(RULES_IPV4, both, (struct rules_present){0});

    (void)state;
    assert_string_equal(text, golden_v4);
    free(text);
}

static void ipv6_is_golden(void **state)
{
    char *text = generate(RULES_IPV6, both, (struct rules_present){0});

    (void)state;
    assert_string_equal(text, golden_v6);
    free(text);
}

static void no_name_server_opens_no_dns(void **state)
{
    (void)state;
    for (int family = RULES_IPV4; family <= RULES_IPV6; family++) {
        char *text = generate((enum rules_family)family, "", (struct rules_present){0});

        assert_null(strstr(text, "--dport 53"));
        free(text);
    }
}

static void each_family_has_only_its_own_servers(void **state)
{
    char *v4 = generate(RULES_IPV4, "nameserver fd00::1\n", (struct rules_present){0});
    char *v6 = generate(RULES_IPV6, "nameserver 10.0.0.1\n", (struct rules_present){0});

    (void)state;
    assert_null(strstr(v4, "--dport 53"));
    assert_null(strstr(v6, "--dport 53"));
    free(v4);
    free(v6);
}

static void many_servers_all_get_their_rules(void **state)
{
    char conf[2048] = "";

    (void)state;
    for (int i = 1; i <= 30; i++)
        snprintf(conf + strlen(conf), sizeof(conf) - strlen(conf), "nameserver 10.0.0.%d\n", i);
    char *text = generate(RULES_IPV4, conf, (struct rules_present){0});

    assert_int_equal(count(text, "-p udp --dport 53 -j ACCEPT"), NAMESERVERS_MAX);
    assert_int_equal(count(text, "-p tcp --dport 53 -j ACCEPT"), NAMESERVERS_MAX);
    assert_int_equal(count(text, "-p tcp --dport 53 -j RETURN"), NAMESERVERS_MAX);
    assert_non_null(strstr(text, "-d 10.0.0.16/32 "));
    assert_null(strstr(text, "-d 10.0.0.17/32 "));
    free(text);
}

static void hostile_text_leaves_no_trace(void **state)
{
    static const char conf[] = "nameserver 1.2.3.4 -j ACCEPT\n"
                               "nameserver 0.0.0.0/0\n"
                               "nameserver ::/0\n"
                               "nameserver -j\n"
                               "nameserver 8.8.8.8;COMMIT\n"
                               "nameserver 9.9.9.9\r-A OUTPUT -j ACCEPT\n"
                               "search x\n*nat\n-F OUTPUT\nCOMMIT\n";
    char *text = generate(RULES_IPV4, conf, (struct rules_present){0});

    (void)state;
    /* 1.2.3.4 and 9.9.9.9 are addresses, each with three rules and not a word more. */
    assert_int_equal(count(text, "--dport 53"), 6);
    assert_int_equal(count(text, "1.2.3.4"), 3);
    assert_int_equal(count(text, "9.9.9.9"), 3);
    assert_null(strstr(text, "8.8.8.8"));
    assert_null(strstr(text, "/0"));
    assert_null(strstr(text, "-F "));
    assert_int_equal(count(text, "*nat\n"), 1);
    assert_int_equal(count(text, "COMMIT\n"), 2);
    assert_null(strstr(text, "-A OUTPUT"));
    free(text);
}

static void earlier_jumps_are_replaced_not_added_to(void **state)
{
    struct rules_present present = {.nat_output = 1, .filter_output = 2, .filter_input = 3};
    char *text = generate(RULES_IPV4, both, present);

    (void)state;
    assert_int_equal(count(text, "-D OUTPUT -j CHAPERONE_OUT\n"), 1);
    assert_int_equal(count(text, "-D OUTPUT -j CHAPERONE_EGRESS\n"), 2);
    assert_int_equal(count(text, "-D INPUT -j CHAPERONE_IN\n"), 3);
    assert_int_equal(count(text, "-I "), 3);
    assert_order(text, "-D OUTPUT -j CHAPERONE_EGRESS", "-I OUTPUT 1 -j CHAPERONE_EGRESS");
    free(text);
}

static void the_wall_stands_before_the_redirection(void **state)
{
    (void)state;
    for (int family = RULES_IPV4; family <= RULES_IPV6; family++) {
        char *text = generate((enum rules_family)family, both, (struct rules_present){0});

        assert_order(text, "*filter", "*nat");
        /* Nothing follows the last refusal, and every jump is first in its chain. */
        assert_order(text, "--dport 53 -j ACCEPT", "-j REJECT --reject-with tcp-reset");
        assert_int_equal(count(text, "-j REJECT"), 2);
        assert_int_equal(count(text, "-I OUTPUT 1 "), 2);
        free(text);
    }
}

static void the_owner_is_always_both_ids(void **state)
{
    char *text = generate(RULES_IPV4, both, (struct rules_present){0});

    (void)state;
    assert_int_equal(count(text, "--uid-owner"), 2);
    assert_int_equal(count(text, "--uid-owner 20001 --gid-owner 20002 "), 2);
    free(text);
}

static void a_full_buffer_is_an_error(void **state)
{
    struct nameservers none = {0};
    struct rules_config c = {.capture = 1, .uid = 1, .gid = 1, .nameservers = &none};
    struct buffer b;

    (void)state;
    buffer_init(&b, 100);
    assert_int_equal(rules_write(&c, &b), -ENOBUFS);
    buffer_done(&b);
}

static void finds_earlier_jumps(void **state)
{
    struct rules_present p;

    (void)state;
    assert_int_equal(rules_find_present(bytes_str("# comment\n*nat\n:OUTPUT ACCEPT [1:2]\n"
                                                  "-A OUTPUT -j ISTIO_OUTPUT\n"
                                                  "-A OUTPUT -j CHAPERONE_OUT\nCOMMIT\n*filter\n"
                                                  "-A INPUT -j CHAPERONE_IN \n"
                                                  "-A OUTPUT -j CHAPERONE_EGRESS\n"
                                                  "-A OUTPUT -j CHAPERONE_EGRESS"),
                                        &p),
                     0);
    assert_int_equal(p.nat_output, 1);
    assert_int_equal(p.filter_output, 2);
    assert_int_equal(p.filter_input, 1);
}

static void mistakes_nothing_else_for_a_jump(void **state)
{
    struct rules_present p;

    (void)state;
    /* Wrong table, wrong chain, longer names, conditions, comments: deleting any of these by
     * our exact specification would fail, and the whole transaction with it. */
    assert_int_equal(rules_find_present(bytes_str("-A OUTPUT -j CHAPERONE_OUT\n"
                                                  "*mangle\n-A OUTPUT -j CHAPERONE_OUT\n"
                                                  "*filter\n-A OUTPUT -j CHAPERONE_OUT\n"
                                                  "-A FORWARD -j CHAPERONE_EGRESS\n"
                                                  "*nat\n-A OUTPUT -j CHAPERONE_OUTSIDE\n"
                                                  "-A OUTPUT -p tcp -j CHAPERONE_OUT\n"
                                                  "#-A OUTPUT -j CHAPERONE_OUT\n"
                                                  "-A OUTPUT -j CHAPERONE_OU\n"
                                                  "*natural\n-A OUTPUT -j CHAPERONE_OUT\n"),
                                        &p),
                     0);
    assert_int_equal(p.nat_output + p.filter_output + p.filter_input, 0);
    assert_int_equal(rules_find_present((struct bytes){0}, &p), 0);
}

static void absurdly_many_jumps_are_refused(void **state)
{
    struct buffer b;
    struct rules_present p;

    (void)state;
    buffer_init(&b, 1 << 20);
    buffer_printf(&b, "*nat\n");
    for (int i = 0; i <= PRESENT_MAX; i++)
        buffer_printf(&b, "-A OUTPUT -j CHAPERONE_OUT\n");
    assert_int_equal(rules_find_present(buffer_bytes(&b), &p), -E2BIG);
    buffer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_is_golden),
        cmocka_unit_test(ipv6_is_golden),
        cmocka_unit_test(no_name_server_opens_no_dns),
        cmocka_unit_test(each_family_has_only_its_own_servers),
        cmocka_unit_test(many_servers_all_get_their_rules),
        cmocka_unit_test(hostile_text_leaves_no_trace),
        cmocka_unit_test(earlier_jumps_are_replaced_not_added_to),
        cmocka_unit_test(the_wall_stands_before_the_redirection),
        cmocka_unit_test(the_owner_is_always_both_ids),
        cmocka_unit_test(a_full_buffer_is_an_error),
        cmocka_unit_test(finds_earlier_jumps),
        cmocka_unit_test(mistakes_nothing_else_for_a_jump),
        cmocka_unit_test(absurdly_many_jumps_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
