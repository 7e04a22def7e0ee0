/* SPDX-License-Identifier: Apache-2.0
 * What of the headers passes, and what is refused.
 */
#include "sidecar/proto/kube/headers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void parse(const char *lines, char *text, size_t size, struct http_head *ret)
{
    struct error err = {""};

    snprintf(text, size, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);
    if (http_parse_request(bytes_str(text), ret, &err) != 0)
        fail_msg("%s: %s", lines, err.text);
}

static void test_claims(void **state)
{
    static const char *const refused[] = {
        "Impersonate-User: admin\r\n",
        "impersonate-group: system:masters\r\n",
        "Impersonate-Uid: 1\r\n",
        "IMPERSONATE-EXTRA-x: 1\r\n",
        "X-Remote-User: admin\r\n",
        "x-remote-group: system:masters\r\n",
        "X-Remote-Extra-a: b\r\n",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io, "
        "base64url.bearer.authorization.k8s.io.YWJj\r\n",
        "Sec-WebSocket-Protocol: BASE64URL.bearer.authorization.k8s.io.YWJj\r\n",
        "Content-Encoding: gzip\r\n",
    };
    static const char *const taken[] = {"", "X-Forwarded-For: 1.2.3.4\r\n",
                                        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n"};
    struct http_head h;
    char text[500];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct error err = {""};

        parse(refused[i], text, sizeof text, &h);
        if (kubeheaders_check(&h, &err) != -EACCES || !err.text[0])
            fail_msg("%s", refused[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        struct error err = {""};

        parse(taken[i], text, sizeof text, &h);
        assert_int_equal(kubeheaders_check(&h, &err), 0);
    }
}

static void test_tokens(void **state)
{
    static const struct {
        const char *line, *token; /* NULL: refused */
    } rows[] = {
        {"Authorization: Basic YTpi\r\n", NULL}, {"Authorization: Bearer\r\n", NULL},
        {"Authorization: Bearer \r\n", NULL},    {"Authorization: Bearerx\r\n", NULL},
        {"Authorization: \r\n", NULL},           {"Authorization: Bearer a.b.c\r\n", "a.b.c"},
        {"authorization: bearer   t\r\n", "t"},  {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = {""};
        struct http_head h;
        struct bytes token;
        char text[500];
        int rc;

        parse(rows[i].line, text, sizeof text, &h);
        rc = kubeheaders_token(&h, &token, &err);
        if ((rc == 0) != (rows[i].token != NULL) ||
            (rc == 0 && !bytes_eq_str(token, rows[i].token)) || (rc && !err.text[0]))
            fail_msg("%s: %d %s", rows[i].line, rc, err.text);
    }
}

/* ---- Accept ---- */

#define TABLE    "application/json;as=Table;v=v1;g=meta.k8s.io"
#define METADATA "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

static const struct {
    const char *accept;
    bool tables;
    const char *asked; /* NULL: refused */
} of_pods[] = {
    {"application/vnd.kubernetes.protobuf", true, NULL},
    {"application/cbor", true, NULL},
    {"application/cbor-seq", true, NULL},
    {"application/yaml", true, NULL},
    {"text/plain", true, NULL},
    {"application/jsonx", true, NULL},
    {"application/json-seq", true, NULL},
    {"", true, "application/json"},
    {"*/*", true, "application/json"},
    {"application/*;q=0.5", true, "application/json"},
    {"application/vnd.kubernetes.protobuf, application/json", true, "application/json"},
    {TABLE, true, TABLE},
    {TABLE ",application/json", true, TABLE ", application/json"},
    {METADATA, true, METADATA},
    /* no tables, whatever they are called */
    {TABLE, false, "application/json"},
    {METADATA, false, METADATA},
    {"application/json; as=PartialObjectMetadataList; v=v1", false,
     "application/json; as=PartialObjectMetadataList; v=v1"},
    {METADATA ";as=Table", false, "application/json"},
    {"application/json;as=Table;as=PartialObjectMetadata", false, "application/json"},
    {METADATA "; \tas=Table", false, "application/json"},
    {METADATA ";as =Table", false, "application/json"},
    {METADATA ";AS=Table", false, "application/json"},
    {"application/json;x=as=PartialObjectMetadata;as=Table", false, "application/json"},
    {"application/json;as=PartialObjectMetadataX", false, "application/json"},
    {"application/json;as=\"PartialObjectMetadata\"", false, "application/json"},
};

/* Whether that is what the API server is asked for; NULL: nothing, it is refused. */
static bool is_asked(int rc, const struct buffer *out, const char *asked)
{
    return asked ? rc == 0 && bytes_eq_str(buffer_bytes(out), asked) : rc != 0;
}

static void test_accept(void **state)
{
    const struct kube_act act = {.resource = "pods", .subresource = "", .group = ""};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(of_pods); i++) {
        struct error err = {""};
        struct http_head h;
        struct buffer out;
        char line[300], text[500];
        int rc;

        snprintf(line, sizeof line, "Accept: %s\r\n", of_pods[i].accept);
        parse(line, text, sizeof text, &h);
        buffer_init(&out, 4096);
        rc = kubeheaders_accept(&h, &act, of_pods[i].tables, &out, &err);
        if (!is_asked(rc, &out, of_pods[i].asked) ||
            (rc && (rc != -EPROTONOSUPPORT || !strstr(err.text, "application/json"))))
            fail_msg("%s: %d '%.*s'", of_pods[i].accept, rc, (int)buffer_len(&out),
                     out.p ? (const char *)out.p + out.start : "");
        buffer_done(&out);
    }
}

static void test_accept_of_text(void **state)
{
    const struct kube_act log = {.resource = "pods", .subresource = "log", .group = ""},
                          apis = {
                              .resource = "", .subresource = "", .group = "", .discovery = true};
    struct error err = {""};
    struct http_head h;
    struct buffer out;
    char text[500];

    (void)state;
    buffer_init(&out, 4096);
    parse("Accept: text/plain, application/yaml\r\n", text, sizeof text, &h);
    assert_int_equal(kubeheaders_accept(&h, &log, true, &out, &err), 0);
    assert_true(bytes_eq_str(buffer_bytes(&out), "text/plain"));
    buffer_reset(&out, 0);
    parse("Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf\r\n", text,
          sizeof text, &h);
    assert_int_equal(kubeheaders_accept(&h, &apis, true, &out, &err), 0);
    assert_true(buffer_len(&out) > 0);
    assert_int_equal(kubeheaders_accept(&h, &log, true, &out, &err), -EPROTONOSUPPORT);
    buffer_done(&out);
}

/* ---- WebSocket ---- */

static void test_protocols(void **state)
{
    static const struct {
        const char *offered, *sub, *asked; /* NULL: refused */
    } rows[] = {
        {"channel.k8s.io", "exec", NULL},
        {"v3.channel.k8s.io, base64.channel.k8s.io", "exec", NULL},
        {"", "exec", NULL},
        {"SPDY/3.1+portforward.k8s.io", "exec", NULL},
        {"v5.channel.k8s.io", "portforward", NULL},
        {"v6.channel.k8s.io", "attach", NULL},
        {"v5.channel.k8s.io, v4.channel.k8s.io, v3.channel.k8s.io", "exec",
         "v5.channel.k8s.io, v4.channel.k8s.io"},
        {"SPDY/3.1+portforward.k8s.io", "portforward", "SPDY/3.1+portforward.k8s.io"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = {""};
        struct http_head h;
        struct buffer out;
        char line[300], text[500];
        int rc;

        snprintf(line, sizeof line, "Sec-WebSocket-Protocol: %s\r\n", rows[i].offered);
        parse(line, text, sizeof text, &h);
        buffer_init(&out, 4096);
        rc = kubeheaders_protocols(&h, rows[i].sub, &out, &err);
        if (!is_asked(rc, &out, rows[i].asked) || (rc && !strstr(err.text, rows[i].sub)))
            fail_msg("%s: %d %s", rows[i].offered, rc, err.text);
        buffer_done(&out);
    }
}

/* ---- what passes ---- */

static void test_by_list(void **state)
{
    static const char *const stay[] = {
        "X-Forwarded-For",         "Cookie",   "Authorization",   "Te",
        "Accept-Encoding",         "Audit-Id", "Kubectl-Command", "X-Http-Method-Override",
        "Sec-WebSocket-Extensions"};
    struct http_head h;
    struct buffer out;
    char line[200], text[500];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stay); i++) {
        snprintf(line, sizeof line, "%s: x\r\nUser-Agent: u\r\n", stay[i]);
        parse(line, text, sizeof text, &h);
        buffer_init(&out, 4096);
        kubeheaders_request(&h, true, &out);
        if (!bytes_eq_str(buffer_bytes(&out), "User-Agent: u\r\n"))
            fail_msg("%s passes", stay[i]);
        buffer_done(&out);
    }
    parse("Set-Cookie: a\r\nServer: x\r\nWarning: w\r\nContent-Length: 1\r\n", text, sizeof text,
          &h);
    buffer_init(&out, 4096);
    kubeheaders_response(&h, false, &out);
    assert_true(bytes_eq_str(buffer_bytes(&out), "Warning: w\r\n"));
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims),    cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_accept),    cmocka_unit_test(test_accept_of_text),
        cmocka_unit_test(test_protocols), cmocka_unit_test(test_by_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
