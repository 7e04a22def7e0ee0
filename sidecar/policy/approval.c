/* SPDX-License-Identifier: Apache-2.0
 * The approval section of a rule; which of two is the stricter; durations.
 */
#include "model.h"

#define MAX_TIMEOUT_S   (24 * 3600)
#define MAX_VALID_FOR_S (24 * 3600)
#define MAX_COUNT       8
#define MAX_USES        1000

struct approvers {
    struct array groups, users;
};

struct approval_spec {
    struct approvers approvers;
    struct approval_settings settings;
};

static const char *const nobody[] = {NULL};

struct approval_settings rule_approval_defaults(void)
{
    return (struct approval_settings){
        .groups = nobody,
        .users = nobody,
        .count = 1,
        .timeout_s = 60,
        .valid_for_s = 600,
        .uses = 1,
    };
}

/* ---- durations ---- */

static uint32_t unit_seconds(char c)
{
    return c == 'h' ? 3600 : c == 'm' ? 60 : c == 's' ? 1 : 0;
}

/* Numbers, each with its unit, the units growing smaller. False for anything else. */
static bool read_duration(const char *t, uint64_t *ret_s)
{
    uint32_t last_unit = UINT32_MAX;
    uint64_t sum = 0;

    if (!*t)
        return false;
    while (*t) {
        size_t digits = strspn(t, "0123456789");
        uint32_t unit = unit_seconds(t[digits]);

        if (digits == 0 || digits > 9 || unit == 0 || unit >= last_unit)
            return false;
        sum += strtoull(t, NULL, 10) * unit;
        last_unit = unit;
        t += digits + 1;
    }
    *ret_s = sum;
    return true;
}

int place_duration(const struct place *at, uint32_t min_s, uint32_t max_s, uint32_t *ret_s)
{
    uint64_t s;

    if (at->node->type == NODE_INT)
        return place_error(at, "expected a duration with its unit, such as %lds",
                           (long)at->node->number);
    if (at->node->type != NODE_STRING)
        return place_expected(at, "a duration such as 60s, 10m or 1h");
    if (!read_duration(at->node->text, &s))
        return place_error(at, "'%.40s' is not a duration such as 60s, 10m or 1h", at->node->text);
    if (s < min_s || s > max_s)
        return place_error(at, "must be between %us and %us", min_s, max_s);
    *ret_s = (uint32_t)s;
    return 0;
}

/* ---- fields ---- */

static int timeout_parse(const struct place *at, void *out)
{
    return place_duration(at, 1, MAX_TIMEOUT_S, out);
}

static int valid_for_parse(const struct place *at, void *out)
{
    return place_duration(at, 1, MAX_VALID_FOR_S, out);
}

static int count_parse(const struct place *at, void *out)
{
    int64_t v = 0;
    int rc = place_number(at, 1, MAX_COUNT, &v);

    if (rc == 0)
        *(uint32_t *)out = (uint32_t)v;
    return rc;
}

static int uses_parse(const struct place *at, void *out)
{
    int64_t v = 0;
    int rc = place_number(at, 1, MAX_USES, &v);

    if (rc == 0)
        *(uint32_t *)out = (uint32_t)v;
    return rc;
}

static int delivery_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Hold", false}, {"Ticket", true}};
    unsigned ticket = false;
    int rc = place_word(at, "delivery", words, ARRAY_LEN(words), &ticket);

    if (rc == 0)
        *(bool *)out = ticket;
    return rc;
}

static int approvers_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"groups", place_parse_strings, offsetof(struct approvers, groups)},
        {"users", place_parse_strings, offsetof(struct approvers, users)},
    };
    struct approvers *ret = out;
    int rc = place_fields(at, fields, ARRAY_LEN(fields), ret);

    if (rc == 0 && !ret->groups.n && !ret->users.n)
        return place_error(at, "names nobody; leave it out if anyone who may approve will do");
    return rc;
}

int rule_parse_approval(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"approvers", approvers_parse, offsetof(struct approval_spec, approvers)},
        {"count", count_parse, offsetof(struct approval_spec, settings.count)},
        {"allowSelf", place_parse_bool, offsetof(struct approval_spec, settings.allow_self)},
        {"requireReason", place_parse_bool,
         offsetof(struct approval_spec, settings.require_reason)},
        {"delivery", delivery_parse, offsetof(struct approval_spec, settings.ticket)},
        {"timeout", timeout_parse, offsetof(struct approval_spec, settings.timeout_s)},
        {"validFor", valid_for_parse, offsetof(struct approval_spec, settings.valid_for_s)},
        {"uses", uses_parse, offsetof(struct approval_spec, settings.uses)},
    };
    struct approval_spec spec = {.settings = rule_approval_defaults()};
    struct approval_settings **ret = out, *copy;
    struct place found;
    int rc = place_fields(at, fields, ARRAY_LEN(fields), &spec);

    if (rc)
        return rc;
    if (spec.approvers.users.n && !spec.approvers.groups.n &&
        spec.settings.count > spec.approvers.users.n && place_find(at, "count", &found))
        return place_error(&found, "more people than approvers.users names (%zu)",
                           spec.approvers.users.n);
    if (spec.approvers.groups.n)
        spec.settings.groups = spec.approvers.groups.items;
    if (spec.approvers.users.n)
        spec.settings.users = spec.approvers.users.items;
    copy = arena_alloc(at->loader->arena, sizeof *copy);
    if (!copy)
        return place_no_memory(at);
    *copy = spec.settings;
    *ret = copy;
    return 0;
}

/* ---- which is the stricter ---- */

static size_t n_approvers(const struct approval_settings *s)
{
    size_t n = 0;

    for (const char *const *g = s->groups; *g; g++)
        n++;
    for (const char *const *u = s->users; *u; u++)
        n++;
    return n ? n : SIZE_MAX; /* nobody named: anyone */
}

/* > 0: a is the stricter. */
static int compare(const struct approval_settings *a, const struct approval_settings *b)
{
    size_t n_a = n_approvers(a), n_b = n_approvers(b);

    if (a->count != b->count)
        return a->count > b->count ? 1 : -1;
    if (n_a != n_b)
        return n_a < n_b ? 1 : -1;
    if (a->allow_self != b->allow_self)
        return b->allow_self ? 1 : -1;
    if (a->require_reason != b->require_reason)
        return a->require_reason ? 1 : -1;
    if (a->uses != b->uses)
        return a->uses < b->uses ? 1 : -1;
    if (a->valid_for_s != b->valid_for_s)
        return a->valid_for_s < b->valid_for_s ? 1 : -1;
    return 0;
}

const struct rule *rule_stricter(const struct rule *a, const struct rule *b)
{
    if (!a || !b)
        return a ? a : b;
    return compare(a->approval, b->approval) >= 0 ? a : b;
}
