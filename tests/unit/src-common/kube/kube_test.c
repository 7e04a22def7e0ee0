/* SPDX-License-Identifier: Apache-2.0
 * The pure parts of the API client: paths, errors, backoff, framing and events of a watch.
 */
#include "src-common/kube/backoff.h"
#include "src-common/kube/event.h"
#include "src-common/kube/internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- paths ---- */

static void paths(void **state)
{
    static const struct {
        struct kube_place place;
        const char *path; /* NULL: refused */
    } cases[] = {
        {{"api/v1", NULL, "pods", NULL, NULL}, "/api/v1/pods"},
        {{"api/v1", "shop", "pods", "web-0", "log"}, "/api/v1/namespaces/shop/pods/web-0/log"},
        {{"apis/chaperone.dev/v1alpha1", "a", "approvalrequests", "x", "status"},
         "/apis/chaperone.dev/v1alpha1/namespaces/a/approvalrequests/x/status"},
        {{"api/v1", NULL, "nodes", "a/../b", NULL}, "/api/v1/nodes/a%2F..%2Fb"},
        {{"api/v1", "a?b", "pods", "c#d%", NULL}, "/api/v1/namespaces/a%3Fb/pods/c%23d%25"},
        {{"api/v1", "a", "pods", "\xc3\xa4 \n", NULL}, "/api/v1/namespaces/a/pods/%C3%A4%20%0A"},
        {{"api/v1", "..", "pods", NULL, NULL}, NULL},
        {{"api/v1", "a", "pods", ".", NULL}, NULL},
        {{"api/v1", "a", "pods", "..", "log"}, NULL},
        {{"api/v1", "", "pods", NULL, NULL}, NULL},
        {{"api/v1", "a", "pods", "", NULL}, NULL},
    };
    struct buffer b;

    (void)state;
    buffer_init(&b, KUBE_PATH_MAX);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int rc = kube_path(&cases[i].place, &b);

        assert_int_equal(rc, cases[i].path ? 0 : -EINVAL);
        if (cases[i].path)
            assert_string_equal((const char *)buffer_bytes(&b).p, cases[i].path);
    }
    buffer_done(&b);
}

static void queries_are_encoded(void **state)
{
    const struct kube_place place = {"api/v1", NULL, "pods", NULL, NULL};
    struct buffer b;

    (void)state;
    buffer_init(&b, KUBE_PATH_MAX);
    assert_int_equal(kube_path(&place, &b), 0);
    kube_query(&b, "labelSelector", "a=b,c!=d&watch=true");
    kube_query(&b, "limit", "5");
    assert_string_equal((const char *)buffer_bytes(&b).p,
                        "/api/v1/pods?labelSelector=a%3Db%2Cc%21%3Dd%26watch%3Dtrue&limit=5");
    buffer_done(&b);
}

static void long_paths_are_refused(void **state)
{
    char name[KUBE_PATH_MAX];
    const struct kube_place place = {"api/v1", NULL, "pods", name, NULL};
    struct buffer b;

    (void)state;
    memset(name, '/', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    buffer_init(&b, KUBE_PATH_MAX);
    assert_int_not_equal(kube_path(&place, &b), 0);
    buffer_done(&b);
}

/* ---- errors ---- */

static void statuses(void **state)
{
    static const struct {
        int status;
        const char *reason;
        int code;
        bool transient;
    } cases[] = {
        {200, "", 0, false},
        {201, "", 0, false},
        {400, "BadRequest", -EINVAL, false},
        {401, "Unauthorized", -EACCES, false},
        {403, "Forbidden", -EACCES, false},
        {404, "NotFound", -ENOENT, false},
        {409, "AlreadyExists", -EEXIST, false},
        {409, "Conflict", -EAGAIN, false},
        {410, "Expired", -ESTALE, false},
        {413, "RequestEntityTooLarge", -E2BIG, false},
        {422, "Invalid", -EINVAL, false},
        {429, "TooManyRequests", -EBUSY, true},
        {500, "InternalError", -EIO, true},
        {503, "ServiceUnavailable", -EIO, true},
        {504, "Timeout", -ETIMEDOUT, true},
        {302, "", -EIO, true},
        {0, "", -EIO, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(kube_status_errno(cases[i].status, cases[i].reason), cases[i].code);
        assert_int_equal(kube_is_transient(cases[i].code), cases[i].transient);
    }
}

static int explain(int status, const char *body, struct error *err)
{
    const struct kube_request r = {.method = "GET", .path = "/api/v1/pods?secret=1"};
    struct kube_reply reply = {.status = status};
    int rc;

    assert_int_equal(body ? kube_parse(bytes_str(body), &reply.object) : 0, 0);
    rc = kube_explain(&r, &reply, err);
    kube_reply_done(&reply);
    return rc;
}

static void refusals_are_explained(void **state)
{
    struct error err = {""};

    (void)state;
    assert_int_equal(explain(403,
                             "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"pods is "
                             "forbidden\"}",
                             &err),
                     -EACCES);
    assert_string_equal(
        err.text, "GET /api/v1/pods: the API server answers 403 Forbidden: pods is forbidden");
    assert_int_equal(explain(502, NULL, &err), -EIO);
    assert_string_equal(err.text, "GET /api/v1/pods: the API server answers 502");
    /* No Status, and types that are wrong: nothing is believed. */
    assert_int_equal(explain(409, "{\"kind\":\"Pod\",\"reason\":\"AlreadyExists\"}", &err),
                     -EAGAIN);
    assert_int_equal(explain(409, "{\"kind\":\"Status\",\"reason\":7}", &err), -EAGAIN);
    assert_int_equal(explain(409, "{\"kind\":\"Status\",\"reason\":\"AlreadyExists\"}", &err),
                     -EEXIST);
    assert_int_equal(explain(404, "[]", &err), -ENOENT);
}

static void what_is_no_json_is_refused(void **state)
{
    static const char *const bad[] = {"",     " ",        "{",     "{}{}",
                                      "{} x", "{1:2}",    "nul",   "{\"a\":1,}",
                                      "[1,2", "\"\xff\"", "{a:1}", "404 page not found"};
    static const char *const good[] = {"{}", "{}\n", "[1]", "{\"a\":{\"b\":[1,2]}}\r\n"};
    struct json_object *o;
    char deep[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        o = NULL;
        assert_int_equal(kube_parse(bytes_str(bad[i]), &o), -EBADMSG);
        assert_null(o);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(kube_parse(bytes_str(good[i]), &o), 0);
        json_object_put(o);
    }
    memset(deep, '[', 150);
    memset(deep + 150, ']', 150);
    assert_int_equal(kube_parse(bytes_of(deep, sizeof deep), &o), -EBADMSG);
}

static void members_of_the_wrong_type_are_not_there(void **state)
{
    struct json_object *o =
        json_tokener_parse("{\"a\":{\"b\":\"c\",\"n\":7,\"l\":[1],\"z\":null},\"s\":\"t\"}");

    (void)state;
    assert_string_equal(kube_get_str(o, "a.b"), "c");
    assert_int_equal(kube_get_int(o, "a.n"), 7);
    assert_string_equal(kube_get_str(o, "a.n"), "");
    assert_int_equal(kube_get_int(o, "a.b"), 0);
    assert_string_equal(kube_get_str(o, "a.b.c"), "");
    assert_string_equal(kube_get_str(o, "s.t"), "");
    assert_string_equal(kube_get_str(o, "a.l.0"), "");
    assert_string_equal(kube_get_str(o, "a.z"), "");
    assert_string_equal(kube_get_str(NULL, "a"), "");
    assert_null(kube_get(o, "a.x"));
    json_object_put(o);
}

/* ---- configuration ---- */

static void only_https(void **state)
{
    struct kube *k = NULL;
    struct error err = {""};

    (void)state;
    assert_int_equal(
        kube_new(&(struct kube_config){"http://10.0.0.1:80", NULL, "/ca", NULL}, &k, &err),
        -EINVAL);
    assert_null(k);
    assert_non_null(strstr(err.text, "is not https"));
}

static void no_cluster(void **state)
{
    struct kube *k = NULL;
    struct error err = {""};

    (void)state;
    unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_in_cluster(NULL, &k, &err), -ENOENT);
    assert_non_null(strstr(err.text, "KUBERNETES_SERVICE_HOST"));
    setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    assert_int_equal(kube_in_cluster("/nowhere", &k, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/namespace"));
    assert_null(k);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Nobody listens there; a token that is none is never sent. */
static void unreachable(void **state)
{
    char dir[] = "/tmp/kube_test.XXXXXX", command[64];
    struct kube_request r = {.method = "GET", .path = "/version", .timeout_ms = 2000};
    struct kube_reply reply;
    struct kube *k = NULL;
    struct error err = {""};

    (void)state;
    assert_non_null(mkdtemp(dir));
    write_file(dir, "namespace", "shop\n");
    write_file(dir, "token", "abc\n");
    write_file(dir, "ca.crt", "");
    setenv("KUBERNETES_SERVICE_HOST", "::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "1", 1);
    assert_int_equal(kube_in_cluster(dir, &k, &err), 0);
    assert_string_equal(kube_namespace(k), "shop");
    assert_int_not_equal(kube_call(k, &r, &reply, &err), 0);
    assert_int_equal(reply.status, 0);
    write_file(dir, "token", "abc\r\nX-Other: 1\n");
    assert_int_equal(kube_call(k, &r, &reply, &err), -EINVAL);
    assert_non_null(strstr(err.text, "more than one line"));
    write_file(dir, "token", "");
    snprintf(command, sizeof command, "%s/token", dir);
    assert_int_equal(unlink(command), 0);
    assert_int_equal(kube_call(k, &r, &reply, &err), -ENOENT);
    kube_free(k);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* ---- backoff ---- */

static void backoff_stays_in_bounds(void **state)
{
    struct backoff b = {100, 5000, 0};

    (void)state;
    assert_int_equal(backoff_draw_ms(&b, 0), 100);
    backoff_reset(&b);
    assert_int_equal(backoff_draw_ms(&b, UINT32_MAX), 300);
    assert_int_equal(backoff_draw_ms(&b, UINT32_MAX), 900);
    assert_int_equal(backoff_draw_ms(&b, UINT32_MAX), 2700);
    assert_int_equal(backoff_draw_ms(&b, UINT32_MAX), 5000);
    assert_int_equal(backoff_draw_ms(&b, UINT32_MAX), 5000);
    assert_int_equal(backoff_draw_ms(&b, 0), 100);
    for (int i = 0; i < 1000; i++) {
        unsigned ms = backoff_next_ms(&b);

        assert_true(ms >= 100 && ms <= 5000);
    }
    backoff_reset(&b);
    assert_true(backoff_next_ms(&b) <= 300);
}

/* ---- framing ---- */

static void lines_at_every_split(void **state)
{
    static const char text[] = "{\"a\":1}\n\n{\"b\":2}\r\nlast\n\r\nrest";
    static const char *const want[] = {"{\"a\":1}", "{\"b\":2}", "last"};

    (void)state;
    for (size_t split = 0; split < sizeof text - 1; split++) {
        struct watch_framer f;
        struct bytes line;
        size_t n = 0;

        watch_framer_init(&f, 64);
        assert_int_equal(watch_framer_feed(&f, bytes_of(text, split)), 0);
        while (watch_framer_next(&f, &line))
            assert_true(bytes_eq_str(line, want[n++]));
        assert_int_equal(watch_framer_feed(&f, bytes_of(text + split, sizeof text - 1 - split)), 0);
        while (watch_framer_next(&f, &line))
            assert_true(bytes_eq_str(line, want[n++]));
        assert_int_equal(n, ARRAY_LEN(want));
        watch_framer_done(&f);
    }
}

static void long_lines_are_refused(void **state)
{
    struct watch_framer f;
    struct bytes line;
    int rc = 0;

    (void)state;
    watch_framer_init(&f, 1000);
    for (int i = 0; i < 10; i++) { /* short lines, however many */
        assert_int_equal(watch_framer_feed(&f, bytes_str("0123456789\n")), 0);
        assert_true(watch_framer_next(&f, &line));
    }
    for (int i = 0; i < 200 && rc == 0; i++) {
        rc = watch_framer_feed(&f, bytes_str("0123456789"));
        assert_false(watch_framer_next(&f, &line));
    }
    assert_int_equal(rc, -EMSGSIZE);
    assert_int_equal(watch_framer_feed(&f, bytes_str("\n")), -EMSGSIZE);
    watch_framer_done(&f);
}

/* ---- events ---- */

static void events(void **state)
{
    struct watch_event e;
    struct error err = {""};

    (void)state;
    assert_int_equal(watch_event_decode(bytes_str("{\"type\":\"ADDED\",\"object\":{\"metadata\":{"
                                                  "\"name\":\"x\",\"resourceVersion\":\"12\"}}}"),
                                        &e, &err),
                     0);
    assert_int_equal(e.type, WATCH_ADDED);
    assert_string_equal(e.version, "12");
    assert_string_equal(kube_get_str(e.object, "metadata.name"), "x");
    watch_event_done(&e);
    assert_int_equal(
        watch_event_decode(bytes_str("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{"
                                     "\"resourceVersion\":\"13\"}}}"),
                           &e, &err),
        0);
    assert_int_equal(e.type, WATCH_BOOKMARK);
    watch_event_done(&e);
    assert_int_equal(
        watch_event_decode(bytes_str("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":"
                                     "410,\"reason\":\"Expired\",\"message\":\"too old\"}}"),
                           &e, &err),
        0);
    assert_int_equal(e.type, WATCH_ERROR);
    assert_int_equal(e.code, -ESTALE);
    assert_non_null(strstr(err.text, "Expired: too old"));
    watch_event_done(&e);
    assert_int_equal(
        watch_event_decode(bytes_str("{\"type\":\"ERROR\",\"object\":{\"code\":200}}"), &e, &err),
        0);
    assert_int_equal(e.code, -EIO);
    watch_event_done(&e);
}

static void bad_events_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"type\":\"ADDED\"}",
        "{\"type\":\"ADDED\",\"object\":null}",
        "{\"type\":\"ADDED\",\"object\":[]}",
        "{\"type\":\"ADDED\",\"object\":{}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":7}}}",
        "{\"type\":\"added\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}",
        "{\"type\":\"WAT\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}",
        "{\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}",
        "{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}}",
    };
    struct watch_event e;
    struct error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err.text[0] = '\0';
        assert_int_equal(watch_event_decode(bytes_str(bad[i]), &e, &err), -EBADMSG);
        assert_true(err.text[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(queries_are_encoded),
        cmocka_unit_test(long_paths_are_refused),
        cmocka_unit_test(statuses),
        cmocka_unit_test(refusals_are_explained),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(members_of_the_wrong_type_are_not_there),
        cmocka_unit_test(only_https),
        cmocka_unit_test(no_cluster),
        cmocka_unit_test(unreachable),
        cmocka_unit_test(backoff_stays_in_bounds),
        cmocka_unit_test(lines_at_every_split),
        cmocka_unit_test(long_lines_are_refused),
        cmocka_unit_test(events),
        cmocka_unit_test(bad_events_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
