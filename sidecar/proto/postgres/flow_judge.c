/* SPDX-License-Identifier: Apache-2.0
 * From a message's text to its effect: the cached verdict, the prepared statements and cursors
 * that it names, and what it does to those names.
 */
#include "flow_internal.h"

#include "src-common/clock.h"

#include <stdio.h>

/* When columns are masked, somebody else's change of a view may not go unseen for longer. One
 * session looks for all that share the context. */
#define CATALOG_FRESH_MS 2000
#define UNKNOWN_RETRY_MS 1000

static bool park(struct pgflow *f, enum pgpark why)
{
    f->park = why;
    return false;
}

static bool schema_is_old(struct pgflow *f)
{
    uint64_t now = clock_mono_ms();

    if (f->schema_undone || f->schema_seen != pgcatalog_changes())
        return true;
    if (!f->context->column_masks ||
        now <
            atomic_load_explicit(&f->context->checked_ms, memory_order_relaxed) + CATALOG_FRESH_MS)
        return false;
    atomic_store_explicit(&f->context->checked_ms, now, memory_order_relaxed);
    return true;
}

/* The context has to be of the policy in force, and know the schema as it is. */
static bool context_ready(struct pgflow *f)
{
    struct guard *g = f->session->guard;

    if (f->context->policy_generation !=
        atomic_load_explicit(&g->policy_generation, memory_order_relaxed))
        return park(f, PGPARK_CONTEXT);
    if (f->refreshed || !pgflow_quiet(f) || f->tx_status == 'E')
        return true;
    return schema_is_old(f) ? park(f, PGPARK_CATALOG) : true;
}

/* A relation that the catalogue lacks may have been made since it was read. */
static bool want_refresh(struct pgflow *f, const struct pgverdict *v)
{
    uint64_t now = clock_mono_ms();

    if (!v->unknown_relation || f->refreshed || !pgflow_quiet(f) || f->tx_status == 'E' ||
        now - f->unknown_at_ms < UNKNOWN_RETRY_MS)
        return false;
    f->unknown_at_ms = now;
    return true;
}

bool pgflow_judge(struct pgflow *f, struct bytes text, struct pgverdict **ret)
{
    struct pgverdict *v;

    if (!context_ready(f))
        return false;
    v = take(&f->judged);
    if (v && v->context_serial != f->context->serial) {
        pgverdict_unref(v);
        v = NULL;
    }
    if (!v)
        v = pgcontext_lookup(f->context, text, &f->shape);
    if (!v) {
        f->park_text = text;
        return park(f, PGPARK_JUDGE);
    }
    if (want_refresh(f, v)) {
        pgverdict_unref(v);
        return park(f, PGPARK_CATALOG);
    }
    *ret = v;
    return true;
}

bool pgflow_judge_prepared(struct pgflow *f, struct pgprepared *p)
{
    struct pgverdict *v;

    if (!context_ready(f))
        return false;
    if (p->verdict->context_serial == f->context->serial)
        return true;
    v = pgcontext_lookup(f->context, bytes_of(p->text, p->text_len), &f->shape);
    if (!v) {
        f->park_text = bytes_of(p->text, p->text_len);
        f->park_prepared = pgprepared_ref(p);
        return park(f, PGPARK_JUDGE);
    }
    pgverdict_unref(p->verdict);
    p->verdict = v;
    return true;
}

/* ---- effect ---- */

static void add_flags(struct pgeffect *e, const struct pgverdict *v)
{
    e->touches_masked |= v->touches_masked;
    e->mask_originless |= v->mask_originless;
    e->reduce_errors |= v->reduce_errors;
    e->changes_catalog |= v->changes_catalog;
    e->ends_transaction |= v->ends_transaction;
}

static void add_verdict(struct pgeffect *e, const struct pgverdict *v)
{
    add_flags(e, v);
    if (v->decision.verdict < e->verdict) {
        e->verdict = v->decision.verdict;
        e->blame = v;
    }
}

/* Rows of a cursor that we did not see being declared may hold anything. */
static void add_cursor(struct pgflow *f, const char *name, struct pgeffect *e)
{
    const struct pgportal *p = pgnames_get(&f->names, PGNAME_PORTAL, bytes_str(name));

    if (p) {
        add_flags(e, p->prepared->verdict);
    } else if (f->context->column_masks) {
        e->touches_masked = e->mask_originless = e->reduce_errors = true;
    }
}

static int set_name(struct pgflow *f, enum pgname_kind kind, const char *name, void *value,
                    struct pgname_undo **undo)
{
    return name ? pgnames_set(&f->names, kind, bytes_str(name), value, undo)
                : pgnames_clear(&f->names, kind, undo);
}

/* PREPARE and DECLARE: the name stands for this message's text. */
static int add_name(struct pgflow *f, const struct sql_statement *s, struct bytes text,
                    struct pgverdict *v, struct pgname_undo **undo)
{
    struct pgprepared *p = pgprepared_new(text, v);
    struct pgportal *portal = NULL;
    int rc = -1;

    if (p && s->kind == SQL_PREPARE) {
        rc = set_name(f, PGNAME_PREPARED, s->name, p, undo);
    } else if (p && (portal = pgportal_new(p))) {
        portal->declared = true;
        rc = set_name(f, PGNAME_PORTAL, s->name, portal, undo);
    }
    pgportal_unref(portal);
    pgprepared_unref(p);
    return rc;
}

/* One statement's dealings with names. 0, -1: cannot, 1: parked. */
static int apply_statement(struct pgflow *f, const struct sql_statement *s, struct bytes text,
                           struct pgverdict *v, struct pgeffect *e, struct pgname_undo **undo)
{
    struct pgprepared *p;

    switch (s->kind) {
    case SQL_PREPARE:
    case SQL_DECLARE:
        return add_name(f, s, text, v, undo);
    case SQL_EXECUTE:
        p = pgnames_get(&f->names, PGNAME_PREPARED, bytes_str(s->name));
        if (!p) {
            e->missing = s->name;
            return 0;
        }
        if (!pgflow_judge_prepared(f, p))
            return 1;
        add_verdict(e, p->verdict);
        e->runs = p;
        return 0;
    case SQL_FETCH:
        add_cursor(f, s->name, e);
        return 0;
    case SQL_DEALLOCATE:
        return set_name(f, PGNAME_PREPARED, s->name, NULL, undo);
    case SQL_CLOSE:
        return set_name(f, PGNAME_PORTAL, s->name, NULL, undo);
    case SQL_DISCARD_ALL:
        if (pgnames_clear(&f->names, PGNAME_PORTAL, undo) != 0)
            return -1;
        return pgnames_clear(&f->names, PGNAME_PREPARED, undo);
    case SQL_TRANSACTION: /* deferred constraints and triggers speak at its end */
        e->reduce_errors |= f->context->column_masks;
        return 0;
    case SQL_OTHER:
    case SQL_SET:
        break;
    }
    return 0;
}

/* Whether a statement of the message runs behind the end of a transaction (or ROLLBACK TO) that has
 * changed the schema, so that its names may mean what they meant before. */
static bool schema_is_unsure(const struct pgflow *f, const struct pgverdict *v)
{
    bool undone = f->schema_undone;

    if (!f->context->column_masks || (!undone && !f->schema_changed_in_tx))
        return false;
    for (size_t i = 0; i < v->message.n; i++) {
        const struct sql_statement *s = &v->message.statements[i];

        if (undone && s->kind != SQL_TRANSACTION)
            return true;
        undone |= s->ends_transaction && f->schema_changed_in_tx;
    }
    return false;
}

enum handled pgflow_effect(struct pgflow *f, struct bytes text, struct pgverdict *v,
                           struct pgname_undo **undo, struct pgeffect *ret)
{
    *ret = (struct pgeffect){.verdict = VERDICT_ALLOW, .blame = v};
    add_verdict(ret, v);
    if (v->sqlstate)
        return HANDLED_OK;
    if (schema_is_unsure(f, v)) {
        ret->verdict = VERDICT_DENY;
        ret->schema_unsure = true;
        return HANDLED_OK;
    }
    /* PREPARE runs nothing: what needs approval is asked for when it is executed. */
    if (v->message.n == 1 && v->message.statements[0].kind == SQL_PREPARE &&
        ret->verdict == VERDICT_APPROVE)
        ret->verdict = VERDICT_ALLOW;
    for (size_t i = 0; i < v->message.n; i++) {
        int rc = apply_statement(f, &v->message.statements[i], text, v, ret, undo);

        if (rc == 0)
            continue;
        pgname_undo_apply(&f->names, *undo);
        *undo = NULL;
        return rc < 0 ? HANDLED_FATAL : HANDLED_PARKED;
    }
    return HANDLED_OK;
}
