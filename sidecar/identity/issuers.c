/* SPDX-License-Identifier: Apache-2.0
 * The issuers' file.
 */
#include "issuers.h"

#include "fetch.h"
#include "sidecar/policy/place.h"

#include <errno.h>
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

static int issuer_parse(const struct place *at, void *out)
{
#define SOURCE(member) offsetof(struct issuer, source) + offsetof(struct jwks_source, member)
    static const struct field fields[] = {
        {"issuer", place_parse_string, offsetof(struct issuer, name), .required = true},
        {"kind", kind_parse, offsetof(struct issuer, kind)},
        {"audience", audience_parse, offsetof(struct issuer, audiences), .required = true},
        {"jwksURL", url_parse, SOURCE(url)},
        {"jwksFile", place_parse_string, SOURCE(file)},
        {"caFile", place_parse_string, SOURCE(ca_file)},
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
    if (i->source.file && i->source.url)
        return place_error(at, "jwksURL and jwksFile: one of them");
    if (!i->source.file && !i->source.url && !fetch_url_ok(i->name))
        return place_error(at, "issuer: neither https:// nor http:// to this machine, so that its "
                               "keys cannot be discovered; give jwksURL or jwksFile");
    if (i->source.stale_s <= i->source.refresh_s)
        return place_error(at, "staleAfter: has to be longer than refresh (%us)",
                           i->source.refresh_s);
    return 0;
}

static int list_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct issuer), issuer_parse, false};

    return place_array(at, &of, out);
}

/* ---- the file ---- */

static int take_list(const struct place *at, struct issuers *all)
{
    static const struct field fields[] = {{"issuers", list_parse, 0, .required = true}};
    struct array list = {0};
    int rc = place_expect(at, NODE_MAP);

    if (rc == 0)
        rc = place_fields(at, fields, ARRAY_LEN(fields), &list);
    if (rc)
        return rc;
    if (list.n > ISSUERS_MAX)
        return place_error(at, "issuers: more than %d", ISSUERS_MAX);
    for (size_t i = 0; i < list.n; i++) {
        const struct issuer *fresh = (const struct issuer *)list.items + i;

        if (issuers_find(all, fresh->name))
            return place_error(at, "issuers[%zu].issuer: '%.200s' is there twice", i, fresh->name);
        all->list[all->n++] = *fresh;
    }
    return 0;
}

int issuers_parse(struct bytes yaml, const char *file, struct issuers **ret, struct error *err)
{
    _cleanup_(issuers_free) struct issuers *all = calloc(1, sizeof *all);
    struct yamltree_document *docs = NULL;
    struct loader loader;
    int rc;

    if (!all)
        return error_set(err, -ENOMEM, "out of memory");
    arena_init(&all->arena, YAMLTREE_ARENA_MAX);
    loader = (struct loader){.arena = &all->arena, .err = err};
    loader.file = arena_strdup(&all->arena, file);
    if (!loader.file)
        return error_set(err, -ENOMEM, "out of memory");
    rc = yamltree_parse(yaml, loader.file, &all->arena, &docs, err);
    if (rc == 0 && (!docs || docs->next))
        rc = error_set(err, -EINVAL, "%s:1: expected one document with the field issuers", file);
    if (rc == 0)
        rc = take_list(&(struct place){.node = docs->root, .loader = &loader}, all);
    if (rc == 0)
        *ret = take(&all);
    return rc;
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

int issuers_load(const char *path, const char *account_dir, struct issuers **ret, struct error *err)
{
    _cleanup_(issuers_free) struct issuers *all = NULL;
    int rc = path ? load_file(path, &all, err) : 0;

    if (!path && (all = calloc(1, sizeof *all)))
        arena_init(&all->arena, YAMLTREE_ARENA_MAX);
    if (rc == 0 && !all)
        rc = error_set(err, -ENOMEM, "out of memory");
    if (rc == 0 && account_dir && (rc = issuers_add_cluster(all, account_dir, err)))
        error_prefix(err, rc, "the cluster's issuer of tokens");
    for (size_t i = 0; rc == 0 && i < all->n; i++)
        rc = jwks_start(&all->list[i].source, &all->list[i].jwks, err);
    if (rc == 0)
        *ret = take(&all);
    return rc;
}

void issuers_free(struct issuers *i)
{
    if (!i)
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
