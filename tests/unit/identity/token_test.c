/* SPDX-License-Identifier: Apache-2.0
 * Tokens, taken apart and checked: what is refused, and why; what an accepted one says.
 */
#include "sign.h"

#include "sidecar/identity/strictjson.h"

#define NOW     INT64_C(1700000000)
#define ISSUER  "https://idp.example.com"
#define CLUSTER "https://kubernetes.default.svc"

static const char *const audiences[] = {"chaperone", "other", NULL};
static struct issuer oidc = {.name = ISSUER,
                             .audiences = audiences,
                             .groups_claim = "groups",
                             .groups_prefix = "",
                             .max_lifetime_s = 86400};
static struct issuer cluster = {.name = CLUSTER,
                                .kind = ISSUER_KUBERNETES,
                                .audiences = audiences,
                                .groups_claim = "groups",
                                .groups_prefix = "",
                                .max_lifetime_s = 86400};
static const struct agent agent = {
    .namespace_ = "agents", .pod = "coder-0", .pod_uid = "1f0a", .service_account = "coder"};

/* ---- claims ---- */

static int check(const struct issuer *issuer, const char *claims, struct identity **ret,
                 struct error *err)
{
    struct json_object *o = NULL;
    int rc;

    if (strictjson_parse(bytes_str(claims), &o, err) != 0)
        fail_msg("%s: %s", err->text, claims);
    rc = token_check_claims(issuer, o, &agent, NOW, ret, err);
    json_object_put(o);
    return rc;
}

#define BODY(more) "{\"sub\":\"ann\",\"aud\":\"chaperone\",\"iat\":1699999990" more "}"
#define EXP        ",\"exp\":1700000300"

static const struct {
    const char *claims, *reason;
} refused_claims[] = {
    {BODY(""), "no expiry"},
    {BODY(",\"exp\":\"1700000300\""), "'exp' is no number"},
    {BODY(",\"exp\":null"), "'exp' is no number"},
    {BODY(",\"exp\":-1"), "out of range"},
    {BODY(",\"exp\":1e300"), "out of range"},
    {BODY(",\"exp\":99999999999999999999"), "out of range"},
    {BODY(",\"exp\":1699999940"), "has expired"},
    {BODY(",\"exp\":1699990000"), "has expired"},
    {BODY(",\"exp\":2015360000"), "lives too long"},
    {BODY(EXP ",\"nbf\":1700000061"), "not valid yet"},
    {BODY(EXP ",\"nbf\":\"now\""), "'nbf' is no number"},
    {"{\"sub\":\"ann\",\"aud\":\"chaperone\",\"iat\":1700000061,\"exp\":1700000300}", "future"},
    {"{\"sub\":\"ann\",\"aud\":\"chaperone\",\"exp\":1700086500}", "lives too long"},
    {"{\"sub\":\"ann\",\"exp\":1700000300}", "audience"},
    {"{\"sub\":\"ann\",\"aud\":\"Chaperone\",\"exp\":1700000300}", "audience"},
    {"{\"sub\":\"ann\",\"aud\":[],\"exp\":1700000300}", "audience"},
    {"{\"sub\":\"ann\",\"aud\":[\"x\",7,null],\"exp\":1700000300}", "audience"},
    {"{\"sub\":\"ann\",\"aud\":{\"chaperone\":1},\"exp\":1700000300}", "audience"},
    {"{\"sub\":\"ann\",\"aud\":\"chaperone,x\",\"exp\":1700000300}", "audience"},
    {"{\"aud\":\"chaperone\",\"exp\":1700000300}", "subject"},
    {"{\"sub\":\"\",\"aud\":\"chaperone\",\"exp\":1700000300}", "subject"},
    {"{\"sub\":7,\"aud\":\"chaperone\",\"exp\":1700000300}", "subject"},
    {"{\"sub\":\"a\\nb\",\"aud\":\"chaperone\",\"exp\":1700000300}", "subject"},
    {BODY(EXP ",\"groups\":7"), "neither a string nor a list"},
    {BODY(EXP ",\"groups\":{\"a\":1}"), "neither a string nor a list"},
    {BODY(EXP ",\"groups\":[\"a\",7]"), "malformed group"},
    {BODY(EXP ",\"groups\":[\"a\",[\"b\"]]"), "malformed group"},
    {BODY(EXP ",\"groups\":[\"\"]"), "malformed group"},
    {BODY(EXP ",\"groups\":[\"system:masters\"]"), "cluster's group"},
    {BODY(EXP ",\"groups\":\"system:serviceaccounts\""), "cluster's group"},
    /* the cluster's token stays bound to its pod under whatever issuer */
    {BODY(EXP ",\"kubernetes.io\":{\"namespace\":\"agents\"}"), "not bound to a pod"},
};

static void test_refused_claims(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused_claims); i++) {
        struct identity *id = NULL;
        struct error err = {""};

        if (check(&oidc, refused_claims[i].claims, &id, &err) != -EACCES)
            fail_msg("accepted: %s", refused_claims[i].claims);
        if (!strstr(err.text, refused_claims[i].reason))
            fail_msg("%s\n%s", err.text, refused_claims[i].claims);
        assert_null(id);
    }
}

static bool has(const char *const *list, const char *a)
{
    for (; *list; list++)
        if (strcmp(*list, a) == 0)
            return true;
    return false;
}

static void test_accepted_claims(void **state)
{
    static const char *const rows[] = {
        BODY(EXP),
        BODY(",\"exp\":1699999941"), /* within the skew */
        BODY(",\"exp\":1700000300.5"),
        BODY(EXP ",\"nbf\":1700000060"),
        "{\"sub\":\"ann\",\"aud\":[\"x\",\"other\"],\"exp\":1700000300}",
        BODY(EXP ",\"groups\":null"),
        BODY(EXP ",\"groups\":[]"),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct identity *id = NULL;
        struct error err = {""};

        if (check(&oidc, rows[i], &id, &err) != 0)
            fail_msg("%s: %s", err.text, rows[i]);
        assert_string_equal(id->name, ISSUER "#ann");
        assert_null(id->groups[0]);
        identity_unref(id);
    }
}

static void test_groups_and_claims(void **state)
{
    struct identity *id = NULL, *again = NULL;
    struct error err;
    struct agent a;

    (void)state;
    assert_int_equal(
        check(&oidc,
              BODY(EXP ",\"groups\":[\"dba\",\"sre\"],\"department\":\"it\",\"amr\":["
                       "\"pwd\",\"otp\"],\"email_verified\":true,\"level\":3,\"nested\":"
                       "{\"x\":\"y\"},\"nonce\":\"n\""),
              &id, &err),
        0);
    assert_true(has(id->groups, "dba") && has(id->groups, "sre") && !id->groups[2]);
    assert_true(has(id->claims, "department") && has(id->claims, "it") && has(id->claims, "otp"));
    assert_true(has(id->claims, "true") && has(id->claims, "3"));
    assert_false(has(id->claims, "nested") || has(id->claims, "nonce") || has(id->claims, "exp"));
    assert_int_equal(id->expires_at, 1700000300);
    a = token_agent(&agent, id);
    assert_ptr_equal(a.groups, id->groups);
    assert_string_equal(a.pod, "coder-0");
    /* The same person with another group is another identity, with another time the same. */
    assert_int_equal(check(&oidc, BODY(EXP ",\"groups\":[\"dba\"]"), &again, &err), 0);
    assert_string_not_equal(id->key, again->key);
    identity_unref(id);
    assert_int_equal(check(&oidc, BODY(",\"exp\":1700000200,\"groups\":\"dba\""), &id, &err), 0);
    assert_string_equal(id->key, again->key);
    identity_unref(again);
    identity_unref(id);
}

static void test_prefix(void **state)
{
    struct issuer prefixed = oidc;
    struct identity *id = NULL;
    struct error err;

    (void)state;
    prefixed.groups_prefix = "idp:";
    prefixed.groups_claim = "roles";
    assert_int_equal(check(&prefixed, BODY(EXP ",\"roles\":\"system:masters\""), &id, &err), 0);
    assert_string_equal(id->groups[0], "idp:system:masters");
    identity_unref(id);
}

static void test_too_many_groups(void **state)
{
    struct identity *id = NULL;
    struct error err = {""};
    struct buffer b;

    (void)state;
    buffer_init(&b, 1 << 16);
    buffer_printf(&b,
                  "{\"sub\":\"ann\",\"aud\":\"chaperone\",\"exp\":1700000300,\"groups\":[\"g\"");
    for (int i = 0; i < TOKEN_MAX_GROUPS; i++)
        buffer_printf(&b, ",\"g%d\"", i);
    buffer_printf(&b, "]}");
    assert_int_equal(check(&oidc, (const char *)b.p, &id, &err), -EACCES);
    assert_non_null(strstr(err.text, "more than 200 groups"));
    buffer_done(&b);
}

/* ---- ServiceAccount tokens ---- */

#define ACCOUNT(k, sub)                                                                            \
    "{\"iss\":\"" CLUSTER "\",\"sub\":\"" sub "\",\"aud\":[\"chaperone\"],\"iat\":1699999990,"     \
    "\"exp\":1700000600,\"kubernetes.io\":" k "}"
#define SUB           "system:serviceaccount:agents:coder"
#define POD(name, id) "\"pod\":{\"name\":\"" name "\",\"uid\":\"" id "\"}"
#define SA(name)      "\"serviceaccount\":{\"name\":\"" name "\",\"uid\":\"9\"}"
#define NS(name)      "{\"namespace\":\"" name "\","

static void test_account(void **state)
{
    struct identity *id = NULL;
    struct error err = {""};

    (void)state;
    if (check(&cluster, ACCOUNT(NS("agents") POD("coder-0", "1f0a") "," SA("coder") "}", SUB), &id,
              &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(id->name, SUB);
    assert_true(has(id->groups, "system:serviceaccounts"));
    assert_true(has(id->groups, "system:serviceaccounts:agents"));
    identity_unref(id);
}

static const char *const refused_accounts[] = {
    ACCOUNT(NS("agents") POD("coder-0", "other") "," SA("coder") "}", SUB),
    ACCOUNT(NS("agents") POD("coder-1", "1f0a") "," SA("coder") "}", SUB),
    ACCOUNT(NS("shop") POD("coder-0", "1f0a") "," SA("coder") "}", SUB),
    ACCOUNT(NS("agents") POD("coder-0", "1f0a") "," SA("admin") "}", SUB),
    ACCOUNT(NS("agents") POD("coder-0", "1f0a") "," SA("coder") "}",
            "system:serviceaccount:agents:admin"),
    ACCOUNT(NS("agents") SA("coder") "}", SUB), /* bound to no pod */
    ACCOUNT(NS("agents") POD("coder-0", "") "," SA("coder") "}", SUB),
    ACCOUNT(NS("agents") "\"pod\":{\"name\":\"coder-0\"}," SA("coder") "}", SUB),
    ACCOUNT("\"agents\"", SUB),
    ACCOUNT("null", SUB),
    BODY(EXP), /* no claim kubernetes.io */
};

static void test_refused_accounts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused_accounts); i++) {
        struct identity *id = NULL;
        struct error err = {""};

        if (check(&cluster, refused_accounts[i], &id, &err) != -EACCES)
            fail_msg("accepted: %s", refused_accounts[i]);
    }
}

static void test_account_without_pod_uid(void **state)
{
    struct agent unknown = agent;
    struct json_object *o = NULL;
    struct identity *id = NULL;
    struct error err = {""};

    (void)state;
    unknown.pod_uid = NULL;
    assert_int_equal(
        strictjson_parse(
            BYTES(ACCOUNT(NS("agents") POD("coder-0", "1f0a") "," SA("coder") "}", SUB)), &o, &err),
        0);
    assert_int_equal(token_check_claims(&cluster, o, &unknown, NOW, &id, &err), -EACCES);
    assert_non_null(strstr(err.text, "--pod-uid"));
    json_object_put(o);
}

/* ---- form and header ---- */

static int parse(struct bytes text, struct error *err)
{
    struct token_parts *t = malloc(sizeof *t);
    int rc = token_parse(text, t, err);

    token_done(t);
    free(t);
    return rc;
}

static void test_forms(void **state)
{
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"", "a token is needed"},
        {"hunter2", "no token"},
        {"a.b", "three parts"},
        {"a.b.c.d", "three parts"},
        {"..", "three parts"},
        {"e30.e30.", "not signed"},
        {"e30.e30.AA", "names no algorithm"},
        {"e3.e30.AA", "header is no base64url"},
        {"e30=.e30.AA", "header is no base64url"},
        {" e30.e30.AA", "header is no base64url"},
        {"W10.e30.AA", "header: it is no JSON object"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = {""};

        assert_int_equal(parse(bytes_str(rows[i].text), &err), -EACCES);
        if (!strstr(err.text, rows[i].reason))
            fail_msg("'%s': %s", rows[i].text, err.text);
    }
}

static const struct {
    const char *header, *reason;
} refused_headers[] = {
    {"{\"alg\":\"none\"}", "'none' are not accepted"},
    {"{\"alg\":\"nOnE\"}", "not accepted"},
    {"{\"alg\":\"HS256\"}", "'HS256' are not accepted"},
    {"{\"alg\":\"\"}", "not accepted"},
    {"{\"alg\":[\"RS256\"]}", "names no algorithm"},
    {"{\"alg\":\"RS256\",\"alg\":\"none\"}", "twice"},
    {"{\"alg\":\"RS256\",\"\\u0061lg\":\"none\"}", "escape"},
    {"{\"alg\":\"RS256\",\"jku\":\"https://evil.example\"}", "'jku'"},
    {"{\"alg\":\"RS256\",\"x5u\":\"https://evil.example\"}", "'x5u'"},
    {"{\"alg\":\"RS256\",\"x5c\":[\"AAAA\"]}", "'x5c'"},
    {"{\"alg\":\"RS256\",\"jwk\":{\"kty\":\"RSA\"}}", "'jwk'"},
    {"{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", "'crit'"},
    {"{\"alg\":\"RS256\",\"cty\":\"JWT\"}", "'cty'"},
    {"{\"alg\":\"RS256\",\"zip\":\"DEF\"}", "'zip'"},
    {"{\"alg\":\"RS256\",\"b64\":false}", "'b64'"},
    {"{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\"}", "'enc'"},
    {"{\"alg\":\"RS256\",\"typ\":\"JWE\"}", "type other than JWT"},
    {"{\"alg\":\"RS256\",\"typ\":7}", "type other than JWT"},
    {"{\"alg\":\"RS256\",\"kid\":7}", "key id"},
    {"{\"alg\":\"RS256\",\"kid\":\"\"}", "key id"},
};

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused_headers); i++) {
        const char *h = refused_headers[i].header;
        struct error err = {""};
        struct buffer b;

        buffer_init(&b, 4096);
        sign_encode(&b, h, strlen(h));
        buffer_printf(&b, ".e30.AAAA");
        assert_int_equal(parse(buffer_bytes(&b), &err), -EACCES);
        if (!strstr(err.text, refused_headers[i].reason))
            fail_msg("%s: %s", h, err.text);
        buffer_done(&b);
    }
}

static void test_size(void **state)
{
    char *big = malloc(1 << 20);
    struct error err = {""};

    (void)state;
    memset(big, 'A', 1 << 20);
    assert_int_equal(parse(bytes_of(big, 1 << 20), &err), -EACCES);
    assert_non_null(strstr(err.text, "longer than 16384"));
    assert_int_equal(parse(bytes_of(big, TOKEN_MAX_BYTES + 1), &err), -EACCES);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_claims),
        cmocka_unit_test(test_accepted_claims),
        cmocka_unit_test(test_groups_and_claims),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_too_many_groups),
        cmocka_unit_test(test_account),
        cmocka_unit_test(test_refused_accounts),
        cmocka_unit_test(test_account_without_pod_uid),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
