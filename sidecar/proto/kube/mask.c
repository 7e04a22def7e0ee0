/* SPDX-License-Identifier: Apache-2.0
 * Masking of objects.
 */
#include "mask.h"

#include "member.h"
#include "quote.h"

#include <errno.h>
#include <json-c/linkhash.h>
#include <stdio.h>

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define MAX_DEPTH    200
#define PLAIN        (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

int kubemask_init(struct kubemask *m, struct policy_view *v, const struct kube_act *act,
                  const struct masker *masker)
{
    uint32_t detectors = policy_view_detectors(v);
    int rc = 0;

    *m = (struct kubemask){.masker = masker, .view = policy_view_ref(v)};
    m->secrets = !act->group[0] && strcmp(act->resource, "secrets") == 0;
    m->n_rules = policy_kube_masks(v, act, m->rules, KUBEMASK_RULES);
    if (m->n_rules > KUBEMASK_RULES)
        return -E2BIG;
    /* What is created is the agent's own; everything else may be joined with what is stored. */
    m->quotes = (m->secrets || m->n_rules) && strcmp(act->api_verb, "create") != 0;
    for (unsigned d = 0; d < DETECTOR_COUNT; d++)
        m->methods[d] = policy_view_detector_method(v, d);
    if (detectors)
        rc = detector_set_get(detectors, &m->detectors, NULL);
    if (rc == 0 && detectors)
        rc = detect_scratch_new(&m->scratch);
    return rc;
}

void kubemask_done(struct kubemask *m)
{
    policy_view_unref(m->view);
    detector_set_unref(m->detectors);
    detect_scratch_free(m->scratch);
    if (m->tokener)
        json_tokener_free(m->tokener);
    *m = (struct kubemask){0};
}

bool kubemask_same(const struct kubemask *m, const struct policy_view *v,
                   const struct kube_act *act)
{
    struct kube_mask rules[KUBEMASK_RULES];
    bool same = policy_view_detectors(m->view) == policy_view_detectors(v) &&
                policy_kube_masks(v, act, rules, KUBEMASK_RULES) == m->n_rules;

    for (unsigned d = 0; d < DETECTOR_COUNT && same; d++)
        same = m->methods[d] == policy_view_detector_method(v, d);
    for (size_t i = 0; i < m->n_rules && same; i++)
        same = policy_kube_mask_same(&m->rules[i], &rules[i]);
    return same;
}

bool kubemask_tables(const struct policy_view *v, const struct kube_act *act)
{
    struct kube_mask rules[KUBEMASK_RULES];
    size_t n = policy_kube_masks(v, act, rules, KUBEMASK_RULES);

    if (n && strchr(act->group, '.')) /* columns of custom kinds may show anything */
        return false;
    for (size_t i = 0; i < n && n <= KUBEMASK_RULES; i++) {
        if (rules[i].fields)
            return false;
    }
    return n <= KUBEMASK_RULES;
}

bool kubemask_idle(const struct kubemask *m)
{
    return !m->secrets && m->n_rules == 0 && !m->detectors;
}

/* ---- replacing ---- */

/* A string becomes another; what else there is becomes a string. */
static int redact(struct kubemask *m, struct json_object *parent, const char *key,
                  struct json_object *value, const char *with)
{
    m->masked++;
    if (json_object_is_type(value, json_type_string))
        return json_object_set_string(value, with) ? 0 : -ENOMEM;
    return json_object_object_add(parent, key, json_object_new_string(with)) == 0 ? 0 : -ENOMEM;
}

static int redact_members(struct kubemask *m, struct json_object *o, const char *with)
{
    int rc = 0;

    if (!json_object_is_type(o, json_type_object))
        return 0;
    json_object_object_foreach(o, key, value)
    {
        if (value && rc == 0)
            rc = redact(m, o, key, value, with);
    }
    return rc;
}

/* data of an object: all of it, whatever it is. A shape that it should not have is removed. */
static int redact_map(struct kubemask *m, struct json_object *o, const char *key, const char *with)
{
    struct json_object *map = kubemember(o, key);

    if (!map)
        return 0;
    if (!json_object_is_type(map, json_type_object))
        return redact(m, o, key, map, MASK_REDACTED);
    return redact_members(m, map, with);
}

/* ---- by path ---- */

/* One step of ".a", ".*", "[*]", "['a']"; what follows is returned. */
static const char *next_step(const char *path, char *name, size_t size)
{
    size_t n;

    if (*path == '.') {
        n = strcspn(path + 1, ".[");
        snprintf(name, size, "%.*s", (int)n, path + 1);
        return path + 1 + n;
    }
    if (strncmp(path, "['", 2) == 0) {
        const char *end = strstr(path + 2, "']");

        snprintf(name, size, "%.*s", (int)(end - path - 2), path + 2);
        return end + 2;
    }
    snprintf(name, size, "*");
    return path + 3;
}

static int redact_path(struct kubemask *m, struct json_object *o, const char *path);

static int redact_step(struct kubemask *m, struct json_object *parent, const char *key,
                       struct json_object *value, const char *rest)
{
    if (*rest)
        return redact_path(m, value, rest);
    return value ? redact(m, parent, key, value, MASK_REDACTED) : 0;
}

static int redact_elements(struct kubemask *m, struct json_object *list, const char *rest)
{
    int rc = 0;

    for (size_t i = 0; i < json_object_array_length(list) && rc == 0; i++) {
        struct json_object *e = json_object_array_get_idx(list, i);

        if (*rest)
            rc = redact_path(m, e, rest);
        else if (json_object_array_put_idx(list, i, json_object_new_string(MASK_REDACTED)) != 0)
            rc = -ENOMEM;
        m->masked += !*rest;
    }
    return rc;
}

static int redact_path(struct kubemask *m, struct json_object *o, const char *path)
{
    char name[256];
    const char *rest = next_step(path, name, sizeof name);
    bool all = strcmp(name, "*") == 0;
    int rc = 0;

    if (json_object_is_type(o, json_type_array))
        return all ? redact_elements(m, o, rest) : 0;
    if (!json_object_is_type(o, json_type_object))
        return 0;
    json_object_object_foreach(o, key, value)
    {
        if (rc == 0 && (all || strcmp(key, name) == 0))
            rc = redact_step(m, o, key, value, rest);
    }
    return rc;
}

/* ---- variables ---- */

static int redact_variable(struct kubemask *m, const struct kube_mask *rule, struct json_object *e)
{
    struct json_object *value = kubemember(e, "value");

    if (!value || !policy_kube_mask_env(rule, kubemember_text(e, "name")))
        return 0;
    return redact(m, e, "value", value, MASK_REDACTED);
}

/* Every list that is called env, wherever it is: pods are inside of many kinds. */
static int redact_env(struct kubemask *m, const struct kube_mask *rule, struct json_object *o,
                      bool is_env)
{
    int rc = 0;

    if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, key, value)
        {
            if (rc == 0)
                rc = redact_env(m, rule, value, strcmp(key, "env") == 0);
        }
    } else if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o) && rc == 0; i++) {
            struct json_object *e = json_object_array_get_idx(o, i);

            rc = is_env ? redact_variable(m, rule, e) : redact_env(m, rule, e, false);
        }
    }
    return rc;
}

/* ---- values ---- */

static int mask_string(struct kubemask *m, struct json_object *s)
{
    struct bytes text = bytes_of(json_object_get_string(s), (size_t)json_object_get_string_len(s));
    struct buffer out;
    bool changed = false;
    int rc;

    buffer_init(&out, 65536 + 8 * text.len);
    rc = detect_mask_text(m->detectors, m->scratch, m->masker, m->methods, text, &out, &changed);
    if (rc == 0 && changed) {
        m->masked++;
        if (!json_object_set_string_len(s, (const char *)out.p + out.start, (int)buffer_len(&out)))
            rc = -ENOMEM;
    }
    buffer_wipe(&out);
    return rc;
}

static int mask_strings(struct kubemask *m, struct json_object *o)
{
    int rc = 0;

    if (json_object_is_type(o, json_type_string))
        return mask_string(m, o);
    if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, key, value)
        {
            (void)key;
            if (rc == 0)
                rc = mask_strings(m, value);
        }
    } else if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o) && rc == 0; i++)
            rc = mask_strings(m, json_object_array_get_idx(o, i));
    }
    return rc;
}

/* ---- annotations that copy the object ---- */

static int mask_one(struct kubemask *m, struct json_object *o);

/* A copy of the object as JSON text is masked as the object is; what cannot be read is replaced. */
static int mask_copy(struct kubemask *m, struct json_object *annotation, struct json_object *of)
{
    struct json_tokener *t = json_tokener_new_ex(MAX_DEPTH);
    struct json_object *o = NULL;
    int rc = t ? 0 : -ENOMEM;

    if (t)
        o = json_tokener_parse_ex(t, json_object_get_string(annotation),
                                  json_object_get_string_len(annotation));
    json_tokener_free(t);
    if (rc == 0 && json_object_is_type(o, json_type_object)) {
        m->copied = of; /* a copy need not say its namespace */
        rc = mask_one(m, o);
        m->copied = NULL;
        if (rc == 0 &&
            !json_object_set_string(annotation, json_object_to_json_string_ext(o, PLAIN)))
            rc = -ENOMEM;
    } else if (rc == 0) {
        m->masked++;
        rc = json_object_set_string(annotation, MASK_REDACTED) ? 0 : -ENOMEM;
    }
    json_object_put(o);
    return rc;
}

/* kubectl's own, and any other that looks like one: of a Secret also as YAML. */
static bool is_copy(const char *key, const char *text, bool secret)
{
    if (strcmp(key, LAST_APPLIED) == 0 || strstr(key, "applied"))
        return true;
    if (text[strspn(text, " \t\r\n")] == '{')
        return true;
    return secret &&
           (strstr(text, "data:") || strstr(text, "\"data\"") || strstr(text, "tringData"));
}

static bool repeats(const struct kubemask *m, struct json_object *o, struct json_object *annotation)
{
    struct bytes text = bytes_of(json_object_get_string(annotation),
                                 (size_t)json_object_get_string_len(annotation));

    return kubequote_repeats(o, text) || (m->copied && kubequote_repeats(m->copied, text));
}

/* What a bookmark says of the watch, and no object of its own: informers wait for it. */
static bool is_bookmarks(const char *key, struct json_object *value)
{
    return strcmp(key, "k8s.io/initial-events-end") == 0 &&
           strcmp(json_object_get_string(value), "true") == 0;
}

static int mask_annotation(struct kubemask *m, struct json_object *o, bool secret, const char *key,
                           struct json_object *value)
{
    bool copy = is_copy(key, json_object_get_string(value), secret);
    /* Every Secret has a type. Without the rest it cannot be seen what an annotation repeats. */
    bool bare = secret && !m->copied && !kubemember(o, "type") && !kubemember(o, "data");
    int rc = 0;

    if (copy && !bare && !m->copied)
        rc = mask_copy(m, value, o);
    else if (copy || bare)
        rc = redact(m, NULL, NULL, value, MASK_REDACTED);
    if (rc == 0 && secret && repeats(m, o, value))
        rc = redact(m, NULL, NULL, value, MASK_REDACTED);
    return rc;
}

/* Before the values themselves go: a Secret's annotations must not repeat them. */
static int mask_annotations(struct kubemask *m, struct json_object *o, bool secret)
{
    struct json_object *all = kubemember(kubemember(o, "metadata"), "annotations");
    int rc = 0;

    if (!json_object_is_type(all, json_type_object))
        return 0;
    json_object_object_foreach(all, key, value)
    {
        if (rc == 0 && json_object_is_type(value, json_type_string) && !is_bookmarks(key, value))
            rc = mask_annotation(m, o, secret, key, value);
    }
    return rc;
}

/* ---- objects ---- */

static void drop_managed_fields(struct json_object *o)
{
    struct json_object *meta = kubemember(o, "metadata");

    if (json_object_is_type(meta, json_type_object))
        json_object_object_del(meta, "managedFields");
}

/* Which manager owns a field after a write that is only tried tells whether its value was the one
 * stored. */
static int mask_secret(struct kubemask *m, struct json_object *o)
{
    int rc = redact_map(m, o, "data", KUBEMASK_BASE64);

    drop_managed_fields(o);
    return rc ? rc : redact_map(m, o, "stringData", MASK_REDACTED);
}

static int apply_rule(struct kubemask *m, const struct kube_mask *rule, struct json_object *o)
{
    struct json_object *meta = kubemember(m->copied ? m->copied : o, "metadata");
    int rc = 0;

    if (!policy_kube_mask_covers(rule, kubemember_text(meta, "namespace"),
                                 kubemember_text(meta, "name")))
        return 0;
    if (rule->fields) /* keys of lists are values of elements: k:{"ip":"10.0.0.1"} */
        drop_managed_fields(o);
    for (const char *const *f = rule->fields; f && *f && rc == 0; f++)
        rc = redact_path(m, o, *f);
    if (rc == 0)
        rc = redact_env(m, rule, o, false);
    if (rc || rule->fields || policy_kube_mask_has_env(rule) || m->secrets)
        return rc;
    rc = redact_map(m, o, "data", MASK_REDACTED);
    if (rc == 0)
        rc = redact_map(m, o, "stringData", MASK_REDACTED);
    return rc ? rc : redact_map(m, o, "binaryData", KUBEMASK_BASE64);
}

static int mask_one(struct kubemask *m, struct json_object *o)
{
    bool secret = m->secrets || strcmp(kubemember_text(o, "kind"), "Secret") == 0, quoted = false;
    int rc = m->quotes ? kubequote_withhold(o, &quoted) : 0;

    m->masked += quoted;
    if (rc == 0 && (secret || m->n_rules))
        rc = mask_annotations(m, o, secret);
    if (rc == 0 && secret)
        rc = mask_secret(m, o);
    for (size_t i = 0; i < m->n_rules && rc == 0; i++)
        rc = apply_rule(m, &m->rules[i], o);
    return rc;
}

static int mask_list(struct kubemask *m, struct json_object *list)
{
    int rc = 0;

    for (size_t i = 0; json_object_is_type(list, json_type_array) &&
                       i < json_object_array_length(list) && rc == 0;
         i++) {
        struct json_object *e = json_object_array_get_idx(list, i),
                           *inner = kubemember(e, "object");

        rc = mask_one(m, e);
        if (rc == 0 && inner)
            rc = mask_one(m, inner);
    }
    return rc;
}

/* An event of a watch and a row of a table have the object inside; a table as an event has rows. */
int kubemask_object(struct kubemask *m, struct json_object *o)
{
    struct json_object *inner = kubemember(o, "object");
    int rc = mask_one(m, o);

    if (rc == 0)
        rc = mask_list(m, kubemember(o, "items"));
    if (rc == 0)
        rc = mask_list(m, kubemember(o, "rows"));
    if (rc == 0 && inner)
        rc = kubemask_object(m, inner);
    return rc;
}

int kubemask_piece(struct bytes piece, struct buffer *out, void *mask)
{
    struct kubemask *m = mask;
    struct json_tokener *t = m->tokener ? m->tokener : json_tokener_new_ex(MAX_DEPTH);
    struct json_object *o = NULL;
    const char *text;
    size_t n;
    int rc = -EBADMSG;

    if (!t)
        return -ENOMEM;
    m->tokener = t;
    json_tokener_reset(t);
    o = json_tokener_parse_ex(t, (const char *)piece.p, (int)piece.len);
    if (json_tokener_get_error(t) == json_tokener_success &&
        json_tokener_get_parse_end(t) == piece.len && json_object_is_type(o, json_type_object))
        rc = kubemask_object(m, o);
    if (rc == 0 && m->detectors)
        rc = mask_strings(m, o);
    if (rc == 0) {
        text = json_object_to_json_string_length(o, PLAIN, &n);
        rc = text ? buffer_append(out, text, n) : -ENOMEM;
    }
    json_object_put(o);
    return rc;
}
