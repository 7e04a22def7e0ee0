/* SPDX-License-Identifier: Apache-2.0
 * The HTTPS server with real clients (libcurl): what it refuses, and certificates that change under
 * open connections. Only paths that ask nobody are used.
 */
#include "webhook_support.h"

#include "sidecar/net/address.h"
#include "src-common/clock.h"
#include "src-common/log.h"
#include "webhook/authority.h"
#include "webhook/server.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define REVIEW                                                                                     \
    "{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": "       \
    "{\"uid\": \"u-7\", \"operation\": \"%s\", \"resource\": {\"group\": \"\", \"version\": "      \
    "\"v1\", \"resource\": \"pods\"}, \"subResource\": \"attach\", \"namespace\": \"ns\", "        \
    "\"userInfo\": {\"username\": \"alice\"}, \"object\": {\"container\": \"%s\"}}}"

struct world {
    struct config *config;
    struct admit admit;
    struct server *server;
    struct authority authority;
    uint16_t port;
    char bundle[64]; /* a file */
};

static const struct config_times times = {10000, 3000, 100, 1000};

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    close(fd);
    return ntohs(a.sin_port);
}

static void new_certificate(struct world *w)
{
    static const char *const names[] = {"localhost", NULL};
    const struct pki_request r = {
        .now = (int64_t)(clock_wall_us() / 1000000), .lifetime_s = 1000, .names = names};
    struct pki_pair leaf = {0};
    struct error err;

    authority_done(&w->authority);
    assert_int_equal(authority_change(&times, AUTHORITY_RENEW, r.now, &w->authority, &err), 0);
    assert_int_equal(pki_make_leaf(&r, &w->authority.current, &leaf, &err), 0);
    if (server_set_certificate(w->server, leaf.certificate, leaf.key, &err) < 0)
        fail_msg("%s", err.text);
    pki_pair_done(&leaf);
    {
        int fd = open(w->bundle, O_WRONLY | O_TRUNC | O_CLOEXEC);
        size_t n = strlen(w->authority.current.certificate);

        assert_int_equal(write(fd, w->authority.current.certificate, n), n);
        close(fd);
    }
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct sockaddr_storage addr;
    struct error err;
    char text[32];

    log_set_level(LOG_LEVEL_ERROR);
    w->config = config_with("");
    w->admit.config = w->config;
    w->admit.username = "me";
    w->port = free_port();
    snprintf(text, sizeof text, "127.0.0.1:%u", w->port);
    assert_int_equal(address_parse(text, &addr, &err), 0);
    if (server_new(&w->admit, (struct sockaddr *)&addr, &w->server, &err) < 0)
        fail_msg("%s", err.text);
    strcpy(w->bundle, "/tmp/webhook-server-test-XXXXXX");
    close(mkstemp(w->bundle));
    new_certificate(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    server_stop(w->server, 2000);
    authority_done(&w->authority);
    config_free(w->config);
    unlink(w->bundle);
    free(w);
    return 0;
}

static size_t collect(char *data, size_t size, size_t n, void *arg)
{
    return buffer_append(arg, data, size * n) == 0 ? size * n : 0;
}

struct reply {
    CURLcode code;
    long status, connects; /* connects: new connections that it took */
    char text[4096];
};

static CURL *client(struct world *w)
{
    CURL *c = curl_easy_init();

    curl_easy_setopt(c, CURLOPT_CAINFO, w->bundle);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 10000L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    return c;
}

static struct reply post(struct world *w, CURL *c, const char *path, const char *body, size_t n)
{
    struct reply r = {0};
    struct buffer b;
    char url[128];
    size_t len;

    buffer_init(&b, sizeof r.text - 1);
    snprintf(url, sizeof url, "https://localhost:%u%s", w->port, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_IPRESOLVE, CURL_IPRESOLVE_V4);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)n);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &b);
    r.code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r.status);
    curl_easy_getinfo(c, CURLINFO_NUM_CONNECTS, &r.connects);
    len = min_size(buffer_len(&b), sizeof r.text - 1);
    if (len)
        memcpy(r.text, buffer_bytes(&b).p, len);
    buffer_done(&b);
    return r;
}

static struct reply attach(struct world *w, CURL *c, const char *container)
{
    char body[1024];
    int n = snprintf(body, sizeof body, REVIEW, "CONNECT", container);

    return post(w, c, "/validate-connect", body, (size_t)n);
}

static void reviews_are_answered(void **state)
{
    struct world *w = *state;
    CURL *c = client(w);
    struct reply r = attach(w, c, "app");

    assert_int_equal(r.code, CURLE_OK);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.text, "\"uid\":\"u-7\""));
    assert_non_null(strstr(r.text, "\"allowed\":true"));
    r = attach(w, c, "chaperone");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.text, "\"allowed\":false"));
    assert_int_equal(r.connects, 0); /* the same connection */
    curl_easy_cleanup(c);
}

static void others_are_refused(void **state)
{
    struct world *w = *state;
    CURL *c = client(w);
    size_t n = REVIEW_MAX_BYTES + 1;
    char *long_body = malloc(n), body[1024];
    struct reply r = post(w, c, "/validate-connect", "nonsense", 8);

    assert_int_equal(r.status, 400);
    r = post(w, c, "/elsewhere", "{}", 2);
    assert_int_equal(r.status, 404);
    memset(long_body, ' ', n);
    r = post(w, c, "/validate-connect", long_body, n);
    assert_int_equal(r.status, 413);
    free(long_body);
    /* a review of something that the path is not for */
    n = (size_t)snprintf(body, sizeof body, REVIEW, "CREATE", "app");
    r = post(w, c, "/validate-connect", body, n);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.text, "\"allowed\":false"));
    assert_non_null(strstr(r.text, "/validate-connect is not for CREATE of pods/attach"));
    r = attach(w, c, "app");
    assert_non_null(strstr(r.text, "\"allowed\":true"));
    curl_easy_cleanup(c);
}

static void a_new_certificate_cuts_no_connection(void **state)
{
    struct world *w = *state;
    CURL *old = client(w), *fresh;
    struct reply r = attach(w, old, "app");

    assert_int_equal(r.status, 200);
    for (int i = 0; i < 6; i++) /* more often than there are slots */
        new_certificate(w);
    new_certificate(w);
    fresh = client(w); /* trusts the newest alone */
    r = attach(w, fresh, "app");
    assert_int_equal(r.code, CURLE_OK);
    assert_int_equal(r.connects, 1);
    curl_easy_cleanup(fresh);
    curl_easy_cleanup(old);
}

static void an_open_connection_outlives_the_change_once(void **state)
{
    struct world *w = *state;
    CURL *c = client(w);
    struct reply r = attach(w, c, "app");

    new_certificate(w);
    server_tick(w->server);
    r = attach(w, c, "app"); /* still the old connection, told to go */
    assert_int_equal(r.code, CURLE_OK);
    assert_int_equal(r.connects, 0);
    assert_int_equal(r.status, 200);
    r = attach(w, c, "app");
    assert_int_equal(r.code, CURLE_OK);
    assert_int_equal(r.connects, 1);
    curl_easy_cleanup(c);
}

static void draining_sends_clients_away(void **state)
{
    struct world *w = *state;
    CURL *c = client(w);
    struct reply r = attach(w, c, "app");

    server_drain(w->server);
    r = attach(w, c, "app");
    assert_int_equal(r.connects, 0);
    r = attach(w, c, "app"); /* it goes on answering */
    assert_int_equal(r.connects, 1);
    assert_int_equal(r.status, 200);
    curl_easy_cleanup(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reviews_are_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(others_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_certificate_cuts_no_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(an_open_connection_outlives_the_change_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(draining_sends_clients_away, setup, teardown),
    };

    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
