/* SPDX-License-Identifier: Apache-2.0
 * The issuers' file.
 */
#include "issuers.h"

#include "fetch.h"
#include "src-common/kube/kube.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <string.h>

#define MAX_FILE ((size_t)1 << 20)

/* ---- fields ---- */

static int url_parse(const struct place *at, void *out)
{
    int rc = place_text(at, out);

    if (rc)
        return rc;
    if (strlen(at->node->text) > 900 || !fetch_url_ok(at->node->text))
        return place_error(at, "expected https://…, or http:// to this machine");
    return 0;
}

static int kind_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"OIDC", ISSUER_OIDC}, {"Kubernetes", ISSUER_KUBERNETES}};

    return place_word(at, "kind", words, ARRAY_LEN(words), out);
}

static int audience_parse(const struct place *at, void *out)
{
    const char *const **ret = out;
    struct array list = {0};
    const char **one;
    int rc;

    if (at->node->type == NODE_LIST) {
        rc = place_parse_strings(at, &list);
        *ret = list.items;
        return rc;
    }
    one = arena_alloc(at->loader->arena, 2 * sizeof *one);
    if (!one)
        return place_no_memory(at);
    *ret = one;
    return place_text(at, one);
}

static int algorithms_parse(const struct place *at, void *out)
{
    unsigned *ret = out;
    struct array list = {0};
    const char *const *names;
    int rc = place_parse_strings(at, &list);

    if (rc)
        return rc;
    *ret = 0;
    names = list.items;
    for (size_t i = 0; i < list.n; i++) {
        enum jose_alg a = jose_alg_parse(names[i]);

        if (a == JOSE_NONE)
            return place_error(at,
                               "'%.20s' is none of RS256, RS384, RS512, PS256, ES256, ES384, "
                               "EdDSA",
                               names[i]);
        *ret |= 1u << a;
    }
    return 0;
}

/* Several lines; whoever reads them judges them. */
static int block_parse(const struct place *at, void *out)
{
    const char **ret = out;
    int rc = place_expect(at, NODE_STRING);

    if (rc == 0 && !(*ret = arena_strdup(at->loader->arena, at->node->text)))
        rc = place_no_memory(at);
    return rc;
}

/* Every certificate of it can be read: one that cannot would be left out without a word. */
static int bundle_parse(const struct place *at, void *out)
{
    int rc = block_parse(at, out), n = 0;
    BIO *text = rc ? NULL : BIO_new_mem_buf(at->node->text, -1);
    X509 *one;
    unsigned long why;

    if (rc || !text)
        return rc ? rc : place_no_memory(at);
    for (; (one = PEM_read_bio_X509(text, NULL, NULL, NULL)); n++)
        X509_free(one);
    why = ERR_peek_last_error();
    ERR_clear_error();
    BIO_free(text);
    if (n == 0 || ERR_GET_REASON(why) != PEM_R_NO_START_LINE)
        return place_error(at, "expected certificates in PEM (-----BEGIN CERTIFICATE-----)");
    return 0;
}

/* "90s", "5m", "24h": whole numbers of one unit. */
static int duration_parse(const struct place *at, void *out)
{
    static const struct word units[] = {{"s", 1}, {"m", 60}, {"h", 3600}};
    const char *text = at->node->text;
    unsigned *ret = out;
    size_t digits;
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    digits = strspn(text, "0123456789");
    for (size_t i = 0; i < ARRAY_LEN(units) && digits && digits < 6; i++) {
        unsigned long v = strtoul(text, NULL, 10) * units[i].value;

        if (strcmp(text + digits, units[i].name) == 0 && v >= 1 && v <= 31ul * 86400) {
            *ret = (unsigned)v;
            return 0;
        }
    }
    return place_error(at, "'%.40s' is not a duration such as 90s, 5m or 24h (at most 31 days)",
                       text);
}

void issuer_defaults(struct issuer *i)
{
    *i = (struct issuer){
        .groups_claim = "groups",
        .groups_prefix = "",
        .max_lifetime_s = 86400,
        .source = {.algorithms = JOSE_ALL, .refresh_s = 300, .stale_s = 3600, .unknown_s = 60}};
}

/* What contradicts itself, or leads nowhere. */
static int source_check(const struct place *at, const struct jwks_source *s)
{
    _cleanup_(jose_keys_unref) struct jose_keys *keys = NULL;
    struct error why = {""};

    if (!!s->file + !!s->url + !!s->keys > 1)
        return place_error(at, "jwksURL, jwksFile and jwks: one of them");
    if (s->ca_file && s->ca_text)
        return place_error(at, "caFile and caBundle: one of them");
    if (!s->file && !s->url && !s->keys && !fetch_url_ok(s->issuer))
        return place_error(at, "issuer: neither https:// nor http:// to this machine, so that its "
                               "keys cannot be discovered; give jwksURL, jwksFile or jwks");
    if (s->stale_s <= s->refresh_s)
        return place_error(at, "staleAfter: has to be longer than refresh (%us)", s->refresh_s);
    if (s->keys && jose_keys_parse(bytes_str(s->keys), s->algorithms, &keys, &why) != 0)
        return place_error(at, "jwks: %.300s", why.text);
    return 0;
}

static int issuer_parse(const struct place *at, void *out)
{
#define SOURCE(member) offsetof(struct issuer, source) + offsetof(struct jwks_source, member)
    static const struct field fields[] = {
        {"issuer", place_parse_string, offsetof(struct issuer, name), .required = true},
        {"kind", kind_parse, offsetof(struct issuer, kind)},
        {"audience", audience_parse, offsetof(struct issuer, audiences), .required = true},
        {"jwksURL", url_parse, SOURCE(url)},
        {"jwksFile", place_parse_string, SOURCE(file)},
        {"jwks", block_parse, SOURCE(keys)},
        {"caFile", place_parse_string, SOURCE(ca_file)},
        {"caBundle", bundle_parse, SOURCE(ca_text)},
        {"tokenFile", place_parse_string, SOURCE(token_file)},
        {"algorithms", algorithms_parse, SOURCE(algorithms)},
        {"groupsClaim", place_parse_string, offsetof(struct issuer, groups_claim)},
        {"groupsPrefix", place_parse_string, offsetof(struct issuer, groups_prefix)},
        {"maxLifetime", duration_parse, offsetof(struct issuer, max_lifetime_s)},
        {"refresh", duration_parse, SOURCE(refresh_s)},
        {"staleAfter", duration_parse, SOURCE(stale_s)},
        {"unknownKeyInterval", duration_parse, SOURCE(unknown_s)},
    };
#undef SOURCE
    struct issuer *i = out;
    int rc;

    issuer_defaults(i);
    rc = place_fields(at, fields, ARRAY_LEN(fields), i);
    if (rc)
        return rc;
    i->source.issuer = i->name;
    return source_check(at, &i->source);
}

static int list_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct issuer), issuer_parse, false};

    return place_array(at, &of, out);
}

/* ---- in a pod ---- */

static bool is_accounts(const char *path)
{
    static const char dir[] = KUBE_ACCOUNT_DIR "/";

    return strncmp(path, dir, sizeof dir - 1) == 0 && !strchr(path + sizeof dir - 1, '/');
}

/* http:// to this machine is the agent's there: it shares the pod's loopback with the guard. */
static bool is_http(const char *url)
{
    return url && strncmp(url, "http://", 7) == 0;
}

/* Everything has to be in the text: the guard's container has no files but its account's, and whose
 * keys come from the pod's own loopback would be the agent itself. */
static int pod_issuer_parse(const struct place *at, void *out)
{
    struct issuer *i = out;
    struct jwks_source *s = &i->source;
    int rc = issuer_parse(at, i);

    if (rc)
        return rc;
    if (s->file)
        return place_error(at, "jwksFile: the guard of a pod has no such file; give jwksURL or "
                               "jwks");
    if (s->ca_file && !is_accounts(s->ca_file))
        return place_error(at, "caFile: the guard of a pod has no such file; give caBundle");
    if (s->token_file && (i->kind != ISSUER_KUBERNETES || !is_accounts(s->token_file)))
        return place_error(at, "tokenFile: only " KUBE_ACCOUNT_DIR "/token, and only with kind "
                               "Kubernetes");
    if (is_http(s->url) || (!s->url && !s->keys && is_http(i->name)))
        return place_error(at, "http:// to this machine is the agent's own in a pod; use https://");
    s->https_only = true;
    return 0;
}

static int pod_list_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct issuer), pod_issuer_parse, false};

    return place_array(at, &of, out);
}

/* ---- the file ---- */

static int add_list(const struct place *at, const struct array *list, struct issuers *all)
{
    if (list->n > ISSUERS_MAX)
        return place_error(at, "issuers: more than %d", ISSUERS_MAX);
    for (size_t i = 0; i < list->n; i++) {
        const struct issuer *fresh = (const struct issuer *)list->items + i;

        if (issuers_find(all, fresh->name))
            return place_error(at, "issuers[%zu].issuer: '%.200s' is there twice", i, fresh->name);
        all->list[all->n++] = *fresh;
    }
    return 0;
}

static int take_list(const struct place *at, bool in_pod, struct issuers *all)
{
    static const struct field anywhere[] = {{"issuers", list_parse, 0, .required = true}};
    static const struct field pod[] = {{"issuers", pod_list_parse, 0, .required = true}};
    struct array list = {0};
    int rc = place_expect(at, NODE_MAP);

    if (rc == 0)
        rc = place_fields(at, in_pod ? pod : anywhere, 1, &list);
    return rc ? rc : add_list(at, &list, all);
}

int issuers_check_inline(const struct place *list)
{
    struct issuers *all = calloc(1, sizeof *all);
    struct array found = {0};
    int rc = all ? pod_list_parse(list, &found) : place_no_memory(list);

    if (rc == 0)
        rc = add_list(list->up, &found, all);
    free(all);
    return rc;
}

struct issuers *issuers_none(void)
{
    struct issuers *all = calloc(1, sizeof *all);

    if (all) {
        atomic_init(&all->refs, 1);
        arena_init(&all->arena, YAMLTREE_ARENA_MAX);
    }
    return all;
}

static int parse(struct bytes yaml, const char *file, bool in_pod, struct issuers **ret,
                 struct error *err)
{
    _cleanup_(issuers_unref) struct issuers *all = issuers_none();
    struct yamltree_document *docs = NULL;
    struct loader loader;
    int rc;

    if (!all)
        return error_set(err, -ENOMEM, "out of memory");
    loader = (struct loader){.arena = &all->arena, .err = err};
    loader.file = arena_strdup(&all->arena, file);
    if (!loader.file)
        return error_set(err, -ENOMEM, "out of memory");
    rc = yamltree_parse(yaml, loader.file, &all->arena, &docs, err);
    if (rc == 0 && (!docs || docs->next))
        rc = error_set(err, -EINVAL, "%s:1: expected one document with the field issuers", file);
    if (rc == 0)
        rc = take_list(&(struct place){.node = docs->root, .loader = &loader}, in_pod, all);
    if (rc == 0)
        *ret = take(&all);
    return rc;
}

int issuers_parse(struct bytes yaml, const char *file, struct issuers **ret, struct error *err)
{
    return parse(yaml, file, false, ret, err);
}

static int load_file(const char *path, struct issuers **ret, struct error *err)
{
    struct buffer text;
    int rc;

    buffer_init(&text, MAX_FILE);
    rc = fetch_file(path, &text, err);
    if (rc == 0)
        rc = issuers_parse(buffer_bytes(&text), path, ret, err);
    buffer_done(&text);
    return rc;
}

int issuers_load(const struct issuers_origin *from, struct issuers **ret, struct error *err)
{
    _cleanup_(issuers_unref) struct issuers *all = NULL;
    const char *dir = from->account_dir;
    int rc = 0;

    if (from->file)
        rc = load_file(from->file, &all, err);
    else if (from->text)
        rc = parse(bytes_str(from->text), "--issuers-inline", true, &all, err);
    else if (!(all = issuers_none()))
        rc = error_set(err, -ENOMEM, "out of memory");
    if (rc == 0 && dir && (rc = issuers_add_cluster(all, dir, err)))
        error_prefix(err, rc, "the cluster's issuer of tokens");
    for (size_t i = 0; rc == 0 && i < all->n; i++)
        rc = jwks_start(&all->list[i].source, &all->list[i].jwks, err);
    if (rc == 0)
        *ret = take(&all);
    return rc;
}

struct issuers *issuers_ref(struct issuers *i)
{
    atomic_fetch_add(&i->refs, 1);
    return i;
}

void issuers_unref(struct issuers *i)
{
    if (!i || atomic_fetch_sub(&i->refs, 1) != 1)
        return;
    for (size_t n = 0; n < i->n; n++)
        jwks_stop(i->list[n].jwks);
    arena_done(&i->arena);
    free(i);
}

const struct issuer *issuers_find(const struct issuers *i, const char *name)
{
    for (size_t n = 0; n < i->n; n++)
        if (strcmp(i->list[n].name, name) == 0)
            return &i->list[n];
    return NULL;
}
