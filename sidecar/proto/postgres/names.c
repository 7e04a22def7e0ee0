/* SPDX-License-Identifier: Apache-2.0
 * Names of prepared statements and portals, with undo.
 */
#include "names.h"

#include "src-common/siphash.h"

#include <errno.h>

struct pgname_slot {
    struct pgname_slot *next;
    void *value;
    size_t weight; /* when it was put here: a verdict may be replaced later */
    size_t len;
    uint8_t name[];
};

struct pgname_undo {
    struct pgname_undo *next;
    enum pgname_kind kind;
    void *old; /* counted; NULL: the name did not exist */
    size_t len;
    uint8_t name[];
};

struct pgprepared *pgprepared_new(struct bytes text, struct pgverdict *v)
{
    struct pgprepared *p = malloc(sizeof *p + text.len + 1);

    if (!p)
        return NULL;
    *p = (struct pgprepared){.refs = 1, .text = (char *)(p + 1)};
    memcpy(p->text, text.p, text.len);
    p->text[text.len] = '\0';
    p->text_len = text.len;
    p->verdict = pgverdict_ref(v);
    return p;
}

struct pgprepared *pgprepared_ref(struct pgprepared *p)
{
    p->refs++;
    return p;
}

void pgprepared_unref(struct pgprepared *p)
{
    if (!p || --p->refs)
        return;
    pgverdict_unref(p->verdict);
    rowplan_unref(p->plan);
    free(p);
}

struct pgportal *pgportal_new(struct pgprepared *prepared)
{
    struct pgportal *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->refs = 1;
    p->prepared = pgprepared_ref(prepared);
    return p;
}

struct pgportal *pgportal_ref(struct pgportal *p)
{
    p->refs++;
    return p;
}

void pgportal_unref(struct pgportal *p)
{
    if (!p || --p->refs)
        return;
    pgprepared_unref(p->prepared);
    rowplan_unref(p->plan);
    free(p);
}

static void *value_ref(enum pgname_kind kind, void *v)
{
    if (!v)
        return NULL;
    return kind == PGNAME_PORTAL ? (void *)pgportal_ref(v) : (void *)pgprepared_ref(v);
}

static void value_unref(enum pgname_kind kind, void *v)
{
    if (kind == PGNAME_PORTAL)
        pgportal_unref(v);
    else
        pgprepared_unref(v);
}

/* Where the name's slot is, or where it would be linked. */
static struct pgname_slot **find(const struct pgnames *t, enum pgname_kind kind, struct bytes name)
{
    uint64_t h = name.len ? siphash13(siphash_process_key(), name) : 0;
    struct pgname_slot **at = (struct pgname_slot **)&t->buckets[kind][h % 64];

    while (*at && !bytes_eq(bytes_of((*at)->name, (*at)->len), name))
        at = &(*at)->next;
    return at;
}

void *pgnames_get(const struct pgnames *t, enum pgname_kind kind, struct bytes name)
{
    struct pgname_slot *s = *find(t, kind, name);

    return s ? s->value : NULL;
}

/* What a name costs: portals' texts are their statements'. */
static size_t weight(enum pgname_kind kind, const void *value)
{
    const struct pgprepared *p = value;

    return kind == PGNAME_PREPARED && p ? p->text_len + p->verdict->arena.used : 0;
}

/* Takes over the reference to value. */
static int put(struct pgnames *t, enum pgname_kind kind, struct bytes name, void *value)
{
    struct pgname_slot **at = find(t, kind, name), *s = *at;

    if (s)
        t->bytes -= s->weight;
    t->bytes += weight(kind, value);
    if (s && value) {
        value_unref(kind, s->value);
        s->value = value;
        s->weight = weight(kind, value);
    } else if (s) {
        *at = s->next;
        value_unref(kind, s->value);
        free(s);
        t->n[kind]--;
    } else if (value) {
        s = malloc(sizeof *s + name.len);
        if (!s) {
            t->bytes -= weight(kind, value);
            value_unref(kind, value);
            return -ENOMEM;
        }
        *s = (struct pgname_slot){NULL, value, weight(kind, value), name.len};
        memcpy(s->name, name.p, name.len);
        *at = s;
        t->n[kind]++;
    }
    return 0;
}

int pgnames_set(struct pgnames *t, enum pgname_kind kind, struct bytes name, void *value,
                struct pgname_undo **undo)
{
    void *old = pgnames_get(t, kind, name);
    struct pgname_undo *u;

    if (!old && !value)
        return 0;
    if ((!old && t->n[kind] >= PGNAMES_MAX) ||
        weight(kind, value) > PGNAMES_MAX_BYTES - min_size(t->bytes, PGNAMES_MAX_BYTES))
        return -E2BIG;
    u = malloc(sizeof *u + name.len);
    if (!u)
        return -ENOMEM;
    *u = (struct pgname_undo){*undo, kind, value_ref(kind, old), name.len};
    if (name.len)
        memcpy(u->name, name.p, name.len);
    *undo = u;
    return put(t, kind, name, value_ref(kind, value));
}

int pgnames_clear(struct pgnames *t, enum pgname_kind kind, struct pgname_undo **undo)
{
    for (size_t i = 0; i < ARRAY_LEN(t->buckets[kind]); i++) {
        while (t->buckets[kind][i]) {
            struct pgname_slot *s = t->buckets[kind][i];
            int rc = pgnames_set(t, kind, bytes_of(s->name, s->len), NULL, undo);

            if (rc)
                return rc;
        }
    }
    return 0;
}

void pgnames_transaction_ended(struct pgnames *t)
{
    for (size_t i = 0; t->n[PGNAME_PORTAL] && i < ARRAY_LEN(t->buckets[PGNAME_PORTAL]); i++) {
        struct pgname_slot **at = &t->buckets[PGNAME_PORTAL][i];

        while (*at) {
            struct pgname_slot *s = *at;

            if (((struct pgportal *)s->value)->declared) {
                at = &s->next;
                continue;
            }
            *at = s->next;
            pgportal_unref(s->value);
            free(s);
            t->n[PGNAME_PORTAL]--;
        }
    }
}

void pgname_undo_apply(struct pgnames *t, struct pgname_undo *undo)
{
    while (undo) {
        struct pgname_undo *next = undo->next;

        /* Out of memory here would leave a name missing: it is refused then, never misjudged. */
        if (put(t, undo->kind, bytes_of(undo->name, undo->len), undo->old) != 0)
            undo->old = NULL;
        free(undo);
        undo = next;
    }
}

/* The oldest entry for that name: lists are newest first. */
static struct pgname_undo *oldest_of(struct pgname_undo *list, const struct pgname_undo *name)
{
    struct pgname_undo *found = NULL;

    for (; list; list = list->next)
        if (list->kind == name->kind &&
            bytes_eq(bytes_of(list->name, list->len), bytes_of(name->name, name->len)))
            found = list;
    return found;
}

void pgname_undo_hand_on(struct pgname_undo **undo, struct pgname_undo *later)
{
    while (*undo) {
        struct pgname_undo *u = *undo, *l = oldest_of(later, u);

        if (!l) {
            undo = &u->next;
            continue;
        }
        value_unref(l->kind, l->old);
        l->old = u->old;
        *undo = u->next;
        free(u);
    }
}

void pgname_undo_blank(struct pgname_undo *undo)
{
    for (; undo; undo = undo->next) {
        value_unref(undo->kind, undo->old);
        undo->old = NULL;
    }
}

void pgname_undo_free(struct pgname_undo *undo)
{
    while (undo) {
        struct pgname_undo *next = undo->next;

        value_unref(undo->kind, undo->old);
        free(undo);
        undo = next;
    }
}

void pgnames_done(struct pgnames *t)
{
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < ARRAY_LEN(t->buckets[kind]); i++) {
            while (t->buckets[kind][i]) {
                struct pgname_slot *s = t->buckets[kind][i];

                t->buckets[kind][i] = s->next;
                value_unref((enum pgname_kind)kind, s->value);
                free(s);
            }
        }
    }
    *t = (struct pgnames){0};
}
