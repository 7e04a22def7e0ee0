/* SPDX-License-Identifier: Apache-2.0
 * The spec of GuardPolicy and ClusterGuardPolicy.
 */
#include "model.h"

#include <errno.h>

#include "ruleindex.h"

#define MAX_RESULT_BYTES ((int64_t)1 << 30)

static int mode_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Enforce", POLICY_ENFORCE}, {"Audit", POLICY_AUDIT}};

    return place_word(at, "mode", words, ARRAY_LEN(words), out);
}

/* ---- recording ---- */

static int content_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Masked", false}, {"Statements", true}};
    unsigned statements_only = false;
    int rc = place_word(at, "content", words, ARRAY_LEN(words), &statements_only);

    if (rc == 0)
        *(bool *)out = statements_only;
    return rc;
}

static int durability_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Process", false}, {"Node", true}};
    unsigned to_disk = false;
    int rc = place_word(at, "durability", words, ARRAY_LEN(words), &to_disk);

    if (rc == 0)
        *(bool *)out = to_disk;
    return rc;
}

/* Bytes, or a quantity: "64Ki", "1Mi". */
static int max_result_parse(const struct place *at, void *out)
{
    static const struct word units[] = {{"Ki", 10}, {"Mi", 20}, {"Gi", 30}};
    const char *text = at->node->text;
    uint64_t *ret = out;
    size_t digits;
    int64_t v = 0;

    if (at->node->type == NODE_INT) {
        int rc = place_number(at, 0, MAX_RESULT_BYTES, &v);

        *ret = rc ? *ret : (uint64_t)v;
        return rc;
    }
    if (at->node->type != NODE_STRING)
        return place_expected(at, "a size such as 65536, 64Ki or 1Mi");
    digits = strspn(text, "0123456789");
    for (size_t i = 0; i < ARRAY_LEN(units) && digits && digits < 10; i++) {
        if (strcmp(text + digits, units[i].name) == 0)
            v = (int64_t)strtoull(text, NULL, 10) << units[i].value;
    }
    if (v <= 0)
        return place_error(at, "'%.40s' is not a size such as 65536, 64Ki or 1Mi", text);
    if (v > MAX_RESULT_BYTES)
        return place_error(at, "must be at most 1Gi");
    *ret = (uint64_t)v;
    return 0;
}

static int recording_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"required", place_parse_bool, offsetof(struct recording_settings, required)},
        {"content", content_parse, offsetof(struct recording_settings, statements_only)},
        {"durability", durability_parse, offsetof(struct recording_settings, to_disk)},
        {"maxResultBytes", max_result_parse, offsetof(struct recording_settings, max_result_bytes)},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- identity ---- */

static int identity_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"requireToken", place_parse_bool, offsetof(struct identity_settings, require_token)},
        {"requireInjection", place_parse_bool,
         offsetof(struct identity_settings, require_injection)},
        {"endAtExpiry", place_parse_bool, offsetof(struct identity_settings, end_at_expiry)},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- lists ---- */

static int subjects_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct subject), subject_parse, true};

    return place_array(at, &of, out);
}

static int cluster_subjects_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct subject), cluster_subject_parse, true};

    return place_array(at, &of, out);
}

static int targets_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct target_ref), target_ref_parse, false};

    return place_array(at, &of, out);
}

static int egress_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct destination), destination_parse, true};

    return place_array(at, &of, out);
}

static int compare_names(const void *a, const void *b)
{
    const struct rule *const *x = a, *const *y = b;
    int order = strcmp((*x)->name, (*y)->name);

    return order ? order : (*x > *y) - (*x < *y);
}

/* Sorted: there may be thousands. */
static int check_rule_names(const struct place *at, const struct array *list)
{
    const struct rule *rules = list->items;
    const struct rule **sorted = calloc(list->n + 1, sizeof *sorted);
    int rc = 0;

    if (!sorted)
        return place_no_memory(at);
    for (size_t i = 0; i < list->n; i++)
        sorted[i] = &rules[i];
    qsort(sorted, list->n, sizeof *sorted, compare_names);
    for (size_t i = 1; i < list->n && rc == 0; i++) {
        struct node here = {.line = sorted[i]->line};
        struct place rule = {
            .up = at, .index = (size_t)(sorted[i] - rules), .node = &here, .loader = at->loader};

        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            rc = place_missing(&rule, "name", "the rule '%s' is there twice (first on line %u)",
                               sorted[i]->name, sorted[i - 1]->line);
    }
    free(sorted);
    return rc;
}

static int rules_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct rule), rule_parse, true};
    struct array *ret = out;
    int rc = place_array(at, &of, ret);

    return rc ? rc : check_rule_names(at, ret);
}

/* ---- spec ---- */

#define POLICY_FIELDS                                                                              \
    {"mode", mode_parse, offsetof(struct policy, mode)},                                           \
        {"targets", targets_parse, offsetof(struct policy, targets)},                              \
        {"rules", rules_parse, offsetof(struct policy, rules)},                                    \
        {"egress", egress_parse, offsetof(struct policy, egress)},                                 \
        {"identity", identity_parse, offsetof(struct policy, identity)},                           \
    {                                                                                              \
        "recording", recording_parse, offsetof(struct policy, recording)                           \
    }

static int finish(const struct place *at, struct policy *p)
{
    struct rule *rules = p->rules.items;

    for (size_t i = 0; i < p->rules.n; i++) {
        rules[i].policy = p;
        if (rules[i].action == ACTION_MASK && rules[i].sql)
            p->n_column_masks += rules[i].sql->columns.n;
    }
    return ruleindex_build(p, at->loader->arena) == 0 ? 0 : place_no_memory(at);
}

int policy_parse_spec(const struct place *at, struct policy *ret)
{
    static const struct field fields[] = {
        POLICY_FIELDS,
        {"subjects", subjects_parse, offsetof(struct policy, subjects)},
    };
    static const struct field cluster_fields[] = {
        POLICY_FIELDS,
        {"subjects", cluster_subjects_parse, offsetof(struct policy, subjects)},
    };
    int rc;

    ret->recording = (struct recording_settings){.required = true, .max_result_bytes = 1 << 20};
    rc = ret->cluster ? place_fields(at, cluster_fields, ARRAY_LEN(cluster_fields), ret)
                      : place_fields(at, fields, ARRAY_LEN(fields), ret);
    return rc ? rc : finish(at, ret);
}
