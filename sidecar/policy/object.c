/* SPDX-License-Identifier: Apache-2.0
 * Objects: kinds, metadata, digests.
 */
#include "object.h"

#include <errno.h>
#include <openssl/evp.h>

#define API_VERSION "chaperone.dev/v1alpha1"
#define MAX_OBJECTS 10000

struct metadata {
    const char *name, *namespace_;
};

typedef int object_parser(const struct place *spec, struct loaded *o);

struct kind {
    const char *name;
    enum object_kind kind;
    object_parser *parse;
    bool namespaced;
    const char *list_name;
};

/* ---- kinds ---- */

static int parse_policy(const struct place *spec, struct loaded *o)
{
    struct policy *p = arena_alloc(spec->loader->arena, sizeof *p);

    if (!p)
        return place_no_memory(spec);
    p->cluster = o->kind == OBJECT_CLUSTER_POLICY;
    p->name = o->name;
    p->namespace_ = o->namespace_;
    o->policy = p;
    return policy_parse_spec(spec, p);
}

static int parse_target(const struct place *spec, struct loaded *o)
{
    struct target *t = arena_alloc(spec->loader->arena, sizeof *t);

    if (!t)
        return place_no_memory(spec);
    t->name = o->name;
    t->namespace_ = o->namespace_;
    o->target = t;
    return target_parse_spec(spec, t);
}

static const struct kind kinds[] = {
    {"GuardPolicy", OBJECT_POLICY, parse_policy, true, "GuardPolicyList"},
    {"ClusterGuardPolicy", OBJECT_CLUSTER_POLICY, parse_policy, false, "ClusterGuardPolicyList"},
    {"GuardTarget", OBJECT_TARGET, parse_target, true, "GuardTargetList"},
};

/* ---- digest ---- */

static bool digest_bytes(EVP_MD_CTX *md, char tag, const void *p, size_t n)
{
    uint8_t head[5] = {(uint8_t)tag};

    put_be32(head + 1, (uint32_t)n);
    return EVP_DigestUpdate(md, head, sizeof head) == 1 && EVP_DigestUpdate(md, p, n) == 1;
}

static bool digest_text(EVP_MD_CTX *md, char tag, const char *s)
{
    return digest_bytes(md, tag, s, strlen(s));
}

static int compare_items(const void *a, const void *b)
{
    const struct node_item *const *x = a, *const *y = b;

    return strcmp((*x)->key->text, (*y)->key->text);
}

static bool digest_node(EVP_MD_CTX *md, const struct node *n);

/* Keys in sorted order. */
static bool digest_map(EVP_MD_CTX *md, const struct node *n)
{
    const struct node_item **items = calloc(n->n + 1, sizeof *items);
    size_t count = 0;
    bool ok = items != NULL;

    for (const struct node_item *i = n->items; i && ok; i = i->next)
        items[count++] = i;
    if (ok)
        qsort(items, count, sizeof *items, compare_items);
    for (size_t i = 0; i < count && ok; i++)
        ok = digest_text(md, 'k', items[i]->key->text) && digest_node(md, items[i]->value);
    free(items);
    return ok;
}

/* Every value says its type and length, so that no two trees have the same bytes. */
static bool digest_node(EVP_MD_CTX *md, const struct node *n)
{
    uint8_t number[8];
    bool ok;

    switch (n->type) {
    case NODE_NULL:
        return digest_text(md, '0', "");
    case NODE_BOOL:
    case NODE_INT:
        put_be32(number, (uint32_t)((uint64_t)n->number >> 32));
        put_be32(number + 4, (uint32_t)n->number);
        return digest_bytes(md, n->type == NODE_BOOL ? 'b' : 'i', number, sizeof number);
    case NODE_FLOAT:
        return digest_text(md, 'f', n->text);
    case NODE_STRING:
        return digest_text(md, 's', n->text);
    case NODE_LIST:
        ok = digest_bytes(md, 'l', "", 0);
        for (const struct node_item *i = n->items; i && ok; i = i->next)
            ok = digest_node(md, i->value);
        return ok && digest_bytes(md, 'e', "", 0);
    case NODE_MAP:
        return digest_bytes(md, 'm', "", 0) && digest_map(md, n) && digest_bytes(md, 'e', "", 0);
    }
    return false;
}

static int digest_object(const struct place *at, const struct node *spec, struct loaded *o)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              digest_bytes(md, (char)('A' + (int)o->kind), "", 0) &&
              digest_text(md, 'n', o->name) &&
              digest_text(md, o->namespace_ ? 'N' : '-', o->namespace_ ? o->namespace_ : "") &&
              digest_node(md, spec) && EVP_DigestFinal_ex(md, o->digest, NULL) == 1;

    EVP_MD_CTX_free(md);
    return ok ? 0 : place_no_memory(at);
}

/* ---- metadata ---- */

#define IGNORED(field)                                                                             \
    {                                                                                              \
        field, place_parse_ignored, 0                                                              \
    }

/* What the API server adds may stay. */
#define METADATA_IGNORED                                                                           \
    IGNORED("labels"), IGNORED("annotations"), IGNORED("uid"), IGNORED("resourceVersion"),         \
        IGNORED("generation"), IGNORED("creationTimestamp"), IGNORED("deletionTimestamp"),         \
        IGNORED("deletionGracePeriodSeconds"), IGNORED("managedFields"), IGNORED("finalizers"),    \
        IGNORED("ownerReferences"), IGNORED("generateName"), IGNORED("selfLink")

static int metadata_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"name", place_parse_name, offsetof(struct metadata, name), .required = true},
        {"namespace", place_parse_label, offsetof(struct metadata, namespace_)},
        METADATA_IGNORED,
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

static int cluster_metadata_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"name", place_parse_name, offsetof(struct metadata, name), .required = true},
        {.name = "namespace", .refused = "a ClusterGuardPolicy has no namespace"},
        METADATA_IGNORED,
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- objects ---- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int add_object(const struct place *name, struct loaded *o, const char *kind)
{
    struct policy_snapshot *s = name->loader->snapshot;

    if (s->n_objects == MAX_OBJECTS)
        return place_error(name, "more than %d objects", MAX_OBJECTS);
    for (const struct loaded *old = s->objects; old; old = old->next) {
        if (old->kind == o->kind && same_text(old->name, o->name) &&
            same_text(old->namespace_, o->namespace_))
            return place_error(name, "there is already a %s '%.64s' (%.80s:%u)", kind, o->name,
                               old->file, old->line);
    }
    o->next = s->objects;
    s->objects = o;
    s->n_objects++;
    return 0;
}

static int parse_object(const struct place *at, const struct kind *k)
{
    static const struct field fields[] = {
        IGNORED("apiVersion"),
        IGNORED("kind"),
        {"metadata", metadata_parse, 0, .required = true},
        {"spec", place_parse_ignored, 0, .required = true},
        IGNORED("status"),
    };
    static const struct field cluster_fields[] = {
        IGNORED("apiVersion"),
        IGNORED("kind"),
        {"metadata", cluster_metadata_parse, 0, .required = true},
        {"spec", place_parse_ignored, 0, .required = true},
        IGNORED("status"),
    };
    struct loaded *o = arena_alloc(at->loader->arena, sizeof *o);
    struct metadata meta = {0};
    struct place spec, metadata, name;
    int rc;

    if (!o)
        return place_no_memory(at);
    rc = place_fields(at, k->namespaced ? fields : cluster_fields, ARRAY_LEN(fields), &meta);
    if (rc)
        return rc;
    *o = (struct loaded){.kind = k->kind,
                         .name = meta.name,
                         .namespace_ = meta.namespace_,
                         .file = at->loader->file,
                         .line = at->node->line};
    if (!place_find(at, "spec", &spec) || !place_find(at, "metadata", &metadata) ||
        !place_find(&metadata, "name", &name))
        return place_missing(at, "spec", "required");
    if ((rc = add_object(&name, o, k->name)) || (rc = k->parse(&spec, o)))
        return rc;
    return digest_object(at, spec.node, o);
}

static int load_items(const struct place *at)
{
    static const struct field fields[] = {
        IGNORED("apiVersion"),
        IGNORED("kind"),
        IGNORED("metadata"),
        {"items", place_parse_ignored, 0, .required = true},
    };
    struct place items;
    size_t index = 0;
    int rc = place_fields(at, fields, ARRAY_LEN(fields), NULL);

    if (rc)
        return rc;
    if (at->up)
        return place_error(at, "a list in a list");
    if (!place_find(at, "items", &items) || (rc = place_expect(&items, NODE_LIST)))
        return rc;
    for (const struct node_item *i = items.node->items; i; i = i->next, index++) {
        struct place item = {.up = &items, .index = index, .node = i->value, .loader = at->loader};

        if ((rc = object_load(&item)))
            return rc;
    }
    return 0;
}

static int unknown_kind(const struct place *at)
{
    struct suggestion s = suggestion_for(at->node->text);

    if (strcmp(s.wrong, "ApprovalRequest") == 0)
        return place_error(at, "an ApprovalRequest is made by a guard and decided by people; it "
                               "is no policy");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        suggestion_offer(&s, kinds[i].name);
    return place_unknown(at, "kind", &s);
}

static int required_string(const struct place *at, const char *field, struct place *ret)
{
    if (!place_find(at, field, ret))
        return place_missing(at, field, "required");
    return place_expect(ret, NODE_STRING);
}

int object_load(const struct place *at)
{
    struct place kind, version;
    bool list;
    int rc = place_expect(at, NODE_MAP);

    if (rc || (rc = required_string(at, "apiVersion", &version)) ||
        (rc = required_string(at, "kind", &kind)))
        return rc;
    list = strcmp(kind.node->text, "List") == 0;
    if (strcmp(version.node->text, list ? "v1" : API_VERSION) != 0)
        return place_error(&version, "unknown version '%.64s' of %.64s (expected %s)",
                           version.node->text, kind.node->text, list ? "v1" : API_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(kinds) && !list; i++) {
        if (strcmp(kinds[i].name, kind.node->text) == 0)
            return parse_object(at, &kinds[i]);
        list = strcmp(kinds[i].list_name, kind.node->text) == 0;
    }
    return list ? load_items(at) : unknown_kind(&kind);
}
