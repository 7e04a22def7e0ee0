/* SPDX-License-Identifier: Apache-2.0
 * What rules match: the sections sql and kube. (ssh: match_ssh.c)
 */
#include "model.h"

#include <ctype.h>

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

/* ---- kube ---- */

static int verb_parse(const struct place *at, void *out)
{
    static const struct word words[] = {
        {"get", 0},     {"list", 0},  {"watch", 0},  {"create", 0},
        {"update", 0},  {"patch", 0}, {"delete", 0}, {"deletecollection", 0},
        {"connect", 0}, {"*", 0},
    };
    unsigned ignored;
    int rc = place_word(at, "verb", words, ARRAY_LEN(words), &ignored);

    return rc ? rc : pattern_parse_glob(at, out);
}

/* `more` are the signs allowed beside lower-case letters, digits and stars. */
static int kube_name(const struct place *at, const char *what, const char *more, void *out)
{
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    for (const char *t = at->node->text; *t; t++) {
        if (!islower((unsigned char)*t) && !isdigit((unsigned char)*t) && *t != '*' &&
            !strchr(more, *t))
            return place_error(at, "'%.64s' is no %s", at->node->text, what);
    }
    return pattern_parse_glob(at, out);
}

static int resource_parse(const struct place *at, void *out)
{
    const char *text = at->node->text, *slash = text ? strchr(text, '/') : NULL;

    if (slash && (slash == text || !slash[1] || strchr(slash + 1, '/')))
        return place_error(at, "'%.64s' is no resource such as pods or pods/log", text);
    return kube_name(at, "resource such as pods or pods/log", "-/.", out);
}

static int group_parse(const struct place *at, void *out)
{
    struct pattern *ret = out;

    if (at->node->type == NODE_STRING && !*at->node->text) { /* the core group */
        *ret = (struct pattern){PATTERN_EXACT, ""};
        return 0;
    }
    return kube_name(at, "API group", "-.", out);
}

static int kube_namespace_parse(const struct place *at, void *out)
{
    return kube_name(at, "namespace", "-", out);
}

static int object_name_parse(const struct place *at, void *out)
{
    return kube_name(at, "name of an object", "-.:", out);
}

#define PATTERN_LIST(name, item)                                                                   \
    static int name(const struct place *at, void *out)                                             \
    {                                                                                              \
        static const struct array_of of = {sizeof(struct pattern), item, false};                   \
                                                                                                   \
        return place_array(at, &of, out);                                                          \
    }

PATTERN_LIST(verbs_parse, verb_parse)
PATTERN_LIST(resources_parse, resource_parse)
PATTERN_LIST(groups_parse, group_parse)
PATTERN_LIST(kube_namespaces_parse, kube_namespace_parse)
PATTERN_LIST(object_names_parse, object_name_parse)

int match_parse_kube(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"verbs", verbs_parse, offsetof(struct kube_match, verbs)},
        {"resources", resources_parse, offsetof(struct kube_match, resources), .required = true},
        {"groups", groups_parse, offsetof(struct kube_match, groups)},
        {"namespaces", kube_namespaces_parse, offsetof(struct kube_match, namespaces)},
        {"names", object_names_parse, offsetof(struct kube_match, names)},
    };
    struct kube_match **ret = out;
    int rc = allocate(at, sizeof **ret, ret);

    return rc ? rc : place_fields(at, fields, ARRAY_LEN(fields), *ret);
}
