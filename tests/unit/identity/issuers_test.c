/* SPDX-License-Identifier: Apache-2.0
 * The issuers' file, and whole validation against key sets in files: signature, rotation, key ids.
 */
#include "sign.h"

#include "sidecar/identity/issuers.h"
#include "src-common/clock.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- the file ---- */

#define ONE(more) "issuers:\n- issuer: https://idp.example.com\n  audience: chaperone\n" more "\n"

static const struct {
    const char *yaml, *reason;
} refused[] = {
    {"", "expected one document"},
    {"issuers: []", "issuers: an empty list"},
    {"issuer: x", "unknown field"},
    {"[]", "expected a map"},
    {"issuers:\n- audience: x", "issuers[0].issuer: required"},
    {"issuers:\n- issuer: https://x", "issuers[0].audience: required"},
    {"issuers:\n- issuer: idp\n  audience: x", "give jwksURL, jwksFile or jwks"},
    {"issuers:\n- issuer: http://idp.example.com\n  audience: x", "give jwksURL, jwksFile or jwks"},
    {ONE("  audiences: [x]"), "audiences: unknown field"},
    {ONE("  jwksURL: http://idp.example.com/keys"), "issuers[0].jwksURL: expected https://"},
    {ONE("  jwksURL: http://127.0.0.1.example.com/keys"), "issuers[0].jwksURL: expected https://"},
    {ONE("  jwksURL: http://127.0.0.1@example.com/keys"), "issuers[0].jwksURL: expected https://"},
    {ONE("  jwksURL: file:///etc/passwd"), "issuers[0].jwksURL: expected https://"},
    {ONE("  jwksURL: https://x/k\n  jwksFile: /k"), "one of them"},
    {ONE("  jwksURL: https://x/k\n  jwks: '{}'"), "one of them"},
    {ONE("  jwks: '{}'"), "issuers[0]: jwks: "},
    {ONE("  jwks: '{\"keys\": []}'"), "issuers[0]: jwks: "},
    {ONE("  caFile: /ca\n  caBundle: x"), "caBundle: expected certificates in PEM"},
    {ONE("  caBundle: ''"), "caBundle: "},
    {ONE("  caBundle: /etc/ssl/ca.crt"), "caBundle: expected certificates in PEM"},
    {ONE("  caBundle: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\""),
     "caBundle: expected certificates in PEM"},
    {ONE("  algorithms: [HS256]"), "'HS256' is none of"},
    {ONE("  algorithms: [none]"), "'none' is none of"},
    {ONE("  algorithms: []"), "algorithms: an empty list"},
    {ONE("  kind: SAML"), "unknown kind 'SAML'"},
    {ONE("  maxLifetime: 10y"), "maxLifetime: '10y' is not a duration"},
    {ONE("  maxLifetime: 9999h"), "maxLifetime: '9999h' is not a duration"},
    {ONE("  maxLifetime: 0s"), "maxLifetime: '0s' is not a duration"},
    {ONE("  refresh: 2h"), "staleAfter: has to be longer"},
    {"issuers:\n- {issuer: 'https://x', audience: a}\n- {issuer: 'https://x', audience: b}",
     "is there twice"},
};

/* What a guard in a pod does not take, beside all of the above. */
static const struct {
    const char *yaml, *reason;
} refused_in_pods[] = {
    {ONE("  jwksFile: /keys"), "issuers[0]: jwksFile: the guard of a pod has no such file"},
    {ONE("  caFile: /etc/ssl/certs/ca.pem"), "issuers[0]: caFile: "},
    {ONE("  caFile: /var/run/secrets/kubernetes.io/serviceaccount/../x"), "issuers[0]: caFile: "},
    {ONE("  tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token"),
     "issuers[0]: tokenFile: "},
    {ONE("  kind: Kubernetes\n  tokenFile: /run/chaperone/x"), "issuers[0]: tokenFile: "},
    {ONE("  jwksURL: http://127.0.0.1:8080/keys"), "is the agent's own"},
    {ONE("  jwksURL: 'http://[::1]/keys'"), "is the agent's own"},
    {"issuers:\n- {issuer: 'http://localhost:5556/dex', audience: z}", "is the agent's own"},
    {ONE("  refresh: 2h"), "staleAfter: has to be longer"},
    {"{\"issuers\": []}", "an empty list"},
};

static void test_refused_in_pods(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused_in_pods); i++) {
        struct issuers_origin from = {.text = refused_in_pods[i].yaml};
        struct issuers *all = NULL;
        struct error err = {""};

        if (issuers_load(&from, &all, &err) != -EINVAL)
            fail_msg("accepted: %s", from.text);
        if (!strstr(err.text, refused_in_pods[i].reason) ||
            strncmp(err.text, "--issuers-inline:", 17) != 0)
            fail_msg("%s\n%s", err.text, from.text);
    }
}

static void test_refused_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct issuers *all = NULL;
        struct error err = {""};

        if (issuers_parse(bytes_str(refused[i].yaml), "i.yaml", &all, &err) != -EINVAL)
            fail_msg("accepted: %s", refused[i].yaml);
        if (!strstr(err.text, refused[i].reason) || strncmp(err.text, "i.yaml:", 7) != 0)
            fail_msg("%s\n%s", err.text, refused[i].yaml);
    }
}

static void test_file(void **state)
{
    struct issuers *all = NULL;
    struct error err = {""};
    const struct issuer *i;

    (void)state;
    if (issuers_parse(BYTES("issuers:\n"
                            "- {issuer: 'https://a', audience: [x, b], algorithms: [ES256], "
                            "groupsClaim: roles, groupsPrefix: 'a:', maxLifetime: 1h, refresh: 1m, "
                            "staleAfter: 10m}\n"
                            "- {issuer: 'http://localhost:5556/dex', audience: z}\n"
                            "- {issuer: kubernetes/serviceaccount, kind: Kubernetes, audience: "
                            "chaperone, jwksFile: /keys}\n"),
                      "i.yaml", &all, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(all->n, 3);
    i = issuers_find(all, "https://a");
    assert_string_equal(i->audiences[1], "b");
    assert_null(i->audiences[2]);
    assert_int_equal(i->source.algorithms, 1u << JOSE_ES256);
    assert_string_equal(i->groups_claim, "roles");
    assert_int_equal(i->max_lifetime_s, 3600);
    assert_int_equal(i->source.stale_s, 600);
    i = issuers_find(all, "http://localhost:5556/dex");
    assert_string_equal(i->groups_claim, "groups");
    assert_int_equal(i->source.unknown_s, 60);
    assert_int_equal(issuers_find(all, "kubernetes/serviceaccount")->kind, ISSUER_KUBERNETES);
    assert_null(issuers_find(all, "https://a/"));
    issuers_unref(all);
}

/* ---- whole tokens ---- */

static EVP_PKEY *rsa, *second, *p256;
static char dir[] = "/tmp/issuers_test.XXXXXX";
static char keys_path[64], file_path[64];
static const struct agent agent = {
    .namespace_ = "agents", .pod = "p", .service_account = "coder", .pod_uid = "u"};

static void write_text(const char *path, struct bytes text)
{
    char tmp[80];
    FILE *f;

    snprintf(tmp, sizeof tmp, "%s.new", path);
    f = fopen(tmp, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.len, f), text.len);
    fclose(f);
    assert_int_equal(rename(tmp, path), 0);
}

static void publish(EVP_PKEY *a, const char *kid_a, EVP_PKEY *b, const char *kid_b)
{
    struct buffer out;

    buffer_init(&out, 1 << 16);
    buffer_printf(&out, "{\"keys\":[");
    sign_jwk(&out, a, kid_a, "");
    if (b) {
        buffer_printf(&out, ",");
        sign_jwk(&out, b, kid_b, "");
    }
    buffer_printf(&out, "]}");
    write_text(keys_path, buffer_bytes(&out));
    buffer_done(&out);
}

static struct issuers *load(const char *more)
{
    struct issuers *all = NULL;
    struct error err = {""};
    char yaml[512];

    snprintf(yaml, sizeof yaml,
             "issuers:\n- {issuer: 'https://idp', audience: chaperone, jwksFile: %s%s}\n",
             keys_path, more);
    write_text(file_path, bytes_str(yaml));
    if (issuers_load(&(struct issuers_origin){.file = file_path}, &all, &err) != 0)
        fail_msg("%s", err.text);
    return all;
}

static int validate(const struct issuers *all, const char *text, struct error *err)
{
    struct identity *id = NULL;
    int rc = token_validate(all, bytes_str(text), &agent, &id, err);

    if (rc == 0)
        assert_string_equal(id->subject, "ann");
    identity_unref(id);
    return rc;
}

/* A token of now. */
static char *fresh_token(EVP_PKEY *key, const char *alg, const char *kid, const char *iss)
{
    long long now = (long long)time(NULL);
    char header[128], claims[256], *copy;
    struct buffer b;

    snprintf(header, sizeof header, "{\"alg\":\"%s\"%s%s%s}", alg, kid ? ",\"kid\":\"" : "",
             kid ? kid : "", kid ? "\"" : "");
    snprintf(claims, sizeof claims,
             "{\"iss\":\"%s\",\"sub\":\"ann\",\"aud\":\"chaperone\",\"iat\":%lld,\"exp\":%lld}",
             iss, now, now + 300);
    copy = strdup(sign_token(&b, key, alg, header, claims));
    buffer_done(&b);
    return copy;
}

static void expect(const struct issuers *all, char *text, const char *reason)
{
    struct error err = {""};
    int rc = validate(all, text, &err);

    if (!reason && rc != 0)
        fail_msg("refused: %s", err.text);
    if (reason && (rc != -EACCES || !strstr(err.text, reason)))
        fail_msg("wanted '%s': %d %s", reason, rc, err.text);
    free(text);
}

static void test_whole_tokens(void **state)
{
    struct issuers *all;
    char *cut;

    (void)state;
    publish(rsa, "one", p256, "two");
    all = load("");
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp"), NULL);
    expect(all, fresh_token(p256, "ES256", "two", "https://idp"), NULL);
    expect(all, fresh_token(rsa, "RS256", "one", "https://evil"), "is not trusted");
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp/"), "is not trusted");
    expect(all, fresh_token(second, "RS256", "one", "https://idp"), "signature is wrong");
    expect(all, fresh_token(p256, "ES256", "one", "https://idp"), "its key is for RS256");
    expect(all, fresh_token(rsa, "RS256", "two", "https://idp"), "its key is for ES256");
    expect(all, fresh_token(rsa, "RS512", "one", "https://idp"), "its key is for RS256");
    expect(all, fresh_token(rsa, "PS256", "one", "https://idp"), "its key is for RS256");
    expect(all, fresh_token(rsa, "RS256", NULL, "https://idp"), "names no key");
    expect(all, fresh_token(rsa, "RS256", "../../../../tmp/k", "https://idp"),
           "no key with the id");
    expect(all, fresh_token(rsa, "RS256", "' OR 1=1 --", "https://idp"), "no key with the id");
    cut = fresh_token(rsa, "RS256", "one", "https://idp");
    cut[strlen(cut) - 10] = '\0';
    expect(all, cut, "");
    issuers_unref(all);
}

/* Keys in the text itself, as for the guard of a pod. */
static void test_inline_keys(void **state)
{
    struct issuers *all = NULL;
    struct error err = {""};
    struct buffer text;

    (void)state;
    buffer_init(&text, 1 << 16);
    buffer_printf(&text, "{\"issuers\":[{\"issuer\":\"https://idp\",\"audience\":\"chaperone\","
                         "\"jwks\":'{\"keys\":[");
    sign_jwk(&text, rsa, "one", "");
    buffer_printf(&text, "]}'}]}");
    buffer_add_u8(&text, 0);
    if (issuers_load(&(struct issuers_origin){.text = (const char *)text.p}, &all, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(all->list[0].source.https_only);
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp"), NULL);
    expect(all, fresh_token(second, "RS256", "one", "https://idp"), "signature is wrong");
    expect(all, fresh_token(rsa, "RS256", "two", "https://idp"), "no key with the id");
    issuers_unref(all);
    buffer_done(&text);
}

static void test_nobody(void **state)
{
    struct issuers *none = issuers_none();

    (void)state;
    expect(none, fresh_token(rsa, "RS256", "one", "https://idp"), "is not trusted");
    issuers_unref(issuers_ref(none));
    expect(none, fresh_token(rsa, "RS256", "one", "https://idp"), "is not trusted");
    issuers_unref(none);
    issuers_unref(NULL);
}

static void test_hmac_with_public_key(void **state)
{
    struct issuers *all;
    struct error err = {""};
    struct buffer b;

    (void)state;
    publish(rsa, "one", NULL, NULL);
    all = load("");
    sign_hmac(&b, rsa, "{\"alg\":\"HS256\",\"kid\":\"one\"}",
              "{\"iss\":\"https://idp\",\"sub\":\"ann\",\"aud\":\"chaperone\",\"exp\":9999999999}");
    assert_int_equal(validate(all, (const char *)b.p, &err), -EACCES);
    assert_non_null(strstr(err.text, "HS256"));
    buffer_done(&b);
    issuers_unref(all);
}

static bool becomes(const struct issuers *all, EVP_PKEY *key, const char *kid, int wanted)
{
    uint64_t until = clock_mono_ms() + 10000;
    int rc;

    do {
        char *text = fresh_token(key, "RS256", kid, "https://idp");
        struct error err;

        rc = validate(all, text, &err);
        free(text);
        if (rc != wanted)
            usleep(20000);
    } while (rc != wanted && clock_mono_ms() < until);
    return rc == wanted;
}

/* A new key is found at once, because its id is not known; an old one goes with the next look. */
static void test_rotation(void **state)
{
    struct issuers *all;

    (void)state;
    publish(rsa, "one", NULL, NULL);
    all = load(", refresh: 1s");
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp"), NULL);
    publish(rsa, "one", second, "next");
    expect(all, fresh_token(second, "RS256", "next", "https://idp"), NULL);
    publish(second, "next", NULL, NULL);
    assert_true(becomes(all, rsa, "one", -EACCES));
    expect(all, fresh_token(second, "RS256", "next", "https://idp"), NULL);
    issuers_unref(all);
}

/* Made-up key ids cause one look a minute: the second does not find what was just published. */
static void test_unknown_keys_are_limited(void **state)
{
    struct issuers *all;

    (void)state;
    publish(rsa, "one", NULL, NULL);
    all = load("");
    expect(all, fresh_token(rsa, "RS256", "made-up", "https://idp"), "no key with the id");
    publish(rsa, "one", second, "next");
    expect(all, fresh_token(second, "RS256", "next", "https://idp"), "no key with the id");
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp"), NULL);
    issuers_unref(all);
}

static void test_stale(void **state)
{
    struct issuers *all;

    (void)state;
    publish(rsa, "one", NULL, NULL);
    all = load(", refresh: 1s, staleAfter: 3s");
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp"), NULL);
    write_text(keys_path, BYTES("not json"));
    assert_true(becomes(all, rsa, "one", -EACCES));
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp"), "keys cannot be had");
    publish(rsa, "one", NULL, NULL);
    assert_true(becomes(all, rsa, "one", 0));
    issuers_unref(all);
}

static void test_never_had(void **state)
{
    struct issuers *all;

    (void)state;
    unlink(keys_path);
    all = load("");
    expect(all, fresh_token(rsa, "RS256", "one", "https://idp"), "keys cannot be had");
    issuers_unref(all);
}

/* ---- the cluster's issuer ---- */

static struct issuers *parsed(const char *yaml)
{
    struct issuers *all = NULL;
    struct error err = {""};

    if (issuers_parse(bytes_str(yaml), "i.yaml", &all, &err) != 0)
        fail_msg("%s", err.text);
    return all;
}

static void test_cluster(void **state)
{
    struct issuers *all = parsed(ONE(""));
    char token_path[64], *token = fresh_token(rsa, "RS256", "k", "https://cluster");
    struct error err = {""};
    const struct issuer *i;

    (void)state;
    unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(issuers_add_cluster(all, dir, &err), -ENOENT);
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "6443", 1);
    snprintf(token_path, sizeof token_path, "%s/token", dir);
    assert_int_equal(issuers_add_cluster(all, dir, &err), -ENOENT); /* no token */
    write_text(token_path, BYTES("no token"));
    assert_int_equal(issuers_add_cluster(all, dir, &err), -EACCES);
    assert_int_equal(all->n, 1);
    write_text(token_path, bytes_str(token));
    assert_int_equal(issuers_add_cluster(all, dir, &err), 0);
    i = issuers_find(all, "https://cluster");
    assert_int_equal(i->kind, ISSUER_KUBERNETES);
    assert_string_equal(i->audiences[0], "chaperone");
    assert_string_equal(i->source.url, "https://[fd00::1]:6443/openid/v1/jwks");
    assert_non_null(strstr(i->source.ca_file, "/ca.crt"));
    assert_int_equal(i->source.stale_s, 3600);
    /* Somebody's own words about it stay. */
    assert_int_equal(issuers_add_cluster(all, dir, &err), 0);
    assert_int_equal(all->n, 2);
    issuers_unref(all);
    unlink(token_path);
    free(token);
}

static int begin(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    second = EVP_RSA_gen(2048);
    p256 = EVP_EC_gen("P-256");
    if (!rsa || !second || !p256 || !mkdtemp(dir))
        return -1;
    snprintf(keys_path, sizeof keys_path, "%s/keys.json", dir);
    snprintf(file_path, sizeof file_path, "%s/issuers.yaml", dir);
    return 0;
}

static int end(void **state)
{
    (void)state;
    unlink(keys_path);
    unlink(file_path);
    rmdir(dir);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(second);
    EVP_PKEY_free(p256);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_in_pods),
        cmocka_unit_test(test_inline_keys),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_whole_tokens),
        cmocka_unit_test(test_hmac_with_public_key),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_unknown_keys_are_limited),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_never_had),
        cmocka_unit_test(test_cluster),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
