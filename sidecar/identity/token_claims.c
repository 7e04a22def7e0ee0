/* SPDX-License-Identifier: Apache-2.0
 * What verified claims say: for whom, until when, who, which groups; and whether a
 * ServiceAccount token is this pod's.
 */
#include "src-common/clock.h"
#include "src-common/jsonw.h"
#include "strictjson.h"
#include "token.h"

#include <errno.h>
#include <json-c/linkhash.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>

#define MAX_TIME    ((int64_t)1 << 40)
#define MAX_CLAIMS  128
#define ARENA_BYTES (256u << 10)

/* ---- times ---- */

/* A NumericDate (RFC 7519 section 2). 0: there; 1: absent; -EACCES. */
static int take_time(struct json_object *claims, const char *name, int64_t *ret, struct error *err)
{
    struct json_object *v = NULL;
    double d;

    if (!json_object_object_get_ex(claims, name, &v))
        return 1;
    if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double))
        return error_set(err, -EACCES, "the token's claim '%s' is no number", name);
    d = json_object_get_double(v);
    if (!isfinite(d) || d < 0 || d > (double)MAX_TIME)
        return error_set(err, -EACCES, "the token's claim '%s' is out of range", name);
    *ret = (int64_t)d;
    return 0;
}

static int check_times(const struct issuer *issuer, struct json_object *claims, int64_t now,
                       struct identity *id, struct error *err)
{
    int64_t nbf = 0, iat = 0, lifetime;
    int rc = take_time(claims, "exp", &id->expires_at, err);

    if (rc)
        return rc < 0 ? rc : error_set(err, -EACCES, "the token has no expiry (exp)");
    if (take_time(claims, "nbf", &nbf, err) < 0 || take_time(claims, "iat", &iat, err) < 0)
        return -EACCES;
    if (now >= id->expires_at + TOKEN_SKEW_S)
        return error_set(err, -EACCES, "the token has expired %lld s ago",
                         (long long)(now - id->expires_at));
    if (nbf > now + TOKEN_SKEW_S)
        return error_set(err, -EACCES, "the token is not valid yet (for %lld s)",
                         (long long)(nbf - now));
    if (iat > now + TOKEN_SKEW_S)
        return error_set(err, -EACCES, "the token was issued in the future");
    /* Without iat its age is not known: what is left of it must not be too long. */
    lifetime = id->expires_at - (iat ? iat : now);
    if (lifetime > (int64_t)issuer->max_lifetime_s + (iat ? 0 : TOKEN_SKEW_S))
        return error_set(err, -EACCES,
                         "the token lives too long: %lld s, and %u s is the issuer's maxLifetime",
                         (long long)lifetime, issuer->max_lifetime_s);
    id->issued_at = iat;
    return 0;
}

/* ---- audience ---- */

static bool is_audience(const struct issuer *issuer, struct json_object *v)
{
    const char *text = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;

    for (const char *const *a = issuer->audiences; text && *a; a++)
        if (strcmp(*a, text) == 0)
            return true;
    return false;
}

static int check_audience(const struct issuer *issuer, struct json_object *claims,
                          struct error *err)
{
    struct json_object *v = NULL;

    json_object_object_get_ex(claims, "aud", &v);
    if (is_audience(issuer, v))
        return 0;
    for (size_t i = 0; json_object_is_type(v, json_type_array) && i < json_object_array_length(v);
         i++)
        if (is_audience(issuer, json_object_array_get_idx(v, i)))
            return 0;
    return error_set(err, -EACCES, "the token is not for this guard: its audience is not '%.100s'",
                     issuer->audiences[0]);
}

/* ---- names ---- */

/* Text that may stand in records, policies and headers: no control characters. */
static bool is_plain(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return n > 0 && n <= TOKEN_MAX_TEXT;
}

static int take_subject(const struct issuer *issuer, struct json_object *claims,
                        struct identity *id, struct error *err)
{
    const char *sub = strictjson_string(claims, "sub");
    char name[1024 + TOKEN_MAX_TEXT];

    if (!sub || !is_plain(sub))
        return error_set(err, -EACCES, "the token's subject (sub) is missing or malformed");
    /* As the API server names people of OIDC issuers: nobody can be somebody else's. */
    if (issuer->kind == ISSUER_KUBERNETES)
        snprintf(name, sizeof name, "%s", sub);
    else
        snprintf(name, sizeof name, "%.1000s#%s", issuer->name, sub);
    id->issuer = arena_strdup(&id->arena, issuer->name);
    id->subject = arena_strdup(&id->arena, sub);
    id->name = arena_strdup(&id->arena, name);
    return id->issuer && id->subject && id->name ? 0 : -ENOMEM;
}

/* ---- groups ---- */

static int add_group(const struct issuer *issuer, struct json_object *v, struct identity *id,
                     const char **list, struct error *err)
{
    const char *text = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
    char name[2 * TOKEN_MAX_TEXT];
    size_t n = 0;

    if (!text || !is_plain(text))
        return error_set(err, -EACCES, "the token's claim '%.60s' has a malformed group",
                         issuer->groups_claim);
    snprintf(name, sizeof name, "%.200s%s", issuer->groups_prefix, text);
    /* The cluster's own groups are not a provider's to give. */
    if (strncmp(name, "system:", 7) == 0)
        return error_set(err, -EACCES, "the token's claim '%.60s' has the cluster's group '%.60s'",
                         issuer->groups_claim, name);
    while (list[n])
        n++;
    if (n == TOKEN_MAX_GROUPS)
        return error_set(err, -EACCES, "the token has more than %d groups", TOKEN_MAX_GROUPS);
    list[n] = arena_strdup(&id->arena, name);
    return list[n] ? 0 : -ENOMEM;
}

static int take_groups(const struct issuer *issuer, struct json_object *claims, struct identity *id,
                       struct error *err)
{
    const char **list = arena_alloc(&id->arena, (TOKEN_MAX_GROUPS + 1) * sizeof *list);
    struct json_object *v = NULL;
    int rc = 0;

    if (!list)
        return -ENOMEM;
    id->groups = list;
    if (!json_object_object_get_ex(claims, issuer->groups_claim, &v) || !v)
        return 0;
    if (json_object_is_type(v, json_type_string))
        return add_group(issuer, v, id, list, err);
    if (!json_object_is_type(v, json_type_array))
        return error_set(err, -EACCES, "the token's claim '%.60s' is neither a string nor a list",
                         issuer->groups_claim);
    for (size_t i = 0; i < json_object_array_length(v) && rc == 0; i++)
        rc = add_group(issuer, json_object_array_get_idx(v, i), id, list, err);
    return rc;
}

/* ---- ServiceAccounts ---- */

static const char *member(struct json_object *o, const char *object, const char *name)
{
    struct json_object *v = NULL;

    if (!json_object_object_get_ex(o, object, &v) || !json_object_is_type(v, json_type_object))
        return NULL;
    return strictjson_string(v, name);
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Bound to this pod: a token that another pod's agent gave away is worth nothing here. */
static int check_pod(struct json_object *claims, const struct agent *agent, struct identity *id,
                     struct error *err)
{
    struct json_object *k = NULL;
    char account[600];

    if (!json_object_object_get_ex(claims, "kubernetes.io", &k) ||
        !json_object_is_type(k, json_type_object))
        return error_set(err, -EACCES, "the token is no ServiceAccount token of the cluster");
    if (!member(k, "pod", "uid") || !member(k, "pod", "name"))
        return error_set(err, -EACCES, "the token is not bound to a pod");
    if (!agent->pod_uid || !*agent->pod_uid)
        return error_set(err, -EACCES, "the guard does not know its pod's UID (--pod-uid)");
    if (!same(member(k, "pod", "uid"), agent->pod_uid) ||
        !same(member(k, "pod", "name"), agent->pod) ||
        !same(strictjson_string(k, "namespace"), agent->namespace_))
        return error_set(err, -EACCES, "the token is another pod's");
    snprintf(account, sizeof account, "system:serviceaccount:%.253s:%.253s", agent->namespace_,
             agent->service_account);
    if (!same(member(k, "serviceaccount", "name"), agent->service_account) ||
        strcmp(id->subject, account) != 0)
        return error_set(err, -EACCES, "the token is another ServiceAccount's");
    return 0;
}

static int take_account_groups(const struct agent *agent, struct identity *id)
{
    const char **list = arena_alloc(&id->arena, 4 * sizeof *list);
    char own[300];

    snprintf(own, sizeof own, "system:serviceaccounts:%.253s", agent->namespace_);
    if (!list)
        return -ENOMEM;
    list[0] = "system:serviceaccounts";
    list[1] = arena_strdup(&id->arena, own);
    list[2] = "system:authenticated";
    id->groups = list;
    return list[1] ? 0 : -ENOMEM;
}

/* ---- other claims ---- */

static bool is_standard(const char *name)
{
    static const char *const names[] = {"iss", "sub", "aud",   "exp",     "nbf",
                                        "iat", "jti", "nonce", "at_hash", "auth_time"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* What a policy cannot name, or what is too long, is left out: it matches nothing. */
static void add_claim(struct identity *id, const char **list, size_t *n, const char *name,
                      struct json_object *v)
{
    enum json_type type = json_object_get_type(v);
    const char *text;

    if (*n == MAX_CLAIMS ||
        (type != json_type_string && type != json_type_int && type != json_type_boolean))
        return;
    text = json_object_get_string(v);
    if (!text || !is_plain(text) || !is_plain(name))
        return;
    list[2 * *n] = arena_strdup(&id->arena, name);
    list[2 * *n + 1] = list[2 * *n] ? arena_strdup(&id->arena, text) : NULL;
    if (list[2 * *n + 1])
        ++*n;
    else
        list[2 * *n] = NULL;
}

static int take_claims(struct json_object *claims, struct identity *id)
{
    const char **list = arena_alloc(&id->arena, (2 * MAX_CLAIMS + 1) * sizeof *list);
    size_t n = 0;

    if (!list)
        return -ENOMEM;
    json_object_object_foreach(claims, name, v)
    {
        if (is_standard(name))
            continue;
        if (!json_object_is_type(v, json_type_array)) {
            add_claim(id, list, &n, name, v);
            continue;
        }
        for (size_t i = 0; i < json_object_array_length(v); i++)
            add_claim(id, list, &n, name, json_object_array_get_idx(v, i));
    }
    id->claims = list;
    return 0;
}

/* ---- together ---- */

static void digest_list(EVP_MD_CTX *md, const char *const *list)
{
    for (; list && *list; list++)
        EVP_DigestUpdate(md, *list, strlen(*list) + 1);
    EVP_DigestUpdate(md, "", 1);
}

static int make_key(struct identity *id)
{
    const char *const names[] = {id->issuer, id->subject, NULL};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t raw[32];
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

    if (ok) {
        digest_list(md, names);
        digest_list(md, id->groups);
        digest_list(md, id->claims);
        ok = EVP_DigestFinal_ex(md, raw, NULL) == 1;
    }
    EVP_MD_CTX_free(md);
    for (size_t i = 0; i < sizeof raw && ok; i++)
        snprintf(id->key + 2 * i, 3, "%02x", raw[i]);
    return ok ? 0 : -ENOMEM;
}

static int fill(const struct issuer *issuer, struct json_object *claims, const struct agent *agent,
                struct identity *id, struct error *err)
{
    /* A token of the cluster is bound to its pod whatever the settings call its issuer. */
    bool account = issuer->kind == ISSUER_KUBERNETES ||
                   json_object_object_get_ex(claims, "kubernetes.io", NULL);
    int rc = take_subject(issuer, claims, id, err);

    if (rc == 0 && account)
        rc = check_pod(claims, agent, id, err);
    if (rc == 0)
        rc = account ? take_account_groups(agent, id) : take_groups(issuer, claims, id, err);
    if (rc == 0)
        rc = take_claims(claims, id);
    return rc ? rc : make_key(id);
}

int token_check_claims(const struct issuer *issuer, struct json_object *claims,
                       const struct agent *agent, int64_t now_s, struct identity **ret,
                       struct error *err)
{
    _cleanup_(identity_unref) struct identity *id = calloc(1, sizeof *id);
    int rc;

    if (!id)
        return error_set(err, -ENOMEM, "out of memory");
    id->refs = 1;
    arena_init(&id->arena, ARENA_BYTES);
    if ((rc = check_audience(issuer, claims, err)) ||
        (rc = check_times(issuer, claims, now_s, id, err)))
        return rc;
    rc = fill(issuer, claims, agent, id, err);
    if (rc == -ENOMEM)
        return error_set(err, rc, "out of memory");
    if (rc == 0)
        *ret = take(&id);
    return rc;
}

/* ---- identities ---- */

struct identity *identity_ref(struct identity *i)
{
    atomic_fetch_add(&i->refs, 1);
    return i;
}

void identity_unref(struct identity *i)
{
    if (!i || atomic_fetch_sub(&i->refs, 1) != 1)
        return;
    arena_done(&i->arena);
    free(i);
}

uint64_t identity_left_ms(const struct identity *i, bool at_once)
{
    uint64_t until = ((uint64_t)i->expires_at + (at_once ? 0 : TOKEN_GRACE_S)) * 1000;
    uint64_t now = clock_wall_us() / 1000;

    return until > now ? until - now : 0;
}

void identity_describe(const struct identity *i, struct buffer *b)
{
    char expires[CLOCK_RFC3339_LEN + 1];

    clock_rfc3339((uint64_t)i->expires_at * 1000000, expires);
    jsonw_key(b, "token");
    buffer_add_u8(b, '{');
    jsonw_kstr(b, "issuer", bytes_str(i->issuer));
    jsonw_kstr(b, "subject", bytes_str(i->subject));
    jsonw_key(b, "groups");
    buffer_add_u8(b, '[');
    for (const char *const *g = i->groups; *g; g++) {
        if (g != i->groups)
            buffer_add_u8(b, ',');
        jsonw_str(b, bytes_str(*g));
    }
    buffer_add_u8(b, ']');
    jsonw_kstr(b, "expires", bytes_str(expires));
    buffer_add_u8(b, '}');
}
