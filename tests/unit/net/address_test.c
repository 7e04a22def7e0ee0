/* SPDX-License-Identifier: Apache-2.0
 * Addresses: text and back, equality, which names stand for them, connecting under a deadline.
 */
#include "sidecar/net/address.h"
#include "src-common/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SA(storage) ((struct sockaddr *)(storage))
/* A label of more than 63 bytes: no resolver is asked. */
#define NO_NAME "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid"

static struct sockaddr_storage parsed(const char *text)
{
    struct sockaddr_storage a;
    struct error err = {""};

    if (address_parse(text, &a, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    return a;
}

static struct sockaddr_storage mapped(const char *four, uint16_t port)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in6 *six = (void *)&a;
    char text[64];

    snprintf(text, sizeof text, "::ffff:%s", four);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
    return a;
}

static void test_text_and_back(void **state)
{
    static const char *const texts[] = {"10.1.2.3:5432",      "0.0.0.0:1", "255.255.255.255:65535",
                                        "[2001:db8::1]:5432", "[::]:80",   "[::1]:65535"};
    char text[ADDRESS_TEXT_LEN];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct sockaddr_storage a = parsed(texts[i]);

        address_text(SA(&a), text);
        assert_string_equal(text, texts[i]);
    }
}

static void test_what_is_no_address(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        ":5432",
        "10.1.2.3",
        "10.1.2.3:",
        "10.1.2.3:0",
        "10.1.2.3:65536",
        "10.1.2.3:99999999999999999999",
        "10.1.2.3:-1",
        "10.1.2.3:-18446744073709551615",
        "10.1.2.3:+5432",
        "10.1.2.3: 5432",
        "10.1.2.3:5432 ",
        "10.1.2.3:0x10",
        "10.1.2.3:http",
        " 10.1.2.3:5432",
        "10.1.2:5432",
        "10.1.2.256:5432",
        "localhost:5432",
        "::1:5432",
        "2001:db8::1:5432",
        "[::1:5432",
        "::1]:5432",
        "[]:5432",
        "[10.1.2.3]:5432",
        "[::1%lo]:5432",
        "[[::1]]:5432",
        "[0000000000000000000000000000000000000000000000000000000000000000::1]:5432",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct sockaddr_storage a;
        struct error err = {""};

        if (address_parse(texts[i], &a, &err) != -EINVAL)
            fail_msg("'%s' was taken for an address", texts[i]);
        assert_non_null(strstr(err.text, "is not"));
    }
}

static void test_parts(void **state)
{
    struct sockaddr_storage four = parsed("10.1.2.3:5432"), six = parsed("[2001:db8::1]:80");
    struct sockaddr_storage m = mapped("10.1.2.3", 5432);
    char text[ADDRESS_TEXT_LEN];

    (void)state;
    assert_int_equal(address_port(SA(&four)), 5432);
    assert_int_equal(address_port(SA(&six)), 80);
    assert_int_equal(address_len(SA(&four)), sizeof(struct sockaddr_in));
    assert_int_equal(address_len(SA(&six)), sizeof(struct sockaddr_in6));
    address_host_text(SA(&six), text);
    assert_string_equal(text, "2001:db8::1");
    address_text(SA(&m), text);
    assert_string_equal(text, "10.1.2.3:5432");
    address_host_text(SA(&m), text);
    assert_string_equal(text, "10.1.2.3");
}

/* The kernel may give a v4 peer as v6: a rule on 10.1.2.3 has to hold for both. */
static void test_equality(void **state)
{
    struct sockaddr_storage a = parsed("10.1.2.3:5432"), other_port = parsed("10.1.2.3:5433"),
                            other_host = parsed("10.1.2.4:5432"), six = parsed("[::1]:5432"),
                            six_other = parsed("[::2]:5432"), m = mapped("10.1.2.3", 5432);

    (void)state;
    assert_true(address_equal(SA(&a), SA(&a), true));
    assert_true(address_equal(SA(&a), SA(&m), true));
    assert_true(address_equal(SA(&m), SA(&a), true));
    assert_true(address_equal(SA(&six), SA(&six), true));
    assert_true(address_equal(SA(&a), SA(&other_port), false));
    assert_false(address_equal(SA(&a), SA(&other_port), true));
    assert_false(address_equal(SA(&m), SA(&other_port), true));
    assert_false(address_equal(SA(&a), SA(&other_host), false));
    assert_false(address_equal(SA(&a), SA(&six), false));
    assert_false(address_equal(SA(&six), SA(&six_other), false));
}

static void test_names(void **state)
{
    struct sockaddr_storage a = parsed("127.0.0.1:5432"), other = parsed("127.0.0.2:5432"),
                            m = mapped("127.0.0.1", 5432);
    char long_name[400];

    (void)state;
    assert_true(address_is_name(SA(&a), "127.0.0.1"));
    assert_true(address_is_name(SA(&a), "localhost"));
    assert_true(address_is_name(SA(&m), "localhost"));
    assert_true(address_is_name(SA(&a), "localhost")); /* now from what is kept */
    assert_false(address_is_name(SA(&other), "localhost"));
    assert_false(address_is_name(SA(&a), NO_NAME));
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_false(address_is_name(SA(&a), long_name));
}

/* Names that fall upon one another where they are kept: each is right all the same. */
static void *ask_many(void *first)
{
    size_t wrong = 0;

    for (unsigned i = 0; i < 2000; i++) {
        unsigned n = (i * 7 + *(unsigned *)first) % 250 + 1;
        struct sockaddr_storage mine, next;
        char name[32], text[40];

        snprintf(name, sizeof name, "127.0.1.%u", n);
        snprintf(text, sizeof text, "%s:80", name);
        mine = parsed(text);
        snprintf(text, sizeof text, "127.0.2.%u:80", n);
        next = parsed(text);
        wrong += !address_is_name(SA(&mine), name);
        wrong += address_is_name(SA(&next), name);
    }
    return (void *)wrong;
}

static void test_many_names_at_once(void **state)
{
    unsigned first[4] = {0, 61, 122, 183};
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, &first[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        void *wrong;

        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

/* A listener on loopback, and its address; closed with its descriptor. */
static int listening(int backlog, struct sockaddr_storage *ret)
{
    socklen_t len = sizeof *ret;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *ret = parsed("127.0.0.1:1");
    ((struct sockaddr_in *)ret)->sin_port = 0;
    assert_int_equal(bind(fd, SA(ret), sizeof(struct sockaddr_in)), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, SA(ret), &len), 0);
    return fd;
}

static void test_connect(void **state)
{
    struct sockaddr_storage at;
    struct error err = {""};
    int listener = listening(4, &at), fd = -1;
    uint64_t deadline_ms = clock_mono_ms() + 5000;
    char byte;

    (void)state;
    assert_int_equal(address_connect(SA(&at), deadline_ms, &fd, &err), 0);
    assert_true(recv(fd, &byte, 1, 0) == -1 && errno == EAGAIN); /* it does not block */
    close(fd);
    assert_int_equal(
        address_connect_host("localhost", address_port(SA(&at)), deadline_ms, &fd, &err), 0);
    close(fd);
    close(listener);
}

static void test_connect_refused(void **state)
{
    struct sockaddr_storage at;
    struct error err = {""};
    int bound = listening(-1, &at), fd = -1; /* nobody else gets the port, and nobody listens */
    uint64_t deadline_ms = clock_mono_ms() + 5000;

    (void)state;
    assert_int_equal(address_connect(SA(&at), deadline_ms, &fd, &err), -ECONNREFUSED);
    assert_non_null(strstr(err.text, "connect to 127.0.0.1:"));
    assert_int_equal(
        address_connect_host("127.0.0.1", address_port(SA(&at)), deadline_ms, &fd, &err),
        -ECONNREFUSED);
    assert_int_equal(address_connect_host(NO_NAME, 80, deadline_ms, &fd, &err), -EHOSTUNREACH);
    assert_non_null(strstr(err.text, NO_NAME));
    assert_int_equal(fd, -1);
    close(bound);
}

/* A listener whose queue is full drops what comes: the deadline ends the wait. */
static void test_connect_in_time(void **state)
{
    struct sockaddr_storage at;
    struct error err = {""};
    int listener = listening(0, &at), fds[8], n = 0, rc = 0;
    uint64_t start_ms = 0;

    (void)state;
    while (n < 8 && rc == 0) {
        start_ms = clock_mono_ms();
        rc = address_connect(SA(&at), start_ms + 300, &fds[n], &err);
        n += rc == 0;
    }
    assert_int_equal(rc, -ETIMEDOUT);
    assert_in_range(clock_mono_ms() - start_ms, 290, 5000);
    while (n > 0)
        close(fds[--n]);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_and_back),   cmocka_unit_test(test_what_is_no_address),
        cmocka_unit_test(test_parts),           cmocka_unit_test(test_equality),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_many_names_at_once),
        cmocka_unit_test(test_connect),         cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
