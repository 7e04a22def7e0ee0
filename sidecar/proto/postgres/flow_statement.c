/* SPDX-License-Identifier: Apache-2.0
 * The messages that carry or run statements: Query, Parse, Bind, Describe, Execute.
 */
/* The one-shot SHA256() looks its algorithm up anew each time, under locks. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "flow_internal.h"

#include <openssl/sha.h>
#include <stdio.h>

#define MAX_PARAMETER_SHOWN (64 * 1024)

static void digest(struct bytes b, uint8_t ret[static SHA256_DIGEST_LENGTH])
{
    SHA256_CTX c;

    SHA256_Init(&c);
    SHA256_Update(&c, b.p, b.len);
    SHA256_Final(ret, &c);
}

enum handled pgflow_refuse(struct pgflow *f, const struct pgapproval_subject *s,
                           const struct pgdenial *d)
{
    const struct pgverdict *v = s->effect ? s->effect->blame : NULL;

    pgflow_record_statement(f, ++f->n, s->kind, s->text, s->parameters_json, v, d);
    pgflow_record_decision(f, f->n, v, d);
    return pgflow_deny(f, s->extended, d);
}

static void describe_unsure(struct pgdenial *d)
{
    snprintf(d->sqlstate, sizeof d->sqlstate, "42501");
    snprintf(d->message, sizeof d->message,
             "refused: the transaction before has changed the schema, and its end may undo that");
    snprintf(d->detail, sizeof d->detail, "What names mean, and what is masked, is not known yet.");
    snprintf(d->hint, sizeof d->hint,
             "Send it by itself, when COMMIT or ROLLBACK has been answered.");
}

/* Refuses what the effect says is to be refused. */
static enum handled refuse_effect(struct pgflow *f, const struct pgapproval_subject *s)
{
    struct pgdenial d = {.sqlstate = "26000"};

    if (s->effect->schema_unsure)
        describe_unsure(&d);
    else if (s->effect->missing && s->effect->verdict != VERDICT_DENY)
        snprintf(d.message, sizeof d.message, "prepared statement \"%s\" does not exist",
                 s->effect->missing);
    else
        pgflow_describe_denial(f, s->effect->blame, f->n + 1, &d);
    return pgflow_refuse(f, s, &d);
}

/* Decides on a statement that is about to run. HANDLED_OK with *ret_go: record and forward. */
static enum handled decide(struct pgflow *f, const struct pgapproval_subject *s, bool *ret_go)
{
    *ret_go = false;
    if (guard_policy_stale(f->session->guard)) {
        struct pgdenial d = {.sqlstate = "42501",
                             .message = "the guard's policy is invalid and out of date",
                             .hint =
                                 "Ask whoever runs the guard: its log names the file and line."};

        return pgflow_refuse(f, s, &d);
    }
    if (s->effect->verdict != VERDICT_APPROVE)
        f->approval_decided = false; /* policy changed meanwhile: the decision is void */
    if (s->effect->verdict == VERDICT_DENY || s->effect->missing)
        return refuse_effect(f, s);
    if (s->effect->verdict == VERDICT_APPROVE)
        return pgflow_approve(f, s, ret_go);
    *ret_go = true;
    pgflow_record_statement(f, ++f->n, s->kind, s->text, s->parameters_json, s->effect->blame,
                            NULL);
    return HANDLED_OK;
}

static void take_flags(struct pgflow *f, struct pgpending *e, const struct pgeffect *x)
{
    e->touches_masked = x->touches_masked;
    e->mask_originless = x->mask_originless;
    e->reduce_errors = x->reduce_errors;
    e->changes_catalog = x->changes_catalog;
    e->ends_transaction = x->ends_transaction;
    f->schema_undone |= x->ends_transaction && f->schema_changed_in_tx;
}

/* ---- Query ---- */

enum handled pgflow_on_query(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgname_undo *undo = NULL;
    struct pgverdict *v = NULL;
    struct pgpending *e;
    struct pgeffect effect;
    struct bytes text;
    enum handled h;
    bool go;

    if (pgwire_parse_string(m->body, &text) != 0)
        return HANDLED_FATAL;
    if (!pgflow_judge(f, text, &v))
        return HANDLED_PARKED;
    h = pgflow_effect(f, text, v, &undo, &effect);
    if (h == HANDLED_OK) {
        struct pgapproval_subject s = {.text = text, .effect = &effect, .kind = "query"};

        h = decide(f, &s, &go);
    }
    if (h != HANDLED_OK || !go) {
        pgname_undo_apply(&f->names, undo);
        if (h == HANDLED_PARKED && f->park != PGPARK_JUDGE)
            f->judged = pgverdict_ref(v); /* spare the next try a look-up that may miss */
        pgverdict_unref(v);
        return h;
    }
    e = pgflow_expect(f, PGPENDING_QUERY);
    if (e) {
        take_flags(f, e, &effect);
        e->undo = undo;
        e->n = f->n;
        pgflow_forward(f, m->raw);
    }
    pgverdict_unref(v);
    return e ? HANDLED_OK : HANDLED_FATAL;
}

/* ---- Parse ---- */

enum handled pgflow_on_parse(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgverdict *v = NULL;
    struct pgwire_parse p;
    struct pgprepared *prepared;
    struct pgpending *e;
    enum handled h = HANDLED_FATAL;

    if (pgwire_parse_parse(m->body, &p) != 0)
        return HANDLED_FATAL;
    if (!pgflow_judge(f, p.query, &v))
        return HANDLED_PARKED;
    if (v->decision.verdict == VERDICT_DENY) {
        struct pgeffect effect = {.verdict = VERDICT_DENY, .blame = v};
        struct pgapproval_subject s = {
            .text = p.query, .effect = &effect, .extended = true, .kind = "parse"};

        h = refuse_effect(f, &s);
        pgverdict_unref(v);
        return h;
    }
    /* What needs approval is asked for at Bind, when its parameters are known. */
    prepared = pgprepared_new(p.query, v);
    e = prepared ? pgflow_expect(f, PGPENDING_PARSE) : NULL;
    if (e) {
        digest(p.types, prepared->types_digest);
        e->reduce_errors = v->reduce_errors;
        if (pgnames_set(&f->names, PGNAME_PREPARED, p.name, prepared, &e->undo) == 0) {
            pgflow_forward(f, m->raw);
            h = HANDLED_OK;
        }
    }
    pgprepared_unref(prepared);
    pgverdict_unref(v);
    return h;
}

/* ---- Bind ---- */

static void show_parameter(struct buffer *out, struct bytes value, int format)
{
    if (!value.p) {
        buffer_append(out, "null", 4);
        return;
    }
    if (value.len > MAX_PARAMETER_SHOWN) {
        uint8_t sum[SHA256_DIGEST_LENGTH];

        digest(value, sum);
        buffer_printf(out, "{\"bytes\":%zu,\"sha256\":\"", value.len);
        for (size_t i = 0; i < sizeof sum; i++)
            buffer_printf(out, "%02x", sum[i]);
        buffer_append(out, "\"}", 2);
        return;
    }
    if (format == 0) {
        jsonw_str(out, value);
        return;
    }
    jsonw_bytea(out, value);
}

static struct bytes show_parameters(struct pgflow *f, const struct pgwire_bind *b)
{
    struct cursor c = cursor_over(b->params);

    buffer_reset(&f->work, 64 * 1024);
    buffer_add_u8(&f->work, '[');
    for (unsigned i = 0; i < b->n_params; i++) {
        if (i)
            buffer_add_u8(&f->work, ',');
        show_parameter(&f->work, pgwire_next_value(&c),
                       pgwire_format(b->param_formats, b->n_param_formats, (uint16_t)i));
    }
    buffer_add_u8(&f->work, ']');
    return f->work.failed ? BYTES("[]") : buffer_bytes(&f->work);
}

/* The agent writes back what it was shown in place of the real value. */
static bool writes_back_masked(const struct pgverdict *v, const struct pgwire_bind *b)
{
    struct cursor c = cursor_over(b->params);

    for (unsigned i = 0; v->writes_masked && i < b->n_params; i++) {
        struct bytes value = pgwire_next_value(&c);

        if (value.p && mask_recognise(value))
            return true;
    }
    return false;
}

static struct pgportal *make_portal(struct pgflow *f, struct pgprepared *prepared,
                                    const struct pgwire_bind *b)
{
    struct pgportal *p = pgportal_new(prepared);

    if (!p)
        return NULL;
    p->n = f->n;
    p->policy_generation = f->context->policy_generation;
    /* Fails when the client gave the wrong number of formats: the upstream will say so. */
    if (prepared->plan && prepared->plan_serial == f->context->serial &&
        rowplan_with_formats(prepared->plan, b->result_formats, b->n_result_formats, &p->plan) != 0)
        p->plan = NULL;
    return p;
}

static enum handled forward_bind(struct pgflow *f, const struct pgwire_msg *m,
                                 const struct pgwire_bind *b, struct pgprepared *prepared)
{
    struct pgportal *portal = make_portal(f, prepared, b);
    struct pgpending *e = portal ? pgflow_expect(f, PGPENDING_BIND) : NULL;
    enum handled h = HANDLED_FATAL;

    if (e) {
        e->reduce_errors = prepared->verdict->reduce_errors;
        e->n = f->n;
        e->portal = pgportal_ref(portal);
        if (pgnames_set(&f->names, PGNAME_PORTAL, b->portal, portal, &e->undo) == 0) {
            pgflow_forward(f, m->raw);
            h = HANDLED_OK;
        }
    }
    pgportal_unref(portal);
    return h;
}

static enum handled refuse_missing(struct pgflow *f, const char *sqlstate, const char *what,
                                   struct bytes name)
{
    struct pgapproval_subject s = {.extended = true, .kind = "execute"};
    struct pgdenial d = {0};

    snprintf(d.sqlstate, sizeof d.sqlstate, "%s", sqlstate);
    snprintf(d.message, sizeof d.message, "%s \"%.*s\" does not exist", what,
             (int)min_size(name.len, 63), (const char *)name.p);
    return pgflow_refuse(f, &s, &d);
}

static enum handled refuse_write_back(struct pgflow *f, const struct pgapproval_subject *s,
                                      const struct pgverdict *v)
{
    struct pgdenial d = {.sqlstate = "42501",
                         .message =
                             "a parameter holds a masked value: it would overwrite the real one"};

    for (size_t i = 0; i < v->message.n; i++)
        if (v->message.statements[i].write_rule)
            snprintf(d.detail, sizeof d.detail, "Mask rule \"%s\" has writeBack: Deny.",
                     v->message.statements[i].write_rule);
    return pgflow_refuse(f, s, &d);
}

enum handled pgflow_on_bind(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgname_undo *undo = NULL;
    struct pgprepared *prepared;
    struct pgeffect effect;
    struct pgwire_bind b;
    enum handled h;
    bool go;

    if (pgwire_parse_bind(m->body, &b) != 0)
        return HANDLED_FATAL;
    prepared = pgnames_get(&f->names, PGNAME_PREPARED, b.statement);
    if (!prepared)
        return refuse_missing(f, "26000", "prepared statement", b.statement);
    if (!pgflow_judge_prepared(f, prepared))
        return HANDLED_PARKED;
    h = pgflow_effect(f, bytes_of(prepared->text, prepared->text_len), prepared->verdict, &undo,
                      &effect);
    /* Names change when it is executed; here only the verdict counts. */
    pgname_undo_apply(&f->names, undo);
    if (h != HANDLED_OK)
        return h;
    struct pgapproval_subject s = {.text = bytes_of(prepared->text, prepared->text_len),
                                   .parameters_json = show_parameters(f, &b),
                                   .parameters_raw = b.params,
                                   .effect = &effect,
                                   .types_digest = prepared->types_digest,
                                   .extended = true,
                                   .kind = "execute"};
    if (writes_back_masked(prepared->verdict, &b))
        return refuse_write_back(f, &s, prepared->verdict);
    h = decide(f, &s, &go);
    return h == HANDLED_OK && go ? forward_bind(f, m, &b, prepared) : h;
}

/* ---- Describe ---- */

enum handled pgflow_on_describe(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgprepared *prepared = NULL;
    struct pgportal *portal = NULL;
    struct pgwire_named d;
    struct pgpending *e;

    if (pgwire_parse_named(m->body, &d) != 0)
        return HANDLED_FATAL;
    if (d.kind == 'S') {
        prepared = pgnames_get(&f->names, PGNAME_PREPARED, d.name);
        if (!prepared)
            return refuse_missing(f, "26000", "prepared statement", d.name);
    } else {
        portal = pgnames_get(&f->names, PGNAME_PORTAL, d.name);
        if (!portal)
            return refuse_missing(f, "34000", "portal", d.name);
    }
    e = pgflow_expect(f, d.kind == 'S' ? PGPENDING_DESCRIBE_STATEMENT : PGPENDING_DESCRIBE_PORTAL);
    if (!e)
        return HANDLED_FATAL;
    e->prepared = prepared ? pgprepared_ref(prepared) : NULL;
    e->portal = portal ? pgportal_ref(portal) : NULL;
    e->reduce_errors = (prepared ? prepared : portal->prepared)->verdict->reduce_errors;
    pgflow_forward(f, m->raw);
    return HANDLED_OK;
}

/* ---- Execute ---- */

/* Rows must not come before we know their columns: asks for the portal's description ourselves. */
static enum handled describe_first(struct pgflow *f, struct bytes name, struct pgportal *portal)
{
    struct pgpending *e = pgflow_expect(f, PGPENDING_DESCRIBE_PORTAL);

    if (!e)
        return HANDLED_FATAL;
    e->hidden = true;
    e->portal = pgportal_ref(portal);
    pgwire_add_describe(relay_out(f->relay, SIDE_UPSTREAM), 'P', name);
    return HANDLED_OK;
}

static enum handled forward_execute(struct pgflow *f, const struct pgwire_msg *m,
                                    struct pgportal *portal, const struct pgeffect *effect,
                                    struct pgname_undo *undo)
{
    struct pgpending *e = pgflow_expect(f, PGPENDING_EXECUTE);

    if (!e)
        return HANDLED_FATAL;
    take_flags(f, e, effect);
    e->undo = undo;
    if (portal->declared) /* DECLARE was recorded; that it is read from now is not yet */
        pgflow_record_statement(f, portal->n = ++f->n, "execute",
                                bytes_of(portal->prepared->text, portal->prepared->text_len),
                                (struct bytes){0}, effect->blame, NULL);
    e->n = portal->n;
    e->portal = pgportal_ref(portal);
    pgflow_forward(f, m->raw);
    return HANDLED_OK;
}

/* Policy may have changed since Bind, when this was decided (and approved). */
static bool still_permitted(const struct pgflow *f, const struct pgportal *portal,
                            const struct pgeffect *effect)
{
    if (effect->missing)
        return false;
    if (effect->verdict == VERDICT_ALLOW)
        return true;
    return effect->verdict == VERDICT_APPROVE &&
           portal->policy_generation == f->context->policy_generation;
}

enum handled pgflow_on_execute(struct pgflow *f, const struct pgwire_msg *m)
{
    struct pgname_undo *undo = NULL;
    struct pgwire_execute x;
    struct pgportal *portal;
    struct pgeffect effect;
    struct pgprepared *p;
    enum handled h;

    if (pgwire_parse_execute(m->body, &x) != 0)
        return HANDLED_FATAL;
    portal = pgnames_get(&f->names, PGNAME_PORTAL, x.portal);
    if (!portal)
        return refuse_missing(f, "34000", "portal", x.portal);
    p = portal->prepared;
    if (!pgflow_judge_prepared(f, p))
        return HANDLED_PARKED;
    h = pgflow_effect(f, bytes_of(p->text, p->text_len), p->verdict, &undo, &effect);
    if (h != HANDLED_OK)
        return h;
    if (!still_permitted(f, portal, &effect)) {
        struct pgapproval_subject s = {.text = bytes_of(p->text, p->text_len),
                                       .effect = &effect,
                                       .extended = true,
                                       .kind = "execute"};

        pgname_undo_apply(&f->names, undo);
        return refuse_effect(f, &s);
    }
    if (!portal->no_rows && (!portal->plan || portal->plan->context != f->context))
        h = describe_first(f, x.portal, portal);
    if (h == HANDLED_OK)
        return forward_execute(f, m, portal, &effect, undo);
    pgname_undo_free(undo);
    return h;
}
