/* SPDX-License-Identifier: Apache-2.0
 * Attributes of requests.
 *
 * A path is /api/VERSION/… or /apis/GROUP/VERSION/…, then perhaps watch/, then perhaps
 * namespaces/NAME/, then RESOURCE[/NAME[/SUBRESOURCE[/…]]]. All else is a non-resource URL.
 */
#include "attributes.h"

#include <errno.h>
#include <strings.h>

struct reader { /* what is left of the path */
    const char *const *at;
    size_t n;
};

static void skip(struct reader *r, size_t n)
{
    r->at += n;
    r->n -= n;
}

static const char *verb_of(struct bytes method)
{
    static const struct {
        const char *method, *verb;
    } verbs[] = {
        {"POST", "create"}, {"GET", "get"},     {"HEAD", "get"},
        {"PUT", "update"},  {"PATCH", "patch"}, {"DELETE", "delete"},
    };

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (bytes_eq_str(method, verbs[i].method))
            return verbs[i].verb;
    }
    return NULL;
}

/* ---- non-resource URLs ---- */

/* What only tells which APIs there are. */
static bool is_discovery(const struct kubepath *p)
{
    const char *first = p->n ? p->segments[0] : "";

    if (p->n == 0)
        return true;
    if (strcmp(first, "api") == 0)
        return p->n <= 2;
    if (strcmp(first, "apis") == 0)
        return p->n <= 3;
    return strcmp(first, "openapi") == 0 || strcmp(first, "version") == 0 ||
           strcmp(first, "livez") == 0 || strcmp(first, "readyz") == 0 ||
           strcmp(first, "healthz") == 0;
}

static int non_resource(struct bytes method, const struct kubepath *p, struct kube_act *a)
{
    bool reads = bytes_eq_str(method, "GET") || bytes_eq_str(method, "HEAD");

    a->url = p->text;
    a->discovery = reads && is_discovery(p);
    return 0;
}

/* ---- resources ---- */

/* "0" and "false" are false, whatever else is there is true, even nothing. */
static bool is_true(const char *value)
{
    return value && strcmp(value, "0") != 0 && strcasecmp(value, "false") != 0;
}

/* The exact value that a field selector asks of metadata.name, or NULL. */
static const char *selected_name(const char *selector, struct arena *arena)
{
    const char *t = selector && !strchr(selector, '\\') ? selector : NULL; /* no escapes */

    while (t && *t) {
        size_t n = strcspn(t, ",");
        size_t key = strcspn(t, "=!,");

        if (key == strlen("metadata.name") && strncmp(t, "metadata.name", key) == 0 &&
            t[key] == '=') {
            size_t eq = key + 1 + (t[key + 1] == '=');

            if (n > eq && !memchr(t + eq, '/', n - eq) && !memchr(t + eq, '%', n - eq))
                return arena_strndup(arena, t + eq, n - eq);
        }
        t += n + (t[n] == ',');
    }
    return NULL;
}

static int list_or_watch(const struct kubepath *p, struct arena *arena, struct kube_act *a,
                         struct error *err)
{
    size_t n_watch, n_selector;
    const char *watch = kubepath_query(p, "watch", &n_watch);
    const char *selector = kubepath_query(p, "fieldSelector", &n_selector);
    const char *name;

    if (n_watch > 1 || n_selector > 1)
        return error_set(err, -EBADMSG, "watch or fieldSelector is there twice");
    a->api_verb = is_true(watch) ? "watch" : "list";
    a->list = true;
    name = selected_name(selector, arena);
    if (name)
        a->name = name;
    return 0;
}

/* Skips "watch" or "proxy" before the resource. */
static int special_verb(struct reader *r, struct kube_act *a, struct error *err)
{
    if (strcmp(r->at[0], "watch") != 0 && strcmp(r->at[0], "proxy") != 0)
        return 0;
    if (r->n < 2)
        return error_set(err, -EBADMSG, "a path that ends where a resource is expected");
    a->api_verb = r->at[0];
    a->list = strcmp(a->api_verb, "watch") == 0;
    skip(r, 1);
    return 0;
}

static void scope(struct reader *r, struct kube_act *a)
{
    a->namespace_ = "";
    if (strcmp(r->at[0], "namespaces") != 0 || r->n < 2)
        return;
    a->namespace_ = r->at[1];
    if (r->n > 2 && strcmp(r->at[2], "status") != 0 && strcmp(r->at[2], "finalize") != 0)
        skip(r, 2);
}

static void resource(const struct reader *r, struct kube_act *a)
{
    a->resource = r->at[0];
    if (r->n >= 2)
        a->name = r->at[1];
    if (r->n >= 3 && strcmp(a->api_verb, "proxy") != 0)
        a->subresource = r->at[2];
}

static bool is_one_of(const char *t, const char *const *list)
{
    for (; *list; list++) {
        if (strcmp(*list, t) == 0)
            return true;
    }
    return false;
}

/* Subresources that connect, by whatever method: GET with a WebSocket is POST with SPDY. */
static bool connects(const struct kube_act *a)
{
    static const char *const of_pods[] = {"exec", "attach", "portforward", "proxy", NULL};
    bool core = !a->group[0];

    if (strcmp(a->api_verb, "proxy") == 0)
        return true;
    if (core && strcmp(a->resource, "pods") == 0)
        return is_one_of(a->subresource, of_pods);
    return strcmp(a->subresource, "proxy") == 0 || strcmp(a->subresource, "exec") == 0 ||
           strcmp(a->subresource, "portforward") == 0 || strcmp(a->subresource, "attach") == 0;
}

/* argv of exec: every `command` of the query. */
static int command(const struct kubepath *p, struct arena *arena, struct kube_act *a)
{
    const char **argv = arena_alloc(arena, (p->n_query + 1) * sizeof *argv);
    struct ssh_command *c = arena_alloc(arena, sizeof *c);

    if (!argv || !c)
        return -ENOMEM;
    for (size_t i = 0; i < p->n_query; i++) {
        if (strcmp(p->query[i].key, "command") == 0)
            argv[c->n++] = p->query[i].value;
    }
    c->argv = argv;
    a->command = c;
    return 0;
}

/* Nobody asks what a read or a connection stores: exec runs, whatever dryRun says. */
static void dry_run(const struct kubepath *p, struct kube_act *a)
{
    static const char *const reads[] = {"get", "list", "watch", "connect", NULL};
    size_t n;
    const char *value = kubepath_query(p, "dryRun", &n);

    a->dry_run = n == 1 && strcmp(value, "All") == 0 && !is_one_of(a->verb, reads);
}

static int resource_request(const struct kubepath *p, struct reader *r, struct arena *arena,
                            struct kube_act *a, struct error *err)
{
    int rc = special_verb(r, a, err);

    if (rc)
        return rc;
    scope(r, a);
    resource(r, a);
    if (!a->name[0] && strcmp(a->api_verb, "get") == 0)
        rc = list_or_watch(p, arena, a, err);
    else if (!a->name[0] && strcmp(a->api_verb, "delete") == 0)
        a->api_verb = "deletecollection";
    a->list |= strcmp(a->api_verb, "deletecollection") == 0;
    a->verb = connects(a) ? "connect" : a->api_verb;
    if (rc == 0 && strcmp(a->subresource, "exec") == 0)
        rc = command(p, arena, a);
    dry_run(p, a);
    return rc;
}

int attributes_derive(struct bytes method, const struct kubepath *p, struct arena *arena,
                      struct kube_act *ret, struct error *err)
{
    struct reader r = {p->segments, p->n};
    bool core = p->n && strcmp(p->segments[0], "api") == 0;
    bool grouped = p->n && strcmp(p->segments[0], "apis") == 0;
    bool proxied = false;

    *ret = (struct kube_act){.group = "",
                             .version = "",
                             .resource = "",
                             .subresource = "",
                             .namespace_ = "",
                             .name = "",
                             .url = ""};
    ret->api_verb = ret->verb = verb_of(method);
    if (!ret->verb)
        return error_set(err, -EBADMSG, "the method '%.*s' is none of the API's",
                         (int)min_size(method.len, 20), (const char *)method.p);
    if ((!core && !grouped) || p->n < (core ? 3 : 4))
        return non_resource(method, p, ret);
    skip(&r, 1);
    if (grouped) {
        ret->group = r.at[0];
        skip(&r, 1);
    }
    ret->version = r.at[0];
    skip(&r, 1);
    for (size_t i = 0; i < p->n; i++)
        proxied |= strcmp(p->segments[i], "proxy") == 0;
    if (p->trailing_slash && !proxied)
        return error_set(err, -EBADMSG, "the path is not canonical: it ends with '/'");
    return resource_request(p, &r, arena, ret, err);
}
