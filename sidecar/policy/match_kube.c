/* SPDX-License-Identifier: Apache-2.0
 * What rules match: the section kube.
 */
#include "model.h"

#include <ctype.h>
#include <string.h>

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

static int url_parse(const struct place *at, void *out)
{
    int rc = place_expect(at, NODE_STRING);

    if (rc)
        return rc;
    for (const char *t = at->node->text; *t; t++) {
        if (*at->node->text != '/' || *t <= ' ' || *t >= 0x7f)
            return place_error(at, "'%.80s' is no path that begins with '/'", at->node->text);
    }
    return pattern_parse_glob(at, out);
}

static int env_name_parse(const struct place *at, void *out)
{
    int rc = place_expect(at, NODE_STRING);

    for (const char *t = at->node->text; rc == 0 && *t; t++) {
        if (!isalnum((unsigned char)*t) && !strchr("_.*-", *t))
            rc = place_error(at, "'%.64s' is no name of a variable", at->node->text);
    }
    return rc ? rc : pattern_parse_glob(at, out);
}

/* .spec.containers[*].env[*].value; a name, a star, or ['any text'] */
static int mask_field_parse(const struct place *at, void *out)
{
    const char **ret = out;
    const char *t;
    int rc = place_text(at, ret);

    if (rc)
        return rc;
    for (t = *ret; *t;) {
        size_t n;

        if (*t == '.')
            n = 1 + strcspn(t + 1, ".[]'");
        else if (strncmp(t, "[*]", 3) == 0)
            n = 3;
        else if (strncmp(t, "['", 2) == 0 && strstr(t + 2, "']"))
            n = (size_t)(strstr(t + 2, "']") - t) + 2;
        else
            n = 0;
        if (n < 2)
            return place_error(at,
                               "'%.80s' is no path such as .spec.containers[*].image, .data.* or "
                               ".data['a.b']",
                               *ret);
        t += n;
    }
    return 0;
}

static int dry_run_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Only", true}};

    return place_word(at, "word", words, ARRAY_LEN(words), out);
}

static int mask_fields_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(const char *), mask_field_parse, false};

    return place_array(at, &of, out);
}

PATTERN_LIST(urls_parse, url_parse)
PATTERN_LIST(env_parse, env_name_parse)

static bool names_exec(const struct kube_match *m)
{
    const struct pattern *p = m->resources.items;

    for (size_t i = 0; i < m->resources.n; i++) {
        if (pattern_matches(&p[i], "pods/exec"))
            return true;
    }
    return false;
}

static int check_kube(const struct place *at, const struct kube_match *m)
{
    struct place found;

    if (!m->resources.n && !m->urls.n)
        return place_error(at, "needs resources or nonResourceURLs");
    if (m->resources.n && m->urls.n && place_find(at, "nonResourceURLs", &found))
        return place_error(&found, "a rule has resources or nonResourceURLs; make it two rules");
    if (m->argv.n && !names_exec(m) && place_find(at, "argv", &found))
        return place_error(&found, "only with the resource pods/exec");
    return 0;
}

int match_parse_kube(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"verbs", verbs_parse, offsetof(struct kube_match, verbs)},
        {"resources", resources_parse, offsetof(struct kube_match, resources)},
        {"groups", groups_parse, offsetof(struct kube_match, groups)},
        {"namespaces", kube_namespaces_parse, offsetof(struct kube_match, namespaces)},
        {"names", object_names_parse, offsetof(struct kube_match, names)},
        {"nonResourceURLs", urls_parse, offsetof(struct kube_match, urls)},
        {"argv", match_parse_argv, offsetof(struct kube_match, argv)},
        {"dryRun", dry_run_parse, offsetof(struct kube_match, dry_run)},
        {"fields", mask_fields_parse, offsetof(struct kube_match, fields)},
        {"env", env_parse, offsetof(struct kube_match, env)},
    };
    struct kube_match **ret = out;
    int rc;

    *ret = arena_alloc(at->loader->arena, sizeof **ret);
    if (!*ret)
        return place_no_memory(at);
    rc = place_fields(at, fields, ARRAY_LEN(fields), *ret);
    return rc ? rc : check_kube(at, *ret);
}
