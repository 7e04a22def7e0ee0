/* SPDX-License-Identifier: Apache-2.0
 * One rule of a policy.
 */
#include "model.h"

#include <ctype.h>

#include "sidecar/mask/detect.h"

#define MAX_RULE_NAME 63
#define MAX_MESSAGE   500

struct mask_spec {
    unsigned method, predicates, write_back;
};

struct rule_spec {
    struct rule rule;
    struct mask_spec mask;
};

/* ---- fields ---- */

static int name_parse(const struct place *at, void *out)
{
    const char *t;
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    t = at->node->text;
    for (size_t i = 0; t[i]; i++) {
        if (i >= MAX_RULE_NAME ||
            (!isalnum((unsigned char)t[i]) && (i == 0 || !strchr("-_.", t[i]))))
            return place_error(at,
                               "'%.64s' is not a rule's name: letters, digits, '-', '_' and "
                               "'.', at most %d",
                               t, MAX_RULE_NAME);
    }
    return place_text(at, out);
}

static int action_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Allow", ACTION_ALLOW},
                                        {"Deny", ACTION_DENY},
                                        {"RequireApproval", ACTION_APPROVE},
                                        {"Mask", ACTION_MASK}};

    return place_word(at, "action", words, ARRAY_LEN(words), out);
}

/* May have several lines; the last line's end is dropped. */
static int message_parse(const struct place *at, void *out)
{
    const char **ret = out;
    size_t n;
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    n = strlen(at->node->text);
    while (n && at->node->text[n - 1] == '\n')
        n--;
    if (n == 0)
        return place_error(at, "must not be empty");
    if (n > MAX_MESSAGE)
        return place_error(at, "longer than %d bytes", MAX_MESSAGE);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)at->node->text[i];

        if ((c < 0x20 && c != '\n') || c == 0x7f)
            return place_error(at, "contains a control character");
    }
    *ret = arena_strndup(at->loader->arena, at->node->text, n);
    return *ret ? 0 : place_no_memory(at);
}

static int detector_parse(const struct place *at, void *out)
{
    uint32_t *ret = out;
    struct suggestion s;
    int d, rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    d = detector_by_name(at->node->text);
    if (d >= 0) {
        *ret = UINT32_C(1) << d;
        return 0;
    }
    s = suggestion_for(at->node->text);
    for (unsigned i = 0; i < DETECTOR_COUNT; i++)
        suggestion_offer(&s, detector_name((enum detector)i));
    return place_unknown(at, "detector", &s);
}

static int detectors_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(uint32_t), detector_parse, false};
    struct array list = {0};
    uint32_t *ret = out;
    int rc = place_array(at, &of, &list);

    for (size_t i = 0; i < list.n; i++)
        *ret |= ((const uint32_t *)list.items)[i];
    return rc;
}

static int values_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"detectors", detectors_parse, 0, .required = true},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

static int method_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Redact", MASK_REDACT},
                                        {"Partial", MASK_PARTIAL},
                                        {"Token", MASK_TOKEN},
                                        {"Null", MASK_NULL}};

    if (at->node->type == NODE_NULL && strcmp(at->node->text, "Null") == 0) {
        *(unsigned *)out = MASK_NULL; /* the word is YAML's for nothing, and what is meant */
        return 0;
    }
    return place_word(at, "method", words, ARRAY_LEN(words), out);
}

static int deny_or_allow_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Deny", false}, {"Allow", true}};

    return place_word(at, "word", words, ARRAY_LEN(words), out);
}

static int mask_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"method", method_parse, offsetof(struct mask_spec, method)},
        {"predicates", deny_or_allow_parse, offsetof(struct mask_spec, predicates)},
        {"writeBack", deny_or_allow_parse, offsetof(struct mask_spec, write_back)},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- what goes with what ---- */

static int refuse_field(const struct place *at, const char *field, const char *why)
{
    struct place found;

    return place_find(at, field, &found) ? place_error(&found, "%s", why) : 0;
}

static int refuse_in_sql(const struct place *at, const char *field, const char *why)
{
    struct place sql;

    return place_find(at, "sql", &sql) ? refuse_field(&sql, field, why) : 0;
}

/* A rule speaks of one protocol. */
static int check_protocol(const struct place *at, const struct rule *r)
{
    static const char only_one[] = "a rule has only one of sql, kube and ssh; make it two rules";
    int rc;

    if (r->kube && r->ssh)
        return refuse_field(at, "ssh", only_one);
    if (r->sql && (r->kube || r->ssh))
        return refuse_field(at, r->kube ? "kube" : "ssh", only_one);
    rc = r->detectors && (r->kube || r->ssh)
             ? refuse_field(at, "values", "a rule has only one of values, kube and ssh")
             : 0;
    return rc;
}

static int refuse_in_kube(const struct place *at, const char *field, const char *why)
{
    struct place kube;

    return place_find(at, "kube", &kube) ? refuse_field(&kube, field, why) : 0;
}

/* A Mask is about what is shown, not about what is done. */
static int check_kube_mask(const struct place *at)
{
    static const char *const not_here[] = {"verbs", "nonResourceURLs", "argv", "dryRun"};
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(not_here) && rc == 0; i++)
        rc = refuse_in_kube(at, not_here[i], "not in a Mask rule: it masks every answer");
    return rc;
}

static int check_mask(const struct place *at, const struct rule_spec *spec)
{
    static const char columns_only[] = "a Mask rule has only sql.columns; other rules decide on "
                                       "operations";
    static const char of_columns[] = "only for masks of columns";
    static const char *const not_here[] = {"operations", "relations", "functions", "where"};
    const struct rule *r = &spec->rule;
    struct place mask;
    int rc;

    if (!r->sql && !r->detectors && !r->kube)
        return r->ssh ? refuse_field(at, "ssh", "nothing of ssh can be masked")
                      : place_error(at, "a Mask rule needs sql.columns, values or kube");
    for (size_t i = 0; i < ARRAY_LEN(not_here); i++) {
        if ((rc = refuse_in_sql(at, not_here[i], columns_only)))
            return rc;
    }
    if (r->kube && (rc = check_kube_mask(at)))
        return rc;
    if (r->sql || !place_find(at, "mask", &mask))
        return 0;
    rc = refuse_field(&mask, "predicates", of_columns);
    return rc ? rc : refuse_field(&mask, "writeBack", of_columns);
}

/* Hazards are for refusing and asking: what is harmless is said with argv. */
static int check_ssh_fields(const struct place *at, const struct rule *r)
{
    struct place ssh;

    if (!r->ssh || !place_find(at, "ssh", &ssh))
        return 0;
    if (r->action == ACTION_ALLOW)
        return refuse_field(&ssh, "hazards", "only in rules that refuse or ask");
    return r->action == ACTION_DENY
               ? refuse_field(&ssh, "output", "nothing comes of what is denied")
               : 0;
}

static int check_decision(const struct place *at, const struct rule *r)
{
    int rc;

    if ((rc = refuse_field(at, "mask", "only in a rule with action Mask")) ||
        (rc = refuse_field(at, "values", "only in a rule with action Mask")) ||
        (rc = refuse_in_sql(at, "columns", "only in a rule with action Mask")) ||
        (rc = refuse_in_kube(at, "fields", "only in a rule with action Mask")) ||
        (rc = refuse_in_kube(at, "env", "only in a rule with action Mask")))
        return rc;
    if (!r->sql && !r->kube && !r->ssh)
        return place_error(at, "a rule needs sql, kube or ssh");
    if ((rc = check_ssh_fields(at, r)))
        return rc;
    if (r->action == ACTION_ALLOW)
        return refuse_field(at, "message", "only in rules that refuse or ask");
    return 0;
}

static int check_rule(const struct place *at, const struct rule_spec *spec)
{
    const struct rule *r = &spec->rule;
    int rc = check_protocol(at, r);

    if (rc == 0 && r->action != ACTION_APPROVE)
        rc = refuse_field(at, "approval", "only in a rule with action RequireApproval");
    if (rc)
        return rc;
    return r->action == ACTION_MASK ? check_mask(at, spec) : check_decision(at, r);
}

/* ---- the rule ---- */

static int settle_approval(const struct place *at, struct rule *r)
{
    if (r->action != ACTION_APPROVE || r->approval)
        return 0;
    r->approval = arena_alloc(at->loader->arena, sizeof *r->approval);
    if (!r->approval)
        return place_no_memory(at);
    *r->approval = rule_approval_defaults();
    return 0;
}

static void settle_mask(struct rule_spec *spec)
{
    struct rule *r = &spec->rule;
    struct column_mask *columns = r->sql ? r->sql->columns.items : NULL;

    r->method = spec->mask.method ? spec->mask.method : MASK_REDACT;
    for (size_t i = 0; columns && i < r->sql->columns.n; i++) {
        columns[i].method = r->method;
        columns[i].allow_predicates = spec->mask.predicates;
        columns[i].allow_write_back = spec->mask.write_back;
        columns[i].rule = r->name;
    }
}

int rule_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"name", name_parse, offsetof(struct rule_spec, rule.name), .required = true},
        {"action", action_parse, offsetof(struct rule_spec, rule.action), .required = true},
        {"message", message_parse, offsetof(struct rule_spec, rule.message)},
        {"sql", match_parse_sql, offsetof(struct rule_spec, rule.sql)},
        {"kube", match_parse_kube, offsetof(struct rule_spec, rule.kube)},
        {"ssh", match_parse_ssh, offsetof(struct rule_spec, rule.ssh)},
        {"values", values_parse, offsetof(struct rule_spec, rule.detectors)},
        {"mask", mask_parse, offsetof(struct rule_spec, mask)},
        {"approval", rule_parse_approval, offsetof(struct rule_spec, rule.approval)},
    };
    struct rule_spec spec = {.rule.line = at->node->line};
    int rc = place_fields(at, fields, ARRAY_LEN(fields), &spec);

    if (rc || (rc = check_rule(at, &spec)) || (rc = settle_approval(at, &spec.rule)))
        return rc;
    if (spec.rule.action == ACTION_MASK)
        settle_mask(&spec);
    *(struct rule *)out = spec.rule;
    return 0;
}
