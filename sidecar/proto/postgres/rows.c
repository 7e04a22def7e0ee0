/* SPDX-License-Identifier: Apache-2.0
 * Result rows.
 */
#include "rows.h"

#include "binary.h"

#include <errno.h>
#include <stdio.h>

/* Type OIDs from PostgreSQL's pg_type.dat; they never change. */
static const uint16_t text_types[] = {19, 25, 142, 705, 1042, 1043, 2275};
static const uint16_t compound_types[] = {
    143,  199,  1000, 1001, 1002, 1003, 1005, 1007, 1009, 1014, 1015, 1016,
    1021, 1022, 1028, 1115, 1182, 1185, 1231, 1263, 2249, 2287, 2951, 3807,
};
/* bool, "char", int2, int4, oid, regproc and friends, tid, xid, cid, floats, dates and times,
 * geometry, macaddr, uuid, void. */
static const uint16_t harmless_types[] = {
    16,   18,   21,   23,   24,   26,   27,   28,   29,   600,  601,  602,
    603,  604,  628,  700,  701,  718,  774,  829,  1082, 1083, 1114, 1184,
    1186, 1266, 2202, 2203, 2204, 2205, 2206, 2278, 2950, 4089, 4096,
};

static bool listed(const uint16_t *list, size_t n, uint32_t oid)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == oid)
            return true;
    return false;
}

static enum column_type type_of(uint32_t oid)
{
    if (oid == 114)
        return COLUMN_TYPE_JSON;
    if (oid == 3802)
        return COLUMN_TYPE_JSONB;
    if (oid == 20)
        return COLUMN_TYPE_INTEGER8;
    if (listed(text_types, ARRAY_LEN(text_types), oid))
        return COLUMN_TYPE_TEXT;
    if (listed(harmless_types, ARRAY_LEN(harmless_types), oid))
        return COLUMN_TYPE_HARMLESS;
    if (listed(compound_types, ARRAY_LEN(compound_types), oid))
        return COLUMN_TYPE_COMPOUND;
    return COLUMN_TYPE_OPAQUE; /* numeric, bytea, inet, …, and whatever users define */
}

/* Values that only detectors look at can be replaced inside the text form of a type that users
 * defined (citext, enums, composites): its text form is text. */
static bool text_form_is_text(const struct rowplan_column *col)
{
    return col->format == 0 &&
           (col->type == COLUMN_TYPE_TEXT || col->type == COLUMN_TYPE_COMPOUND ||
            col->type == COLUMN_TYPE_JSON || col->type == COLUMN_TYPE_JSONB ||
            col->type_oid >= 16384);
}

struct plan_maker {
    struct pgcontext *context;
    struct rowplan *plan;
    bool strict;
};

static void plan_mask(struct rowplan *p, struct rowplan_column *col, enum mask_method method,
                      const char *rule)
{
    col->action = COLUMN_MASK;
    col->method = method;
    col->rule = rule;
    p->any_mask = true;
}

/* A number in binary is no text that an anchor could be in. */
static bool is_opaque(const struct rowplan_column *col)
{
    return col->format == 1 && col->type != COLUMN_TYPE_TEXT && col->type != COLUMN_TYPE_JSON &&
           col->type != COLUMN_TYPE_JSONB;
}

static void plan_action(const struct plan_maker *m, struct rowplan_column *col)
{
    struct mask_origin o = {MASK_NONE, NULL, false};

    if (col->table_oid)
        o = maskmap_origin(m->context->masks, col->table_oid, col->attribute);
    if (o.method != MASK_NONE)
        plan_mask(m->plan, col, o.method, o.rule);
    else if (m->context->column_masks && o.unknown_relation)
        plan_mask(m->plan, col, MASK_REDACT, "unknown relation");
    else if (m->strict && (col->table_oid == 0 || col->attribute <= 0))
        plan_mask(m->plan, col, MASK_REDACT, "column without origin");
    else if (m->context->detectors && col->type != COLUMN_TYPE_HARMLESS)
        col->action = COLUMN_SCAN;
    m->plan->any_scan |= col->action == COLUMN_SCAN;
    m->plan->any_binary |= col->action == COLUMN_SCAN && is_opaque(col);
}

static int plan_column(const struct pgwire_column *c, unsigned i, void *arg)
{
    struct plan_maker *m = arg;
    struct rowplan_column *col = &m->plan->columns[i];

    *col = (struct rowplan_column){.table_oid = c->table_oid,
                                   .type_oid = c->type_oid,
                                   .attribute = c->attribute,
                                   .format = c->format,
                                   .type = type_of(c->type_oid)};
    /* Names are kept as offsets until all of them are there: the buffer may move. */
    col->name =
        (struct bytes){(const uint8_t *)(uintptr_t)buffer_len(&m->plan->names), c->name.len};
    plan_action(m, col);
    return buffer_add(&m->plan->names, c->name);
}

static struct rowplan *plan_alloc(struct pgcontext *c, uint16_t n)
{
    struct rowplan *p = calloc(1, sizeof *p + n * sizeof p->columns[0]);

    if (!p)
        return NULL;
    p->refs = 1;
    p->n = n;
    p->context = pgcontext_ref(c);
    buffer_init(&p->names, 1 << 20);
    buffer_init(&p->json, 8u << 20);
    return p;
}

int rowplan_new(struct pgcontext *c, struct bytes row_description, bool strict,
                struct rowplan **ret)
{
    uint16_t n = row_description.len >= 2 ? get_be16(row_description.p) : 0;
    struct plan_maker m = {c, plan_alloc(c, n), strict};
    int rc;

    if (!m.plan)
        return -ENOMEM;
    rc = pgwire_parse_row_description(row_description, plan_column, &m, &n);
    if (rc) {
        rowplan_unref(m.plan);
        return rc;
    }
    for (unsigned i = 0; i < n; i++)
        m.plan->columns[i].name.p =
            m.plan->names.p + m.plan->names.start + (uintptr_t)m.plan->columns[i].name.p;
    *ret = m.plan;
    return 0;
}

static bool has_formats(const struct rowplan *p, struct bytes formats, uint16_t n_formats)
{
    for (uint16_t i = 0; i < p->n; i++)
        if (p->columns[i].format != (int16_t)pgwire_format(formats, n_formats, i))
            return false;
    return true;
}

int rowplan_with_formats(struct rowplan *p, struct bytes formats, uint16_t n_formats,
                         struct rowplan **ret)
{
    struct rowplan *copy;

    if (n_formats > 1 && n_formats != p->n)
        return -EBADMSG;
    if (has_formats(p, formats, n_formats)) {
        *ret = rowplan_ref(p);
        return 0;
    }
    copy = plan_alloc(p->context, p->n);
    if (!copy)
        return -ENOMEM;
    copy->any_mask = p->any_mask;
    copy->any_scan = p->any_scan;
    if (buffer_add(&copy->names, buffer_bytes(&p->names)) != 0) {
        rowplan_unref(copy);
        return -ENOMEM;
    }
    for (uint16_t i = 0; i < p->n; i++) {
        copy->columns[i] = p->columns[i];
        copy->columns[i].format = (int16_t)pgwire_format(formats, n_formats, i);
        copy->any_binary |= copy->columns[i].action == COLUMN_SCAN && is_opaque(&copy->columns[i]);
        copy->columns[i].name.p = copy->names.p + (p->columns[i].name.p - p->names.p);
    }
    *ret = copy;
    return 0;
}

struct rowplan *rowplan_ref(struct rowplan *p)
{
    p->refs++;
    return p;
}

void rowplan_unref(struct rowplan *p)
{
    if (!p || --p->refs)
        return;
    buffer_done(&p->names);
    buffer_done(&p->json);
    pgcontext_unref(p->context);
    free(p);
}

/* ---- cells ---- */

static void put_null(struct buffer *out)
{
    buffer_add_be32(out, UINT32_MAX);
}

static void put_cell(struct buffer *out, struct bytes cell)
{
    buffer_add_be32(out, (uint32_t)cell.len);
    buffer_add(out, cell);
}

/* A masked column's value. Types that no text fits become NULL: a client that decodes them
 * keeps working. */
static int put_masked(const struct rowplan *p, const struct rowplan_column *col,
                      struct row_scratch *scratch, struct bytes cell, struct buffer *out)
{
    const struct masker *masker = p->context->guard->masker;
    struct buffer *text = &scratch->cell;
    bool json = col->type == COLUMN_TYPE_JSON || col->type == COLUMN_TYPE_JSONB;
    int rc;

    scratch->masked_values++;
    if (col->method == MASK_NULL ||
        !(json || col->type == COLUMN_TYPE_TEXT ||
          (col->type_oid >= 16384 && col->format == 0 && col->type == COLUMN_TYPE_TEXT))) {
        put_null(out);
        return 0;
    }
    buffer_reset(text, 64 * 1024);
    if (json) {
        if (col->type == COLUMN_TYPE_JSONB && col->format == 1)
            buffer_add_u8(text, 1); /* jsonb's binary version */
        buffer_append(text, "\"" MASK_REDACTED "\"", sizeof MASK_REDACTED + 1);
        rc = text->failed ? -ENOMEM : 0;
    } else {
        rc = mask_text(masker, col->method, cell, text);
    }
    if (rc)
        return rc;
    put_cell(out, buffer_bytes(text));
    return 0;
}

/* Binary forms other than text's: nothing inside them can be replaced, so a match makes the
 * whole value NULL. */
static void put_scanned_binary(const struct rowplan *p, const struct rowplan_column *col,
                               struct row_scratch *scratch, struct bytes cell, struct buffer *out)
{
    if (binary_holds_match(p->context, scratch->detect, col->type_oid, cell)) {
        scratch->masked_values++;
        put_null(out);
    } else {
        put_cell(out, cell);
    }
}

static int put_scanned(const struct rowplan *p, const struct rowplan_column *col,
                       struct row_scratch *scratch, struct bytes cell, struct buffer *out)
{
    struct buffer *text = &scratch->cell;
    bool changed = false;
    int rc;

    if (is_opaque(col)) {
        put_scanned_binary(p, col, scratch, cell, out);
        return 0;
    }
    if (scratch->clean) {
        put_cell(out, cell);
        return 0;
    }
    buffer_reset(text, 64 * 1024);
    rc = detect_mask_text(p->context->detectors, scratch->detect, p->context->guard->masker,
                          p->context->detector_method, cell, text, &changed);
    if (rc)
        return rc;
    if (!changed) {
        put_cell(out, cell);
        return 0;
    }
    scratch->masked_values++;
    if (text_form_is_text(col) || col->type == COLUMN_TYPE_TEXT || col->type == COLUMN_TYPE_JSON ||
        col->type == COLUMN_TYPE_JSONB)
        put_cell(out, buffer_bytes(text));
    else
        put_null(out);
    return text->failed ? -ENOMEM : 0;
}

int row_rewrite(const struct rowplan *p, struct row_scratch *scratch, struct bytes body,
                struct buffer *out)
{
    struct cursor c = cursor_over(body);
    size_t mark = pgwire_start(out, PGWIRE_B_DATA_ROW);
    uint16_t n = cursor_be16(&c);

    if (n != p->n)
        return -EBADMSG;
    buffer_add_be16(out, n);
    for (unsigned i = 0; i < n; i++) {
        const struct rowplan_column *col = &p->columns[i];
        struct bytes cell = pgwire_next_value(&c);
        int rc = 0;

        if (c.bad)
            return -EBADMSG;
        if (!cell.p)
            put_null(out);
        else if (col->action == COLUMN_MASK)
            rc = put_masked(p, col, scratch, cell, out);
        else if (col->action == COLUMN_SCAN)
            rc = put_scanned(p, col, scratch, cell, out);
        else
            put_cell(out, cell);
        if (rc)
            return rc;
    }
    pgwire_finish(out, mark);
    if (!cursor_at_end(&c))
        return -EBADMSG;
    return out->failed ? -ENOMEM : 0;
}

int row_mask_text(const struct pgcontext *c, struct row_scratch *scratch, struct bytes text,
                  struct buffer *out)
{
    bool changed = false;
    int rc = 0;

    if (c->detectors)
        rc = detect_mask_text(c->detectors, scratch->detect, c->guard->masker, c->detector_method,
                              text, out, &changed);
    if (rc)
        return rc;
    if (changed)
        scratch->masked_values++;
    else
        buffer_add(out, text);
    return out->failed ? -ENOMEM : 0;
}

/* ---- record ---- */

static void record_cell(const struct rowplan_column *col, struct bytes cell, struct buffer *out)
{
    if (!cell.p) {
        buffer_append(out, "null", 4);
        return;
    }
    if (col->format == 0 || col->type == COLUMN_TYPE_TEXT || col->type == COLUMN_TYPE_JSON) {
        jsonw_str(out, cell);
        return;
    }
    if (col->type == COLUMN_TYPE_JSONB && cell.len) {
        jsonw_str(out, (struct bytes){cell.p + 1, cell.len - 1});
        return;
    }
    jsonw_bytea(out, cell);
}

void row_to_record(const struct rowplan *p, struct bytes body, struct buffer *out)
{
    struct cursor c = cursor_over(body);
    uint16_t n = cursor_be16(&c);

    buffer_add_u8(out, '[');
    for (unsigned i = 0; i < n && i < p->n && !c.bad; i++) {
        if (i)
            buffer_add_u8(out, ',');
        record_cell(&p->columns[i], pgwire_next_value(&c), out);
    }
    buffer_add_u8(out, ']');
}

static void describe_columns(struct rowplan *p)
{
    struct buffer *b = &p->json;

    buffer_add_u8(b, '[');
    for (unsigned i = 0; i < p->n; i++) {
        buffer_append(b, i ? ",{" : "{", i ? 2 : 1);
        jsonw_kstr(b, "name", p->columns[i].name);
        jsonw_key(b, "masked");
        if (p->columns[i].action == COLUMN_MASK)
            buffer_append(b, "true}", 5);
        else
            buffer_append(b, "false}", 6);
    }
    buffer_add_u8(b, ']');
}

void rowplan_to_record(struct rowplan *p, struct buffer *out)
{
    if (buffer_len(&p->json) == 0)
        describe_columns(p);
    buffer_add(out, buffer_bytes(&p->json));
}
