/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: life, digest, looking things up.
 */
#include "model.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#define ARENA_MAX ((size_t)256 << 20)

static atomic_uint_fast64_t last_generation;

struct policy_snapshot *snapshot_new(void)
{
    struct policy_snapshot *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    arena_init(&s->arena, ARENA_MAX);
    return s;
}

struct policy_snapshot *policy_snapshot_ref(struct policy_snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void policy_snapshot_unref(struct policy_snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_done(&s->arena);
    free(s);
}

/* ---- finishing ---- */

/* Cluster policies, policies, targets; each by namespace and name. */
static int compare_objects(const void *a, const void *b)
{
    static const int order[] = {
        [OBJECT_CLUSTER_POLICY] = 0, [OBJECT_POLICY] = 1, [OBJECT_TARGET] = 2};
    const struct loaded *const *x = a, *const *y = b;
    const char *ns_x = (*x)->namespace_, *ns_y = (*y)->namespace_;
    int c = order[(*x)->kind] - order[(*y)->kind];

    if (c == 0)
        c = strcmp(ns_x ? ns_x : "", ns_y ? ns_y : "");
    return c ? c : strcmp((*x)->name, (*y)->name);
}

/* Of the digests of all objects, in order. */
static int make_digest(struct policy_snapshot *s, struct loaded *const *sorted)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

    for (size_t i = 0; i < s->n_objects && ok; i++)
        ok = EVP_DigestUpdate(md, sorted[i]->digest, sizeof sorted[i]->digest) == 1;
    ok = ok && EVP_DigestFinal_ex(md, digest, NULL) == 1;
    EVP_MD_CTX_free(md);
    for (size_t i = 0; i < 32 && ok; i++)
        snprintf(s->digest + 2 * i, 3, "%02x", digest[i]);
    return ok ? 0 : -ENOMEM;
}

static void fill_lists(struct policy_snapshot *s, struct loaded *const *sorted)
{
    for (size_t i = 0; i < s->n_objects; i++) {
        if (sorted[i]->kind == OBJECT_TARGET)
            s->targets[s->n_targets++] = sorted[i]->target;
        else
            s->policies[s->n_policies++] = sorted[i]->policy;
    }
}

int snapshot_finish(struct policy_snapshot *s)
{
    struct loaded **sorted = calloc(s->n_objects + 1, sizeof *sorted);
    size_t n = 0;
    int rc = -ENOMEM;

    s->policies = arena_alloc(&s->arena, (s->n_objects + 1) * sizeof *s->policies);
    s->targets = arena_alloc(&s->arena, (s->n_objects + 1) * sizeof *s->targets);
    if (sorted && s->policies && s->targets) {
        for (struct loaded *o = s->objects; o; o = o->next)
            sorted[n++] = o;
        qsort(sorted, n, sizeof *sorted, compare_objects);
        fill_lists(s, sorted);
        rc = make_digest(s, sorted);
    }
    free(sorted);
    s->generation = atomic_fetch_add(&last_generation, 1) + 1;
    return rc;
}

/* ---- looking up ---- */

uint64_t policy_snapshot_generation(const struct policy_snapshot *s)
{
    return s->generation;
}

const char *policy_snapshot_digest(const struct policy_snapshot *s)
{
    return s->digest;
}

/* One of that very namespace comes before one without. */
const struct target *policy_target_by_name(const struct policy_snapshot *s, const char *ns,
                                           const char *name)
{
    const struct target *without = NULL;

    for (size_t i = 0; i < s->n_targets; i++) {
        const struct target *t = s->targets[i];

        if (strcmp(t->name, name) != 0)
            continue;
        if (!t->namespace_)
            without = t;
        else if (ns && strcmp(t->namespace_, ns) == 0)
            return t;
    }
    return without;
}

size_t policy_n_targets(const struct policy_snapshot *s)
{
    return s->n_targets;
}

const struct target *policy_target_at(const struct policy_snapshot *s, size_t i)
{
    return i < s->n_targets ? s->targets[i] : NULL;
}
