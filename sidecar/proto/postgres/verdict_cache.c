/* SPDX-License-Identifier: Apache-2.0
 * Cache of verdicts.
 */
#include "verdict_cache.h"

#include "context.h"
#include "sidecar/sql/lexer.h"
#include "src-common/siphash.h"

#include <errno.h>
#include <pthread.h>

#define SETS      1024
#define WAYS      4
#define MAX_KEY   (64 * 1024) /* longer texts are judged every time */
#define KEEP_KEY  1024        /* memory that an idle scratch buffer keeps */
#define MAX_BYTES (16u << 20) /* of keys and verdicts */

struct entry {
    uint64_t hash;
    uint8_t *key;
    size_t len;
    bool exact_only;           /* a shape that stands for "look for the exact text" */
    struct pgverdict *verdict; /* NULL with exact_only */
};

struct verdict_cache {
    pthread_mutex_t lock;
    size_t bytes;
    unsigned clock; /* next way to replace */
    struct entry sets[SETS][WAYS];
};

int verdict_cache_new(struct verdict_cache **ret)
{
    struct verdict_cache *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return 0;
}

/* An exact key and its shape may share a verdict; it is counted for both. */
static size_t entry_bytes(size_t key_len, const struct pgverdict *v)
{
    return key_len + (v ? v->arena.used : 0);
}

static void entry_drop(struct verdict_cache *c, struct entry *e)
{
    c->bytes -= entry_bytes(e->len, e->verdict);
    free(e->key);
    pgverdict_unref(e->verdict);
    *e = (struct entry){0};
}

void verdict_cache_free(struct verdict_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SETS; i++)
        for (size_t w = 0; w < WAYS; w++)
            if (c->sets[i][w].key)
                entry_drop(c, &c->sets[i][w]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Shapes never contain 0x00, which starts an exact key. */
static bool exact_key(struct buffer *key, struct bytes sql)
{
    buffer_reset(key, KEEP_KEY);
    buffer_add_u8(key, 0);
    return buffer_add(key, sql) == 0;
}

static struct entry *find(struct verdict_cache *c, struct bytes key, uint64_t hash)
{
    struct entry *set = c->sets[hash % SETS];

    for (size_t w = 0; w < WAYS; w++)
        if (set[w].key && set[w].hash == hash && bytes_eq(bytes_of(set[w].key, set[w].len), key))
            return &set[w];
    return NULL;
}

/* The text's shape into key. False when it has none, or is too long to be worth keeping. */
static bool shape_key(struct buffer *key, struct bytes sql)
{
    const char *reason;

    buffer_reset(key, KEEP_KEY);
    return sql.len <= MAX_KEY && sql_lex(sql, &sql_default_limits, key, &reason) == LEX_OK &&
           !key->failed;
}

struct pgverdict *verdict_cache_find(struct verdict_cache *c, struct bytes sql, struct buffer *key)
{
    struct pgverdict *v = NULL;
    struct entry *e;
    uint64_t hash;

    if (!shape_key(key, sql))
        return NULL;
    hash = siphash13(siphash_process_key(), buffer_bytes(key));
    pthread_mutex_lock(&c->lock);
    e = find(c, buffer_bytes(key), hash);
    if (e && e->exact_only) {
        e = NULL;
        if (exact_key(key, sql))
            e = find(c, buffer_bytes(key), siphash13(siphash_process_key(), buffer_bytes(key)));
    }
    if (e)
        v = pgverdict_ref(e->verdict);
    pthread_mutex_unlock(&c->lock);
    return v;
}

static void insert(struct verdict_cache *c, struct bytes key, struct pgverdict *v)
{
    uint64_t hash = siphash13(siphash_process_key(), key);
    struct entry *set = c->sets[hash % SETS], *slot = find(c, key, hash);
    uint8_t *copy;

    for (size_t w = 0; w < WAYS && !slot; w++)
        if (!set[w].key)
            slot = &set[w];
    if (!slot)
        slot = &set[c->clock++ % WAYS];
    if (slot->key)
        entry_drop(c, slot);
    for (size_t i = 0; c->bytes + entry_bytes(key.len, v) > MAX_BYTES && i < SETS; i++) {
        struct entry *victim = &c->sets[(hash + 1 + i) % SETS][c->clock++ % WAYS];

        if (victim->key && victim != slot)
            entry_drop(c, victim);
    }
    copy = malloc(key.len + 1);
    if (!copy)
        return;
    if (key.len)
        memcpy(copy, key.p, key.len);
    *slot = (struct entry){hash, copy, key.len, !v, v ? pgverdict_ref(v) : NULL};
    c->bytes += entry_bytes(key.len, v);
}

void verdict_cache_add(struct verdict_cache *c, struct bytes sql, bool literal_dependent,
                       struct pgverdict *v)
{
    struct buffer key;

    buffer_init(&key, VERDICT_CACHE_SCRATCH);
    if (shape_key(&key, sql)) {
        pthread_mutex_lock(&c->lock);
        insert(c, buffer_bytes(&key), literal_dependent ? NULL : v);
        if (literal_dependent && exact_key(&key, sql))
            insert(c, buffer_bytes(&key), v);
        pthread_mutex_unlock(&c->lock);
    }
    buffer_done(&key);
}
