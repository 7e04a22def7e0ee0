/* SPDX-License-Identifier: Apache-2.0
 * resolv.conf as kubelets and people write it, and as nobody should.
 */
#include "sidecar/init/nameservers.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

/* The servers as "a b c", for comparing. */
static const char *parse(const char *text, struct nameservers *n)
{
    static char joined[NAMESERVERS_MAX * (INET6_ADDRSTRLEN + 1) + 1];
    char one[INET6_ADDRSTRLEN];

    nameservers_parse(bytes_str(text), n);
    joined[0] = 0;
    for (size_t i = 0; i < n->n; i++) {
        strcat(joined, i ? " " : "");
        strcat(joined, nameserver_text(&n->server[i], one));
    }
    return joined;
}

static void assert_servers(const char *text, const char *expected, size_t ignored)
{
    struct nameservers n;

    assert_string_equal(parse(text, &n), expected);
    assert_int_equal(n.ignored, ignored);
}

static void reads_what_a_kubelet_writes(void **state)
{
    (void)state;
    assert_servers("search agents.svc.cluster.local svc.cluster.local\n"
                   "nameserver 10.96.0.10\noptions ndots:5\n",
                   "10.96.0.10", 0);
    assert_servers("nameserver fd00:10:96::a\nnameserver 10.96.0.10\n", "fd00:10:96::a 10.96.0.10",
                   0);
}

static void reads_odd_but_valid_lines(void **state)
{
    (void)state;
    assert_servers("nameserver\t10.0.0.1\r\nnameserver   10.0.0.2  # why\nnameserver 10.0.0.3",
                   "10.0.0.1 10.0.0.2 10.0.0.3", 0);
}

static void ignores_what_resolvers_ignore(void **state)
{
    (void)state;
    assert_servers("#nameserver 10.0.0.1\n;nameserver 10.0.0.2\n nameserver 10.0.0.3\n"
                   "nameservers 10.0.0.4\nNAMESERVER 10.0.0.5\nnameserver10.0.0.6\n",
                   "", 0);
    assert_servers("", "", 0);
    assert_servers("\n\n\n", "", 0);
}

static void counts_a_server_once(void **state)
{
    (void)state;
    assert_servers("nameserver 10.0.0.1\nnameserver 10.0.0.1\n"
                   "nameserver ::ffff:10.0.0.1\nnameserver FD00::1\nnameserver fd00:0::1\n",
                   "10.0.0.1 fd00::1", 0);
}

static void loopback_needs_no_rule(void **state)
{
    (void)state;
    assert_servers("nameserver 127.0.0.53\nnameserver ::1\nnameserver ::ffff:127.0.0.1\n", "", 0);
}

static void refuses_what_is_not_one_host(void **state)
{
    (void)state;
    assert_servers("nameserver 0.0.0.0\nnameserver 0.1.2.3\nnameserver 255.255.255.255\n"
                   "nameserver 224.0.0.251\nnameserver ::\nnameserver ff02::fb\n"
                   "nameserver ::ffff:224.0.0.1\nnameserver ::ffff:0.0.0.0\n",
                   "", 8);
}

static void refuses_what_is_not_an_address(void **state)
{
    (void)state;
    assert_servers("nameserver\nnameserver \nnameserver dns.example\nnameserver 10.0.0\n"
                   "nameserver 10.0.0.1/8\nnameserver 10.0.0.256\nnameserver 010.0.0.1\n"
                   "nameserver 10.0.0.1,10.0.0.2\nnameserver 1:2:3\nnameserver fd00::1::2\n"
                   "nameserver !10.0.0.1\nnameserver 10.0.0.1%eth0\nnameserver %eth0\n"
                   "nameserver 1111111111111111111111111111111111111111111111111111111111\n",
                   "", 14);
}

static void a_zone_is_dropped_not_copied(void **state)
{
    (void)state;
    assert_servers("nameserver fe80::1%eth0\nnameserver fe80::2%-j ACCEPT\n", "fe80::1 fe80::2", 0);
}

static void a_nul_byte_hides_nothing(void **state)
{
    static const char text[] = "nameserver 10.0.0.1\0.2\nname\0server 10.0.0.3\n";
    struct nameservers n;

    (void)state;
    nameservers_parse(bytes_of(text, sizeof(text) - 1), &n);
    assert_int_equal(n.n, 0);
    assert_int_equal(n.ignored, 1);
}

static void keeps_a_bounded_number(void **state)
{
    char text[4096] = "";
    struct nameservers n;

    (void)state;
    for (int i = 1; i <= 100; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "nameserver 10.0.0.%d\n", i);
    parse(text, &n);
    assert_int_equal(n.n, NAMESERVERS_MAX);
    assert_int_equal(n.ignored, 100 - NAMESERVERS_MAX);
}

static void a_missing_file_is_an_empty_list(void **state)
{
    struct nameservers n = {.n = 3};
    struct error err = {{0}};

    (void)state;
    assert_int_equal(nameservers_load("/nonexistent/resolv.conf", &n, &err), 0);
    assert_int_equal(n.n, 0);
}

static void an_unreadable_file_is_an_error(void **state)
{
    struct nameservers n;
    struct error err = {{0}};

    (void)state;
    assert_true(nameservers_load("/proc/self", &n, &err) < 0); /* a directory */
    assert_non_null(strstr(err.text, "/proc/self"));
}

static void an_endless_file_is_an_error(void **state)
{
    struct nameservers n;
    struct error err = {{0}};

    (void)state;
    assert_int_equal(nameservers_load("/dev/zero", &n, &err), -EFBIG);
    assert_non_null(strstr(err.text, "larger"));
    assert_int_equal(n.n, 0);
}

static void reads_a_file(void **state)
{
    char path[] = "/tmp/nameservers_test.XXXXXX";
    int fd = mkstemp(path);
    struct nameservers n;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "nameserver 10.1.1.1\n", 20), 20);
    close(fd);
    assert_int_equal(nameservers_load(path, &n, NULL), 0);
    unlink(path);
    assert_int_equal(n.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_a_kubelet_writes),
        cmocka_unit_test(reads_odd_but_valid_lines),
        cmocka_unit_test(ignores_what_resolvers_ignore),
        cmocka_unit_test(counts_a_server_once),
        cmocka_unit_test(loopback_needs_no_rule),
        cmocka_unit_test(refuses_what_is_not_one_host),
        cmocka_unit_test(refuses_what_is_not_an_address),
        cmocka_unit_test(a_zone_is_dropped_not_copied),
        cmocka_unit_test(a_nul_byte_hides_nothing),
        cmocka_unit_test(keeps_a_bounded_number),
        cmocka_unit_test(a_missing_file_is_an_empty_list),
        cmocka_unit_test(an_unreadable_file_is_an_error),
        cmocka_unit_test(an_endless_file_is_an_error),
        cmocka_unit_test(reads_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
