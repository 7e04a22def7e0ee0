/* SPDX-License-Identifier: Apache-2.0
 * What rules match: the section sql. (match_kube.c, match_ssh.c)
 */
#include "model.h"

static int allocate(const struct place *at, size_t size, void *out)
{
    void *p = arena_alloc(at->loader->arena, size);

    if (!p)
        return place_no_memory(at);
    memcpy(out, &p, sizeof p);
    return 0;
}

/* ---- sql ---- */

static int operation_parse_at(const struct place *at, void *out)
{
    opset *ret = out;
    struct suggestion s;
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    *ret = operation_parse(at->node->text);
    if (*ret)
        return 0;
    s = suggestion_for(at->node->text);
    operation_suggest(&s);
    return place_unknown(at, "operation", &s);
}

static int operations_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(opset), operation_parse_at, false};
    struct array sets = {0};
    opset *ret = out;
    int rc = place_array(at, &of, &sets);

    for (size_t i = 0; i < sets.n; i++)
        *ret |= ((const opset *)sets.items)[i];
    return rc;
}

static int relations_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct name_pattern), pattern_parse_relation, false};

    return place_array(at, &of, out);
}

static int functions_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct name_pattern), pattern_parse_function, false};

    return place_array(at, &of, out);
}

static int column_parse(const struct place *at, void *out)
{
    struct column_mask *m = out;
    const char *parts[3];
    int rc = pattern_parse_column(at, parts);

    if (rc)
        return rc;
    m->schema = parts[0];
    m->relation = parts[1];
    m->column = parts[2];
    return 0;
}

static int columns_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct column_mask), column_parse, false};

    return place_array(at, &of, out);
}

static int where_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Absent", RULE_WHERE_ABSENT},
                                        {"Present", RULE_WHERE_PRESENT}};

    return place_word(at, "word", words, ARRAY_LEN(words), out);
}

/* Rules that could never match are mistakes, and a Deny that never matches is a dangerous one. */
static int check_sql(const struct place *at, const struct sql_match *m)
{
    opset with_where = OPSET(OP_UPDATE) | OPSET(OP_DELETE);
    opset without_name =
        OPS_NAMELESS | OPSET(OP_DO) | OPSET(OP_FUNCTION_CALL) | OPSET(OP_REPLICATION);
    struct place found;

    if (!m->operations && !m->functions.n && !m->columns.n)
        return place_missing(at, "operations",
                             "required (or functions, or in a Mask rule columns)");
    if (m->where && !(m->operations & with_where) && place_find(at, "where", &found))
        return place_error(&found, "narrows Update and Delete; the rule names neither");
    if (m->relations.n && !m->operations && place_find(at, "relations", &found))
        return place_error(&found, "narrows operations; the rule names none");
    if (m->relations.n && !(m->operations & ~without_name) && place_find(at, "relations", &found))
        return place_error(&found, "none of the rule's operations has a relation");
    return 0;
}

int match_parse_sql(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"operations", operations_parse, offsetof(struct sql_match, operations)},
        {"relations", relations_parse, offsetof(struct sql_match, relations)},
        {"functions", functions_parse, offsetof(struct sql_match, functions)},
        {"columns", columns_parse, offsetof(struct sql_match, columns)},
        {"where", where_parse, offsetof(struct sql_match, where)},
    };
    struct sql_match **ret = out;
    int rc = allocate(at, sizeof **ret, ret);

    if (rc || (rc = place_fields(at, fields, ARRAY_LEN(fields), *ret)))
        return rc;
    return check_sql(at, *ret);
}
