/* SPDX-License-Identifier: Apache-2.0
 * Whom a policy selects and which targets it covers.
 */
#include "model.h"

#include <stdio.h>
#include <strings.h>

#define NAMESPACE_NAME "kubernetes.io/metadata.name"

/* ---- parsing: label selectors ---- */

static int label_map_parse(const struct place *at, void *out)
{
    struct array *ret = out;
    struct label_match *m;
    int rc = place_expect(at, NODE_MAP);

    if (rc)
        return rc;
    m = arena_alloc(at->loader->arena, (at->node->n + 1) * sizeof *m);
    if (!m)
        return place_no_memory(at);
    ret->items = m;
    for (const struct node_item *i = at->node->items; i; i = i->next, m++, ret->n++) {
        struct place child = {
            .up = at, .key = i->key->text, .node = i->value, .loader = at->loader};
        const char **value = arena_alloc(at->loader->arena, 2 * sizeof *value);

        if ((rc = place_expect(&child, NODE_STRING))) /* may be empty */
            return rc;
        m->key = arena_strdup(at->loader->arena, i->key->text);
        if (!m->key || !value || !(value[0] = arena_strdup(at->loader->arena, i->value->text)))
            return place_no_memory(at);
        m->values = (struct array){value, 1};
    }
    return 0;
}

static int label_operator_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"In", LABEL_IN},
                                        {"NotIn", LABEL_NOT_IN},
                                        {"Exists", LABEL_EXISTS},
                                        {"DoesNotExist", LABEL_DOES_NOT_EXIST}};

    return place_word(at, "operator", words, ARRAY_LEN(words), out);
}

static int label_value_parse(const struct place *at, void *out)
{
    const char **ret = out;
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    *ret = arena_strdup(at->loader->arena, at->node->text);
    return *ret ? 0 : place_no_memory(at);
}

static int label_values_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(const char *), label_value_parse, false};

    return place_array(at, &of, out);
}

static int expression_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"key", place_parse_string, offsetof(struct label_match, key), .required = true},
        {"operator", label_operator_parse, offsetof(struct label_match, op), .required = true},
        {"values", label_values_parse, offsetof(struct label_match, values)},
    };
    struct label_match *ret = out;
    bool wants_values;
    struct place found;
    int rc = place_fields(at, fields, ARRAY_LEN(fields), ret);

    if (rc)
        return rc;
    wants_values = ret->op == LABEL_IN || ret->op == LABEL_NOT_IN;
    if (wants_values && !ret->values.n)
        return place_missing(at, "values", "required with In and NotIn");
    if (!wants_values && place_find(at, "values", &found))
        return place_error(&found, "only with In and NotIn");
    return 0;
}

static int expressions_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct label_match), expression_parse, false};

    return place_array(at, &of, out);
}

/* An empty selector selects all, as everywhere in Kubernetes. */
static int selector_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"matchLabels", label_map_parse, offsetof(struct label_selector, labels)},
        {"matchExpressions", expressions_parse, offsetof(struct label_selector, expressions)},
    };
    struct label_selector **ret = out;

    *ret = arena_alloc(at->loader->arena, sizeof **ret);
    return *ret ? place_fields(at, fields, ARRAY_LEN(fields), *ret) : place_no_memory(at);
}

/* A guard knows its namespace's name and no label of it. Guessing that a floor does not apply
 * would open it, so other labels are refused. */
static int namespace_selector_parse(const struct place *at, void *out)
{
    struct label_selector **ret = out;
    int rc = selector_parse(at, ret);
    const struct array *lists[2];

    if (rc)
        return rc;
    lists[0] = &(*ret)->labels;
    lists[1] = &(*ret)->expressions;
    for (size_t i = 0; i < 2; i++) {
        const struct label_match *m = lists[i]->items;

        for (size_t j = 0; j < lists[i]->n; j++) {
            if (strcmp(m[j].key, NAMESPACE_NAME) != 0)
                return place_error(at,
                                   "'%.80s': only the label " NAMESPACE_NAME " is known to a "
                                   "guard",
                                   m[j].key);
        }
    }
    return 0;
}

/* ---- parsing: subjects ---- */

/* NAME: VALUE or NAME: [VALUE, …]. */
static int claim_values_parse(const struct place *at, struct array *ret)
{
    const char **one;
    int rc;

    if (at->node->type == NODE_LIST)
        return place_parse_strings(at, ret);
    one = arena_alloc(at->loader->arena, 2 * sizeof *one);
    if (!one)
        return place_no_memory(at);
    if ((rc = place_text(at, one)))
        return rc;
    *ret = (struct array){one, 1};
    return 0;
}

static int claims_parse(const struct place *at, void *out)
{
    struct array *ret = out;
    struct label_match *m;
    int rc = place_expect(at, NODE_MAP);

    if (rc)
        return rc;
    if (at->node->n == 0)
        return place_error(at, "an empty map says nothing; leave it out");
    m = arena_alloc(at->loader->arena, (at->node->n + 1) * sizeof *m);
    if (!m)
        return place_no_memory(at);
    ret->items = m;
    for (const struct node_item *i = at->node->items; i; i = i->next, m++, ret->n++) {
        struct place child = {
            .up = at, .key = i->key->text, .node = i->value, .loader = at->loader};

        m->key = arena_strdup(at->loader->arena, i->key->text);
        m->op = LABEL_IN;
        if (!m->key)
            return place_no_memory(at);
        if ((rc = claim_values_parse(&child, &m->values)))
            return rc;
    }
    return 0;
}

#define SUBJECT_FIELDS                                                                             \
    {"podSelector", selector_parse, offsetof(struct subject, pods)},                               \
        {"serviceAccounts", place_parse_strings, offsetof(struct subject, service_accounts)},      \
        {"claims", claims_parse, offsetof(struct subject, claims)},                                \
    {                                                                                              \
        "groups", place_parse_strings, offsetof(struct subject, groups)                            \
    }

static int subject_fields(const struct place *at, const struct field *fields, size_t n, void *out)
{
    int rc = place_expect(at, NODE_MAP);

    if (rc == 0 && at->node->n == 0)
        return place_error(at, "an empty entry; for every agent leave spec.subjects out, or write "
                               "podSelector: {}");
    return rc ? rc : place_fields(at, fields, n, out);
}

int subject_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        SUBJECT_FIELDS,
        {.name = "namespaceSelector",
         .refused = "only a ClusterGuardPolicy selects namespaces; a GuardPolicy is for its own"},
    };

    return subject_fields(at, fields, ARRAY_LEN(fields), out);
}

int cluster_subject_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        SUBJECT_FIELDS,
        {"namespaceSelector", namespace_selector_parse, offsetof(struct subject, namespaces)},
    };

    return subject_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- parsing: targets ---- */

static int target_name_parse(const struct place *at, void *out)
{
    if (at->node->type == NODE_STRING && strchr(at->node->text, '/'))
        return place_error(at, "'%.80s': a policy can only name targets of its own namespace",
                           at->node->text);
    return place_parse_name(at, out);
}

static int globs_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct pattern), pattern_parse_glob, false};

    return place_array(at, &of, out);
}

/* A name in the database. The startup message ends names at a NUL, which YAML text has not. */
static int role_name_parse(const struct place *at, void *out)
{
    int rc = place_text(at, out);

    if (rc == 0 && strlen(at->node->text) > 63)
        return place_error(at, "longer than the 63 bytes of a PostgreSQL name");
    return rc;
}

/* "none" is PostgreSQL's word for giving the role up again. */
static int role_parse(const struct place *at, void *out)
{
    int rc = role_name_parse(at, out);

    if (rc == 0 && strcasecmp(at->node->text, "none") == 0)
        return place_error(at, "'none' is no role");
    return rc;
}

static int ref_credentials_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"user", role_name_parse, offsetof(struct target_ref, user)},
        {"role", role_parse, offsetof(struct target_ref, role)},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

int target_ref_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"credentials", ref_credentials_parse, 0},
        {"name", target_name_parse, offsetof(struct target_ref, name), .required = true},
        {"databases", globs_parse, offsetof(struct target_ref, databases)},
        {"namespaces", globs_parse, offsetof(struct target_ref, namespaces)},
        {.name = "namespace",
         .refused = "a policy can only name targets of its own namespace; leave this out"},
    };
    struct target_ref *ret = out;
    struct place found;

    ret->file = at->loader->file;
    ret->line = at->node->line;
    ret->index = at->index;
    if (place_find(at, "name", &found))
        ret->line = found.node->line;
    return place_fields(at, fields, ARRAY_LEN(fields), ret);
}

/* ---- parsing: egress ---- */

int destination_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"host", host_parse, offsetof(struct destination, host), .required = true},
        {"ports", ports_parse, offsetof(struct destination, ports), .required = true},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- matching ---- */

static bool listed(const struct array *list, const char *s)
{
    const char *const *items = list->items;

    for (size_t i = 0; i < list->n && s; i++) {
        if (strcmp(items[i], s) == 0)
            return true;
    }
    return false;
}

static const char *label_value(const char *const *labels, const char *key)
{
    for (; labels && labels[0] && labels[1]; labels += 2) {
        if (strcmp(labels[0], key) == 0)
            return labels[1];
    }
    return NULL;
}

static bool label_holds(const struct label_match *m, const char *value)
{
    switch ((enum label_operator)m->op) {
    case LABEL_EQUALS:
    case LABEL_IN:
        return value && listed(&m->values, value);
    case LABEL_NOT_IN:
        return !value || !listed(&m->values, value);
    case LABEL_EXISTS:
        return value != NULL;
    case LABEL_DOES_NOT_EXIST:
        return value == NULL;
    }
    return false;
}

static bool selector_holds(const struct label_selector *s, const char *const *labels)
{
    const struct array *lists[] = {&s->labels, &s->expressions};

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const struct label_match *m = lists[i]->items;

        for (size_t j = 0; j < lists[i]->n; j++) {
            if (!label_holds(&m[j], label_value(labels, m[j].key)))
                return false;
        }
    }
    return true;
}

static bool any_group_listed(const struct array *list, const char *const *groups)
{
    for (; groups && *groups; groups++) {
        if (listed(list, *groups))
            return true;
    }
    return false;
}

static bool claim_holds(const struct label_match *m, const char *const *claims)
{
    for (; claims && claims[0] && claims[1]; claims += 2) {
        if (strcmp(claims[0], m->key) == 0 && listed(&m->values, claims[1]))
            return true;
    }
    return false;
}

static bool claims_hold(const struct array *list, const char *const *claims)
{
    const struct label_match *m = list->items;

    for (size_t i = 0; i < list->n; i++) {
        if (!claim_holds(&m[i], claims))
            return false;
    }
    return true;
}

static bool subject_holds(const struct subject *s, const struct agent *a)
{
    const char *ns_labels[] = {NAMESPACE_NAME, a->namespace_, NULL};

    if (s->pods && !selector_holds(s->pods, a->labels))
        return false;
    if (s->namespaces && !selector_holds(s->namespaces, ns_labels))
        return false;
    if (s->service_accounts.n && !listed(&s->service_accounts, a->service_account))
        return false;
    if (!claims_hold(&s->claims, a->claims))
        return false;
    return !s->groups.n || any_group_listed(&s->groups, a->groups);
}

bool policy_selects(const struct policy *p, const struct agent *agent)
{
    const struct subject *s = p->subjects.items;

    if (p->namespace_ && (!agent->namespace_ || strcmp(p->namespace_, agent->namespace_) != 0))
        return false;
    for (size_t i = 0; i < p->subjects.n; i++) {
        if (subject_holds(&s[i], agent))
            return true;
    }
    return p->subjects.n == 0;
}

static bool any_glob_matches(const struct array *globs, const char *name)
{
    const struct pattern *p = globs->items;

    for (size_t i = 0; i < globs->n && name; i++) {
        if (pattern_matches(&p[i], name))
            return true;
    }
    return false;
}

static bool ref_covers(const struct target_ref *r, const struct target *t, const char *database)
{
    return strcmp(r->name, t->name) == 0 &&
           (!r->databases.n || any_glob_matches(&r->databases, database));
}

/* Two policies that pin different names: neither may be guessed to be the right one. */
static void settle_name(const char *policy, const char *what, const char *said, const char **ret,
                        struct identity_settings *all)
{
    if (!said)
        return;
    if (*ret && strcmp(*ret, said) != 0)
        snprintf(all->conflict, sizeof all->conflict,
                 "policies name different %ss ('%.63s' and, in '%.40s', '%.63s')", what, *ret,
                 policy, said);
    *ret = said;
}

void policy_settle_identity(const struct policy *p, const struct target *t, const char *database,
                            struct identity_settings *ret)
{
    const struct target_ref *refs = p->targets.items;

    ret->require_token |= p->identity.require_token;
    ret->require_injection |= p->identity.require_injection;
    ret->end_at_expiry |= p->identity.end_at_expiry;
    for (size_t i = 0; i < p->targets.n; i++) {
        if (!ref_covers(&refs[i], t, database))
            continue;
        settle_name(p->name, "user", refs[i].user, &ret->user, ret);
        settle_name(p->name, "role", refs[i].role, &ret->role, ret);
    }
}

bool policy_covers(const struct policy *p, const struct target *t, const char *database)
{
    const struct target_ref *refs = p->targets.items;

    if (p->namespace_ && t->namespace_ && strcmp(p->namespace_, t->namespace_) != 0)
        return false;
    for (size_t i = 0; i < p->targets.n; i++) {
        if (ref_covers(&refs[i], t, database))
            return true;
    }
    return p->targets.n == 0;
}
